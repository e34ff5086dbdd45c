#!/bin/sh
# SPDX-License-Identifier: MIT
# stack-cost.sh - instructions per request in the stack, by callgrind
#
# usage: tests/perf/stack-cost.sh [-v]
#
# Prints tables: of the stack above a device that is only memory (connections,
# batch, offload, instructions per request), the same for a stack that is looked at
# (nomctl stat, nomctl trace), and of driver and stack above a polling device
# (connections, batch, bytes each way), and for 1 MiB.  -v adds the functions that take most.
# Judges nothing; tests/reach/stack does.
# Needs valgrind, build/bin/stack-cost, path-cost and bulk-cost.  Exit 4 when valgrind is missing.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PROG=${STACK_COST:-$ROOT/build/bin/stack-cost}
PATH_PROG=${PATH_COST:-$ROOT/build/bin/path-cost}
BULK_PROG=${BULK_COST:-$ROOT/build/bin/bulk-cost}
N=2000

command -v valgrind >/dev/null || {
	echo "1..0 # SKIP valgrind is not installed"
	exit 4
}
for prog in "$PROG" "$PATH_PROG" "$BULK_PROG"; do
	[ -x "$prog" ] || {
		echo "stack-cost.sh: $prog is missing: run make user" >&2
		exit 1
	}
done
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

count() { # PROGRAM ARG...: sets each, instructions per request
	valgrind --tool=callgrind --toggle-collect='measured*' --callgrind-out-file="$WORK/out" \
		"$@" >"$WORK/served" 2>"$WORK/err" || {
		cat "$WORK/err" >&2
		exit 1
	}
	total=$(sed -n 's/^\(summary\|totals\): //p' "$WORK/out" | tail -n 1)
	each=$((total / $(cat "$WORK/served")))
}

cost() { # CONNECTIONS BATCH OFFLOAD [LOOK]
	count "$PROG" "$1" $N "$2" "$3" ${4:+"$4"}
	printf '%11s %5s %7s %12s  %s\n' "$1" "$2" "$3" "$each" "${4:-}"
}

printf '%11s %5s %7s %12s\n' connections batch offload instructions
for offload in none csum; do
	for batch in 1 16; do
		for conns in 1 64 500; do
			[ "$conns" -lt "$batch" ] || cost "$conns" "$batch" "$offload"
		done
	done
done
for look in offered rtt trace table; do
	cost 500 16 csum "$look"
done
printf '\ndriver and stack\n%11s %5s %7s %12s\n' connections batch bytes instructions
for bytes in 1 300 1400; do
	for conns in 1 64 500; do
		for batch in 1 16; do
			[ "$conns" -ge "$batch" ] || continue
			count "$PATH_PROG" "$conns" $N "$batch" "$bytes"
			printf '%11s %5s %7s %12s\n' "$conns" "$batch" "$bytes" "$each"
		done
	done
done
printf '\ndriver and stack, 1 MiB\n%11s %7s %12s\n' 'ACK every' tso_max instructions
for packets in 44 2; do
	for tso in 44 1; do
		count "$BULK_PROG" 20 "$packets" tso_max "$tso"
		printf '%11s %7s %12s\n' "$packets" "$tso" "$each"
	done
done
printf '\nthe same, received\n%11s %7s %12s\n' burst joined instructions
for packets in 44 2; do
	for joined in 0 1; do
		count "$BULK_PROG" 20 "$packets" upload "$joined"
		printf '%11s %7s %12s\n' "$packets" "$joined" "$each"
	done
done
if [ "${1:-}" = -v ]; then
	count "$PATH_PROG" 1 $N 1 1
	callgrind_annotate "$WORK/out" | sed -n 's/^ *\([0-9,]* .*:[^ ]*\).*/\1/p' | head -n 45
fi
