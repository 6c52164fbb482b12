#!/bin/bash
# Process 1 of a world's engine: starts and signals the daemons, and reaps what they orphan.
#
# It runs in process and mount namespaces of its own. When its input ends, because the test has ended in whatever way,
# it ends, and the kernel ends everything else in the namespace with it: daemons, shims, proxies, containers.
#
# Input: one command a line. Output: one line `done <status>` for each.
set -u
world=$1
declare -A pids

mount --bind "$world/run" /run &&
    # The daemon's identity would otherwise be the host's.
    mkdir -p /etc/docker && mount -t tmpfs tmpfs /etc/docker || exit 1
cd /

start() { # start NAME COMMAND...: in the background, its output in logs/NAME.log
    local name=$1
    shift
    "$@" </dev/null >>"$world/logs/$name.log" 2>&1 &
    pids[$name]=$!
}

end() { # end NAME SIGNAL: signals it and waits until it has ended
    kill "-$2" "${pids[$1]}" 2>/dev/null
    wait "${pids[$1]}" 2>/dev/null
    return 0
}

hold() { # hold NAME SIGNAL: signals it and goes on (STOP, CONT)
    kill "-$2" "${pids[$1]}"
}

echo "done 0"
while IFS= read -r line; do
    eval "$line"
    echo "done $?"
done
