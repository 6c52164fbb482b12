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

# Before minutes of building: what takes the images at the end.
if [ "$build" = yes ]; then
    "$here/scripts/setup.sh" cli
    found=$("$here/scripts/setup.sh" docker)
    DOCKER_HOST=$(sed -n 1p <<<"$found")
    export DOCKER_HOST
fi

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
# BuildKit where the command has it; else the classic builder, which every engine has, and which says each time that it
# is the classic one.
export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-$(docker buildx version >/dev/null 2>&1 && echo 1 || echo 0)}
said=$(mktemp)
trap 'rm -f "$said"' EXIT
for service in marketplace addons-manager; do
    docker build --quiet -f "$here/deploy/$service.Dockerfile" -t "oak-$service" "$contexts/$service" >/dev/null 2>"$said" || {
        cat "$said" >&2
        exit 1
    }
    echo "images: oak-$service ($(docker image inspect --format '{{.Size}}' "oak-$service" | awk '{ printf "%.0f MB", $1 / 1000000 }')) on $DOCKER_HOST"
done
