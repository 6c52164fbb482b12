#!/bin/bash
# Keeps one PostgreSQL server while tests use it: server.sh LOCKS FOLDER COMMAND...
#
# Every process that uses the server holds a shared lock on LOCKS/users, which the kernel takes back however the process
# ends. When nobody has held it for some seconds the server is ended and its folder removed. LOCKS/start keeps newcomers
# out meanwhile.
set -u
locks=$1 folder=$2
shift 2
exec 8>>"$locks/start" 9>>"$locks/users"
cd /
"$@" </dev/null >>"$folder/log" 2>&1 8>&- 9>&- &
server=$!

idle=0
while kill -0 "$server" 2>/dev/null; do
    sleep 1
    if flock --nonblock 9; then
        flock --unlock 9
        idle=$((idle + 1))
    else
        idle=0
    fi
    if [ "$idle" -ge 4 ]; then
        flock 8
        if flock --nonblock 9; then
            kill -QUIT "$server"
            wait "$server"
            rm -rf "$folder"
            exit
        fi
        flock --unlock 8
        idle=0
    fi
done
