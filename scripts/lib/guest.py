# SPDX-License-Identifier: MIT
"""guest - boot a kernel in QEMU and run commands in it

    with Guest(net="tap", nics=1) as guest:
        rc, output = guest.run("nomctl status", timeout=10)
        server = guest.spawn(["nhttpd", "--stack", "linux"])
        ...
        guest.kill(server)

One boot serves any number of commands.  They travel through a virtio-serial
port to process 1 of the guest (scripts/guest/agent.c), which sleeps unless
something arrives: the channel costs a measured guest nothing.  The kernel's
console is a separate stream (lib/console.py).

Lifetime: QEMU dies with the thread that called start() (PR_SET_PDEATHSIG), so
start guests from a thread that lives as long as they should.  Nothing here
needs root; a tap needs a network namespace of one's own: see scripts/netns.

Python, as virtme-ng: sockets, threads and deadlines are its standard library.
"""
import ctypes
import io
import os
import pathlib
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time

import initramfs
from console import STALE_CODE, Console, kernel_trouble  # noqa: F401: users of guests need them, too
from guesterr import (EX_BOOT, EX_CRASH, EX_FILES, EX_HOST, EX_KERNEL, EX_LOST, EX_USAGE,  # noqa: F401
                      CommandTimeout, GuestError, exit_code)
from qemu import BUILD, KERNEL, Machine, accelerator, may_yield  # noqa: F401

ROOT = initramfs.ROOT
GUEST_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/nom/examples"
SPAWN_LOG = "/run/spawn-{}.log"
BOOT_TRIES = 3

RUN_F_LOG = 1
RUN_F_STDIN = 2
HEAD = struct.Struct("<IHBB")


def die_with_parent():
    """In a child between fork and exec: SIGKILL when the parent thread ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)	# PR_SET_PDEATHSIG


def default_say(line):
    print(f"run-guest: {line}", file=sys.stderr, flush=True)


class Job:
    """A command in the guest."""

    def __init__(self, ident, on_data):
        self.ident = ident
        self.on_data = on_data		# fn(stream "O" or "E", bytes), in the reader thread
        self.output = []
        self.status = None		# wait status once it ended
        self.failed = None		# why it did not start


class Guest(Machine):
    """See the top of this file.  Every method may raise GuestError.

    console_log  where the console goes
    module       load nom.ko; then a kernel or module without nom is an error
    extra        list of (source, path in the guest)
    say          for what is worth knowing; build: directory of what goes in
    and what a Machine takes
    """

    def __init__(self, console_log=None, extra=(), say=None, build=BUILD, **machine):
        super().__init__(**machine)
        self.say = say or (lambda line: None)
        self.build = build
        self.extra = list(extra)
        self.console_log = pathlib.Path(console_log) if console_log else initramfs.GUEST / "console.log"
        self.command = []
        self._qemu = None
        self._send_lock = threading.Lock()
        self._changed = threading.Condition()
        self._reset()

    def _reset(self):
        """The state of a guest that was not started."""
        self.hello = {}
        self._console = None
        self._sock = None
        self._jobs = {}
        self._next_job = 1
        self._closed = False
        self._threads = []

    @property
    def pid(self):
        """QEMU's process."""
        return self._qemu.pid

    @property
    def crash_lines(self):
        """What the kernel said of its trouble; none: nothing."""
        return self._console.trouble if self._console else []

    @property
    def starved(self):
        """How often the host gave a processor no time for 3 s."""
        return self._console.starved if self._console else 0

    # -- life ---------------------------------------------------------------

    @property
    def stale_code(self):
        """Did the emulator, not the guest, cause the crash?"""
        return self.accel == "tcg" and any(STALE_CODE.search(line) for line in self.crash_lines[:1])

    def start(self):
        """Boot, and wait until the guest takes commands.

        A boot that dies of QEMU's race with patched code is said so and repeated.
        """
        self.check()
        for left in reversed(range(BOOT_TRIES)):
            try:
                return self._boot()
            except GuestError:
                if not self.stale_code or not left:
                    raise
            default_say("QEMU ran code that was just being patched (a race of its multi-threaded translator, fixed in 8.1); booting again")
            self.stop()
            self._reset()

    def _boot(self):
        self.say(f"accelerator {self.accel} ({self.accel_why})")
        try:
            initrd = initramfs.make(lambda line: None, self.extra, self.build)
        except initramfs.ImageError as error:
            raise GuestError(EX_HOST, str(error)) from None
        ours, theirs = socket.socketpair()
        self._sock = ours
        self.command = self.qemu_command(initrd, theirs.fileno())
        try:
            self._console = Console(self.console_log, self._changed, self.say)
            self.console_log = self._console.path
            self._stderr_path = self.console_log.with_suffix(".qemu")
            with open(self._stderr_path, "wb") as stderr:
                # stdin is a pipe nobody writes to: the console takes no input.
                self._qemu = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                                              pass_fds=[theirs.fileno()], preexec_fn=die_with_parent, process_group=0)
        except OSError as error:
            raise GuestError(EX_HOST, f"cannot start QEMU: {error}") from None
        finally:
            theirs.close()
        for target, args in ((self._console.watch, (self._qemu.stdout,)), (self._read_frames, ())):
            thread = threading.Thread(target=target, args=args, daemon=True)
            thread.start()
            self._threads.append(thread)
        if self.gdb:
            self.say(f"stopped before the first instruction; attach with:  {self.gdb_line()}")
        self._await_hello(None if self.gdb else time.monotonic() + self.deadline)
        nom = self.hello.get("nom", "")
        if self.module and nom.startswith("failed"):
            raise self._trouble(EX_KERNEL, f"nom.ko does not load: {nom[8:]}: rebuild both with `make kernel module`, "
                                "or boot without it: --no-module")
        if self.module and nom == "absent":
            self.say("build/nom.ko is not built: nom is not loaded")
        return self

    def _read_frames(self):
        stream = self._sock.makefile("rb", buffering=1 << 16)
        try:
            while True:
                head = stream.read(HEAD.size)
                if len(head) < HEAD.size:
                    break
                size, ident, kind, _ = HEAD.unpack(head)
                body = stream.read(size)
                self._frame(chr(kind), ident, body)
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _frame(self, kind, ident, body):
        with self._changed:
            if kind == "H":
                self.hello = dict(line.split(": ", 1) for line in body.decode().splitlines() if ": " in line)
                self.hello.setdefault("kernel", "?")
            job = self._jobs.get(ident)
            if job is None:
                pass
            elif kind == "X":
                job.status = struct.unpack("<I", body)[0]
            elif kind == "F":
                job.failed = body.decode(errors="replace")
            elif job.on_data is None:
                job.output.append((kind, body))
            self._changed.notify_all()
        if job is not None and kind in "OE" and job.on_data is not None:
            job.on_data(kind, body)

    def _trouble(self, code, text):
        """A GuestError that carries the console's last lines."""
        return GuestError(code, f"{text}\n  {self._console.last_lines()}")

    def _dead(self):
        """Call with the lock held: why no answer can come any more, or None."""
        if self._console.panicked:
            # let the last lines arrive; QEMU ends by itself (panic=-1, -no-reboot)
            end = time.monotonic() + 3
            while not self._console.done and time.monotonic() < end:
                self._changed.wait(0.2)
            return GuestError(EX_CRASH, self.crash_text())
        if self._closed or self._console.done:
            end = time.monotonic() + 2
            while not self._console.done and time.monotonic() < end:
                self._changed.wait(0.2)
            if self._console.panicked:
                return GuestError(EX_CRASH, self.crash_text())
            said = self.qemu_said()
            return self._trouble(EX_LOST, "the guest went away" + (f": {said}" if said else ""))
        return None

    def qemu_said(self):
        try:
            return self._stderr_path.read_text(errors="replace").strip()
        except (OSError, AttributeError):
            return ""

    def crash_text(self):
        lines = "\n".join("    | " + line for line in self.crash_lines)
        return f"the guest's kernel reported trouble (console: {self.console_log}):\n{lines}"

    def _await_hello(self, deadline):
        with self._changed:
            while not self.hello:
                dead = self._dead()
                command = "\n  QEMU: " + shlex.join(self.command)
                if dead is not None:
                    code = EX_BOOT if dead.code == EX_LOST else dead.code
                    raise GuestError(code, f"boot failed: {dead}{command}")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise GuestError(EX_BOOT, str(self._trouble(
                        EX_BOOT, f"boot failed: no sign of life within {self.deadline:g} s")) + command)
                self._changed.wait(left)

    def stop(self, grace=5):
        """Power off; kill QEMU if that takes too long.  Safe to call twice."""
        if self._qemu is None:
            return
        if self._qemu.poll() is None and self.hello and not self._closed:
            try:
                self._send("Q", 0, b"")
                self._qemu.wait(grace)
            except (OSError, subprocess.TimeoutExpired, GuestError):
                pass
        if self._qemu.poll() is None:
            self._qemu.kill()
        self._qemu.wait()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(5)
        self._sock.close()
        self._console.close()
        for pipe in (self._qemu.stdin, self._qemu.stdout):
            try:
                pipe.close()
            except (OSError, ValueError):
                pass
        self.gdb_socket.unlink(missing_ok=True)
        try:
            if not self._stderr_path.read_bytes():
                self._stderr_path.unlink()
        except OSError:
            pass
        self._qemu = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def pin(self, vcpu, own, rest):
        """Keep one vCPU on the host cores `own`, all other threads of QEMU on `rest`; there, other vCPUs step aside.

        A scheduler that lets whoever runs finish his turn (4 ms where the tick is that long) has the
        load generator wait for a vCPU that does housekeeping.  SCHED_IDLE makes it yield at once, where
        that can be taken back later: see may_yield().
        """
        yields = may_yield()
        for task in pathlib.Path(f"/proc/{self._qemu.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text(encoding="ascii", errors="replace")
                serves = name.startswith(f"CPU {vcpu}/")
                os.sched_setaffinity(int(task.name), own if serves else rest)
                if yields and name.startswith("CPU "):
                    os.sched_setscheduler(int(task.name), os.SCHED_OTHER if serves else os.SCHED_IDLE, os.sched_param(0))
            except (FileNotFoundError, ProcessLookupError):
                pass		# a worker thread that has just ended

    # -- commands ------------------------------------------------------------

    def _send(self, kind, ident, body):
        with self._send_lock:
            try:
                self._sock.sendall(HEAD.pack(len(body), ident, ord(kind), 0) + body)
            except OSError as error:
                raise self._trouble(EX_LOST, f"the guest does not take commands any more: {error}") from None

    def popen(self, cmd, user="root", env=None, log=None, stdin=None, on_data=None):
        """Start a command and return its Job.

        cmd      a list, or a string for sh -c
        log      file in the guest for its output, instead of sending it here
        stdin    bytes, or "stream" when feed() follows; None: /dev/null
        on_data  fn(stream, bytes), called from a thread of ours
        """
        argv = ["/bin/sh", "-c", cmd] if isinstance(cmd, str) else [str(word) for word in cmd]
        uid, gid = initramfs.USERS[user]
        environment = {"PATH": GUEST_PATH, "HOME": "/root" if uid == 0 else "/tmp", "TERM": "dumb", "USER": user, **(env or {})}
        flags = (RUN_F_LOG if log else 0) | (RUN_F_STDIN if stdin is not None else 0)
        words = ([log] if log else []) + argv
        with self._changed:
            ident = self._next_job
            self._next_job = ident % 65535 + 1
            job = self._jobs[ident] = Job(ident, on_data)
        strings = words + [f"{k}={v}" for k, v in environment.items()]
        self._send("R", ident, struct.pack("<IIII", flags, uid, gid, len(words)) + b"".join(s.encode() + b"\0" for s in strings))
        if isinstance(stdin, bytes):
            self.feed(job, stdin)
            self.feed(job, b"")
        return job

    def feed(self, job, chunk):
        """Bytes for a command's stdin; none: end of file."""
        if not chunk:
            self._send("I", job.ident, b"")
        for start in range(0, len(chunk), 1 << 18):
            self._send("I", job.ident, chunk[start:start + (1 << 18)])

    def kill(self, job, number=signal.SIGTERM):
        """Signal a command and everything it started."""
        self._send("K", job.ident, struct.pack("<I", number))

    def wait(self, job, timeout=None):
        """Wait status of a command; CommandTimeout kills it first."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while job.status is None and job.failed is None:
                dead = self._dead()
                if dead is not None:
                    raise dead
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            else:
                self._jobs.pop(job.ident, None)
                if job.failed is not None:
                    return self._not_started(job)
                return job.status
        self.kill(job, signal.SIGKILL)
        with self._changed:
            self._changed.wait_for(lambda: job.status is not None or self._closed, 5)
            self._jobs.pop(job.ident, None)
        raise CommandTimeout(f"no end within {timeout:g} s", b"".join(b for _, b in job.output))

    @staticmethod
    def _not_started(job):
        """As a shell: 127 for a missing command, 126 for one that cannot be run."""
        message = f"cannot start {job.failed}\n".encode()
        if job.on_data:
            job.on_data("E", message)
        else:
            job.output.append(("E", message))
        return (127 if "No such file" in job.failed else 126) << 8

    def alive(self):
        with self._changed:
            return not (self._closed or self._console.panicked or self._console.done)

    def running(self, job):
        with self._changed:
            return job.status is None and job.failed is None and not self._closed

    def run(self, cmd, timeout=60, **how):
        """(exit status, output) of a command; the output holds stdout and stderr as they came.

        The status is the shell's: 128 + n for a signal.  Raises GuestError on a
        crash of the guest's kernel, CommandTimeout when the command does not end.
        """
        job = self.popen(cmd, **how)
        status = self.wait(job, timeout)
        rc = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return rc, b"".join(body for _, body in job.output).decode(errors="replace")

    def capture(self, cmd, timeout=60, **how):
        """stdout of a command that must succeed, as bytes."""
        job = self.popen(cmd, **how)
        status = self.wait(job, timeout)
        out = b"".join(body for kind, body in job.output if kind == "O")
        err = b"".join(body for kind, body in job.output if kind == "E").decode(errors="replace").strip()
        if status:
            raise GuestError(EX_LOST, f"in the guest: {cmd if isinstance(cmd, str) else shlex.join(map(str, cmd))}: "
                             f"{err or 'exit status %d' % (exit_code(status)[0])}")
        return out

    def spawn(self, cmd, **how):
        """Start a server: its output stays in the guest (see log_of()), so that it costs nothing while measuring."""
        with self._changed:
            log = SPAWN_LOG.format(self._next_job)
        job = self.popen(cmd, log=log, **how)
        job.log = log
        return job

    def log_of(self, job):
        return self.run(["cat", job.log], 20)[1]

    def end(self, job, number=signal.SIGTERM, timeout=10):
        """Signal a spawned command, then wait; a second signal is SIGKILL."""
        if self.running(job):
            self.kill(job, number)
        try:
            return self.wait(job, timeout)
        except CommandTimeout:
            return signal.SIGKILL

    # -- files -----------------------------------------------------------------

    def put(self, source, path):
        """Copy a file or directory into the guest, under the name `path`."""
        pack = io.BytesIO()
        try:
            with tarfile.open(fileobj=pack, mode="w", format=tarfile.GNU_FORMAT) as tar:
                tar.add(source, arcname=str(path).lstrip("/"))
        except OSError as error:
            raise GuestError(EX_FILES, f"cannot read {source}: {error.strerror}") from None
        status = self.wait(self.popen("mkdir -p '%s' && tar -C / -xf -" % os.path.dirname(str(path)), stdin=pack.getvalue()), 120)
        if status:
            raise GuestError(EX_FILES, f"cannot write {path} in the guest")

    def get(self, path, target):
        """Copy a file or directory out of the guest, to the name `target`."""
        parent, _, name = str(path).rstrip("/").rpartition("/")
        job = self.popen(["tar", "-C", parent or "/", "-cf", "-", name])
        status = self.wait(job, 120)
        if status:
            said = b"".join(b for k, b in job.output if k == "E").decode(errors="replace").strip()
            raise GuestError(EX_FILES, f"cannot read {path} in the guest: {said}")
        target = pathlib.Path(target)
        try:
            with tarfile.open(fileobj=io.BytesIO(b"".join(b for k, b in job.output if k == "O"))) as tar:
                for member in tar:
                    inside = pathlib.PurePosixPath(member.name).relative_to(name)
                    where = target / inside if inside.parts else target
                    if ".." in inside.parts:
                        continue
                    if member.isdir():
                        where.mkdir(parents=True, exist_ok=True)
                    elif member.isfile():	# links and devices stay in the guest
                        where.parent.mkdir(parents=True, exist_ok=True)
                        where.write_bytes(tar.extractfile(member).read())
                        where.chmod(member.mode & 0o777)
        except (OSError, tarfile.TarError) as error:
            raise GuestError(EX_FILES, f"cannot write {target}: {error}") from None
