#!/bin/sh
# SPDX-License-Identifier: MIT
# The batching delay W in a virtual machine, by the clock of the peer: data that
# leaves the input unfinished is acknowledged after W of receiving and W of sending,
# at once when W becomes 0, and the stack's own histograms say the same.  What the
# way itself takes is measured with W = 0 in the same run.  That no batch waited longer
# than W and the longest time that the loop, or the host, let pass between two looks at it
# is judged for every batch of the run, and holds whatever the host does.  TAP; needs two
# virtio-net devices.
set -u

BDF=0000:00:10.0
DIR=/run/nhttpd-w
W=50000		# us: much longer than a busy host lets an emulated processor wait
ROUNDS=21
# shellcheck source=tests/system/tap.inc
. "${0%/*}/tap.inc"
LOG=$DIR/log

tune() {
	nomctl tune nhttpd "$@" >>$DIR/log 2>&1
}

# measure: sets least, median, most (of three in four), longest (us).  The longest is what the
# host does to an emulated processor, and only told.
measure() {
	out=$(ack-time 10.0.0.2 80 $ROUNDS 2>>$DIR/log) || return 1
	# shellcheck disable=SC2086
	set -- $out
	least=$1 median=$2 most=$3 longest=$4
	echo "# $what: $least $median $most $longest us" | tee -a $DIR/log
}

# batches QUEUE FROM: batches of rxN.delay or txN.delay that waited FROM us and longer
batches() {
	nomctl stat --dump nhttpd | busybox awk -v q="$1" -v from="$2" \
		'$1 == q && $2 + 0 >= from { n += $(NF - 1) } END { print n + 0 }'
}

# fact QUEUE NAME: a number of ns
fact() {
	nomctl stat --dump nhttpd | busybox awk -v q="$1" -v n="$2" '$1 == q && $2 == n { print $3; exit }'
}

# bounded QUEUE: no batch waited longer than W and the longest gap
bounded() {
	delay=$(fact "$1" delay_max) gap=$(fact "$1" gap_max)
	echo "# $1: delay_max $delay ns, gap_max $gap ns, W $((W * 1000)) ns" | tee -a $DIR/log
	[ "$delay" -gt 0 ] && [ "$gap" -gt 0 ] && [ "$delay" -le $((W * 1000 + gap)) ]
}

[ -e /dev/nom ] || skip "no /dev/nom"
[ -d /sys/bus/pci/devices/$BDF ] || skip "no network device $BDF"
mkdir -p $DIR/www
echo hello >$DIR/www/index.html
other=$(busybox basename "$(echo /sys/bus/pci/devices/0000:00:11.0/virtio*/net/*)")
if ! ip addr replace 10.0.0.1/24 dev "$other" || ! ip link set "$other" up; then
	skip "no second network device"
fi
: >$DIR/log
# It polls: going to sleep announces what was to be sent.
nhttpd --root $DIR/www --stack nom --device $BDF --ip 10.0.0.2/24 --port 80 --w-us 0 --poll >$DIR/log 2>&1 &
pid=$!
trap 'kill $pid; wait $pid; ip addr del 10.0.0.1/24 dev "$other"; ip link set "$other" down' EXIT
until_true 10 grep -q '^nhttpd: serving' $DIR/log
started=$?
check $started "starts"
[ $started -eq 0 ] || finish

what="W = 0" least=0 median=0 most=0 longest=0
measure
check $? "W = 0: the peer's segments are acknowledged"
way=$most
[ "$median" -lt $((W / 2)) ]
check $? "W = 0: sooner than half of what W will be"
[ "$(batches rx0.delay 0)" -eq 0 ] && [ "$(batches tx0.delay 0)" -eq 0 ]
check $? "W = 0: nothing was held"

for direction in rx tx both; do
	case $direction in
	both) tune w_rx_us=$W w_tx_us=$W ; held=$((2 * W)) ;;
	rx) tune w_rx_us=$W w_tx_us=0 ; held=$W ;;
	tx) tune w_rx_us=0 w_tx_us=$W ; held=$W ;;
	esac
	check $? "$direction: W is set to $W us"
	# A processor that the host has kept waiting is let go early for a while, and late
	# at that moment; what the stack does wrong happens each time.
	for try in 1 2 3 4 5; do
		what="$direction, try $try"
		measure
		acked=$?
		[ $acked -eq 0 ] || break
		[ "$median" -ge $((held - W / 5)) ] && break
	done
	gap_rx=$(fact rx0 gap_max) gap_tx=$(fact tx0 gap_max)
	check "$acked" "$direction: the peer's segments are acknowledged"
	# Let go by the longest time between two polls too early, at most.
	[ "$median" -ge $((held - W / 5)) ]
	check $? "$direction: W is waited for"
	# The peer's clock agrees; what each batch took is judged below.
	slack=$(((gap_rx + gap_tx) / 1000 + W / 10))
	[ "$median" -le $((held + way + slack)) ]
	check $? "$direction: no longer"
done
for queue in rx0 tx0; do
	[ "$(batches $queue.delay 32768)" -ge $ROUNDS ]
	check $? "$queue: the histogram has them"
	bounded $queue
	check $? "$queue: no batch waited longer than W and the longest gap between two looks"
done

tune w_us=0
check $? "W is set to 0"
what="W = 0 again"
measure && [ "$median" -lt $((W / 2)) ]
check $? "and holds from the next batch on"
before=$(batches rx0.delay 0)
measure && [ "$(batches rx0.delay 0)" -eq "$before" ]
check $? "nothing is held any more"
finish
