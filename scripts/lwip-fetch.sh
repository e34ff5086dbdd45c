#!/bin/sh
# SPDX-License-Identifier: MIT
# lwip-fetch.sh - get lwIP's source, pristine, and apply our patch queue
#
# usage: scripts/lwip-fetch.sh [-h] [-f] [DIR]
#
#   DIR  where the patched tree goes (default build/lwip)
#   -f   fetch again, even if the cache has the source package
#
# The source is the Debian source package "lwip" of this machine's own release,
# as dpkg-source unpacks it (upstream plus the distribution's fixes), downloaded
# by apt in a private state directory: its sources are this machine's "deb"
# entries turned into "deb-src", nothing of the system's apt is touched, and apt
# verifies signature and checksums.  Line ends are made LF (some releases are
# CRLF), then the patches of stacks/patches/lwip/series are applied, in order
# and without fuzz.
#
# Environment:
#   LWIP_SRC=DIR    an unpacked, unpatched lwIP tree to use instead (2.1.3, 2.2.1)
#   NOM_CACHE=DIR   cache outside the clone (default ~/.cache/nom)
#
# Needs no root.  Changes only DIR and the cache.  A second run with the same
# inputs does nothing.  Exit status: 0 done, 1 failed (reason on stderr).
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd)
PATCHES=$ROOT/stacks/patches/lwip
CACHE=${NOM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nom}/lwip
case $CACHE in /*) ;; *) CACHE=$PWD/$CACHE ;; esac	# apt and make look from elsewhere
NEED_KIB=65536		# a cold run: package indexes, source, two trees

say() { printf 'lwip-fetch: %s\n' "$*"; }
die() {
	printf 'lwip-fetch: %s\n' "$*" >&2
	exit 1
}

usage() { sed -n '3,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p}' "$0"; }

# Why a step failed, from its log: a full disk looks like anything else.
explain() { # STEP LOG ADVICE
	if grep -qi 'no space left' "$2"; then
		die "$1: no space left on device; free some below $CACHE or $OUT (log: $2)"
	fi
	tail -n 5 "$2" >&2
	die "$1; $3 (log: $2)"
}

check_space() {
	mkdir -p "$CACHE" "$(dirname "$OUT")" || die "cannot create $CACHE or the directory of $OUT"
	for dir in "$CACHE" "$(dirname "$OUT")"; do
		free=$(df -Pk "$dir" | awk 'NR == 2 { print $4 }')
		[ "$free" -ge "$NEED_KIB" ] ||
			die "no space: $free KiB free in $dir, $NEED_KIB KiB needed; free some or set NOM_CACHE"
	done
}

# The machine's deb entries as deb-src, in files of the same names and forms.
derive_sources() {
	eval "$(apt-config shell LIST Dir::Etc::sourcelist/f PARTS Dir::Etc::sourceparts/d)"
	for file in "${LIST:-}" "${PARTS:-/etc/apt/sources.list.d}"/*.list; do
		[ ! -f "$file" ] || sed -n 's/^[[:space:]]*deb\([[:space:]]\)/deb-src\1/p' "$file" >"$APT/etc/${file##*/}"
	done
	for file in "${PARTS:-/etc/apt/sources.list.d}"/*.sources; do
		[ ! -f "$file" ] || sed 's/^[Tt]ypes:.*/Types: deb-src/' "$file" >"$APT/etc/${file##*/}"
	done
	[ ! -f "$APT/etc/sources.list" ] || mv "$APT/etc/sources.list" "$APT/etc/main.list"
	cat "$APT"/etc/* 2>/dev/null | grep -q 'deb-src'
}

private_apt() {
	apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$APT/etc" \
		-o Dir::State="$APT/state" -o Dir::State::status="$APT/state/status" \
		-o Dir::Cache="$APT/cache" -o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Languages=none -o APT::Get::List-Cleanup=0 \
		-o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 "$@"
}

fetch() { # NEWDIR: the source package's files and their checksums
	command -v apt-get >/dev/null || die "no apt-get here; unpack lwIP yourself and set LWIP_SRC"
	APT=$WORK/apt
	mkdir -p "$APT/etc" "$APT/state/lists/partial" "$APT/cache/archives/partial" "$1"
	: >"$APT/state/status"
	derive_sources ||
		die "apt has no package sources configured; add one, or set LWIP_SRC to an unpacked lwIP"
	say "asking the package registry (this machine's apt sources)"
	updated=yes
	private_apt update >"$LOG" 2>&1 || updated=no
	(cd "$1" && private_apt source --download-only --only-source lwip) >>"$LOG" 2>&1 || {
		if [ $updated = no ] || grep -qiE 'could not resolve|failed to fetch|unable to connect|timed out' "$LOG"; then
			explain "registry unreachable: no source package of lwip" "$LOG" \
				"check the network and apt's sources, or set LWIP_SRC to an unpacked lwIP"
		fi
		explain "cannot download the source package lwip" "$LOG" "or set LWIP_SRC to an unpacked lwIP"
	}
	ls "$1"/lwip_*.dsc >/dev/null 2>&1 || explain "apt brought no lwip_*.dsc" "$LOG" "or set LWIP_SRC"
	(cd "$1" && sha256sum -- lwip_* >SHA256SUMS)
}

obtain() { # sets PRISTINE, VERSION
	if [ -n "${LWIP_SRC:-}" ]; then
		[ -f "$LWIP_SRC/src/core/tcp_in.c" ] || die "LWIP_SRC=$LWIP_SRC has no src/core/tcp_in.c: not an lwIP tree"
		PRISTINE=$LWIP_SRC
		VERSION="local $(find "$LWIP_SRC/src" -name '*.[ch]' -type f -exec sha256sum {} + | cut -d' ' -f1 | sort | sha256sum | cut -c1-16)"
		return
	fi
	command -v dpkg-source >/dev/null || die "dpkg-source is missing: install dpkg-dev, or set LWIP_SRC"
	if [ $FORCE = yes ] || ! (cd "$CACHE/package" 2>/dev/null && sha256sum --status -c SHA256SUMS); then
		check_space
		fetch "$WORK/package"
		rm -rf "$CACHE/package"
		mv "$WORK/package" "$CACHE/package"
	fi
	dsc=$(echo "$CACHE"/package/lwip_*.dsc)
	VERSION=$(sed -n 's/^Version: *//p' "$dsc" | head -n 1)
	PRISTINE=
}

unpack() { # NEWTREE
	if [ -n "$PRISTINE" ]; then
		mkdir -p "$1"
		cp -R "$PRISTINE/src" "$1/src"
		[ ! -f "$PRISTINE/COPYING" ] || cp "$PRISTINE/COPYING" "$1/"
	else
		# The signature was apt's to check; dpkg-source checks the sums again.
		dpkg-source --no-check -x "$dsc" "$1" >"$LOG" 2>&1 ||
			explain "cannot unpack $dsc" "$LOG" "run again with -f"
	fi
	find "$1/src" -name '*.[ch]' -type f -exec sed -i 's/\r$//' {} + 2>>"$LOG" ||
		explain "cannot prepare $1" "$LOG" "see the log"
}

apply() { # NEWTREE
	while read -r name; do
		case $name in '' | '#'*) continue ;; esac
		[ -f "$PATCHES/$name" ] || die "stacks/patches/lwip/series names $name, which does not exist"
		patch -d "$1" -p1 -F0 --no-backup-if-mismatch -N -s <"$PATCHES/$name" >"$LOG" 2>&1 ||
			explain "patch $name does not apply to lwIP $VERSION" "$LOG" \
				"rebase it, or set LWIP_SRC to a version it was made for (2.1.3, 2.2.1)"
	done <"$PATCHES/series"
}

main() {
	FORCE=no
	case ${1-} in --help) usage; exit 0 ;; esac
	while getopts hf opt; do
		case $opt in
		h) usage; exit 0 ;;
		f) FORCE=yes ;;
		*) usage >&2; exit 1 ;;
		esac
	done
	shift $((OPTIND - 1))
	OUT=${1:-$ROOT/build/lwip}
	command -v patch >/dev/null || die "patch is missing: install the package patch"
	mkdir -p "$CACHE" "$(dirname "$OUT")" || die "cannot create $CACHE"
	# Absolute: apt takes a relative Dir:: as below its root directory.
	OUT=$(cd "$(dirname "$OUT")" && pwd)/$(basename "$OUT")
	WORK=$(mktemp -d "$(dirname "$OUT")/.lwip-fetch.XXXXXX") || die "cannot create a directory beside $OUT"
	trap 'rm -rf "$WORK"' EXIT
	trap 'exit 1' INT TERM HUP
	LOG=$CACHE/fetch.log

	obtain
	key=$( (echo "$VERSION"; cat "$0" "$PATCHES/series" "$PATCHES"/*.patch) | sha256sum | cut -c1-32)
	if [ $FORCE = no ] && [ "$(cat "$OUT/.key" 2>/dev/null)" = "$key" ]; then
		touch "$OUT/.stamp"
		say "$OUT is up to date (lwIP $VERSION)"
		exit 0
	fi
	unpack "$WORK/tree"
	apply "$WORK/tree"
	echo "$VERSION" >"$WORK/tree/.version"
	echo "$key" >"$WORK/tree/.key"
	rm -rf "$OUT"
	mv "$WORK/tree" "$OUT"
	touch "$OUT/.stamp"
	say "lwIP $VERSION with $(grep -cv '^ *\(#\|$\)' "$PATCHES/series") patches in $OUT"
}

main "$@"
