#!/usr/bin/env bash
# The whole of it on this machine, for somebody who has never seen it: a registry, a marketplace, an addons manager, and
# Oakestra's example addon that is published, verified, installed, killed and healed. Ctrl-C removes everything again.
#
#   scripts/demo.sh                 runs until Ctrl-C
#   scripts/demo.sh clean FOLDER    removes what a run with KEEP=1 has left
#
#   KEEP=1            Ctrl-C (or the end) leaves everything running and says how to remove it
#   DEMO_ONESHOT=1    ends after the tour instead of waiting for Ctrl-C
#   MARKETPLACE_PORT, MANAGER_PORT, REGISTRY_PORT, ADDON_PORT    other ports than 11102, 11101, 5000, 10007; one that is
#                     taken is replaced by the next free one
#   DOCKER_HOST       another engine of this machine, as unix:///path
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
addon=addon-name # as Oakestra's example has it
service=my_service

bold='' dim='' green='' red='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; fi

now() { date +%s%N; }
# seconds SINCE: with two digits, as text
seconds() { local ms=$((($(now) - $1) / 1000000)); printf '%d.%02d s' $((ms / 1000)) $((ms % 1000 / 10)); }
step() { step_began=$(now); printf '%s==>%s %s%s%s\n' "$green" "$plain" "$bold" "$*" "$plain"; }
note() { printf '    %s\n' "$*"; }
took() { printf '    %s %s(%s)%s\n' "$*" "$dim" "$(seconds "$step_began")" "$plain"; }
fail() {
    printf '%sdemo:%s %s\n' "$red" "$plain" "$*" >&2
    exit 1
}

# ---- the engine's API, by curl: its command line may not be there
engine() { # engine METHOD PATH [curl arguments]
    local method=$1 path=$2
    shift 2
    curl -fsS --max-time 120 --unix-socket "${DOCKER_HOST#unix://}" -X "$method" "$@" "http://engine$path"
}
# The value of a member of JSON that stands in one line, of the first one of that name.
member() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" | head -n 1; }
encoded() { printf '%s' "$1" | sed 's/"/%22/g; s/{/%7B/g; s/}/%7D/g; s/\[/%5B/g; s/\]/%5D/g'; }

# ---- cleaning up; every part may be missing, since the demo may have failed anywhere
remember() { printf '%s=%q\n' "$1" "$2" >>"$scratch/demo.env"; printf -v "$1" %s "$2"; }
end_process() { # end_process PID NAME: in good order, then not
    [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null || return 0
    # Not somebody else's who has been given the same number since.
    grep -qa "$2" "/proc/$1/cmdline" 2>/dev/null || return 0
    kill "$1" 2>/dev/null || true
    local try
    for try in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
}

# remove_leftovers: what the manager could not remove itself, found by the label with this demo's own manager's id, which
# nobody else has, and what was made here by its exact name.
remove_leftovers() {
    [ -n "${DOCKER_HOST:-}" ] && engine GET /_ping -o /dev/null 2>/dev/null || return 0
    local id kind filter
    local manager
    manager=$(find "$scratch/manager" -maxdepth 1 -name 'manager*id' -exec cat {} \; 2>/dev/null | head -n 1)
    if [ -n "$manager" ]; then
        filter=$(encoded "{\"label\":[\"oak.manager.id=$manager\"]}")
        for id in $(engine GET "/containers/json?all=1&filters=$filter" | grep -o '"Id":"[0-9a-f]\{64\}"' | cut -d'"' -f4); do
            engine DELETE "/containers/$id?force=1&v=1" -o /dev/null 2>/dev/null || true
        done
        for id in $(engine GET "/networks?filters=$filter" | grep -o '"Id":"[0-9a-f]\{64\}"' | cut -d'"' -f4); do
            engine DELETE "/networks/$id" -o /dev/null 2>/dev/null || true
        done
        for id in $(engine GET "/volumes?filters=$filter" | grep -o '"Name":"[^"]*"' | cut -d'"' -f4); do
            engine DELETE "/volumes/$id" -o /dev/null 2>/dev/null || true
        done
    fi
    if [ "${network_was_there:-yes}" = no ]; then engine DELETE /networks/oakestra -o /dev/null 2>/dev/null || true; fi
    for id in ${image:-} $(engine GET /images/json | tr ',[]' '\n\n\n' | grep -o "\"\(oak.local/${installation:-none}:[^\"]*\|127.0.0.1:${registry_port:-0}/$addon[:@][^\"]*\)\"" | tr -d '"' | sort -u); do
        engine DELETE "/images/$id?force=1" -o /dev/null 2>/dev/null || true
    done
}

# An engine of ours on the host's network leaves its bridge and its packet filter rules when it ends.
remove_engine_traces() {
    [ "${bridge_was_there:-yes}" = no ] || return 0
    ip link delete docker0 2>/dev/null || true
    local table rule
    for table in nat filter; do
        iptables -t "$table" -S 2>/dev/null | grep -e DOCKER -e docker0 | grep '^-A' | sed 's/^-A/-D/' | while read -r rule; do
            # shellcheck disable=SC2086 # the rule is several words
            iptables -t "$table" $rule 2>/dev/null || true
        done
        iptables -t "$table" -S 2>/dev/null | sed -n 's/^-N \(DOCKER[A-Z0-9-]*\)$/\1/p' | while read -r rule; do
            iptables -t "$table" -F "$rule" 2>/dev/null || true
            iptables -t "$table" -X "$rule" 2>/dev/null || true
        done
    done
    # Its control groups; the kernel removes only empty ones.
    find /sys/fs/cgroup -maxdepth 2 -type d -name docker -exec rmdir {} + 2>/dev/null || true
    [ -z "${forward_policy:-}" ] || iptables -P FORWARD "$forward_policy" 2>/dev/null || true
}

clean() {
    trap - EXIT
    trap '' INT TERM HUP # a second Ctrl-C does not leave half of it
    set +e
    [ -n "${scratch:-}" ] && [ -d "$scratch" ] || return 0
    if [ -n "${installation:-}" ] && kill -0 "${manager_pid:-0}" 2>/dev/null; then
        manager_api DELETE "/api/v1/addons/$installation?force=true&volumes=delete" -o /dev/null 2>/dev/null
        local try
        for try in $(seq 150); do # its containers are gone when nothing carries its name any more
            engine GET "/containers/$addon-$service/json" -o /dev/null 2>/dev/null || break
            sleep 0.1
        done
    fi
    end_process "${manager_pid:-}" addons-manager
    end_process "${marketplace_pid:-}" marketplace
    remove_leftovers
    end_process "${registry_pid:-}" docker-registry
    if [ -n "${engine_pid:-}" ]; then
        end_process "$engine_pid" dockerd
        remove_engine_traces
    fi
    # What a daemon has mounted below its folder ends with it; should something hold on, say so rather than wait.
    rm -rf "$scratch" 2>/dev/null || { sleep 1; rm -rf "$scratch"; }
}

finish() {
    local status=$?
    trap - EXIT
    if [ "${KEEP:-}" = 1 ] && [ "$status" = 0 ]; then
        printf '\nKEEP=1: everything goes on running. To remove all of it: %s clean %s\n' "$0" "$scratch"
        exit 0
    fi
    if [ "$status" != 0 ] && [ -n "${scratch:-}" ] && [ -d "$scratch/logs" ]; then
        local log
        for log in "$scratch"/logs/*.log; do
            [ -s "$log" ] || continue
            printf '%s--- the last lines of %s%s\n' "$dim" "$(basename "$log")" "$plain" >&2
            tail -n 15 "$log" >&2
        done
    fi
    printf '\nRemoving everything that the demo has made ...\n'
    clean
    printf 'Done: no container, network, volume, image, process or folder of it is left.\n'
    exit "$status"
}

manager_api() { # manager_api METHOD PATH [curl arguments]
    local method=$1 path=$2
    shift 2
    curl -sS --max-time 30 --noproxy '*' -X "$method" -H "Authorization: Bearer $(cat "$scratch/manager/admin-token")" "$@" "$manager_url$path"
}
marketplace_api() {
    local method=$1 path=$2
    shift 2
    curl -sS --max-time 30 --noproxy '*' -X "$method" -H "Authorization: Bearer $(cat "$scratch/marketplace/admin-token")" "$@" "$marketplace_url$path"
}

if [ "${1:-}" = clean ]; then
    [ -f "${2:-}/demo.env" ] || fail "usage: $0 clean FOLDER (the folder that the demo printed)"
    scratch=$(cd "$2" && pwd)
    # shellcheck disable=SC1091 # written by this script
    . "$scratch/demo.env"
    clean
    echo "Done: no container, network, volume, image, process or folder of the demo is left."
    exit 0
fi
[ $# = 0 ] || fail "usage: $0 [clean FOLDER]"

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() { # free_port WANTED NAME: the first that nobody listens on from there
    local port=$1
    while taken "$port"; do port=$((port + 1)); done
    [ "$port" = "$1" ] || note "port $1 is taken: $2 takes $port" >&2
    echo "$port"
}
# await WHAT SECONDS COMMAND...: until the command succeeds
await() {
    local what=$1 limit=$2 began
    shift 2
    began=$(now)
    until "$@"; do
        [ $((($(now) - began) / 1000000000)) -lt "$limit" ] || fail "$what: not within $limit seconds"
        sleep 0.05
    done
}
serves() { curl -fsS -o /dev/null --max-time 2 --noproxy '*' "$1" 2>/dev/null; }
alive() { kill -0 "$1" 2>/dev/null || fail "$2 has ended before it was ready"; }

demo_began=$(now)
scratch=$(mktemp -d /tmp/oak-demo-XXXXXX)
chmod 700 "$scratch"
mkdir -p "$scratch/logs"
trap finish EXIT
trap 'exit 0' INT TERM HUP

step "Docker Engine and registry: found, or installed and started"
remember bridge_was_there "$(ip link show docker0 >/dev/null 2>&1 && echo yes || echo no)"
remember forward_policy "$(iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p' || true)"
found=$(OAK_ENGINE_FOLDER="$scratch/engine" "$here/scripts/setup.sh" docker)
remember DOCKER_HOST "$(sed -n 1p <<<"$found")"
remember engine_pid "$(sed -n 's/^started //p' <<<"$found")"
export DOCKER_HOST
"$here/scripts/setup.sh" registry
took "Docker Engine $(engine GET /version | member Version) at $DOCKER_HOST"

step "Building both services and the addon (the first time takes some minutes)"
target=${CARGO_TARGET_DIR:-$here/target}
(cd "$here" && cargo build --locked --bin marketplace --bin addons-manager)
binary=$("$here/scripts/demo-addon.sh")
case $binary in /*) ;; *) binary="$here/$binary" ;; esac
took "built"

step "Starting registry, marketplace and addons manager in $scratch"
remember registry_port "$(free_port "${REGISTRY_PORT:-5000}" "the registry")"
marketplace_port=$(free_port "${MARKETPLACE_PORT:-11102}" "the marketplace")
manager_port=$(free_port "${MANAGER_PORT:-11101}" "the addons manager")
addon_port=$(free_port "${ADDON_PORT:-10007}" "the addon's page")
remember marketplace_url "http://127.0.0.1:$marketplace_port"
remember manager_url "http://127.0.0.1:$manager_port"

cat >"$scratch/registry.yml" <<CONFIG
version: 0.1
storage: {filesystem: {rootdirectory: $scratch/registry}}
http: {addr: "127.0.0.1:$registry_port"}
CONFIG
cat >"$scratch/marketplace.toml" <<CONFIG
state_dir = "$scratch/marketplace"
[server]
port = $marketplace_port
[registries."127.0.0.1:$registry_port"]
insecure = true
CONFIG
cat >"$scratch/manager.toml" <<CONFIG
state_dir = "$scratch/manager"
[server]
port = $manager_port
[docker]
host = "$DOCKER_HOST"
[marketplace]
url = "$marketplace_url"
[registries."127.0.0.1:$registry_port"]
insecure = true
CONFIG
# In sessions of their own: Ctrl-C is for this script, which ends them in the right order.
setsid docker-registry serve "$scratch/registry.yml" </dev/null >"$scratch/logs/registry.log" 2>&1 &
remember registry_pid $!
setsid "$target/debug/marketplace" --config "$scratch/marketplace.toml" </dev/null >"$scratch/logs/marketplace.log" 2>&1 &
remember marketplace_pid $!
setsid "$target/debug/addons-manager" --config "$scratch/manager.toml" </dev/null >"$scratch/logs/addons-manager.log" 2>&1 &
remember manager_pid $!
ready() { alive "$1" "$2" && serves "$3"; }
await "the registry" 30 ready "$registry_pid" "the registry" "http://127.0.0.1:$registry_port/v2/"
await "the marketplace" 30 ready "$marketplace_pid" "the marketplace" "$marketplace_url/readyz"
await "the addons manager" 30 ready "$manager_pid" "the addons manager" "$manager_url/readyz"
took "ready: $marketplace_url and $manager_url"

step "Building the addon's image (FROM scratch, one static binary) and pushing it"
remember network_was_there "$(engine GET /networks/oakestra -o /dev/null 2>/dev/null && echo yes || echo no)"
remember image "127.0.0.1:$registry_port/$addon:latest"
mkdir "$scratch/image"
cp "$binary" "$scratch/image/demo-addon"
cat >"$scratch/image/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY demo-addon /demo-addon
ENV PORT=10007
EXPOSE 10007
HEALTHCHECK --interval=1s --timeout=2s CMD ["/demo-addon", "healthcheck"]
ENTRYPOINT ["/demo-addon"]
DOCKERFILE
answer=$(tar -C "$scratch/image" -c Dockerfile demo-addon | engine POST "/build?t=$image" -H 'Content-Type: application/x-tar' --data-binary @-)
! grep '"error"' <<<"$answer" || fail "the image was not built"
answer=$(engine POST "/images/127.0.0.1:$registry_port/$addon/push?tag=latest" -H 'X-Registry-Auth: e30=')
! grep '"error"' <<<"$answer" || fail "the image was not pushed"
took "$image"

step "Publishing Oakestra's example with that image"
cat >"$scratch/addon.json" <<DESCRIPTOR
{
  "name": "$addon",
  "networks": [],
  "volumes": [{"name": "myvolume", "driver": "bridge"}],
  "services": [{
    "image": "$image",
    "service_name": "$service",
    "networks": [],
    "volumes": ["myvolume:/somevolume"],
    "ports": {"10007": "$addon_port"}
  }]
}
DESCRIPTOR
answer=$(marketplace_api POST /api/v1/marketplace/addons -H 'Content-Type: application/json' --data-binary "@$scratch/addon.json")
release=$(member _id <<<"$answer")
[ -n "$release" ] || fail "the marketplace answered: $answer"
note "release $release"
approved() {
    answer=$(marketplace_api GET "/api/v1/marketplace/addons/$release")
    case $answer in
        *'"status":"approved"'*) return 0 ;;
        *'"status":"verification_failed"'*) fail "not approved: $(marketplace_api GET "/api/v1/marketplace/addons/$release/verification")" ;;
        *) return 1 ;;
    esac
}
await "the verdict" 60 approved
took "its image was found in the registry, pinned by digest, and the release approved"

step "Installing it"
answer=$(manager_api POST /api/v1/addons -H 'Content-Type: application/json' -d "{\"marketplace_id\": \"$release\"}")
id=$(member _id <<<"$answer")
[ -n "$id" ] || fail "the addons manager answered: $answer"
remember installation "$id"
active() { case $(manager_api GET "/api/v1/addons/$installation") in *'"status":"active"'*) return 0 ;; *) return 1 ;; esac; }
await "the addon is active" 120 active
took "active, as container $addon-$service"
page=$(curl -fsS --max-time 10 --noproxy '*' "http://127.0.0.1:$addon_port/")
note "its page: $(grep -o '<h1>.*</h1>' <<<"$page" | sed 's/<[^>]*>//g'), from container $(curl -fsS --noproxy '*' "http://127.0.0.1:$addon_port/id") at http://127.0.0.1:$addon_port/"

step "Killing its container, as a crash or a careless hand would"
engine POST "/containers/$addon-$service/kill" -o /dev/null
killed=$(now)
await "the page is served again" 60 serves "http://127.0.0.1:$addon_port/"
note "healed: the page was served again after ${bold}$(seconds "$killed")${plain}"
await "the addon is active again" 60 active
took "active again, its healthcheck included"

token="Authorization: Bearer \$(cat $scratch/manager/admin-token)"
cat <<END

${bold}Everything runs${plain} ${dim}(after $(seconds "$demo_began"))${plain}
    the addon's page     http://127.0.0.1:$addon_port/
    marketplace          $marketplace_url/api/docs
    addons manager       $manager_url/api/docs
    tokens               $scratch/marketplace/admin-token
                         $scratch/manager/admin-token

${bold}To try in another terminal${plain}
    curl -s $marketplace_url/api/v1/marketplace/addons
    curl -s -H "$token" $manager_url/api/v1/addons
    curl -s -X PATCH -H "$token" -H 'Content-Type: application/json' -d '{"status": "disabled"}' $manager_url/api/v1/addons/$installation

END
[ "${DEMO_ONESHOT:-}" != 1 ] || exit 0
[ "${KEEP:-}" != 1 ] || exit 0
echo "${bold}Ctrl-C ends it and removes all of it.${plain}"
while kill -0 "$marketplace_pid" 2>/dev/null && kill -0 "$manager_pid" 2>/dev/null; do
    sleep 1 &
    wait $! || true
done
fail "a service has ended by itself"
