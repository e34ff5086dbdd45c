#!/bin/sh
# SPDX-License-Identifier: MIT
# kconfig-check.sh: did every symbol that the fragments want stick?
#
# Usage: scripts/kconfig-check.sh CONFIG FRAGMENT...
#
# Kconfig drops a symbol silently when a dependency is missing.  Names each
# symbol whose value in CONFIG differs from the last fragment that sets it, and
# exits with 1 if there is one.  "is not set" is satisfied by absence.

set -eu

die() { printf 'kconfig-check: %s\n' "$*" >&2; exit 2; }

case ${1-} in
-h | --help) sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
[ $# -ge 2 ] || die "usage: kconfig-check.sh CONFIG FRAGMENT..."
for f; do
	[ -r "$f" ] || die "cannot read $f"
done

awk '
function parse(line) {	# sets sym and val; false for other lines
	if (line ~ /^CONFIG_[A-Za-z0-9_]+=/) {
		sym = line; sub(/=.*/, "", sym)
		val = line; sub(/^[^=]*=/, "", val)
		return 1
	}
	if (line ~ /^# CONFIG_[A-Za-z0-9_]+ is not set$/) {
		sym = $2; val = "n"
		return 1
	}
	return 0
}
FNR == 1 { nr_file++ }
nr_file == 1 { if (parse($0)) have[sym] = val; next }
/^[ \t]*$/ || /^#( |$)/ && !/^# CONFIG_/ { next }
parse($0) { want[sym] = val; from[sym] = FILENAME; next }
{ printf "kconfig-check: %s:%d: not understood: %s\n", FILENAME, FNR, $0; bad++ }
END {
	for (sym in want) {
		got = (sym in have) ? have[sym] : "n"
		if (got == want[sym])
			continue
		printf "kconfig-check: %s=%s, wanted by %s, did not stick (it is %s): a dependency is missing\n",
		       sym, want[sym], from[sym], got
		bad++
	}
	exit bad > 0
}' "$@" >&2
