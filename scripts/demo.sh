#!/usr/bin/env bash
# The whole of it on this machine, for somebody who has never seen it: a registry, a marketplace, an addons manager, and
# Oakestra's example addon that is published, verified, installed, killed and healed. Ctrl-C removes everything again.
#
#   scripts/demo.sh                 runs until Ctrl-C
#   scripts/demo.sh clean FOLDER    removes what a run with KEEP=1 has left
#
#   KEEP=1            the end (or Ctrl-C after it) leaves everything running and says how to remove it
#   DEMO_FROM=FOLDER  takes the programs marketplace, addons-manager and demo-addon from there instead of building them
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

# ---- cleaning up; every part may be missing, since the demo may have failed or been stopped anywhere
remember() { printf '%s=%q\n' "$1" "$2" >>"$scratch/demo.env"; printf -v "$1" %s "$2"; }

# ours PROGRAM: the processes of that name that were started for this demo. Its folder, which stands in their command
# line, has a name that nothing else has.
ours() {
    local file program
    for file in /proc/[0-9]*/cmdline; do
        # Read as lines; a process may be gone by now.
        mapfile -d '' -t program 2>/dev/null <"$file" || continue
        program[0]=${program[0]:-}
        [ "${program[0]##*/}" = "$1" ] || continue
        case "${program[*]}" in *"$scratch"/*) file=${file#/proc/} && echo "${file%/cmdline}" ;; esac
    done
}
end_processes() { # end_processes PROGRAM: in good order, then not
    local try pids
    for try in $(seq 150); do
        pids=$(ours "$1")
        [ -n "$pids" ] || return 0
        # shellcheck disable=SC2086 # several numbers
        if [ "$try" = 1 ]; then kill $pids 2>/dev/null; elif [ "$try" = 120 ]; then kill -KILL $pids 2>/dev/null; fi
        sleep 0.1
    done
}

# objects KIND: ids (names of volumes) of what this demo's own manager made, which its id on them tells.
objects() {
    local filter
    [ -n "$manager" ] || return 0
    filter=$(encoded "{\"label\":[\"oak.manager.id=$manager\"]}")
    case $1 in
        containers) engine GET "/containers/json?all=1&filters=$filter" | grep -o '"Id":"[0-9a-f]\{64\}"' | cut -d'"' -f4 ;;
        networks) engine GET "/networks?filters=$filter" | grep -o '"Id":"[0-9a-f]\{64\}"' | cut -d'"' -f4 ;;
        volumes) engine GET "/volumes?filters=$filter" | grep -o '"Name":"[^"]*"' | cut -d'"' -f4 ;;
    esac
}
# Tags of images that belong to this demo: those of its registry, and those of its manager's installations, of which
# each has its id as the repository's name.
tags() {
    engine GET /images/json | tr ',[]' '\n\n\n' | grep -o "\"\(oak.local/[^\"]*\|127.0.0.1:${registry_port:-0}/[^\"]*\)\"" | tr -d '"' | sort -u
}

# uninstall_all: through the manager, as long as it is there: what a visitor has installed too.
uninstall_all() {
    local id try
    for id in $(manager_api GET /api/v1/addons 2>/dev/null | grep -o '"_id":"[0-9a-f]\{24\}"' | cut -d'"' -f4); do
        manager_api DELETE "/api/v1/addons/$id?force=true&volumes=delete" -o /dev/null 2>/dev/null
    done
    for try in $(seq 300); do
        [ -n "$(objects containers)" ] || [ -n "$(tags | grep '^oak.local/' | grep -vxF "${tags_before:-}")" ] || break
        kill -0 "$manager_pid" 2>/dev/null || break
        # Tags of others that came meanwhile are not waited for.
        [ "$try" -lt 50 ] || [ -n "$(objects containers)" ] || break
        sleep 0.1
    done
}

# remove_leftovers: what the manager could not remove itself, such as volumes that were kept.
remove_leftovers() {
    [ -n "${DOCKER_HOST:-}" ] && engine GET /_ping -o /dev/null 2>/dev/null || return 0
    local id
    for id in $(objects containers); do engine DELETE "/containers/$id?force=1&v=1" -o /dev/null 2>/dev/null; done
    for id in $(objects networks); do engine DELETE "/networks/$id" -o /dev/null 2>/dev/null; done
    for id in $(objects volumes); do engine DELETE "/volumes/$id" -o /dev/null 2>/dev/null; done
    # A network that others use by now stays: the engine says so.
    if [ "${network_was_there:-yes}" = no ]; then engine DELETE /networks/oakestra -o /dev/null 2>/dev/null; fi
    for id in $(tags | grep -vxF "${tags_before:-}"); do
        case $id in oak.local/*) grep -qF "${id%:*}" <<<"$own_tags" || continue ;; esac
        engine DELETE "/images/$id?force=1" -o /dev/null 2>/dev/null
    done
    # What the build made on its way to the image; the label is this demo's own.
    for id in $(engine GET "/images/json?all=1&filters=$(encoded "{\"label\":[\"oak.demo=$scratch\"]}")" | grep -o '"Id":"sha256:[0-9a-f]\{64\}"' | cut -d'"' -f4); do
        engine DELETE "/images/$id?force=1" -o /dev/null 2>/dev/null
    done
}

# engine_beside: whether somebody else's engine runs on the host's network.
engine_beside() {
    local process here
    here=$(readlink /proc/self/ns/net)
    for process in /proc/[0-9]*; do
        [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ] || continue
        [ "$(readlink "$process/ns/net" 2>/dev/null)" != "$here" ] || return 0
    done
    return 1
}

# An engine of ours on the host's network leaves its bridge and its packet filter rules when it ends.
remove_engine_traces() {
    [ "${bridge_was_there:-yes}" = no ] || return 0
    if engine_beside; then
        note "docker0 and the packet filter's rules stay: another Docker Engine runs on this machine by now"
        return 0
    fi
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
    local manager own_tags
    manager=$(find "$scratch/manager" -maxdepth 1 -name 'manager*id' -exec cat {} \; 2>/dev/null | head -n 1)
    own_tags=$(
        manager_api GET /api/v1/addons 2>/dev/null | grep -o '"_id":"[0-9a-f]\{24\}"' | cut -d'"' -f4 | sed 's|^|oak.local/|'
        echo "oak.local/${installation:-none}"
    )
    if kill -0 "${manager_pid:-none}" 2>/dev/null; then uninstall_all; fi
    end_processes addons-manager
    end_processes marketplace
    remove_leftovers
    end_processes docker-registry
    if [ -d "$scratch/engine" ]; then
        # It may have been on its way up when the demo was stopped.
        [ -n "${engine_pid:-}" ] || sleep 1
        end_processes dockerd
        end_processes containerd
        end_processes containerd-shim-runc-v2
        remove_engine_traces
    fi
    # What a daemon has mounted below its folder ends with it; should something hold on, it is taken away.
    rm -rf "$scratch" 2>/dev/null && return 0
    grep -o " $scratch/[^ ]*" /proc/self/mounts | sort -r | while read -r id; do umount -l "$id" 2>/dev/null; done
    rm -rf "$scratch"
}

# Says what is there after all, or that nothing is.
farewell() {
    local program left=''
    for program in addons-manager marketplace docker-registry dockerd containerd; do left="$left$(ours "$program")"; done
    if [ -z "$left" ] && [ ! -d "$scratch" ]; then
        printf 'Done: no container, network, volume, image, process or folder of it is left.\n'
    else
        printf '%sdemo:%s something could not be removed; once more: %s clean %s\n' "$red" "$plain" "$0" "$scratch" >&2
    fi
}

finish() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [ "${KEEP:-}" = 1 ] && [ "$status" = 0 ] && [ "${complete:-}" = yes ]; then
        printf '\nKEEP=1: everything goes on running. To remove all of it: %s clean %s\n' "$0" "$scratch"
        exit 0
    fi
    [ -d "$scratch" ] || exit "$status"
    if [ "$status" != 0 ]; then
        local log
        for log in "$scratch"/logs/*.log; do
            [ -s "$log" ] || continue
            printf '%s--- the last lines of %s%s\n' "$dim" "$(basename "$log")" "$plain" >&2
            tail -n 15 "$log" >&2
        done
    fi
    printf '\nRemoving everything that the demo has made ...\n'
    clean
    farewell
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
    farewell
    exit 0
fi
[ $# = 0 ] || fail "usage: $0 [clean FOLDER]"

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# free_port VARIABLE WANTED NAME: the first from there that nobody listens on and that is nobody's in this demo or in
# another one; it is remembered, for those that come later.
free_port() {
    local port=$2
    while taken "$port" || grep -qs "_port=$port\$" /tmp/oak-demo-*/demo.env; do port=$((port + 1)); done
    [ "$port" = "$2" ] || note "port $2 is taken: $3 takes $port"
    remember "$1" "$port"
}
# others WHAT WHERE: what the other demos that run have remembered of it, a line each; of those that have remembered the
# same WHERE: of another engine or another network nothing follows.
others() {
    local file same
    same=$(grep "^$2=" "$scratch/demo.env")
    for file in /tmp/oak-demo-*/demo.env; do
        [ "$file" != "$scratch/demo.env" ] && grep -qsxF "$same" "$file" || continue
        kill -0 "$(sed -n 's/^demo_pid=//p' "$file")" 2>/dev/null || kill -0 "$(sed -n 's/^manager_pid=//p' "$file")" 2>/dev/null || continue
        sed -n "s/^$1=//p" "$file"
    done
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

# ---- what has to be there before anything is started
if [ -z "${DEMO_FROM:-}" ]; then
    minimum=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/Cargo.toml")
    if ! command -v cargo >/dev/null; then
        [ -z "${SUDO_USER:-}" ] || fail "cargo is not in sudo's PATH: start it as  sudo env \"PATH=\$PATH\" \"HOME=\$HOME\" make demo"
        fail "cargo is not in the PATH: install Rust $minimum or later (https://rustup.rs), then:  . ~/.cargo/env"
    fi
    version=$(cargo --version 2>&1 | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
    [ -n "$version" ] || fail "cargo does not run: $(cargo --version 2>&1 | head -n 1); with sudo: sudo env \"PATH=\$PATH\" \"HOME=\$HOME\" make demo"
    [ "$(printf '%s\n' "$minimum" "$version" | sort -V | head -n 1)" = "$minimum" ] ||
        fail "Rust $minimum or later is needed, and this is $version: rustup update"
    command -v cc >/dev/null || fail "a C compiler is needed (TLS and SQLite are built with it): apt-get install gcc libc6-dev"
    target=${CARGO_TARGET_DIR:-$here/target}
    mkdir -p "$target"
    free=$(df -Pm "$target" | awk 'NR == 2 { print $4 }')
    [ -d "$target/debug" ] || [ "${free:-9999}" -ge 4000 ] || fail "the build takes 3 GB, and $target has $free MB left"
fi

demo_began=$(now)
scratch=$(mktemp -u /tmp/oak-demo-XXXXXX)
trap finish EXIT
trap 'exit 0' INT TERM HUP
mkdir -m 700 "$scratch"
mkdir "$scratch/logs"

step "Docker Engine and registry: found, or installed and started"
# Of another demo that has started an engine here, its traces are not what was there before.
remember demo_pid $$
remember host_network "$(readlink /proc/self/ns/net)"
bridge=$(ip link show docker0 >/dev/null 2>&1 && echo yes || echo no)
if others bridge_was_there host_network | grep -qx no; then bridge=no; fi
remember bridge_was_there "$bridge"
remember forward_policy "$(others forward_policy host_network | head -n 1 | grep . || iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p' || true)"
found=$(OAK_ENGINE_FOLDER="$scratch/engine" "$here/scripts/setup.sh" docker)
remember DOCKER_HOST "$(sed -n 1p <<<"$found")"
remember engine_pid "$(sed -n 's/^started //p' <<<"$found")"
export DOCKER_HOST
"$here/scripts/setup.sh" registry
took "Docker Engine $(engine GET /version | member Version) at $DOCKER_HOST"

if [ -n "${DEMO_FROM:-}" ]; then
    programs=$(cd "$DEMO_FROM" && pwd)
    binary="$programs/demo-addon"
else
    step "Building both services and the addon (the first time takes some minutes)"
    (cd "$here" && cargo build --locked --bin marketplace --bin addons-manager)
    programs="$target/debug"
    binary=$("$here/scripts/demo-addon.sh")
    case $binary in /*) ;; *) binary="$here/$binary" ;; esac
    took "built"
fi

step "Starting registry, marketplace and addons manager in $scratch"
exec 9</tmp # two demos that start at once choose one after the other
flock -w 10 9 || true
free_port registry_port "${REGISTRY_PORT:-5000}" "the registry"
free_port marketplace_port "${MARKETPLACE_PORT:-11102}" "the marketplace"
free_port manager_port "${MANAGER_PORT:-11101}" "the addons manager"
free_port addon_port "${ADDON_PORT:-10007}" "the addon's page"
exec 9<&-
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
setsid "$programs/marketplace" --config "$scratch/marketplace.toml" </dev/null >"$scratch/logs/marketplace.log" 2>&1 &
remember marketplace_pid $!
setsid "$programs/addons-manager" --config "$scratch/manager.toml" </dev/null >"$scratch/logs/addons-manager.log" 2>&1 &
remember manager_pid $!
ready() { alive "$1" "$2" && serves "$3"; }
await "the registry" 30 ready "$registry_pid" "the registry" "http://127.0.0.1:$registry_port/v2/"
await "the marketplace" 30 ready "$marketplace_pid" "the marketplace" "$marketplace_url/readyz"
await "the addons manager" 30 ready "$manager_pid" "the addons manager" "$manager_url/readyz"
took "ready: $marketplace_url and $manager_url"

step "Building the addon's image (FROM scratch, one static binary) and pushing it"
network=$(engine GET /networks/oakestra -o /dev/null 2>/dev/null && echo yes || echo no)
if others network_was_there DOCKER_HOST | grep -qx no; then network=no; fi
remember network_was_there "$network"
remember tags_before "$(tags || true)"
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
answer=$(tar -C "$scratch/image" -c Dockerfile demo-addon | engine POST "/build?t=$image&rm=1&forcerm=1&labels=$(encoded "{\"oak.demo\":\"$scratch\"}")" -H 'Content-Type: application/x-tar' --data-binary @-)
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
# Another demo's addon may be on this engine.
name=$addon
number=2
while engine GET "/containers/$name-$service/json" -o /dev/null 2>/dev/null; do
    name=$addon-$number
    number=$((number + 1))
done
[ "$name" = "$addon" ] || note "there is a container $addon-$service on this engine: the addon is installed as $name"
answer=$(manager_api POST /api/v1/addons -H 'Content-Type: application/json' -d "{\"marketplace_id\": \"$release\", \"name\": \"$name\"}")
id=$(member _id <<<"$answer")
[ -n "$id" ] || fail "the addons manager answered: $answer"
remember installation "$id"
active() { case $(manager_api GET "/api/v1/addons/$installation") in *'"status":"active"'*) return 0 ;; *) return 1 ;; esac; }
await "the addon is active" 120 active
took "active, as container $name-$service"
page=$(curl -fsS --max-time 10 --noproxy '*' "http://127.0.0.1:$addon_port/")
note "its page: $(grep -o '<h1>.*</h1>' <<<"$page" | sed 's/<[^>]*>//g'), from container $(curl -fsS --noproxy '*' "http://127.0.0.1:$addon_port/id") at http://127.0.0.1:$addon_port/"

step "Killing its container, as a crash or a careless hand would"
engine POST "/containers/$name-$service/kill" -o /dev/null
killed=$(now)
await "the page is served again" 60 serves "http://127.0.0.1:$addon_port/"
note "healed: the page was served again after ${bold}$(seconds "$killed")${plain}"
await "the addon is active again" 60 active
took "active again, its healthcheck included"

# What the other terminal needs, to be read with `.`
{
    [ "$DOCKER_HOST" = unix:///var/run/docker.sock ] || echo "export DOCKER_HOST=$DOCKER_HOST"
    cat <<END
MARKET=$marketplace_url MANAGER=$manager_url IMAGE=$image
P="Authorization: Bearer \$(cat $scratch/marketplace/admin-token)" # to publish and review
O="Authorization: Bearer \$(cat $scratch/manager/admin-token)" # to operate
J='Content-Type: application/json'
END
} >"$scratch/tour"
complete=yes

cat <<END

${bold}Everything runs${plain} ${dim}(after $(seconds "$demo_began"))${plain}
    the addon's page     http://127.0.0.1:$addon_port/
    marketplace          $marketplace_url/  (its API: $marketplace_url/api/docs)
    addons manager       $manager_url/  (its API: $manager_url/api/docs)
    tokens               $scratch/marketplace/admin-token
                         $scratch/manager/admin-token

${bold}To try in another terminal${plain} ${dim}(README.md goes on from here)${plain}
    . $scratch/tour      # sets $(sed -n 's/^export \([A-Z_]*\)=.*/\1, /p' "$scratch/tour")MARKET, MANAGER, IMAGE and the headers P, O, J
    curl -s \$MARKET/api/v1/marketplace/addons; echo
    curl -s -H "\$O" \$MANAGER/api/v1/addons; echo
    curl -s -X PATCH -H "\$O" -H "\$J" -d '{"status": "disabled"}' \$MANAGER/api/v1/addons/$installation; echo

END
[ "${DEMO_ONESHOT:-}" != 1 ] || exit 0
[ "${KEEP:-}" != 1 ] || exit 0
echo "${bold}Ctrl-C ends it and removes all of it.${plain}"
while kill -0 "$marketplace_pid" 2>/dev/null && kill -0 "$manager_pid" 2>/dev/null; do
    sleep 1 &
    wait $! || true
done
fail "a service has ended by itself"
