#!/bin/sh
# SPDX-License-Identifier: MIT
# nomctl and priced on a kernel whose nom module is not loaded: one clear message
# each, exit status 3, nothing left behind.  Unloads the module and loads it
# again.  TAP; exit status 0, 1, or 4 (skipped).
set -u

DIR=/run/no-nom-test
n=0 bad=0

fails() {
	status=$1 word=$2 what=$3
	shift 4
	n=$((n + 1))
	timeout 20 "$@" >$DIR/out 2>&1
	got=$?
	if [ $got -eq "$status" ] && grep -q "$word" $DIR/out; then
		echo "ok $n - $what"
	else
		bad=1
		echo "not ok $n - $what"
		echo "# status $got, expected $status and \"$word\""
		sed 's/^/# /' $DIR/out
	fi
}

[ -e /dev/nom ] || { echo "1..0 # SKIP no /dev/nom"; exit 4; }
mkdir -p $DIR
rmmod nom 2>$DIR/out || { echo "1..0 # SKIP nom.ko is in use: $(cat $DIR/out)"; exit 4; }
echo '{"prices":[{"name":"bandwidth","unit":"Gbit","usd":1}]}' >$DIR/prices.json

fails 3 "has no nom: boot the patched kernel and load nom.ko" "status" -- nomctl status
fails 3 "has no nom" "status --json" -- nomctl status --json
fails 3 "has no nom" "board" -- nomctl board
fails 3 "has no nom" "price list" -- nomctl price list
fails 3 "has no nom" "price set" -- nomctl price set bandwidth 1 --unit Gbit
fails 3 "has no nom" "price watch" -- nomctl price watch
fails 3 "has no nom" "run" -- nomctl run -- true
fails 3 "has no nom" "bench" -- nomctl bench micro
fails 3 "has no nom" "priced" -- priced $DIR/prices.json
fails 1 "booted for nom, but nom.ko is not loaded" "doctor says what is missing" -- nomctl doctor
fails 0 "would set bandwidth" "priced --dry-run needs no nom" -- priced --dry-run --once $DIR/prices.json
fails 0 "good price file" "priced --check needs no nom" -- priced --check $DIR/prices.json

insmod /lib/nom/nom.ko
chgrp nom /dev/nom && chmod 660 /dev/nom
fails 0 "free" "status, once the module is back" -- nomctl status
echo "1..$n"
exit $bad
