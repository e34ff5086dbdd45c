#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel-fetch.sh: get the source of Linux 6.12 and print where it is.
#
# Usage: scripts/kernel-fetch.sh
#
# The last line of standard output is the path of a tarball, or of a directory
# if LINUX_SRC names one; everything else goes to standard error.  Tried in
# this order:
#   1. LINUX_SRC, a directory or a tarball
#   2. the cache
#   3. the installed package linux-source-6.12, if its files are intact
#   4. apt: the package is downloaded from the machine's own mirrors with a
#      private apt state; if no suite configured here has it, the backports
#      suite of the same mirror is tried.  Signatures and hashes are apt's.
#
# Environment: LINUX_SRC, NOM_CACHE (default ${XDG_CACHE_HOME:-~/.cache}/nom).
# Needs no root, and changes nothing outside the cache.

set -eu

LINUX=6.12
PACKAGE=linux-source-$LINUX
CACHE=${NOM_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/nom}/kernel
case $CACHE in /*) ;; *) CACHE=$PWD/$CACHE ;; esac	# apt and make look from elsewhere
TARBALL=$CACHE/src/$PACKAGE.tar.xz

say() { printf 'kernel-fetch: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() { sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; }

need_mib() {	# directory, MiB, what for
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] ||
		die "no disk space: $3 needs $2 MiB in $1, which has $free; free some, or set NOM_CACHE"
}

from_override() {
	if [ -d "$LINUX_SRC" ]; then
		[ -f "$LINUX_SRC/Kbuild" ] || die "LINUX_SRC=$LINUX_SRC is no kernel source tree"
	else
		[ -r "$LINUX_SRC" ] || die "LINUX_SRC=$LINUX_SRC cannot be read"
	fi
	realpath "$LINUX_SRC"
}

installed_intact() {
	[ -r "/usr/src/$PACKAGE.tar.xz" ] && command -v dpkg >/dev/null &&
		changed=$(dpkg -V "$PACKAGE" 2>&1) && [ -z "$changed" ]
}

# apt with the machine's configuration, but its own state, cache and sources
apt_private() {	# program, arguments...
	prog=$1
	shift
	"$prog" -q -o Dir::State="$APT" -o Dir::State::lists="$APT/lists" \
		-o Dir::State::status="$APT/status" -o Dir::Cache="$APT/cache" \
		-o Dir::Etc::sourcelist="$APT/sources.list" \
		-o Dir::Etc::sourceparts="$APT/sources.list.d" \
		-o APT::Sandbox::User= -o Acquire::Languages=none \
		-o Acquire::Retries=2 -o Acquire::http::Timeout=30 \
		-o Debug::NoLocking=1 "$@"
}

apt_candidate() {
	apt_private apt-cache policy "$PACKAGE" 2>/dev/null |
		awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

apt_update() {	# what
	say "reading package lists of $1"
	apt_private apt-get update >>"$APT/log" 2>&1 || :
}

# Name, in the private state, the backports suite of the machine's own mirror
apt_add_backports() {
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -n "$codename" ] || return 1
	# shellcheck disable=SC2016  # apt's own variables
	uri=$(apt_private apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' 2>/dev/null |
		awk -v c="$codename" '$1 == "Debian" && $2 == c && $3 == "main" { print $4; exit }')
	[ -n "$uri" ] || return 1
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -r $key ] && opt="[signed-by=$key] " || opt=
	echo "deb $opt$uri $codename-backports main" >"$APT/sources.list.d/nom-backports.list"
	apt_update "$codename-backports"
}

from_apt() {
	command -v apt-get >/dev/null ||
		die "no apt here: put a tarball or tree of Linux $LINUX somewhere and set LINUX_SRC"
	APT=$CACHE/apt
	rm -rf "$APT"
	mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial" "$APT/sources.list.d"
	: >"$APT/status"
	: >"$APT/sources.list"
	[ ! -r /etc/apt/sources.list ] || cp /etc/apt/sources.list "$APT/sources.list"
	for f in /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
		[ ! -r "$f" ] || cp "$f" "$APT/sources.list.d/"
	done

	apt_update "the suites configured on this machine"
	if [ -z "$(apt_candidate)" ]; then
		apt_add_backports || :
		if [ -z "$(apt_candidate)" ]; then
			sed -n 's/^\(E:\|W:\|Err:\)/  &/p' "$APT/log" | tail -n 5 >&2
			die "no mirror of this machine offers $PACKAGE, or none can be reached (log: $APT/log); set LINUX_SRC to a tarball or tree of Linux $LINUX"
		fi
	fi

	say "downloading $PACKAGE $(apt_candidate)"
	(cd "$APT/cache" && apt_private apt-get download "$PACKAGE") >>"$APT/log" 2>&1 || {
		tail -n 3 "$APT/log" >&2
		die "the download of $PACKAGE failed (log: $APT/log); try again, or set LINUX_SRC"
	}
	dpkg-deb --fsys-tarfile "$APT"/cache/"$PACKAGE"_*.deb |
		tar -xOf - "./usr/src/$PACKAGE.tar.xz" >"$TARBALL.part" ||
		die "$PACKAGE does not contain $PACKAGE.tar.xz; set LINUX_SRC"
	mv "$TARBALL.part" "$TARBALL"
	rm -rf "$APT"
}

main() {
	case ${1-} in
	'') ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac

	if [ -n "${LINUX_SRC-}" ]; then
		from_override
		exit 0
	fi
	mkdir -p "$CACHE/src" || die "cannot write to $CACHE; set NOM_CACHE"
	if [ ! -s "$TARBALL" ]; then
		need_mib "$CACHE" 700 "fetching the kernel source"
		if installed_intact; then
			say "using the installed package $PACKAGE"
			cp "/usr/src/$PACKAGE.tar.xz" "$TARBALL.part"
			mv "$TARBALL.part" "$TARBALL"
		else
			from_apt
		fi
	fi
	echo "$TARBALL"
}

main "$@"
