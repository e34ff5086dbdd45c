#!/bin/sh
# SPDX-License-Identifier: MIT
# stack-cost.sh - instructions per request in the stack, by callgrind
#
# usage: tests/perf/stack-cost.sh [-v]
#
# Prints a table: connections, batch, offload, instructions per request; and the
# same for a stack that is looked at (nomctl stat, nomctl trace).  -v adds the
# functions that take most.  Judges nothing.
# Needs valgrind and build/bin/stack-cost.  Exit 4 when valgrind is missing.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PROG=${STACK_COST:-$ROOT/build/bin/stack-cost}
N=2000

command -v valgrind >/dev/null || {
	echo "1..0 # SKIP valgrind is not installed"
	exit 4
}
[ -x "$PROG" ] || {
	echo "stack-cost.sh: $PROG is missing: run make $PROG" >&2
	exit 1
}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

cost() { # CONNECTIONS BATCH OFFLOAD [LOOK]
	valgrind --tool=callgrind --toggle-collect='measured*' --callgrind-out-file="$WORK/out" \
		"$PROG" "$1" $N "$2" "$3" ${4:+"$4"} >"$WORK/served" 2>"$WORK/err" || {
		cat "$WORK/err" >&2
		exit 1
	}
	total=$(sed -n 's/^\(summary\|totals\): //p' "$WORK/out" | tail -n 1)
	printf '%11s %5s %7s %12s  %s\n' "$1" "$2" "$3" "$((total / $(cat "$WORK/served")))" "${4:-}"
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
if [ "${1:-}" = -v ]; then
	cost 1 1 csum >/dev/null
	callgrind_annotate "$WORK/out" | sed -n 's/^ *\([0-9,]* .*:[^ ]*\).*/\1/p' | head -n 45
fi
