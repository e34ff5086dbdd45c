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
# Sleeping at once costs thousands of instructions a request at one under way; polling for long
# keeps ksoftirqd, which has the same core, from taking frames (Documentation/measuring.rst).
PACKET_IDLE_US = 200


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


class GuestServer:
    """Subclasses have a name, an address of the in-tree interface, command() and answers()."""

    name = ""
    address = ""

    def __init__(self, guest, variant, tuned):
        """tuned: a setting of the in-tree stack."""
        self.guest, self.variant, self.tuning = guest, variant, tuned
        self.job, self.ran = None, []

    def on_nom(self):
        return self.variant.startswith("nom")

    def on_packet(self):
        """Our stack, over a packet socket on the kernel's interface."""
        return self.variant == "packet"

    def command(self):
        raise NotImplementedError

    def answers(self):
        """Ask once; LoadError when there is no answer."""
        raise NotImplementedError

    def packet_options(self, cpu):
        return ["--stack", "packet", "--device", "eth0", "--ip", self.address, "--cpu", str(cpu), "--idle-us", str(PACKET_IDLE_US)]

    def linux_options(self, cpu):
        busy = ["--busy-poll-us", str(self.tuning.prefer_us)] if self.tuning.prefer_us else []
        return ["--stack", "linux", "--cpu", str(cpu), *busy]

    def __enter__(self):
        if self.on_nom():
            self.guest.run("ip addr flush dev eth0; ip link set eth0 down", timeout=20)
        elif self.on_packet():
            # Without an address: the kernel's stack is to answer nothing.
            self.guest.capture(f"ip addr flush dev eth0 && ip link set eth0 up && {tuning.commands(self.tuning)}", timeout=20)
        else:
            # Over a packet socket the address had another Ethernet address: coming up, the interface tells its own.
            self.guest.capture("ip link set eth0 down && echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify && "
                               f"ip addr replace {self.address} dev eth0 && ip link set eth0 up && {tuning.commands(self.tuning)}", timeout=20)
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
        if self.on_nom() or self.on_packet():
            told.update(stack_settings(self.guest, self.name))
        return told

    def counters(self):
        """Name -> value of the counters on the application's page."""
        return json.loads(self.guest.capture(["nomctl", "stat", self.name, "--json"], timeout=20))
