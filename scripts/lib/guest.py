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
console is a separate stream, kept in a file and watched for crashes.

Lifetime: QEMU dies with the thread that called start() (PR_SET_PDEATHSIG), so
start guests from a thread that lives as long as they should.  Nothing here
needs root; a tap needs a network namespace of one's own: see scripts/netns.

Python, as virtme-ng: sockets, threads and deadlines are its standard library.
"""
import ctypes
import fcntl
import functools
import io
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time

import initramfs

ROOT = initramfs.ROOT
BUILD = initramfs.BUILD
KERNEL = BUILD / "kernel"

# Exit codes of run-guest; CMD's own codes never lie in this range (see exit_code()).
EX_CMD_RANGE = 119
EX_USAGE = 120
EX_HOST = 121
EX_KERNEL = 122
EX_BOOT = 123
EX_TIMEOUT = 124
EX_CRASH = 125
EX_LOST = 126
EX_FILES = 127

BOOT_DEADLINE_S = {"kvm": 60, "tcg": 120}
DEBUG_SLOWER = 6		# boot deadline of kernels with KASAN, KCSAN or lockdep
GUEST_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/nom/examples"
MAC = "52:54:00:6e:6f:{:02x}"
NIC_SLOT = 0x10			# PCI slot of the first network device: 0000:00:10.0
SPAWN_LOG = "/run/spawn-{}.log"
CONSOLE_TAIL = 25

RUN_F_LOG = 1
RUN_F_STDIN = 2
HEAD = struct.Struct("<IHBB")

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
BOOT_TRIES = 3
PANIC = re.compile(_STAMP + r"Kernel panic - not syncing")


def kernel_trouble(line):
    """Is this a line of the kernel's log that no healthy guest prints?"""
    return bool(CRASH.search(line)) and not STARVED.search(line)


class GuestError(Exception):
    """What went wrong and what to do about it; .code is run-guest's exit code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class CommandTimeout(GuestError):
    """A command did not end in time; it was killed, .output is what it printed."""

    def __init__(self, text, output):
        super().__init__(EX_TIMEOUT, text)
        self.output = output


def die_with_parent():
    """In a child between fork and exec: SIGKILL when the parent thread ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)	# PR_SET_PDEATHSIG


def accelerator(wanted="auto"):
    """(name, reason).  /dev/kvm can exist with no hardware behind it: the CPU flag decides first."""
    if wanted == "tcg":
        return "tcg", "asked for"
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        flags = ""
    if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", flags, re.M):
        why = "no vmx or svm CPU flag"
    else:
        try:
            os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
            return "kvm", "vmx or svm CPU flag, /dev/kvm opens"
        except OSError as error:
            why = f"/dev/kvm: {error.strerror}"
    if wanted == "kvm":
        raise GuestError(EX_HOST, f"--accel kvm: {why}; use --accel tcg or a machine with hardware virtualisation")
    return "tcg", why


def host_tsc_khz():
    """Frequency of the host's time stamp counter, which emulated guests read."""
    try:
        return int(subprocess.run([initramfs.compile_tool("tsc-khz")], capture_output=True, text=True, check=True).stdout)
    except initramfs.ImageError as error:
        raise GuestError(EX_HOST, str(error)) from None


@functools.cache
def may_yield():
    """May we leave SCHED_IDLE again?  Not without CAP_SYS_NICE, as most users' limits are."""
    allowed = []

    def there_and_back():
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
        try:
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_OTHER, os.sched_param(0))
            allowed.append(True)
        except PermissionError:
            pass
    thread = threading.Thread(target=there_and_back)
    thread.start()
    thread.join()
    return bool(allowed)


def exit_code(status):
    """A wait status as run-guest's exit code: (code, note or None)."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return 128 + number, f"command killed by signal {number}"
    code = os.WEXITSTATUS(status)
    if EX_CMD_RANGE <= code <= EX_FILES:
        return EX_CMD_RANGE, f"command exited with {code}, reported as {EX_CMD_RANGE}"
    return code, None


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


class Guest:
    """See the top of this file.  Every method may raise GuestError.

    accel      auto, kvm or tcg
    smp, mem   as QEMU's
    kernel     directory with bzImage (and config, System.map); or a kernel image
    nom_cpus, nom_mem   reserved for nom; None: not given to the kernel
    net        none: `nics` devices on one hub inside QEMU; tap: on taps t0, t1...
               of the network namespace we are in
    plugin     list of "FILE,ARG=..." for QEMU's -plugin
    icount     guest time counts instructions (single-threaded TCG)
    extra      list of (source, path in the guest)
    module     load nom.ko; then a kernel or module without nom is an error
    """

    def __init__(self, accel="auto", smp=2, mem="2G", kernel=None, nom_cpus="1", nom_mem="256M", net="none", nics=0,
                 append=(), qemu_args=(), plugin=(), icount=False, gdb=False, boot_deadline=None,
                 console_log=None, module=True, extra=(), say=None, build=BUILD):
        self.say = say or (lambda line: None)
        self.build = build
        self.kernel = pathlib.Path(kernel or KERNEL)
        self.wanted_accel = accel
        self.smp, self.mem, self.nom_cpus, self.nom_mem = smp, mem, nom_cpus, nom_mem
        self.net, self.nics = net, nics
        self.append, self.qemu_args, self.plugin = list(append), list(qemu_args), list(plugin)
        self.icount, self.gdb, self.module, self.extra = icount, gdb, module, list(extra)
        self.accel, self.accel_why = accelerator(accel)
        if self.accel == "kvm" and (icount or plugin):
            raise GuestError(EX_USAGE, "--icount and --plugin count emulated instructions: add --accel tcg")
        self.config = self._read_config()
        self.deadline = boot_deadline or BOOT_DEADLINE_S[self.accel] * (DEBUG_SLOWER if self._is_debug() else 1)
        self.console_log = pathlib.Path(console_log) if console_log else initramfs.GUEST / "console.log"
        self.gdb_socket = initramfs.GUEST / f"gdb-{os.getpid()}.sock"
        self.command = []
        self._qemu = None
        self._send_lock = threading.Lock()
        self._changed = threading.Condition()
        self._reset()

    def _reset(self):
        """The state of a guest that was not started."""
        self.hello = {}
        self.crash_lines = []
        self.starved = 0	# times the host gave a processor no time for 3 s
        self._sock = None
        self._jobs = {}
        self._next_job = 1
        self._console_tail = []
        self._console_done = False
        self._panicked = False
        self._closed = False
        self._log_lock = None
        self._threads = []

    # -- what to start ---------------------------------------------------

    def _read_config(self):
        try:
            text = (self.kernel / "config").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        return set(re.findall(r"^(CONFIG_\w+)=[ym]", text, re.M))

    def _is_debug(self):
        return bool(self.config and self.config & {"CONFIG_KASAN", "CONFIG_KCSAN", "CONFIG_PROVE_LOCKING"})

    @property
    def image(self):
        """The kernel image."""
        return self.kernel / "bzImage" if self.kernel.is_dir() or not self.kernel.exists() else self.kernel

    @property
    def pid(self):
        """QEMU's process."""
        return self._qemu.pid

    def bdf(self, nic=0):
        """PCI address of a network device."""
        return f"0000:00:{NIC_SLOT + nic:02x}.0"

    def mac(self, nic=0):
        return MAC.format(nic + 1)

    @property
    def port(self):
        """The guest's end of the command channel."""
        return "/dev/vport0p1" if self.config and "CONFIG_VIRTIO_CONSOLE" in self.config else "/dev/ttyS1"

    def qemu_command(self, initrd, agent_fd):
        """The QEMU command line."""
        words = ["console=ttyS0", "panic=-1", "tsc=reliable", "clocksource=tsc",
                 "random.trust_cpu=on", f"nom.agent={self.port}"]
        if self.accel == "tcg":
            # The IO-APIC's timer check counts ticks over a few emulated milliseconds; on a
            # busy host none may come, and the kernel gives up.  KVM guests skip it as well.
            words.append("no_timer_check")
            if not self.icount and os.uname().machine == "x86_64":
                words.append(f"tsc_early_khz={host_tsc_khz()}")
        if self.nom_cpus:
            words.append(f"nom_cpus={self.nom_cpus}")
        if self.nom_mem:
            words.append(f"nom_mem={self.nom_mem}")
        if not self.module:
            words.append("nom.module=0")
        if self.plugin or self.gdb:
            words.append("nokaslr")	# System.map holds then
        words += self.append
        accel = "kvm" if self.accel == "kvm" else f"tcg,thread={'single' if self.icount else 'multi'}"
        cmd = ["qemu-system-x86_64", "-accel", accel, "-cpu", "host" if self.accel == "kvm" else "max",
               "-name", "nom-guest,debug-threads=on", "-M", "q35", "-smp", str(self.smp), "-m", str(self.mem),
               "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot",
               "-kernel", str(self.image), "-initrd", str(initrd), "-append", " ".join(words),
               "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
               "-chardev", f"socket,id=agent,fd={agent_fd}"]
        if self.port == "/dev/ttyS1":
            cmd += ["-serial", "chardev:agent"]
        else:
            cmd += ["-device", "virtio-serial-pci,max_ports=2,disable-legacy=on,addr=0x0f",
                    "-device", "virtserialport,chardev=agent,nr=1,name=nom.agent"]
        # A doorbell of a polling guest is cheaper handled in the vCPU's thread than
        # through an eventfd when there is no vhost at its other end.
        eventfd = "" if self.accel == "kvm" else ",ioeventfd=off"
        for n in range(self.nics):
            if self.net == "tap":
                vhost = ",vhost=on" if self.accel == "kvm" and os.access("/dev/vhost-net", os.R_OK | os.W_OK) else ""
                cmd += ["-netdev", f"tap,id=n{n},ifname=t{n},script=no,downscript=no{vhost}"]
            else:
                cmd += ["-netdev", f"hubport,id=n{n},hubid=0"]
            cmd += ["-device", f"virtio-net-pci,netdev=n{n},mac={self.mac(n)},disable-legacy=on,addr={NIC_SLOT + n:#x},romfile={eventfd}"]
        if self.icount:
            cmd += ["-icount", "shift=0"]
        for spec in self.plugin:
            cmd += ["-plugin", spec]
        if self.gdb:
            cmd += ["-gdb", f"unix:{self.gdb_socket},server=on,wait=off", "-S"]
        return cmd + self.qemu_args

    def gdb_line(self):
        vmlinux = self.kernel / "tree/vmlinux"
        return f"gdb {vmlinux if vmlinux.exists() else '/path/to/vmlinux'} -ex 'target remote {self.gdb_socket}'"

    # -- life ---------------------------------------------------------------

    def check(self):
        """What the host lacks, as one error."""
        if not shutil.which("qemu-system-x86_64"):
            raise GuestError(EX_HOST, "no qemu-system-x86_64 in PATH: run scripts/install-deps (package qemu-system-x86)")
        if not self.image.is_file():
            raise GuestError(EX_KERNEL, f"no kernel at {self.image}: run `make kernel`, or give --kernel DIR")
        if self.module and self.config is not None and "CONFIG_NOM" not in self.config:
            raise GuestError(EX_KERNEL, f"the kernel in {self.kernel} has no nom (CONFIG_NOM is not set): "
                             "run `make kernel`, or boot it as it is with --no-module")
        if self.net == "tap":
            for n in range(self.nics):
                if f"t{n}" not in os.environ.get("NOM_NETNS", "").split():
                    raise GuestError(EX_HOST, f"no tap t{n} here: start through scripts/netns --taps {self.nics} -- ...")
            if self.nics and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
                raise GuestError(EX_HOST, "/dev/net/tun cannot be opened: as root, `modprobe tun; chmod 666 /dev/net/tun`")

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
            self._open_log()
            self._stderr_path = self.console_log.with_suffix(".qemu")
            with open(self._stderr_path, "wb") as stderr:
                # stdin is a pipe nobody writes to: the console takes no input.
                self._qemu = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                                              pass_fds=[theirs.fileno()], preexec_fn=die_with_parent, process_group=0)
        except OSError as error:
            raise GuestError(EX_HOST, f"cannot start QEMU: {error}") from None
        finally:
            theirs.close()
        for target in (self._watch_console, self._read_frames):
            thread = threading.Thread(target=target, daemon=True)
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

    def _open_log(self):
        """Two guests must not share a log: the second one gets a name of its own."""
        self.console_log.parent.mkdir(parents=True, exist_ok=True)
        file = open(self.console_log, "ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            self.console_log = self.console_log.with_name(f"{self.console_log.stem}-{os.getpid()}-{id(self) & 0xffff}.log")
            self.say(f"another guest is running: console goes to {self.console_log}")
            file = open(self.console_log, "ab")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        self._log_lock = file

    def _watch_console(self):
        rest = b""
        fd = self._qemu.stdout.fileno()
        while True:
            try:
                chunk = os.read(fd, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                break
            self._log_lock.write(chunk)
            self._log_lock.flush()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._console_line(line.decode(errors="replace").rstrip("\r"))
        if rest:
            self._console_line(rest.decode(errors="replace"))
        with self._changed:
            self._console_done = True
            self._changed.notify_all()

    def _console_line(self, line):
        with self._changed:
            self._console_tail = self._console_tail[-(CONSOLE_TAIL - 1):] + [line]
            if STARVED.search(line):
                self.starved += 1
            if self.crash_lines and len(self.crash_lines) < 60 or kernel_trouble(line):
                self.crash_lines.append(line)
            if PANIC.search(line):
                self._panicked = True
            self._changed.notify_all()

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
        tail = "\n".join("    | " + line for line in self._console_tail)
        return GuestError(code, f"{text}\n  console ({self.console_log}), last lines:\n{tail}" if tail else
                          f"{text}\n  console ({self.console_log}): nothing")

    def _dead(self):
        """Call with the lock held: why no answer can come any more, or None."""
        if self._panicked:
            # let the last lines arrive; QEMU ends by itself (panic=-1, -no-reboot)
            end = time.monotonic() + 3
            while not self._console_done and time.monotonic() < end:
                self._changed.wait(0.2)
            return GuestError(EX_CRASH, self.crash_text())
        if self._closed or self._console_done:
            end = time.monotonic() + 2
            while not self._console_done and time.monotonic() < end:
                self._changed.wait(0.2)
            if self._panicked:
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
        for pipe in (self._qemu.stdin, self._qemu.stdout, self._log_lock):
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
            return not (self._closed or self._panicked or self._console_done)

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
