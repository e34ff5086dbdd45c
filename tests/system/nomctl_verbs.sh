#!/bin/sh
# SPDX-License-Identifier: MIT
# nomctl on a kernel with nom, inside the guest: what it shows, what run moves and
# puts back, knobs and counters of a live application, and what it says to bad
# names, stale pages and junk.  TAP; exit status 0, 1, or 4 (skipped).
set -u

BDF=0000:00:10.0
DIR=/run/nomctl-test
OUT=$DIR/out
# shellcheck source=tests/system/tap.inc
. "${0%/*}/tap.inc"
LOG=$OUT

# fails STATUS WORD WHAT -- COMMAND...: ends with STATUS; its first line has WORD
fails() {
	status=$1 word=$2 what=$3
	shift 4
	timeout 20 "$@" >$OUT 2>&1
	got=$?
	if [ $got -eq "$status" ] && head -1 $OUT | grep -q "$word"; then
		ok "$what"
	else
		echo "# status $got, expected $status and \"$word\""
		not_ok "$what"
	fi
}

driver() {
	busybox basename "$(readlink /sys/bus/pci/devices/$BDF/driver)"
}

[ -e /dev/nom ] || { echo "1..0 # SKIP no /dev/nom"; exit 4; }
mkdir -p $DIR

# ------------------------------------------------------------------ looking
nomctl doctor >$OUT 2>&1 && grep -q '^ok    cores           1 reserved core' $OUT && ! grep -q FAIL $OUT
check $? "doctor finds nothing wrong here"
nomctl doctor --json >$OUT && grep -q '"check": "vfio"' $OUT
check $? "doctor --json"
nomctl doctor --host >$OUT 2>&1
[ $? -eq 1 ] && grep -q '^FAIL  qemu ' $OUT && grep -q 'apt install' $OUT
check $? "doctor fails, with advice, where QEMU is missing"
nomctl status >$OUT && grep -q 'memory: 256.0 MiB reserved, 256.0 MiB free' $OUT
check $? "status: a free core, free memory"
nomctl status --json >$OUT && grep -q '"nr_cores": 1' $OUT && grep -q '"quarantined_bytes": 0' $OUT
check $? "status --json"
nomctl board >$OUT && grep -q 'cpu=1 state=free' $OUT
check $? "board"
timeout 3 nomctl board --watch 0.5 --json >$OUT
[ "$(wc -l <$OUT)" -ge 3 ]
check $? "board --watch --json: an object a line"
/usr/sbin/setpriv --reuid 1000 --clear-groups nomctl status >$OUT 2>&1
check $? "status as an ordinary user"
fails 4 "not permitted" "board as an ordinary user without access to /dev/nom" -- \
	/usr/sbin/setpriv --reuid 1000 --clear-groups nomctl board

# ------------------------------------------------------------------- memory
nomctl memory grants >$OUT && [ "$(wc -l <$OUT)" -eq 1 ]
check $? "memory grants: none"
nomctl memory nodes >$OUT && grep -qE '^0 +256.0 MiB +256.0 MiB$' $OUT &&
	nomctl memory nodes --json >$OUT && grep -q '"free_bytes": 268435456' $OUT
check $? "memory nodes: all of it is on node 0, and free"
fails 2 "multiple of 2" "memory release of nothing" -- nomctl memory release 0
fails 4 "not permitted" "memory release by an ordinary user" -- \
	/usr/sbin/setpriv --reuid 1000 --clear-groups nomctl memory release 2
fails 7 "no such grant" "memory reclaim of no grant" -- nomctl memory reclaim 999999 2
fails 2 "not a number" "memory reclaim of junk" -- nomctl memory reclaim x 2
fails 2 "multiple of 2" "memory reclaim of 3 MiB" -- nomctl memory reclaim 1 3
fails 4 "CAP_SYS_ADMIN" "memory reclaim by an ordinary user" -- \
	/usr/sbin/setpriv --reuid 1000 --clear-groups nomctl memory reclaim 1 2
# self-paging sits on its grant until it ends; nobody answers the notice
self-paging --passes 1000000 $DIR/store >/dev/null 2>&1 &
pid=$!
one_grant() { [ "$(nomctl memory grants | wc -l)" -eq 2 ]; }
until_true 10 one_grant
check $? "a program holds a grant"
grant=$(nomctl memory grants | sed -n '2s/ .*//p')
nomctl memory reclaim "$grant" 2 --deadline 60000 >$OUT 2>&1 &&
	nomctl memory grants --json >$OUT && grep -q '"wanted_bytes": 2097152' $OUT
check $? "memory reclaim: the list shows the notice"
fails 6 "stands already" "memory reclaim a second time" -- nomctl memory reclaim "$grant" 2
kill -9 $pid
wait $pid 2>/dev/null
no_grant() { [ "$(nomctl memory grants | wc -l)" -eq 1 ]; }
until_true 10 no_grant
check $? "the program is killed, grant and notice are gone"

# ------------------------------------------------------------------- prices
fails 1 "needs its unit" "a new price needs its unit" -- nomctl price set nomctl.test 1
nomctl price set nomctl.test 1.25 --unit item && nomctl price set nomctl.test '$2.5' &&
	nomctl price list >$OUT && grep -q '^nomctl.test .*2.50  \$/item' $OUT
check $? "price set and list"
nomctl price list --json >$OUT && grep -q '"ucr": 2500000' $OUT
check $? "price list --json"
fails 1 "another unit" "the unit of a price does not change" -- nomctl price set nomctl.test 1 --unit dozen
fails 2 "not an amount" "an amount that is none" -- nomctl price set nomctl.test 1e3
fails 2 "0 to 10^9" "a negative amount" -- nomctl price set nomctl.test -1
fails 2 "cannot be a name" "a name that is none" -- nomctl price set 'Two Words' 1
fails 2 "cannot be a unit" "a unit that is none" -- nomctl price set x 1 --unit 'a b'
fails 4 "CAP_NET_ADMIN" "an ordinary user sets no price" -- \
	/usr/sbin/setpriv --reuid 1000 --clear-groups nomctl price set nomctl.test 1
timeout 5 nomctl price watch --count 2 >$DIR/watch &
watch=$!
usleep 300000
nomctl price set nomctl.gone 1 --unit item && nomctl price del nomctl.gone && ! nomctl price list | grep -q gone
check $? "price del"
wait $watch
cp $DIR/watch $OUT
[ "$(tail -1 $DIR/watch)" = "nomctl.gone removed" ]
check $? "price watch tells of it"
fails 7 "no such price" "price del of what is not there" -- nomctl price del nomctl.gone
fails 2 "cannot be a name" "price del of what cannot be" -- nomctl price del 'Two Words'
fails 2 "operand is missing" "price del of nothing" -- nomctl price del
fails 4 "CAP_NET_ADMIN" "an ordinary user removes no price" -- \
	/usr/sbin/setpriv --reuid 1000 --clear-groups nomctl price del nomctl.test
nomctl stat >$OUT && grep -q '^no leases' $OUT
check $? "stat with no leases"

# -------------------------------------------------------------- command line
fails 2 "usage" "no verb" -- nomctl
fails 2 "no such verb" "an unknown verb" -- nomctl frobnicate
fails 2 "unknown option" "an unknown option" -- nomctl status --bogus
fails 2 "too many operands" "too many operands" -- nomctl status now
fails 2 "no such action" "an unknown action" -- nomctl price frob
all=0
for verb in doctor status board price run tune stat compare bench; do
	nomctl $verb --help >$OUT 2>&1 && grep -q "nomctl $verb" $OUT || all=1
	nomctl --help | grep -q "^  $verb " || all=1
done
check $all "help of each verb"

# ---------------------------------------------------------------------- run
nomctl run -- sh -c 'exit 7' >$OUT 2>&1
[ $? -eq 7 ]
check $? "run ends with the command's exit code"
nomctl run -- sh -c 'kill -9 $$' >$OUT 2>&1
[ $? -eq 137 ]
check $? "run ends with 128 + the signal that killed it"
fails 127 "No such file" "run: no such command" -- nomctl run -- /no/such/command
nomctl run --cpu 1 --env A=b,C=d -- sh -c 'echo $NOM_CPU $A $C $0 $1' '{cpu}' '{device}' >$OUT 2>&1
[ "$(cat $OUT)" = "1 b d 1 {device}" ]
check $? "run sets the environment and fills in {cpu}"
nomctl run --cpu 1 --env A=b -- sh -c 'echo $#: $*' x --stack nom >$OUT 2>&1 && [ "$(cat $OUT)" = "2: --stack nom" ]
check $? "run: the command has its own words and no more"
fails 7 "not a reserved core" "run: an ordinary core" -- nomctl run --cpu 0 -- true
fails 2 "not a PCI function" "run: a malformed device" -- nomctl run --device eth0 -- true
fails 7 "no PCI function" "run: an unknown device" -- nomctl run --device 0000:00:1e.7 -- true
fails 2 "NAME=VALUE" "run: a malformed environment" -- nomctl run --env A -- true
fails 2 "which command" "run: no command" -- nomctl run

price-watch >$DIR/app 2>&1 &
app=$!
until_true 10 sh -c 'nomctl status | grep -q running'
leased=$?
cat $DIR/app >$OUT
check $leased "status shows a leaseholder at work"
fails 6 "core 1 is running by price-watch" "run: a leased core is busy" -- nomctl run --cpu 1 -- true
nomctl doctor >$OUT 2>&1 && grep -q "^ok    core 1 .* quiet for 1 s (price-watch, pid $app)" $OUT
check $? "doctor: nothing but the holder runs on the leased core"
nomctl doctor --seconds 2 >$OUT 2>&1 &
doctor=$!
while kill -0 $doctor 2>/dev/null; do
	echo 1 >/proc/sys/vm/stat_refresh
	usleep 200000
done
grep -q "^warn  core 1 .* noise in 2 s (price-watch, pid $app): .*forced switches of price-watch-$app" $OUT &&
	grep -q 'turns of task kworker/1:' $OUT && grep -q 'doctor --trace' $OUT
check $? "doctor names the kernel thread that ran there"
if [ -d /sys/kernel/tracing/events/ipi ]; then
	nomctl doctor --seconds 2 --trace >$OUT 2>&1 &
	doctor=$!
	while kill -0 $doctor 2>/dev/null; do
		echo 1 >/proc/sys/vm/stat_refresh
		usleep 200000
	done
	grep -q 'work refresh_vm_stats in kworker/1:' $OUT && [ -z "$(ls /sys/kernel/tracing/instances)" ]
	check $? "doctor --trace names the work"
else
	nomctl doctor --trace >$OUT 2>&1
	grep -q '^skip  core 1 ' $OUT
	check $? "doctor --trace says that this kernel cannot"
fi
nomctl stat >$OUT && grep -q "^  1  *$app  price-watch  posts  *0" $OUT
check $? "stat shows the leases' counters"
(usleep 300000; nomctl price set nomctl.test 7; nomctl price set nomctl.test 8) &
nomctl stat --interval 2 --json >$OUT && grep -q "\"pid\":$app,.*\"posts\":2,.*\"per_s\":{\"events\":[01]" $OUT
check $? "stat --interval gives their rates"
wait $!
kill -KILL $app
wait $app 2>/dev/null
until_true 5 sh -c 'nomctl board | grep -q "cpu=1 state=free"'
check $? "kill -9 of the holder: the core is free"

nomctl price del nomctl.test

if [ -d /sys/bus/pci/devices/$BDF ]; then
	had=$(driver)
	name=$(busybox basename "$(echo /sys/bus/pci/devices/$BDF/virtio*/net/*)")
	ip link set "$name" up
	fails 6 "$name, which is up" "run: an interface that is up is not taken" -- \
		nomctl run --device $BDF -- true
	[ "$(driver)" = "$had" ]
	check $? "and stays where it was"
	ip link set "$name" down
	nomctl run --device $BDF -- sh -c "readlink /sys/bus/pci/devices/$BDF/driver; echo \$NOM_DEVICE" >$OUT 2>&1
	grep -q 'vfio-pci$' $OUT && grep -q "^$BDF\$" $OUT
	check $? "run: the device is at vfio-pci while the command runs"
	[ "$(driver)" = "$had" ] && [ -n "$(ls /sys/bus/pci/devices/$BDF/virtio*/net/)" ]
	check $? "run: afterwards it is the kernel's again"

	nomctl run --device $BDF -- sh -c 'trap "exit 9" TERM; while :; do usleep 50000; done' >$OUT 2>&1 &
	run=$!
	until_true 5 sh -c "readlink /sys/bus/pci/devices/$BDF/driver | grep -q vfio-pci"
	usleep 300000
	kill -TERM $run
	wait $run
	[ $? -eq 9 ] && [ "$(driver)" = "$had" ]
	check $? "run: SIGTERM goes on to the command, the device comes back"

	nomctl run --device $BDF -- sh -c "echo \$\$ >$DIR/pid; while :; do usleep 50000; done" >$OUT 2>&1 &
	run=$!
	until_true 5 test -s $DIR/pid
	kill -KILL $run
	wait $run 2>/dev/null
	until_true 5 sh -c "! kill -0 $(cat $DIR/pid)"
	check $? "run killed with -9: the command ends"
	nomctl run --give-back $BDF >$OUT 2>&1 && [ "$(driver)" = "$had" ]
	check $? "run --give-back: the device is the kernel's again"
	fails 7 "no PCI function" "run --give-back: an unknown device" -- nomctl run --give-back 0000:00:1e.7
else
	ok "run with a device # SKIP no network device $BDF"
fi

# ----------------------------------------------------- applications' pages
fails 7 "no such application" "stat: no such application" -- nomctl stat nosuch
fails 7 "no such application" "tune: no such application" -- nomctl tune nosuch
fails 7 "not an application of nom" "stat: a process without a page" -- nomctl stat 1
mkdir -p $DIR/www && echo hello >$DIR/www/index.html
nhttpd --root $DIR/www --stack linux --port 8081 --name one >$DIR/one 2>&1 &
one=$!
nhttpd --root $DIR/www --stack linux --port 8082 --name two >$DIR/two 2>&1 &
two=$!
until_true 10 sh -c "grep -q serving $DIR/one && grep -q serving $DIR/two"
check $? "two applications serve"
nomctl status | grep -q "one ($one)"
check $? "status lists applications"
nomctl stat one >$OUT && grep -q '^http.requests  *0  requests' $OUT
check $? "stat by name"
busybox wget -q -O /dev/null http://127.0.0.1:8081/index.html
nomctl stat $one --json >$OUT && grep -q '"http.requests": 1' $OUT
check $? "stat by process, as JSON"
nomctl stat one --interval 0.3 --count 2 --json >$OUT && [ "$(wc -l <$OUT)" -eq 2 ] && grep -q '"per_s":{' $OUT
check $? "stat --interval gives rates"
nomctl tune one >$OUT && grep -q '^idle_timeout_s  *30  s ' $OUT
check $? "tune lists knobs with unit, default and range"
nomctl tune one idle_timeout_s 5 && nomctl tune one --json >$OUT && grep -A 2 idle_timeout_s $OUT | grep -q '"value": 5'
check $? "tune sets a knob"
nomctl tune one idle_timeout_s=6 && nomctl tune one | grep -q '^idle_timeout_s  *6 '
check $? "tune takes KNOB=VALUE"
nomctl tune two | grep -q '^idle_timeout_s  *30 '
check $? "and only of the application named"
fails 2 "must be 1 to 3600 s" "tune: out of range" -- nomctl tune one idle_timeout_s 0
fails 2 "not an integer" "tune: not a number" -- nomctl tune one idle_timeout_s soon
fails 2 "to which value" "tune: no value" -- nomctl tune one idle_timeout_s
fails 7 "no knob" "tune: no such knob" -- nomctl tune one volume 11
fails 4 "another user" "tune: another user's application" -- \
	/usr/sbin/setpriv --reuid 1000 --clear-groups nomctl tune $one idle_timeout_s 5
kill -STOP $one
fails 1 "did not look" "tune: an application that is stopped" -- nomctl tune one --timeout-ms 300 idle_timeout_s 7
kill -CONT $one
kill $two
wait $two
: >$DIR/two		# it says "serving", and the next one's shell may come late
nhttpd --root $DIR/www --stack linux --port 8082 --name one >$DIR/two 2>&1 &
two=$!
until_true 10 grep -q serving $DIR/two
fails 7 "2 run under this name" "stat: an ambiguous name" -- nomctl stat one

# stale and hostile pages
kill -KILL $two
wait $two 2>/dev/null
[ -e /dev/shm/nom-$two ] && nomctl stat one >$OUT 2>&1
check $? "the page of a killed application does not count"
fails 7 "not there" "stat of the killed one" -- nomctl stat $two
sleep 100 &
junk=$!
head -c 100000 /dev/urandom >/dev/shm/nom-$junk
fails 1 "malformed" "stat: a page of junk" -- nomctl stat $junk
head -c 3000 /dev/shm/nom-$one >/dev/shm/nom-$junk
fails 7 "not an application of nom" "stat: another process's page, cut short" -- nomctl stat $junk
: >/dev/shm/nom-$junk
fails 1 "malformed" "stat: an empty page" -- nomctl stat $junk
nomctl status >$OUT && grep -q "one ($one)" $OUT && ! grep -q "($junk)" $OUT
check $? "status skips such pages"
# an application's page overwritten while it is read
cp /dev/shm/nom-$one $DIR/page
all=0
i=0
while [ $i -lt 40 ]; do
	head -c 400 /dev/urandom | busybox dd of=/dev/shm/nom-$one bs=1 seek=$((80 + i * 40)) conv=notrunc 2>/dev/null
	timeout 10 nomctl stat $one >$OUT 2>&1
	[ $? -lt 8 ] || all=1
	timeout 10 nomctl tune $one >$OUT 2>&1
	[ $? -lt 8 ] || all=1
	i=$((i + 1))
done
check $all "stat and tune survive a page that is overwritten with junk"
cat $DIR/page >/dev/shm/nom-$one
kill $junk $one
wait $junk $one 2>/dev/null
rm -f /dev/shm/nom-$junk /dev/shm/nom-$two

# ------------------------------------------------------------------ compare
cat >$DIR/raw.jsonl <<'END'
{"machine": {"accelerator": "none", "time_scale": 2}}
{"boot": 1, "variant": "linux-default", "connections": 1, "price": 1, "requests_per_s": 1000, "bytes_per_request": 400, "latency_us": {"mean": 900, "sd": 50, "p50": 890, "p99": 990, "p999": 1100}}
{"boot": 1, "variant": "nom", "connections": 1, "price": 1, "requests_per_s": 4000, "bytes_per_request": 400, "latency_us": {"mean": 250, "sd": 20, "p50": 240, "p99": 300, "p999": 400}}
END
nomctl compare $DIR/raw.jsonl --json $DIR/compare.json --table >$OUT 2>&1 &&
	grep -q 'requests/s  *1000  *4000  *4.00x' $OUT && grep -q '"penalty"' $DIR/compare.json
check $? "compare: table and JSON"
fails 1 "cannot write" "compare: nowhere to write" -- nomctl compare $DIR/raw.jsonl --json /no/such/dir/x
echo '{"boot": 1, "variant": "nom",' >>$DIR/raw.jsonl
fails 5 "raw.jsonl, line 4" "compare: a malformed line is named" -- nomctl compare $DIR/raw.jsonl
fails 5 "No such file" "compare: no such file" -- nomctl compare $DIR/nothing
finish
