# SPDX-License-Identifier: MIT
"""boots - guests in which servers are loaded, and what their loads yield

Boots for wall-clock time run without the counting plugin, boots for counts
with it.  Boot.load() takes the figures of one load; who is loaded with what,
and in which order, is the business of compare-nhttpd and of lib/wide.py.
"""
import datetime
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

import count
import exits
import guest as g
import hostload
import httpload
import links
import nhttpd
import qmp

SETTLE_S, TIMED_SETTLE_S = 0.3, 0.1	# before counts, before times
BUSY_HOST = 0.15		# part of the host's CPU that others may take before a figure is called disturbed
REPEATS = 2			# of boots that the emulator spoiled
HOST_CORES = os.sched_getaffinity(0)
# QEMU's words for a device without checksums, segmentation, large receive or merged buffers
OFFLOADS = ("csum", "gso", "guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "host_tso4", "host_tso6",
            "host_ecn", "host_ufo", "mrg_rxbuf")
OFFLOADS_OFF = [word for name in OFFLOADS for word in ("-global", f"virtio-net-pci.{name}=off")]


def say(text):
    print(f"compare: {text}", file=sys.stderr, flush=True)


class Progress:
    """Cells done, and when the rest may be."""

    def __init__(self, total):
        self.total, self.done, self.began = total, 0, time.monotonic()
        self.repeats = 0

    def step(self, text):
        self.done += 1
        gone = time.monotonic() - self.began
        left = gone / self.done * (self.total - self.done)
        say(f"[{self.done:3}/{self.total}] {text}; about {left:.0f} s left")


def about_machine(args, guest):
    """What a reader of any figure must know, from the first boot; "settings" are the caller's to add to."""
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False).stdout.splitlines()[0]
    cpu = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace"), re.M)
    return {
        "accelerator": guest.accel, "accelerator_reason": guest.accel_why, "qemu": qemu, "kernel": guest.hello.get("kernel", "?"),
        "cores": os.cpu_count(), "host_kernel": platform.release(), "host_cpu": cpu.group(1) if cpu else "?",
        "time_scale": nhttpd.TIME_SCALE[guest.accel], "emulation_factor_measured": nhttpd.emulation_factor(guest),
        "mem": guest.mem, "smp": guest.smp, "host_load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "mitigations": nhttpd.mitigations(guest), "load_generator": httpload.version(),
        "topology": links.Tap.text,
        "settings": {
            "seconds_per_cell": args.seconds, "boots": args.boots, "count_boots": args.count_boots,
            "host_cores": "placed by the host's scheduler" if args.no_pin or len(HOST_CORES) < 2 else
                          "one for the serving vCPU; the others for QEMU's other threads and the load generator" +
                          (", to which the vCPU that does not serve yields (SCHED_IDLE)" if g.may_yield() else ""),
            "kernel_parameters": guest.command[guest.command.index("-append") + 1],
            "qemu_command": " ".join(guest.command), "device": "virtio-net-pci,disable-legacy=on",
            "offloads_in_tree": nhttpd.offloads(guest),
        },
    }


class Boot:
    """One guest and what is measured in it."""
    monitor = None

    def __init__(self, args, number, counting, extra=(), link=links.Tap.name, offloads=True, ioeventfd=()):
        """extra: (source, path) pairs for the guest's root file system; link: of links.LINKS; offloads: the device has them;
        ioeventfd: of each device on a tap (links.Tap)."""
        self.args, self.number, self.counting, self.extra, self.offloads = args, number, counting, extra, offloads
        self.link = links.make(link, ioeventfd)
        self.counters = None
        self.plugin = []
        if counting:
            path = g.BUILD / "guest" / f"count-{os.getpid()}.bin"
            self.counters = count.Counters(path, args.kernel or g.KERNEL)
            self.plugin = [self.counters.spec()]
        self.guest = None

    def prepare(self):
        """Files to serve and prices, once the guest runs."""

    def __enter__(self):
        os.sched_setaffinity(0, HOST_CORES)	# for QEMU, which inherits it
        self.link.__enter__()
        try:
            monitor = g.BUILD / "guest" / f"compare-{os.getpid()}.qmp"
            machine = self.link.machine()
            machine["qemu_args"] = [*machine.get("qemu_args", ()), *([] if self.offloads else OFFLOADS_OFF), "-qmp", f"unix:{monitor},server=on,wait=off"]
            self.guest = g.Guest(accel="tcg" if self.counting else self.args.accel, kernel=self.args.kernel, plugin=self.plugin, extra=self.extra,
                                 console_log=g.BUILD / "guest" / "compare-console.log", **machine)
            self.guest.__enter__()
            self.monitor = qmp.Qmp(monitor)
            monitor.unlink()
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        if self.monitor:
            self.monitor.__exit__(*error)
        if self.guest:
            self.guest.__exit__(*error)
        self.link.__exit__(*error)
        if self.counters:
            self.counters.path.unlink(missing_ok=True)

    def pin(self, variant):
        """The serving vCPU gets a host core of its own; QEMU's other threads and the generator share the rest, in all variants."""
        if self.args.no_pin or len(HOST_CORES) < 2:
            return
        own = {max(HOST_CORES)}
        self.guest.pin(nhttpd.serving_vcpu(variant), own, HOST_CORES - own)
        os.sched_setaffinity(0, HOST_CORES - own)
        self.link.pin(HOST_CORES - own)

    def order(self, variants):
        """Alternates, so that no stack always has the fresher machine."""
        return variants if self.number % 2 else variants[::-1]

    def load(self, run):
        """What run() yields, how much of the host somebody else had meanwhile, and what the hypervisor counted."""
        before = exits.read(self.monitor) if self.monitor else None
        others = hostload.Others([self.guest.pid, *self.link.pids])
        figures = run()
        return {**figures, "other_cpu": others.share(), "exits": (before, exits.read(self.monitor) if self.monitor else None)}

    def measure(self, server, run):
        """What run() yields and, in a counting boot, the plugin's counts; the server's own counters beside them."""
        before_stat = server.counters()
        time.sleep(SETTLE_S if self.counters else TIMED_SETTLE_S)		# the command channel is silent from here on
        before = self.counters.read() if self.counters else None
        load = self.load(run)
        after = self.counters.read() if self.counters else None
        after_stat = server.counters()
        stat = {k: after_stat[k] - before_stat.get(k, 0) for k in after_stat}
        return load, (after - before if before else None), stat


def boot_again(make, work, progress):
    """work(boot) in a boot that make() makes; booted again should the emulator's own race end it."""
    while True:
        done, boot = progress.done, make()
        try:
            with boot:
                figures = work(boot)
                if boot.guest.crash_lines:
                    raise g.GuestError(g.EX_CRASH, boot.guest.crash_text())
            if boot.guest.starved:
                say(f"boot {boot.number}: the host gave the guest's processors no time for seconds; its times are the host's")
            return figures
        except g.GuestError:
            if not boot.guest or not boot.guest.stale_code or progress.repeats == REPEATS:
                raise
            progress.repeats += 1
            progress.done = done
            say(f"boot {boot.number}: QEMU ran code that was just being patched (a race, fixed in 8.1); this boot is repeated")
