# SPDX-License-Identifier: MIT
"""guestserver - one of our servers in a guest, for the length of a with block

nhttpd and nomudp start, answer, are looked at and end alike; what differs is the
command line and how to ask for the first answer.
"""
import json
import signal
import time

import guest as g
import tuning
from httpload import LoadError

START_S = 20
PREFIX = 24
# Sleeping at once costs thousands of instructions a request at one under way; polling for long
# keeps ksoftirqd, which has the same core, from taking frames (Documentation/measuring.rst).
PACKET_IDLE_US = 200
INTERFACE = {"packet": tuning.PACKET, "xdp": tuning.XDP}	# our stack on the kernel's interface, and what that is set to


class ServerError(Exception):
    """The server does not run; the text says why."""


def check_built(*programs):
    for name in programs:
        if not (g.BUILD / "bin" / name).is_file():
            raise ServerError(f"build/bin/{name} is not built: run `make user`")
    if not (g.BUILD / "nom.ko").is_file():
        raise ServerError("build/nom.ko is not built: run `make module`")


def stack_settings(guest, app):
    """Of an application's private stack, as text: profile, knobs, what the device was asked for."""
    tuned = json.loads(guest.capture(["nomctl", "tune", app, "--json"], timeout=20))
    facts = json.loads(guest.capture(["nomctl", "stat", app, "--dump", "--json", "--watch-ms", "0"], timeout=20))["dump"]
    return {"profile": tuned["profile"], "knobs": " ".join(f"{k['name']}={k['value']}" for k in tuned["knobs"]),
            "device": f"features 0x{facts['stack']['features']} mtu {facts['stack']['mtu']}"}


def on_nom(variant):
    return variant.startswith("nom")


def address(nic):
    """The guest's, on its nic-th device (scripts/netns)."""
    return f"10.0.{nic}.2"


def settle_device(nic):
    """A shell command that leaves no device but the nic-th an address; -1: none."""
    keep = f"eth{nic}"
    return f"for d in /sys/class/net/eth*; do d=${{d##*/}}; [ $d = {keep} ] || {{ ip addr flush dev $d; ip link set $d down; }}; done"


def in_tree_commands(nic, setting):
    """Gives the nic-th device its address and a setting of the in-tree stack.

    Over one of our sockets that address had another Ethernet address: coming up, the interface tells its own.
    """
    device = f"eth{nic}"
    return (f"{settle_device(nic)}; ip link set {device} down && echo 1 > /proc/sys/net/ipv4/conf/{device}/arp_notify && "
            f"ip addr replace {address(nic)}/{PREFIX} dev {device} && ip link set {device} up && {tuning.commands(setting, device)}")


def interface_commands(nic, setting):
    """The nic-th device up and without an address: the kernel's stack is to answer nothing."""
    device = f"eth{nic}"
    return f"{settle_device(nic)}; ip addr flush dev {device} && ip link set {device} up && {tuning.commands(setting, device)}"


class GuestServer:
    """Subclasses have a name, command() and answers()."""

    name = ""

    def __init__(self, guest, variant, tuned, nic=0):
        """tuned: a setting of the in-tree stack; nic: number of the device."""
        self.guest, self.variant, self.tuning, self.nic = guest, variant, tuned, nic
        self.job, self.ran = None, []

    def on_nom(self):
        return on_nom(self.variant)

    def on_interface(self):
        """Our stack, over a packet socket or an AF_XDP one on the kernel's interface."""
        return self.variant in INTERFACE

    def command(self):
        raise NotImplementedError

    def answers(self):
        """Ask once; LoadError when there is no answer."""
        raise NotImplementedError

    def interface_options(self, cpu):
        return ["--stack", self.variant, "--device", f"eth{self.nic}", "--ip", f"{address(self.nic)}/{PREFIX}", "--cpu", str(cpu),
                "--idle-us", str(PACKET_IDLE_US), *(["--busy-poll-us", str(self.tuning.prefer_us)] if self.tuning.prefer_us else [])]

    def linux_options(self, cpu):
        busy = ["--busy-poll-us", str(self.tuning.prefer_us)] if self.tuning.prefer_us else []
        return ["--stack", "linux", "--cpu", str(cpu), *busy]

    def nom_options(self, cpu):
        return ["--stack", "nom", "--device", self.guest.bdf(self.nic), "--ip", f"{address(self.nic)}/{PREFIX}", "--cpu", str(cpu)]

    def __enter__(self):
        if self.on_nom():
            self.guest.run(settle_device(-1), timeout=20)
        elif self.on_interface():
            self.guest.capture(interface_commands(self.nic, self.tuning), timeout=20)
        else:
            self.guest.capture(in_tree_commands(self.nic, self.tuning), timeout=20)
        self.ran = self.command()
        self.job = self.guest.spawn(self.ran)
        try:
            end = time.monotonic() + START_S
            while True:
                self.check()
                try:
                    self.answers()
                    return self
                except LoadError as error:
                    if time.monotonic() > end:
                        raise ServerError(f"{error}; it printed:\n{self.guest.log_of(self.job)}") from None
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def check(self):
        """ServerError when the process is gone."""
        if not self.guest.running(self.job):
            status = self.guest.wait(self.job, 1)
            raise ServerError(f"{self.name} ended with status {g.exit_code(status)[0]}; it printed:\n{self.guest.log_of(self.job)}")

    def stop(self):
        if self.guest.alive() and self.job is not None:
            self.guest.end(self.job, signal.SIGTERM)

    def settings(self):
        """What it was started with and, of a private stack, what holds in it: profile, knobs, what the device was asked for."""
        told = {"command": " ".join(self.ran)}
        if self.on_nom() or self.on_interface():
            told.update(stack_settings(self.guest, self.name))
        return told

    def counters(self):
        """Name -> value of the counters on the application's page."""
        return json.loads(self.guest.capture(["nomctl", "stat", self.name, "--json"], timeout=20))
