#!/bin/sh
# SPDX-License-Identifier: MIT
# nhttpd picks its batching delay by price and load, inside the guest: a table
# and terms under which W = 20 us pays while bandwidth costs nothing and eight
# connections are open, and W = 0 pays otherwise.  Price zero, no price, priced
# killed, W set by hand, the ledger.  TAP; needs two virtio-net devices.
set -u

BDF=0000:00:10.0
DIR=/run/nhttpd-price
# shellcheck source=tests/system/tap.inc
. "${0%/*}/tap.inc"
LOG=$DIR/log

stat() {
	nomctl stat --json nhttpd | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"
}

# becomes NAME VALUE: does the counter get there within five seconds?
becomes() {
	tries=0
	until [ "$(stat "$1")" = "$2" ]; do
		tries=$((tries + 1))
		[ $tries -lt 50 ] || return 1
		busybox usleep 100000
	done
}

[ -e /dev/nom ] || skip "no /dev/nom"
[ -d /sys/bus/pci/devices/$BDF ] || skip "no network device $BDF"
mkdir -p $DIR/www
echo hello >$DIR/www/index.html
cat >$DIR/terms.json <<JSON
{ "form": "refund", "alpha": 20, "beta": 10000 }
JSON
cat >$DIR/table.json <<JSON
{ "entries": [
  { "connections": 1, "w_us": 0, "gbps": 1, "latency_mean_ns": 100000, "latency_sd_ns": 1000 },
  { "connections": 1, "w_us": 20, "gbps": 0.5, "latency_mean_ns": 200000, "latency_sd_ns": 1000 },
  { "connections": 8, "w_us": 0, "gbps": 1, "latency_mean_ns": 100000, "latency_sd_ns": 1000 },
  { "connections": 8, "w_us": 20, "gbps": 2, "latency_mean_ns": 1000000, "latency_sd_ns": 1000 } ] }
JSON
other=$(busybox basename "$(echo /sys/bus/pci/devices/0000:00:11.0/virtio*/net/*)")
if ! ip addr replace 10.0.0.1/24 dev "$other" || ! ip link set "$other" up; then
	skip "no second network device"
fi
trap 'ip addr del 10.0.0.1/24 dev "$other"; ip link set "$other" down' EXIT

: >$DIR/log
nhttpd --root $DIR/www --stack nom --device $BDF --ip 10.0.0.2/24 --port 80 --terms $DIR/terms.json \
	--table $DIR/table.json --ledger $DIR/ledger >$DIR/log 2>&1 &
pid=$!
tries=0
until grep -q '^nhttpd: serving' $DIR/log || [ $tries -gt 100 ]; do
	tries=$((tries + 1))
	busybox usleep 100000
done
grep -q '^nhttpd: serving' $DIR/log
check $? "starts without a price"
busybox usleep 1500000
[ "$(grep -c 'nobody publishes' $DIR/log)" -eq 1 ]
check $? "says once that there is no price"
becomes w_us 0
check $? "nobody connected: W = 0"

clients=
busybox mkfifo $DIR/silence
exec 3<>$DIR/silence		# never ends, says nothing
for _ in 1 2 3 4 5 6 7 8; do
	busybox nc 10.0.0.2 80 <&3 >/dev/null &
	clients="$clients $!"
done
becomes http.connections 8
check $? "eight connections"
becomes w_us 20
check $? "price 0, eight connections: W = 20"
busybox usleep 1500000		# a line of the ledger for it

nomctl price set bandwidth 10 --unit Gbit >/dev/null
becomes price.bandwidth 10000000 && becomes w_us 0
check $? "price 10: W = 0"
nomctl price set bandwidth 0 >/dev/null
becomes price.bandwidth 0 && becomes w_us 20
check $? "price 0 is a price: W = 20"

[ "$(stat price.upcalls)" -ge 2 ]
check $? "the changes came as upcalls"

nomctl tune nhttpd w_us=7 >/dev/null && becomes w_us 7
check $? "W set by hand"
! nomctl tune nhttpd w_us=999999999 >/dev/null 2>&1 && [ "$(stat w_us)" = 7 ]
check $? "a W out of range is refused"

cat >$DIR/prices.json <<JSON
{ "prices": [ { "name": "bandwidth", "unit": "Gbit", "usd": 10 } ] }
JSON
priced $DIR/prices.json >$DIR/priced.log 2>&1 &
priced=$!
becomes price.bandwidth 10000000 && becomes w_us 0
check $? "priced publishes: W = 0"
kill -KILL $priced
wait $priced 2>/dev/null
busybox usleep 1500000
nhttpd-blackbox --host 10.0.0.2 --port 80 --match "keep-alive" >/dev/null 2>&1
[ "$(stat price.bandwidth)" = 10000000 ] && kill -0 $pid
check $? "priced killed: the last price stays, serving goes on"

# shellcheck disable=SC2086 # a list of process ids
kill $clients 2>/dev/null
nomctl price set bandwidth 0 >/dev/null
becomes http.connections 0 && becomes w_us 0
check $? "load gone: W = 0 although bandwidth costs nothing"

kill -TERM $pid
wait $pid
check $? "SIGTERM: exit status 0"
grep -q '"price_usd_per_gbit": 10.00, .*"w_us": 0' $DIR/ledger && grep -q '"w_us": 20, "latency_mean_us": 1000.000,' $DIR/ledger &&
	! grep -qv '^{.*}$' $DIR/ledger
saw=$?
[ $saw -eq 0 ] || tail -n 20 $DIR/ledger | sed 's/^/# /'
check $saw "the ledger saw prices, W and what the table expects"
finish
