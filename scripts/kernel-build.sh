#!/bin/bash
# SPDX-License-Identifier: MIT
# kernel-build.sh: patch, configure and build the kernel of nom, with a cache.
#
# Usage: scripts/kernel-build.sh [all|headers|selftests|status]
#   all        kernel, System.map, headers and tree (the default)
#   headers    the kernel's user space headers only; seconds, no build
#   selftests  tools/testing/selftests/nom into build/kselftest
#   status     say what is cached, build nothing
#
# Products, as links into the cache: build/kernel/{bzImage,vmlinux,System.map,
# config,release,headers/include,tree}; tree is what modules are built against.
#
# The cache has one source tree and one build tree per version and flavour.
# When patches or fragments change, only the files that differ are touched and
# make does the rest; a result whose key (source, patches, fragments, compiler)
# was built last is linked, not built.
#
# Environment: LINUX_SRC (see kernel-fetch.sh), NOM_CACHE, JOBS (default: CPUs),
# NOM_KCONFIG: fragments of kconfig/ (default "base nom"); others, for example
# "base nom debug", go to build/kernel-debug.  NOM_SERIES=none: the source as it
# is, without linux-patches/, in a tree of its own, for comparison; the fragments
# must not ask for CONFIG_NOM then ("base nom off"); to build/kernel-plain-off.
# Needs no root.  3 GiB of disk for the first build.

set -eu -o pipefail

TOP=$(cd "$(dirname "$0")/.." && pwd)
CACHE=${NOM_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/nom}/kernel
case $CACHE in /*) ;; *) CACHE=$PWD/$CACHE ;; esac	# apt and make look from elsewhere
PATCHES=$TOP/linux-patches
JOBS=${JOBS:-$(nproc)}
FRAGMENTS=${NOM_KCONFIG:-base nom}
FLAVOUR=$(echo "$FRAGMENTS" | sed -E 's/\<(base|nom)\>//g; s/^ +| +$//g; s/ +/-/g')
SERIES=${NOM_SERIES-}
PLAIN=${SERIES:+-plain}	# directories of their own, or each build would undo the other
OUT=$TOP/build/kernel$PLAIN${FLAVOUR:+-$FLAVOUR}
NEED_MIB=3072	# source 1.7 GiB, build 0.3 GiB, and some to spare
NEED_BUILD_MIB=1024
[ -z "$FLAVOUR" ] || NEED_BUILD_MIB=4096	# line numbers, sanitizers
FULL_OBJECTS=1500	# lines of make output of a first build, for the estimate

say() { printf 'kernel-build: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() { sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; }

need_tools() {	# tool[:package]...
	local t missing=
	for t; do
		command -v "${t%%:*}" >/dev/null || missing+=" ${t##*:}"
	done
	[ -z "$missing" ] || die "tools are missing; install:$missing"
}

need_header() {	# header package
	echo "#include <$1>" | gcc -E - >/dev/null 2>&1 ||
		die "$1 is missing; install: $2"
}

# ---------------------------------------------------------------- the key

case $SERIES in
'' | none) ;;
*) die "NOM_SERIES=$SERIES: only \"none\" is known" ;;
esac

series() { [ -n "$SERIES" ] || sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$PATCHES/series"; }

fragment_files() {
	local f
	for f in $FRAGMENTS; do
		[ -r "$TOP/kconfig/$f.config" ] || die "no fragment kconfig/$f.config"
		echo "$TOP/kconfig/$f.config"
	done
}

# Identity of the source; for a tarball its hash, kept beside it
source_id() {
	local sum=$CACHE/src/sum
	if [ -d "$SRC" ]; then
		(cd "$SRC" && find . -path ./.git -prune -o -type f -printf '%P %s %T@\n') |
			sort | sha256sum | cut -c1-16
		return
	fi
	mkdir -p "$CACHE/src"
	if ! [ -s "$sum" ] || ! grep -qxF "$(stat -c '%n %s %Y' "$SRC")" "$sum"; then
		stat -c '%n %s %Y' "$SRC" >"$sum.tmp"
		sha256sum <"$SRC" | cut -c1-16 >>"$sum.tmp"
		mv "$sum.tmp" "$sum"
	fi
	tail -n 1 "$sum"
}

compute_keys() {
	local p
	if ! compgen -G "$CACHE/*/linux/.nom-unpacked" >/dev/null; then
		mkdir -p "$CACHE" || die "cannot write to $CACHE; set NOM_CACHE"
		check_space $NEED_MIB
	fi
	SRC=$("$TOP/scripts/kernel-fetch.sh" | tail -n 1)
	[ -n "$SRC" ] || exit 1
	[ -r "$PATCHES/series" ] || die "no $PATCHES/series"
	while read -r p; do
		[ -r "$PATCHES/$p" ] || die "series names $p, which does not exist"
	done < <(series)
	SRC_ID=$(source_id)
	PATCH_KEY=$({ echo "$SRC_ID"; cd "$PATCHES"; series | xargs -r cat; } | sha256sum | cut -c1-16)
	KEY=$({ echo "$PATCH_KEY"; fragment_files | xargs cat; gcc --version; ld --version; } |
		sha256sum | cut -c1-16)
	WORK=$CACHE/$SRC_ID$PLAIN
	TREE=$WORK/linux
	O=$WORK/build${FLAVOUR:+-$FLAVOUR}
	RESULT=$CACHE/results/$KEY
	HDR=$CACHE/results/headers-$PATCH_KEY
	LOG=$O.log
}

lock() {
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	flock -n 9 || {
		say "waiting for another build that uses $CACHE"
		flock 9
	}
}

# --------------------------------------------------------- source and patches

check_space() {
	local free
	free=$(df -Pm "$CACHE" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$1" ] ||
		die "no disk space: the build needs $1 MiB in $CACHE, which has $free; free some, or set NOM_CACHE"
}

unpack() {
	[ ! -f "$TREE/.nom-unpacked" ] || return 0
	check_space $NEED_MIB
	say "unpacking $SRC"
	rm -rf "$TREE.tmp" "$TREE" "$WORK/orig" "$WORK/patched"
	mkdir -p "$TREE.tmp"
	if [ -d "$SRC" ]; then
		rsync -a --exclude=/.git "$SRC/" "$TREE.tmp/"
		[ ! -e "$TREE.tmp/.config" ] || die "$SRC has been built in; run make mrproper there"
	else
		tar -xf "$SRC" -C "$TREE.tmp" --strip-components=1 ||
			die "$SRC cannot be unpacked; remove it to have it fetched again"
	fi
	[ -f "$TREE.tmp/Kbuild" ] || die "$SRC holds no kernel source"
	local version
	version=$(make -s -C "$TREE.tmp" kernelversion)
	case $version in
	6.12 | 6.12.*) ;;
	*) die "the patches are for Linux 6.12, but $SRC is $version" ;;
	esac
	mv "$TREE.tmp" "$TREE"
	: >"$TREE/.nom-unpacked"
}

patched_files() {	# patch...: the files it changes, adds or removes
	sed -n -E 's/^(---|\+\+\+) [ab]\/([^\t]*).*/\2/p' "$@" | sort -u
}

# Apply the series to copies of the pristine files, then bring only what
# differs into the tree, so that make rebuilds only what depends on it.
patch_tree() {
	local stage=$WORK/stage p f out list=$WORK/patched
	! cmp -s <(echo "$PATCH_KEY") "$WORK/patch-key" || return 0
	need_tools patch rsync
	rm -rf "$stage"
	mkdir -p "$stage" "$WORK/orig"
	touch "$list"
	(cd "$PATCHES" && series | xargs -r sed -n -E 's/^(---|\+\+\+) [ab]\/([^\t]*).*/\2/p') |
		sort -u >"$list.new"
	# The first time a file is patched, what is in the tree is pristine
	while read -r f; do
		if [ -f "$TREE/$f" ] && ! grep -qxF "$f" "$list"; then
			mkdir -p "$WORK/orig/$(dirname "$f")"
			cp -p "$TREE/$f" "$WORK/orig/$f"
		fi
		if [ -f "$WORK/orig/$f" ]; then
			mkdir -p "$stage/$(dirname "$f")"
			cp -p "$WORK/orig/$f" "$stage/$f"
		fi
	done <"$list.new"

	while read -r p; do
		out=$(patch -p1 -N -s -F2 --no-backup-if-mismatch -d "$stage" -i "$PATCHES/$p" 2>&1) || {
			f=$(sed -n -E 's/.*saving rejects to file (.*)\.rej.*/\1/p; s/^The next patch would (create|delete) the file ([^,]*),.*/\2/p; s/.*[Cc]an.t find file to patch.*/(a file that does not exist here)/p' <<<"$out" | sort -u | tr '\n' ' ')
			head -n 20 <<<"$out" >&2
			die "$p does not apply to ${f:-the source }of $(basename "$SRC"): this source is too different from $(head -n 1 "$PATCHES/BASE")"
		}
	done < <(series)

	# From here on, an interruption leaves a tree that the next run repairs
	rm -f "$WORK/patch-key"
	sort -u "$list" "$list.new" >"$list.all"
	mv "$list.all" "$list"
	rsync -rlpc "$stage/" "$TREE/"
	while read -r f; do
		[ ! -f "$stage/$f" ] || continue
		if [ -f "$WORK/orig/$f" ] && ! grep -qxF "$f" "$list.new"; then
			cmp -s "$WORK/orig/$f" "$TREE/$f" || cp "$WORK/orig/$f" "$TREE/$f"
		else
			rm -f "${TREE:?}/$f"
		fi
	done <"$list"
	rm -rf "$stage"
	echo "$PATCH_KEY" >"$WORK/patch-key"
	say "$(series | wc -l) patches applied"
}

# ---------------------------------------------------------------- the build

kmake() {	# nom's built-in code has the sanitizers that its directory goes without
	make -C "$TREE" O="$O" ARCH=x86_64 KBUILD_BUILD_USER=nom KBUILD_BUILD_HOST=nom \
		KCOV_INSTRUMENT_nom_upcall.o=y KCSAN_SANITIZE_nom_upcall.o=y "$@"
}

configure() {
	local merged=$O/merged.config
	mkdir -p "$O"
	fragment_files | xargs cat >"$merged"
	kmake -s KCONFIG_ALLCONFIG="$merged" KCONFIG_CONFIG=.config.new allnoconfig >"$LOG" 2>&1 || {
		tail -n 5 "$LOG" >&2
		die "configuring failed; log: $LOG"
	}
	# shellcheck disable=SC2046  # one path per word
	"$TOP/scripts/kconfig-check.sh" "$O/.config.new" $(fragment_files) ||
		die "the configuration lacks what kconfig/ asks for"
	# Unchanged, the old file must stay as it is, or everything is rebuilt
	if cmp -s "$O/.config.new" "$O/.config"; then
		rm -f "$O/.config.new"
	else
		mv "$O/.config.new" "$O/.config"
	fi
}

count() { grep -cE '^  [A-Z]' "$LOG" || :; }

progress() {	# pid of make, seconds at start, expected lines
	local n pct left now step=5 cr=
	if [ -t 2 ]; then step=1 cr=$'\r'; fi
	while kill -0 "$1" 2>/dev/null; do
		sleep $step
		n=$(count)
		now=$((SECONDS - $2))
		if [ "$3" -gt 0 ] && [ "$n" -gt 20 ]; then
			pct=$((n * 100 / $3))
			[ $pct -le 99 ] || pct=99
			left=$((now * ($3 > n ? $3 - n : 0) / n))
			printf '%skernel-build: %2d %%, %d files, %d:%02d done, about %d:%02d left ' \
				"$cr" $pct "$n" $((now / 60)) $((now % 60)) $((left / 60)) $((left % 60)) >&2
		else
			printf '%skernel-build: %d files, %d:%02d ' "$cr" "$n" $((now / 60)) $((now % 60)) >&2
		fi
		[ -n "$cr" ] || echo >&2
		[ -n "$cr" ] || [ $step -ge 15 ] || step=15
	done
	[ -z "$cr" ] || echo >&2
}

build() {
	local start=$SECONDS total=0 pid
	[ -f "$O/.nom-total" ] || total=$FULL_OBJECTS
	check_space "$([ -f "$O/vmlinux" ] && echo 512 || echo $NEED_BUILD_MIB)"
	say "building $(basename "$TREE") $(make -s -C "$TREE" kernelversion) with $JOBS jobs; log: $LOG"
	rm -f "$O/.nom-key"
	kmake -j"$JOBS" bzImage modules >"$LOG" 2>&1 9>&- &
	pid=$!
	trap 'kill $pid 2>/dev/null || :; die "interrupted"' INT TERM
	progress $pid $start $total
	wait $pid || {
		grep -E -B1 -A4 'error:|Error [0-9]+|undefined reference|No space left' "$LOG" | tail -n 20 >&2
		die "the kernel does not build; log: $LOG"
	}
	trap - INT TERM
	[ $total -eq 0 ] || count >"$O/.nom-total"
	echo "$KEY" >"$O/.nom-key"
	say "built in $((SECONDS - start)) s"
}

keep_result() {
	rm -rf "$RESULT.tmp" "$RESULT"
	mkdir -p "$RESULT.tmp"
	cp "$O/arch/x86/boot/bzImage" "$O/System.map" "$O/vmlinux" "$RESULT.tmp/"
	cp "$O/.config" "$RESULT.tmp/config"
	kmake -s kernelrelease >"$RESULT.tmp/release"
	mv "$RESULT.tmp" "$RESULT"
	# Results are small; trees are not, but there is one per source and flavour
	find "$CACHE/results" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn |
		sed -n '13,$s/^[^ ]* //p' | xargs -r rm -rf
}

link() {	# target, name; a directory in the way is a product of ours, too
	[ -L "$2" ] || rm -rf "$2"
	ln -sfn "$1" "$2"
}

install_headers() {
	if [ ! -d "$HDR" ]; then
		rm -rf "$HDR.tmp"
		make -C "$TREE" O="$WORK/headers" ARCH=x86_64 INSTALL_HDR_PATH="$HDR.tmp" \
			headers_install >"$WORK/headers.log" 2>&1 || {
			tail -n 5 "$WORK/headers.log" >&2
			die "the kernel's headers cannot be installed; log: $WORK/headers.log"
		}
		mv "$HDR.tmp" "$HDR"
	fi
	touch "$HDR"
	mkdir -p "$OUT"
	link "$HDR" "$OUT/headers"
}

link_products() {
	local f
	touch "$RESULT"
	mkdir -p "$OUT"
	for f in bzImage vmlinux System.map config release; do
		link "$RESULT/$f" "$OUT/$f"
	done
	link "$O" "$OUT/tree"
}

is_built() {
	[ -d "$RESULT" ] && cmp -s <(echo "$KEY") "$O/.nom-key" &&
		cmp -s <(echo "$PATCH_KEY") "$WORK/patch-key"
}

# ---------------------------------------------------------------- commands

prepare() {
	lock
	unpack
	patch_tree
}

start() {
	need_tools make gcc ld:binutils flex bison xz:xz-utils patch rsync perl:perl-base flock:util-linux
	compute_keys
}

cmd_headers() {
	start
	[ -d "$HDR" ] || prepare
	install_headers
	say "headers in ${OUT#"$TOP"/}/headers/include"
}

cmd_all() {
	start
	need_tools bc cpio gzip
	need_header libelf.h libelf-dev
	# What is there already needs no lock, and no waiting for other builds
	if ! is_built || [ ! -d "$HDR" ]; then
		prepare
	fi
	install_headers
	if is_built; then
		say "from the cache: $(cat "$RESULT/release")"
	else
		configure
		build
		keep_result
	fi
	link_products
}

cmd_selftests() {
	local out=$TOP/build/kselftest
	start
	prepare
	install_headers
	mkdir -p "$out" "$WORK/kselftest"
	make -C "$TREE/tools/testing/selftests" TARGETS=nom OUTPUT= O="$WORK/kselftest" \
		KHDR_INCLUDES="-isystem $HDR/include" NOM_UAPI="$TOP/nom-kmod/include/uapi" \
		INSTALL_PATH="$out" install >"$WORK/kselftest.log" 2>&1 || {
		grep -E -A3 'error:|Error' "$WORK/kselftest.log" | head -n 20 >&2
		die "the selftests do not build; log: $WORK/kselftest.log"
	}
	say "selftests in ${out#"$TOP"/}"
}

cmd_status() {
	compute_keys
	say "source $SRC ($SRC_ID), key $KEY"
	if is_built; then say "cached: $(cat "$RESULT/release")"; else say "not built"; fi
}

main() {
	case ${1-all} in
	all | headers | selftests | status) "cmd_${1-all}" ;;
	-h | --help) usage ;;
	*) usage >&2; exit 2 ;;
	esac
}

main "$@"; exit
