#!/usr/bin/env bash
# Builds everything as it is shipped and measures it. Words choose parts: http, install, repair, process.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/demo-addon.sh >/dev/null
cargo build --locked --release --package marketplace --package addons-manager
exec cargo bench --locked --package system-tests --bench figures -- "$@"
