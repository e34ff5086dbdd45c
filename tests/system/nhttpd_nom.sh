#!/bin/sh
# SPDX-License-Identifier: MIT
# nhttpd on the private stack, inside the guest: the black-box suite from the
# guest's second network device, then what must come back when it ends, and
# what it says when it cannot start.  TAP; needs two virtio-net devices on one
# network, as tests/run boots them.
set -u

BDF=0000:00:10.0
DIR=/run/nhttpd-nom
# shellcheck source=tests/system/tap.inc
. "${0%/*}/tap.inc"
pid=
LOG=$DIR/log

# Starts nhttpd, waits until it serves; $pid is its process.
start() {
	: >"$DIR/log"
	nhttpd --root "$DIR/www" --stack nom --device "$BDF" --ip 10.0.0.2/24 --port 80 --idle-timeout-s 4 \
		--max-connections 150 "$@" >"$DIR/log" 2>&1 &
	pid=$!
	tries=0
	while ! grep -q '^nhttpd: serving' "$DIR/log"; do
		tries=$((tries + 1))
		kill -0 "$pid" 2>/dev/null || return 1
		[ "$tries" -lt 100 ] || return 1
		busybox usleep 100000
	done
}

# Ends it with SIGTERM; its exit status.
stop() {
	kill -TERM "$pid"
	wait "$pid"
}

# Runs nhttpd, which must end by itself with a status and a word in its message.
refuses() {
	what=$1 status=$2 word=$3
	shift 3
	busybox timeout 30 nhttpd --root "$DIR/www" --stack nom "$@" >"$DIR/log" 2>&1
	got=$?
	if [ "$got" -eq "$status" ] && grep -q "$word" "$DIR/log" && [ "$(grep -c '^nhttpd: ' "$DIR/log")" -eq 1 ]; then
		ok "refuses: $what"
	else
		echo "# status $got, expected $status and \"$word\""
		not_ok "refuses: $what"
	fi
}

get() {
	nhttpd-blackbox --host 10.0.0.2 --port 80 --match "get: status" >"$DIR/get" 2>&1
}

stat() {
	busybox usleep 50000
	nomctl stat --json nhttpd | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"
}

# ran_ms: CPU time of nhttpd, by the guest's own accounting (proc(5): utime, stime)
ran_ms() {
	busybox awk '{ print 10 * ($14 + $15) }' /proc/"$pid"/stat
}

# used SECONDS: per mille of a core that it takes while nobody asks
used() {
	sleeps=$(stat loop.sleeps) ran=$(ran_ms)
	busybox sleep "$1"
	ran=$(($(ran_ms) - ran)) sleeps=$(($(stat loop.sleeps) - sleeps)) used=$((ran / $1))
	echo "# ran $ran ms in $1 s, $sleeps sleeps"
}

# A host that takes an emulated processor away in mid-turn lengthens the turn: what the server
# does by itself it does in each of three tries.
idle() {
	for _ in 1 2 3; do
		used 4
		[ "$used" -lt 20 ] && [ "$sleeps" -gt 0 ] && return 0
	done
	return 1
}

[ -e /dev/nom ] || skip "no /dev/nom"
[ -d /sys/bus/pci/devices/$BDF ] || skip "no network device $BDF"
mkdir -p "$DIR"
nhttpd-blackbox --make-root "$DIR/www" || skip "cannot make files"
other=$(busybox basename "$(echo /sys/bus/pci/devices/0000:00:11.0/virtio*/net/*)")
if ! ip addr replace 10.0.0.1/24 dev "$other" || ! ip link set "$other" up; then
	skip "no second network device"
fi
# Killed with -9, nhttpd cannot give the device back: the next test wants the kernel to have it.
trap 'ip addr del 10.0.0.1/24 dev "$other"; ip link set "$other" down; nomctl run --give-back $BDF' EXIT

refuses "a core that is not reserved" 7 "nom_cpus" --device $BDF --ip 10.0.0.2/24 --cpu 0
refuses "an unknown device" 5 "0000:00:1e.7" --device 0000:00:1e.7 --ip 10.0.0.2/24
refuses "a device that is no virtio-net" 5 "device" --device 0000:00:1f.0 --ip 10.0.0.2/24
refuses "more memory than is reserved" 8 "nom_mem" --device $BDF --ip 10.0.0.2/24 --site-bytes 1000000000

start
check $? "starts"
refuses "a core that is leased" 7 "another program" --device $BDF --ip 10.0.0.3/24
echo fresh >"$DIR/www/fresh.txt"
kill -HUP "$pid"
tries=0
until [ "$(busybox wget -q -O - http://10.0.0.2/fresh.txt 2>/dev/null)" = fresh ] || [ $tries -gt 30 ]; do
	tries=$((tries + 1))
	busybox usleep 100000
done
[ $tries -le 30 ]
check $? "SIGHUP: a new file is served"
nhttpd-blackbox --host 10.0.0.2 --port 80 --idle-s 4 --max-connections 150 >"$DIR/suite" 2>&1
check $? "black-box suite"
sed 's/^/# /' "$DIR/suite"
stop
check $? "SIGTERM: exit status 0"
ls /sys/bus/pci/devices/$BDF/virtio*/net/ >/dev/null 2>&1
check $? "the device is the kernel's again"

start && get
check $? "starts again, sleeping when that pays, and serves"
idle
check $? "idle it takes less than 2 % of a core"
stop
check $? "SIGTERM while asleep: exit status 0"

start --poll && get && used 2
[ "$used" -gt 200 ]
check $? "which can be measured: polling, it takes a fifth at least"
stop

start --irq && get
check $? "starts again, sleeping on interrupts, and serves"
[ "$(stat interrupts)" -gt 0 ] && [ "$(stat loop.sleeps)" -gt 0 ]
check $? "it did sleep, and interrupts woke it"
nomctl stat nhttpd --json --connections --queues >"$DIR/look" 2>&1 && grep -q '"state": "LISTEN"' "$DIR/look" &&
	grep -q '"rx0"' "$DIR/look"
check $? "nomctl stat: a sleeping server shows its connections and queues"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
start --poll && get
check $? "starts after kill -9, polling, and serves"
before=$(stat interrupts)	# one may have come while the device was being set up
nhttpd-blackbox --host 10.0.0.2 --port 80 --match "keep-alive: 100" >/dev/null
[ "$(stat http.requests)" -gt 100 ] && [ "$(stat interrupts)" -eq "$before" ] && [ "$(stat loop.syscalls)" -eq 0 ]
check $? "polling: no interrupt, no system call"
nomctl trace nhttpd --pcap "$DIR/pcap" --count 200 --seconds 60 >"$DIR/trace" 2>&1 &
trace=$!
until_true 10 [ -s "$DIR/pcap" ] && nhttpd-blackbox --host 10.0.0.2 --port 80 --match "keep-alive: 100" >/dev/null
wait "$trace" && [ "$(cat "$DIR/trace")" = "200 frames, 0 lost" ] && [ "$(stat loop.syscalls)" -eq 0 ]
check $? "nomctl trace: 200 frames, and still no system call of the server"
stop
check $? "SIGTERM while polling: exit status 0"
finish
