#!/bin/sh
# SPDX-License-Identifier: MIT
# nhttpd on the in-tree stack, inside the guest: the black-box suite over
# loopback, on an ordinary core, on the kernel the comparison runs on.  TAP.
set -u

DIR=/run/nhttpd-linux
# shellcheck source=tests/system/tap.inc
. "${0%/*}/tap.inc"
LOG=$DIR/log

mkdir -p "$DIR"
nhttpd-blackbox --make-root "$DIR/www"
ip link set lo up
: >"$DIR/log"
nhttpd --root "$DIR/www" --port 8080 --ip 127.0.0.1 --cpu 0 --idle-timeout-s 4 --max-connections 150 >"$DIR/log" 2>&1 &
pid=$!
tries=0
while ! grep -q '^nhttpd: serving' "$DIR/log" && [ $tries -lt 100 ]; do
	tries=$((tries + 1))
	busybox usleep 100000
done
nhttpd-blackbox --port 8080 --idle-s 4 --max-connections 150 >"$DIR/suite" 2>&1
check $? "black-box suite"
sed 's/^/# /' "$DIR/suite"
busybox timeout 20 nhttpd --root "$DIR/www" --port 8080 --ip 127.0.0.1 >"$DIR/second" 2>&1
[ $? -eq 4 ] && grep -q "another server has it" "$DIR/second"
check $? "a port in use: exit status 4, and who has it"
# A reserved core takes nobody who has not leased it.
busybox timeout 20 nhttpd --root "$DIR/www" --port 8081 --cpu 1 >"$DIR/pinned" 2>&1
[ $? -eq 2 ] && grep -q "reserved" "$DIR/pinned"
check $? "--cpu of a reserved core is refused"
# Polling is taken by epoll, too, or refused; and there is nothing in between.
nhttpd --root "$DIR/www" --port 8082 --ip 127.0.0.1 --busy-poll-us 50 >"$DIR/polling" 2>&1 &
polling=$!
tries=0
while ! grep -q '^nhttpd: ' "$DIR/polling" && [ $tries -lt 100 ]; do
	tries=$((tries + 1))
	busybox usleep 100000
done
grep -q '^nhttpd: serving' "$DIR/polling" && busybox wget -q -O /dev/null "http://127.0.0.1:8082/"
check $? "--busy-poll-us serves"
kill -TERM $polling
wait $polling
/usr/sbin/setpriv --reuid 1000 --clear-groups busybox timeout 20 nhttpd --root "$DIR/www" --port 8083 --busy-poll-us 50 >"$DIR/refused" 2>&1
[ $? -eq 1 ] && grep -q 'CAP_NET_ADMIN' "$DIR/refused"
check $? "--busy-poll-us without the privilege is refused"
kill -TERM $pid
wait $pid
check $? "SIGTERM: exit status 0"
finish
