#!/usr/bin/env bash
# Builds the images of both services: oak-marketplace and oak-addons-manager.
#
#   scripts/images.sh               static release binaries (minutes), contexts in target/images, then both images
#   scripts/images.sh --from DIR    takes the binaries from DIR instead; what they link comes into the image with them
#   scripts/images.sh --contexts    stops before the images, for another builder
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
contexts=${OAK_CONTEXTS:-$target/images}
from='' build=yes

while [ $# -gt 0 ]; do
    case $1 in
        --from)
            from=$(cd "$2" && pwd)
            shift
            ;;
        --contexts) build=no ;;
        *)
            echo "usage: $0 [--from DIR] [--contexts]" >&2
            exit 1
            ;;
    esac
    shift
done

certificates=/etc/ssl/certs/ca-certificates.crt
[ -f "$certificates" ] || {
    echo "images: $certificates is missing: install ca-certificates; without it no registry can be spoken to with TLS" >&2
    exit 1
}

if [ -z "$from" ]; then
    # With --target the flags reach these binaries only, not build scripts.
    host=$(rustc -vV | sed -n 's/^host: //p')
    (cd "$here" && env -u CARGO_ENCODED_RUSTFLAGS RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --locked --release --target "$host" --bin marketplace --bin addons-manager)
    from="$target/$host/release"
fi

for service in marketplace addons-manager; do
    context="$contexts/$service"
    rm -rf "$context"
    mkdir -p "$context/rootfs/etc/ssl/certs" "$context/rootfs/tmp" "$context/state"
    chmod 1777 "$context/rootfs/tmp"
    install -m 0755 "$from/$service" "$context/rootfs/$service"
    install -m 0644 "$certificates" "$context/rootfs/etc/ssl/certs/"
    printf 'root:x:0:0::/:\nmarketplace:x:10001:10001::/var/lib/marketplace:\n' >"$context/rootfs/etc/passwd"
    # A static binary has none; one of a usual build brings its libraries and their loader along, at their own paths.
    ldd "$from/$service" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        install -D -m 0755 "$library" "$context/rootfs$library"
    done || true
done

[ "$build" = yes ] || exit 0
for service in marketplace addons-manager; do
    # The classic builder, which every engine has.
    DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} docker build --quiet -f "$here/deploy/$service.Dockerfile" -t "oak-$service" "$contexts/$service"
done
