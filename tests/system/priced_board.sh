#!/bin/sh
# SPDX-License-Identifier: MIT
# priced on a kernel with nom, inside the guest: what reaches the board, what
# happens to it when files are bad, priced dies, the module goes, the kernel says
# no, and that applications are told.  TAP; exit status 0, 1, or 4 (skipped).
set -u

DIR=/run/priced-test
LOG=$DIR/log
FILE=$DIR/prices.json
# shellcheck source=tests/system/tap.inc
. "${0%/*}/tap.inc"
pid=

# The price in micro-credits, and its age in whole seconds, from the board.
price() {
	nomctl board | sed -n "s/.* name=$1 .*ucr=\([0-9]*\) .*/\1/p"
}

since() {
	nomctl board | sed -n "s/.* name=$1 .*since_ns=\([0-9]*\) .*/\1/p"
}

changes() {
	nomctl board | sed -n "s/.* name=$1 .*changes=\([0-9]*\)\$/\1/p"
}

price_is() {
	[ "$(price "$1")" = "$2" ]
}

# write USD [UNIT]: the price file, by rename
write() {
	printf '{"prices":[{"name":"bandwidth","unit":"%s","usd":%s},{"name":"core","unit":"core-hour","usd":0.04}]}\n' \
		"${2:-Gbit}" "$1" >$FILE.new
	mv $FILE.new $FILE
}

start() {
	priced --poll-ms 200 "$@" >$LOG 2>&1 &
	pid=$!
}

lines() {
	grep -c "$1" $LOG
}

# fails STATUS WORD WHAT -- COMMAND...: ends with STATUS and one line that has WORD
fails() {
	status=$1 word=$2 what=$3
	shift 4
	timeout 10 "$@" >$DIR/out 2>&1
	got=$?
	if [ $got -eq "$status" ] && grep -q "$word" $DIR/out && [ "$(wc -l <$DIR/out)" -eq 1 ]; then
		ok "refuses: $what"
	else
		echo "# status $got, expected $status and one line with \"$word\":"
		sed 's/^/# /' $DIR/out
		not_ok "refuses: $what"
	fi
}

[ -e /dev/nom ] || { echo "1..0 # SKIP no /dev/nom"; exit 4; }
mkdir -p $DIR

fails 5 "No such file" "a file that is not there" -- priced $DIR/nothing.json
echo '{"prices":[{"name":"bandwidth","unit":"Gbit","usd":1},]}' >$DIR/bad.json
fails 5 "bad.json: line 1" "a malformed file" -- priced $DIR/bad.json
echo '{"prices":[{"name":"bandwidth","unit":"Gbit","usd":-1}]}' >$DIR/bad.json
fails 5 "0 to 10^9" "a negative price" -- priced $DIR/bad.json
echo '{"prices":[{"name":"bandwidth","unit":"Gbit","usd":NaN}]}' >$DIR/bad.json
fails 5 "line 1" "a price that is no number" -- priced $DIR/bad.json
echo '{"prices":[{"name":"bandwidth","unit":"Gbit","usd":1e15}]}' >$DIR/bad.json
fails 5 "0 to 10^9" "a huge price" -- priced $DIR/bad.json
fails 2 "one price file" "no file at all" -- priced
fails 2 "unknown option" "an unknown option" -- priced --bogus $FILE

write 1
fails 4 "CAP_NET_ADMIN" "an ordinary user" -- /usr/sbin/setpriv --reuid 1000 --clear-groups priced $FILE

# --once, dry run, price zero
priced --dry-run --once $FILE >$LOG 2>&1
[ $? -eq 0 ] && grep -q "would set bandwidth" $LOG && [ -z "$(price bandwidth)" ]
check $? "--dry-run says what it would do and does not"
priced --once $FILE >$LOG 2>&1 && price_is bandwidth 1000000 && price_is core 40000
check $? "--once publishes and ends with 0"
write 0
priced --once $FILE >$LOG 2>&1 && price_is bandwidth 0
check $? "a price of nothing is a price"

# the daemon follows its file
write 2
start $FILE
until_true 5 price_is bandwidth 2000000
check $? "the daemon publishes at its start"
fails 6 "another priced" "a second priced" -- priced $FILE
nomctl doctor --guest | grep -q '^ok    priced '
check $? "nomctl doctor sees it running"
write 3.25
until_true 5 price_is bandwidth 3250000
check $? "a renamed file is published"
[ "$(lines 'bandwidth 2.00 -> 3.25 \$/Gbit')" -eq 1 ] && [ "$(lines ' core ')" -eq 0 ]
check $? "one line for a change, none for what did not change"
printf '{"prices":[{"name":"bandwidth","unit":"Gbit","usd":4}]}' >$FILE
until_true 5 price_is bandwidth 4000000
check $? "a file written in place is published"

# bad files later: the prices stay, one line, and on it goes
echo 'not json' >$FILE
until_true 5 grep -q "keeping the prices" $LOG
sleep 1
[ "$(lines 'keeping the prices')" -eq 1 ] && kill -0 $pid && price_is bandwidth 4000000
check $? "a malformed file costs one line and no price"
rm $FILE
until_true 5 grep -q "No such file" $LOG
sleep 1
[ "$(lines 'keeping the prices')" -eq 2 ] && kill -0 $pid && price_is bandwidth 4000000
check $? "a removed file costs one line and no price"
write 5
until_true 5 price_is bandwidth 5000000
check $? "a good file again is published"
write 6 GiB
until_true 5 grep -q "price bandwidth: refused by the kernel: .*another unit" $LOG
sleep 1
[ "$(lines 'refused by the kernel')" -eq 1 ] && kill -0 $pid && price_is bandwidth 5000000
check $? "what the kernel refuses costs one line, with the kernel's words"
write 7
until_true 5 price_is bandwidth 7000000
check $? "the price after that is published"

# killed: the prices stay, with their time; a restart leaves them alone
before="$(since bandwidth) $(changes bandwidth)"
kill -KILL $pid
wait $pid 2>/dev/null
price_is bandwidth 7000000 && price_is core 40000
check $? "kill -9: the prices stay on the board"
start $FILE
sleep 1
kill -0 $pid && [ "$(since bandwidth) $(changes bandwidth)" = "$before" ]
check $? "a restarted priced leaves prices that are right alone"
write 8
until_true 5 price_is bandwidth 8000000
check $? "and goes on"

# an operator's price holds until priced's own changes
nomctl price set bandwidth 1.5
sleep 1
price_is bandwidth 1500000
check $? "nomctl price set holds beside a running priced"
write 9
until_true 5 price_is bandwidth 9000000
check $? "until the file says something new"

# the module goes and comes back
rmmod nom 2>$DIR/out && until_true 5 grep -q "went away" $LOG && kill -0 $pid
check $? "rmmod: priced says so and waits"
insmod /lib/nom/nom.ko && until_true 10 price_is bandwidth 9000000 && price_is core 40000
check $? "insmod: everything is published again"
chgrp nom /dev/nom && chmod 660 /dev/nom

kill -HUP $pid
until_true 5 grep -q "read again" $LOG
check $? "SIGHUP reads the file again"
kill -TERM $pid
wait $pid
[ $? -eq 0 ] && grep -q "Terminated: ending" $LOG && price_is bandwidth 9000000
check $? "SIGTERM: exit status 0, the prices stay"

# a trace, eight times as fast, seen by a listener and by an application
nomctl price watch --count 6 --timeout 20 >$DIR/watch 2>&1 &
watcher=$!
price-watch >$DIR/app 2>&1 &
app=$!
until_true 10 grep -q bandwidth $DIR/app
cat >$DIR/trace.json <<'END'
{ "steps": [ { "at_s": 0, "prices": [ { "name": "bandwidth", "unit": "Gbit", "usd": 1 } ] },
             { "at_s": 4, "prices": [ { "name": "bandwidth", "unit": "Gbit", "usd": 10 } ] },
             { "at_s": 8, "prices": [ { "name": "bandwidth", "unit": "Gbit", "usd": 4 } ] } ],
  "period_s": 12, "loops": 2 }
END
start --speed 8 $DIR/trace.json
until_true 15 test "$(kill -0 $watcher 2>/dev/null || echo gone)" = gone
wait $watcher
cut -d' ' -f2 $DIR/watch | tr '\n' ' ' >$DIR/order
[ "$(cat $DIR/order)" = "1.00 10.00 4.00 1.00 10.00 4.00 " ]
check $? "a trace plays in its order, twice"
until_true 5 sh -c "[ \$(grep -c '^bandwidth' $DIR/app) -ge 7 ]"
grep '^bandwidth' $DIR/app | tail -6 | sed 's/^bandwidth: \([0-9]*\)\..*/\1/' | tr '\n' ' ' >$DIR/order
[ "$(cat $DIR/order)" = "1 10 4 1 10 4 " ]
check $? "each step reaches a leaseholder as an upcall"
kill $app $pid
wait $app $pid 2>/dev/null
finish
