# SPDX-License-Identifier: MIT
"""console - a guest's console: kept in a file, and watched for a kernel in trouble"""
import fcntl
import os
import re

TAIL = 25	# lines kept for messages

# A line of the kernel log that no healthy guest prints.  Anchored behind the
# time stamp, so that a program's name or a quoted text does not count.
_STAMP = r"^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )"
CRASH = re.compile(
    _STAMP + r"(?:Kernel panic - not syncing|BUG: |Oops: |kernel BUG at |general protection fault[,:]"
    r"|WARNING: |INFO: (?:possible|trying to register|rcu_|task .* blocked)|rcu: INFO: |watchdog: BUG"
    r"|refcount_t: |UBSAN: |KASAN: |list_(?:add|del) corruption|Internal error: |divide error: |invalid opcode: "
    r"|double fault: |stack segment: |traps: PANIC)")
# QEMU before 8.1 may run a translation of code that another vCPU has just patched: a
# breakpoint of the kernel's own, gone by the time its handler looks for it.  Rare, and
# no fault of the guest's; seen with 7.2 when the host is busy.
STALE_CODE = re.compile(_STAMP + r"Oops: int3: ")
# An emulated processor that the host gave no time for 3 s: mainline's remote tick
# warns of a task that ran longer than that unseen.  The host's fault.
STARVED = re.compile(_STAMP + r"WARNING: CPU: \d+ PID: \d+ at (?:kernel/\S+ )?sched_tick_remote\+")
PANIC = re.compile(_STAMP + r"Kernel panic - not syncing")


def kernel_trouble(line):
    """Is this a line of the kernel's log that no healthy guest prints?"""
    return bool(CRASH.search(line)) and not STARVED.search(line)


class Console:
    """What a guest's kernel prints.

    path      the log; another name is taken when another guest writes to it
    changed   condition that guards all below, notified of every line
    say       for that other name
    """

    def __init__(self, path, changed, say):
        self.path = path
        self.trouble = []	# the first line of trouble, and those after it
        self.starved = 0	# times the host gave a processor no time for 3 s
        self.panicked = False
        self.done = False	# no more will come
        self._changed = changed
        self._tail = []
        self._file = self._open(say)

    def _open(self, say):
        """Two guests must not share a log: the second one gets a name of its own."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self.path, "ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            self.path = self.path.with_name(f"{self.path.stem}-{os.getpid()}-{id(self) & 0xffff}.log")
            say(f"another guest is running: console goes to {self.path}")
            file = open(self.path, "ab")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        return file

    def watch(self, pipe):
        """Until the pipe ends; a thread of its own."""
        rest = b""
        while True:
            try:
                chunk = os.read(pipe.fileno(), 65536)
            except OSError:
                chunk = b""
            if not chunk:
                break
            self._file.write(chunk)
            self._file.flush()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._line(line.decode(errors="replace").rstrip("\r"))
        if rest:
            self._line(rest.decode(errors="replace"))
        with self._changed:
            self.done = True
            self._changed.notify_all()

    def _line(self, line):
        with self._changed:
            self._tail = self._tail[-(TAIL - 1):] + [line]
            if STARVED.search(line):
                self.starved += 1
            if self.trouble and len(self.trouble) < 60 or kernel_trouble(line):
                self.trouble.append(line)
            if PANIC.search(line):
                self.panicked = True
            self._changed.notify_all()

    def last_lines(self):
        """For a message."""
        tail = "\n".join("    | " + line for line in self._tail)
        return f"console ({self.path}), last lines:\n{tail}" if tail else f"console ({self.path}): nothing"

    def close(self):
        try:
            self._file.close()
        except (OSError, ValueError):
            pass
