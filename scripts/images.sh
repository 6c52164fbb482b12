#!/usr/bin/env bash
# Builds both services as static binaries and makes their images of them: FROM scratch, nothing else in them.
#
#   scripts/images.sh             binaries and images (needs an engine: DOCKER_HOST, or what scripts/setup.sh docker finds)
#   scripts/images.sh contexts    binaries and the folders that the Dockerfiles are built in; needs no engine
#
#   PROFILE=dev        another profile of cargo than release
#   TAG=0.1.0          the images' tag, latest by default
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-images}
case $what in images | contexts) ;; *) echo "usage: $0 [contexts]" >&2; exit 2 ;; esac
profile=${PROFILE:-release}
host=$(rustc -vV | sed -n 's/^host: //p')
folder="${CARGO_TARGET_DIR:-target}/images"

# With --target the flags reach the services only, not build scripts and macros, which stay dynamic.
env -u CARGO_ENCODED_RUSTFLAGS RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --profile "$profile" --target "$host" --target-dir "$folder/target" --bin marketplace --bin addons-manager
built="$folder/target/$host/$([ "$profile" = dev ] && echo debug || echo "$profile")"

# Whom the registries' certificates are trusted by: an image FROM scratch has no list of its own.
for certificates in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem ''; do
    [ -z "$certificates" ] || [ ! -s "$certificates" ] || break
done
[ -n "$certificates" ] || { echo "images: no list of certificate authorities found; install the package ca-certificates" >&2; exit 1; }

for service in marketplace addons-manager; do
    context="$folder/$service"
    rm -rf "$context"
    mkdir -p "$context/state"
    install -m 0755 "$built/$service" "$context/$service"
    install -m 0644 "$certificates" "$context/ca-certificates.crt"
    printf 'root:x:0:0::/:/\nservice:x:65532:65532::/:/\n' >"$context/passwd"
    install -m 0644 "deploy/$service.Dockerfile" "$context/Dockerfile"
    [ "$what" = contexts ] || docker build --quiet --tag "$service:${TAG:-latest}" "$context"
    echo "$context"
done
