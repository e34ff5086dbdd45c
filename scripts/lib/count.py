# SPDX-License-Identifier: MIT
"""count - read what the tcg-count plugin counts (scripts/tcg-count/layout.h)

    plugin = Counters(path, kernel_dir)
    guest = Guest(accel="tcg", plugin=[plugin.spec()])
    before = plugin.read(); ...; delta = plugin.read() - before
    delta.vcpu(1)["user_busy"], delta.vcpu(0)["do_syscall_64"]
"""
import mmap
import pathlib
import struct
import subprocess

import initramfs

MAGIC = 0x544e43474f4d4f4e
VERSION = 2
VCPUS, SYMBOLS, NAME = 8, 24, 40
WORDS = ("user_idle", "user_busy", "kernel_idle", "kernel_busy", "begin", "end", "doorbell",
         "halts", "doze", "rests", "rest", "wakes", "wake", "wakes_other", "wake_other", "answers", "answer_kernel", "answer_user",
         None, None, None, None, None, None)
HEADER = struct.Struct("<QIIII40x")
VCPU = struct.Struct(f"<{len(WORDS)}Q{SYMBOLS}Q64x")
NAMES_AT = HEADER.size
VCPUS_AT = NAMES_AT + SYMBOLS * NAME

# What each event of a report is made of; a symbol that a kernel lacks counts nothing.
EVENTS = {
    "syscalls": ("do_syscall_64",),
    "context_switches": ("__switch_to_asm",),
    "interrupts_device": ("common_interrupt",),
    "interrupts_timer": ("sysvec_apic_timer_interrupt",),
    "interrupts_ipi": ("sysvec_reschedule_ipi", "sysvec_call_function", "sysvec_call_function_single", "sysvec_irq_work"),
    "page_faults": ("exc_page_fault",),
    "kicks": ("vp_notify", "vp_notify_with_data"),
}
# Without these a report would be silently wrong.
REQUIRED = ("do_syscall_64", "__switch_to_asm", "common_interrupt", "vp_notify")


class CountError(Exception):
    """The plugin cannot be used; the text says what to do."""


def usable_plugin(name="tcg-count"):
    """The plugin build that the installed QEMU takes: tried, as version numbers have surprised before.

    Newest interface first: QEMU refuses what is newer than itself, but may take
    an older number although a call has changed meanwhile.
    """
    files = sorted((initramfs.BUILD / "plugin").glob(f"{name}-[0-9].so"), reverse=True)
    if not files:
        raise CountError(f"build/plugin/{name}-*.so is not built: run `make plugin`")
    said = ""
    for file in files:
        command = ["qemu-system-x86_64", "-M", "none", "-accel", "tcg", "-display", "none", "-nodefaults", "-monitor", "stdio",
                   "-plugin", f"{file},out=/dev/null,probe=on"]
        try:
            done = subprocess.run(command, input="quit\n", capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CountError(f"qemu-system-x86_64 does not run: {error}: see scripts/install-deps") from None
        if done.returncode == 0:
            return file
        said = done.stderr.strip()
    raise CountError(f"this QEMU takes none of our plugin builds (interfaces 1 to 3): {said}")


class Counts:
    """One reading, or the difference of two."""

    def __init__(self, words):
        self.words = words	# list per vCPU of {name: value}

    def __sub__(self, other):
        return Counts([{k: v[k] - o[k] for k in v} for v, o in zip(self.words, other.words)])

    def vcpu(self, n):
        return self.words[n]

    def event(self, n, name):
        """Executions on vCPU n of an event of EVENTS."""
        return sum(self.words[n].get(symbol, 0) for symbol in EVENTS[name])

    def user(self, n):
        return self.words[n]["user_idle"] + self.words[n]["user_busy"]

    def kernel(self, n):
        return self.words[n]["kernel_idle"] + self.words[n]["kernel_busy"]


class Counters:
    """The plugin's arguments, and its file."""

    def __init__(self, path, kernel_dir, extra=()):
        """`extra`: more kernel symbols to count."""
        self.path = pathlib.Path(path)
        self.plugin = usable_plugin()
        wanted = {s for symbols in EVENTS.values() for s in symbols} | set(extra)
        system_map = pathlib.Path(kernel_dir) / "System.map"
        try:
            text = system_map.read_text(encoding="ascii")
        except OSError as error:
            raise CountError(f"{system_map}: {error.strerror}: run `make kernel`") from None
        self.symbols = {}
        for line in text.splitlines():
            address, _, name = line.split(maxsplit=2)
            if name in wanted:
                self.symbols.setdefault(name, int(address, 16))
        missing = [s for s in (*REQUIRED, *extra) if s not in self.symbols]
        if missing:
            raise CountError(f"{system_map} has no {' '.join(missing)}: the counts would be wrong")
        self._map = None

    def spec(self):
        """The argument of QEMU's -plugin."""
        return ",".join([str(self.plugin), f"out={self.path}"] + [f"{n}={a:#x}" for n, a in self.symbols.items()])

    def read(self):
        """The figures of now."""
        if self._map is None:
            with open(self.path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        magic, version, size, nr_vcpus, nr_symbols = HEADER.unpack_from(self._map)
        if (magic, version, size) != (MAGIC, VERSION, VCPUS_AT + VCPUS * VCPU.size):
            raise CountError(f"{self.path}: not written by this plugin (rebuild: make plugin)")
        names = [self._map[NAMES_AT + i * NAME:NAMES_AT + (i + 1) * NAME].rstrip(b"\0").decode() for i in range(nr_symbols)]
        counts = []
        for n in range(nr_vcpus):
            values = VCPU.unpack_from(self._map, VCPUS_AT + n * VCPU.size)
            words = {w: v for w, v in zip(WORDS, values) if w}
            words.update(zip(names, values[len(WORDS):]))
            counts.append(words)
        return Counts(counts)
