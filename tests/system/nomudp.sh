#!/bin/sh
# SPDX-License-Identifier: MIT
# nomudp inside the guest, on the kernel's stack, on frames of a device, of a packet
# socket or of an AF_XDP one, and on the private stack:
# answers to nom-load at the guest's second network device, what must come back when
# it ends, and what it says when it cannot start.  TAP; needs two virtio-net devices
# on one network, as tests/run boots them.
set -u

BDF=0000:00:10.0
DIR=/run/nomudp
# shellcheck source=tests/system/tap.inc
. "${0%/*}/tap.inc"
pid=
LOG=$DIR/log

# Starts a command that is, or runs, nomudp; waits until it answers; $pid is its process.
start() {
	: >"$LOG"
	"$@" >"$LOG" 2>&1 &
	pid=$!
	tries=0
	while ! grep -q '^nomudp: answering' "$LOG"; do
		tries=$((tries + 1))
		kill -0 "$pid" 2>/dev/null || return 1
		[ "$tries" -lt 100 ] || return 1
		busybox usleep 100000
	done
}

start_nom() {
	start nomudp --stack nom --device $BDF --ip 10.0.0.2/24 "$@"
}

# Ends it with SIGTERM; its exit status.
stop() {
	kill -TERM "$pid"
	wait "$pid"
}

# refuses WHAT STATUS WORD OPTION...
refuses() {
	what=$1 status=$2 word=$3
	shift 3
	busybox timeout 30 nomudp --stack nom "$@" >"$LOG" 2>&1
	got=$?
	if [ "$got" -eq "$status" ] && grep -q "$word" "$LOG" && [ "$(grep -c '^nomudp: ' "$LOG")" -eq 1 ]; then
		ok "refuses: $what"
	else
		echo "# status $got, expected $status and \"$word\""
		not_ok "refuses: $what"
	fi
}

# load ADDRESS [OPTION]...: answered, and nothing came that is no answer
load() {
	address=$1
	shift
	nom-load --closed --connections 8 --seconds 0.5 --timeout-ms 5000 --drain 6 "$@" "udp://$address" >"$DIR/load" 2>>"$LOG" &&
		grep -q '"lost":0,"protocol":0,"refused":0' "$DIR/load"
}

stat() {
	busybox usleep 200000
	nomctl stat --json nomudp | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"
}

[ -e /dev/nom ] || skip "no /dev/nom"
[ -d /sys/bus/pci/devices/$BDF ] || skip "no network device $BDF"
mkdir -p "$DIR"
other=$(busybox basename "$(echo /sys/bus/pci/devices/0000:00:11.0/virtio*/net/*)")
if ! ip addr replace 10.0.0.1/24 dev "$other" || ! ip link set "$other" up; then
	skip "no second network device"
fi
# Killed with -9, nomudp cannot give the device back: the next test wants the kernel to have it.
trap 'ip addr del 10.0.0.1/24 dev "$other"; ip link set "$other" down; nomctl run --give-back $BDF' EXIT

start nomudp --stack linux --ip 127.0.0.1 && load 127.0.0.1
check $? "the kernel's stack: answers"
[ "$(stat udp.requests)" -gt 10 ] && [ "$(stat udp.bad)" -eq 0 ]
check $? "the kernel's stack: counts them"
stop
check $? "the kernel's stack: SIGTERM, exit status 0"

refuses "a core that is not reserved" 7 "nom_cpus" --device $BDF --ip 10.0.0.2/24 --cpu 0
refuses "an unknown device" 5 "0000:00:1e.7" --device 0000:00:1e.7 --ip 10.0.0.2/24
refuses "a device that is no virtio-net" 5 "device" --device 0000:00:1f.0 --ip 10.0.0.2/24
refuses "an address that is no station's" 2 "10.0.0.255" --device $BDF --ip 10.0.0.255/24

start nomctl run --device $BDF -- nomudp --stack nom --ip 10.0.0.2/24
check $? "raw tier: starts with what nomctl run gives it"
refuses "a core that is leased" 7 "another program" --device $BDF --ip 10.0.0.3/24
load 10.0.0.2 && load 10.0.0.2 --bytes 1472
check $? "raw tier: answers short and long requests"
[ "$(stat arp.answers)" -gt 0 ] && busybox ping -c 3 -W 5 10.0.0.2 >"$DIR/ping" && [ "$(stat icmp.answers)" -ge 3 ]
check $? "raw tier: is found by ARP, and by ping"
nomctl tune nomudp w_us=500 >/dev/null && until_true 5 [ "$(stat w_us)" -eq 500 ] && load 10.0.0.2
check $? "raw tier: answers with W at 500 us"
stop
check $? "raw tier: SIGTERM to nomctl run, exit status 0"
until_true 5 ls /sys/bus/pci/devices/$BDF/virtio*/net/
check $? "the device is the kernel's again"

start_nom --irq && load 10.0.0.2
check $? "raw tier: answers, sleeping on interrupts"
[ "$(stat interrupts)" -gt 0 ] && [ "$(stat loop.sleeps)" -gt 0 ]
check $? "it did sleep, and interrupts woke it"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
start_nom --poll && load 10.0.0.2
check $? "raw tier: starts after kill -9, polling, and answers"
before=$(stat interrupts) asked=$(stat udp.requests)
load 10.0.0.2
[ "$(stat udp.requests)" -gt "$asked" ] && [ "$(stat interrupts)" -eq "$before" ] && [ "$(stat loop.syscalls)" -eq 0 ]
check $? "polling: no interrupt, no system call"
[ "$(stat tx_packets)" -ge "$(stat udp.requests)" ] && [ "$(stat udp.unsent)" -eq 0 ]
check $? "each answer was sent"
stop
check $? "SIGTERM while polling: exit status 0"

# The first device is the kernel's meanwhile; without an address, so that its stack answers nothing.
# After kill -9 it was taken as it lay, and given back as that.
nomctl run --give-back $BDF >/dev/null
until_true 5 ls /sys/bus/pci/devices/$BDF/virtio*/net/ >/dev/null
first=$(busybox basename "$(echo /sys/bus/pci/devices/$BDF/virtio*/net/*)")
ip link set "$first" up
start nomudp --stack packet --device "$first" --ip 10.0.0.2/24 --cpu 0 && load 10.0.0.2 && load 10.0.0.2 --bytes 1472
check $? "packet socket: answers short and long requests"
busybox ping -c 3 -W 5 10.0.0.2 >"$DIR/ping" && [ "$(stat icmp.answers)" -eq 3 ]
check $? "packet socket: it, and not the kernel, answers pings"
[ "$(stat doorbells_tx)" -gt 0 ] && [ "$(stat loop.syscalls)" -ge "$(stat doorbells_tx)" ] && [ "$(stat rx_bad)" -eq 0 ]
check $? "packet socket: sends by system calls"
stop
check $? "packet socket: SIGTERM, exit status 0"

start nomudp --stack xdp --device "$first" --ip 10.0.0.2/24 --cpu 0 && load 10.0.0.2 && load 10.0.0.2 --bytes 1472
check $? "AF_XDP: answers short and long requests"
[ "$(stat xdp.mode)" -eq 2 ] && grep -q 'AF_XDP in copy mode' "$LOG"
check $? "AF_XDP: in copy mode, as virtio-net of this kernel has it, which is said"
busybox ping -c 3 -W 5 10.0.0.2 >"$DIR/ping" && [ "$(stat icmp.answers)" -eq 3 ] && [ "$(stat rx_bad)" -eq 0 ] && [ "$(stat rx_lost)" -eq 0 ]
check $? "AF_XDP: answers pings, and loses nothing"
stop && start nomudp --stack xdp --device "$first" --ip 10.0.0.2/24 --cpu 0 && load 10.0.0.2 && stop
check $? "AF_XDP: SIGTERM, exit status 0, and the program is gone: there is room for the next one's"
busybox timeout 30 nomudp --stack xdp --xdp-mode zero-copy --device "$first" --ip 10.0.0.2/24 >"$LOG" 2>&1
[ $? -eq 5 ] && grep -q 'its driver offers no zero copy' "$LOG"
check $? "AF_XDP: zero copy that is not to be had is refused"
ip link set "$first" down

start_nom --tier native && load 10.0.0.2
check $? "native tier: answers"
nomctl tune nomudp w_rx_us=500 >/dev/null && until_true 5 [ "$(stat w_us)" -eq 500 ] && load 10.0.0.2
check $? "native tier: answers with W of reception alone at 500 us, which the loop knows of"
nomctl stat --json --queues nomudp | grep -q '"rx0"'
check $? "native tier: is looked at"
used=$(stat loop.wakeups) && busybox usleep 1000000 && busybox ping -c 5 -W 5 10.0.0.2 >"$DIR/ping" && [ "$(stat loop.wakeups)" -gt "$used" ]
check $? "native tier: a ping a second wakes it up"
stop
check $? "native tier: SIGTERM, exit status 0"
finish
