#!/bin/sh
# SPDX-License-Identifier: MIT
# libnomux's examples do what they say, and price-watch makes no system call
# between two changes.  TAP; exit status 0, 1, or 4 (skipped).
set -u

dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
n=0
bad=0

check()		# STATUS WHAT [FILE to show]
{
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		bad=1
		[ $# -lt 3 ] || sed 's/^/# /' "$3"
	fi
}

wait_line()	# FILE TEXT: up to 10 s
{
	tries=100
	while ! grep -q "$2" "$1"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		usleep 100000
	done
}

# Voluntary switches: a system call that slept would add one.
switches()
{
	sed -n 's/^voluntary_ctxt_switches:[[:space:]]*//p' "/proc/$pid/status"
}

[ -e /dev/nom ] || { echo "1..0 # SKIP no /dev/nom"; exit 4; }

timeout 30 hello-upcall > "$dir/hello" 2>&1
check $? "hello-upcall ends well" "$dir/hello"
cat > "$dir/expected" <<-END
	on core 1, ours alone
	an invalid instruction was skipped by its handler (1)
	100 page faults, each handled by mapping a page of our own
	10 timer upcalls while the program counted to a number it likes
END
cmp -s "$dir/hello" "$dir/expected"
check $? "  and says what it should" "$dir/hello"

# Of 1024 pages in 512 frames, passed through four times: all of them at first, then
# those that the 511 frames it keeps do not hold.
timeout 60 self-paging "$dir/store" > "$dir/paging" 2>&1
check $? "self-paging ends well" "$dir/paging"
grep -qx 'keep: 2563 pages read, 320 written, 512 frames, 1024 pages, 4 passes' "$dir/paging"
check $? "  its own policy reads 2563 pages" "$dir/paging"
timeout 60 self-paging --policy lru "$dir/store" > "$dir/paging" 2>&1
check $? "self-paging ends well with the other policy" "$dir/paging"
grep -qx 'lru: 4096 pages read, 512 written, 512 frames, 1024 pages, 4 passes' "$dir/paging"
check $? "  least recently used reads 4096" "$dir/paging"
timeout 10 self-paging --policy fifo "$dir/store" > "$dir/paging" 2>&1
[ $? -eq 2 ] && grep -q '^usage: self-paging' "$dir/paging"
check $? "  another is refused" "$dir/paging"

timeout 60 snapshot > "$dir/snapshot" 2>&1
check $? "snapshot ends well" "$dir/snapshot"
[ "$(grep -c ', of one instant$' "$dir/snapshot")" -eq 5 ]
check $? "  five copies, each of one instant" "$dir/snapshot"
grep -qE '^[1-9][0-9]+ pages copied by upcalls, [1-9][0-9]* at leisure$' "$dir/snapshot"
check $? "  made by write faults while the program went on" "$dir/snapshot"
work-stealing > "$dir/steal" 2>&1
check $? "work-stealing ends well" "$dir/steal"
grep -q '^9 queens: 352 ways$' "$dir/steal" && grep -q '^core 0 (leased)' "$dir/steal"
check $? "  on a leased core, and counts right" "$dir/steal"

nomctl price set example 1 --unit Gbit > "$dir/set" 2>&1
check $? "a price is set" "$dir/set"
: > "$dir/watch"
price-watch -n 2 > "$dir/watch" 2>&1 &
pid=$!
wait_line "$dir/watch" '^watching'
check $? "price-watch watches" "$dir/watch"
grep -q '^example: 1.000000 per Gbit$' "$dir/watch"
check $? "  and printed the price that was there" "$dir/watch"

# In user mode all the time: what the kernel says of a task that runs there.
before=$(switches)
in_user=0
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	[ "$(cat "/proc/$pid/syscall")" = running ] && in_user=$((in_user + 1))
	usleep 20000
done
[ $in_user -eq 20 ]
check $? "  it makes no system call while nothing changes ($in_user of 20 looks)"
[ "$before" = "$(switches)" ]
check $? "  and does not sleep"

nomctl price set example 10 > "$dir/set" 2>&1
wait_line "$dir/watch" '^example: 10.000000 per Gbit$'
check $? "a change is printed" "$dir/watch"
nomctl price set example 2.5 > "$dir/set" 2>&1
wait_line "$dir/watch" '^example: 2.500000 per Gbit$'
check $? "another one" "$dir/watch"
wait "$pid"
check $? "after two changes it ends" "$dir/watch"
pid=
grep -q '^work went on meanwhile: yes$' "$dir/watch"
check $? "  and its work went on" "$dir/watch"
# Two processes, one on a leased core, and the shell's own count.
seq 1 1000 | sed 's/.*/line & has  five words /' > "$dir/text"
timeout 60 word-count < "$dir/text" > "$dir/count" 2>&1
check $? "word-count ends well" "$dir/count"
printf 'counting on core 1, ours alone\n1000 lines, 5000 words; not each line rang a bell\n' | cmp -s - "$dir/count"
check $? "  and counts what is there, most lines without a doorbell" "$dir/count"
echo "1..$n"
exit $bad
