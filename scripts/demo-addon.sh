#!/usr/bin/env bash
# Builds the demo addon as a static binary, which is all that its image holds, and prints where it is.
# It has a target folder of its own: other flags in the shared one would rebuild everything there.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
folder="${CARGO_TARGET_DIR:-target}/demo-addon"
# With --target the flags reach this binary only, not build scripts. Without CARGO_ENCODED_RUSTFLAGS, which would win.
env -u CARGO_ENCODED_RUSTFLAGS RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --quiet --locked --release --package demo-addon --target "$host" --target-dir "$folder"
install -m 0755 "$folder/$host/release/demo-addon" "$folder/demo-addon"
echo "$folder/demo-addon"
