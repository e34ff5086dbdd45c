# SPDX-License-Identifier: MIT
"""nomudp - run the responder of the comparison in a guest, and load it with datagrams

The variants differ in nothing but --stack and --tier, and the core.  The device
moves from one to the other, as with nhttpd (lib/nhttpd.py).
"""
import json
import signal
import subprocess
import time

import guest as g
import nhttpd
import openload
import tuning
from guest import die_with_parent
from httpload import LoadError

PORT, BYTES = 7000, 32
TIMEOUT_MS = 500		# on an emulated machine whose cores others want, too
START_S = 20

VARIANTS = {
    "linux-default": "in-tree stack and driver with the kernel's defaults, recvmmsg and sendmmsg, core 0",
    "linux-tuned": "the same with the best of the settings of scripts/lib/tuning.py, core 0",
    "nom-native": "private stack and driver, nomstack_udp_*(), reserved core 1",
    "nom": "raw tier: frames, answers in their place, reserved core 1",
}


class ServerError(Exception):
    """The responder does not run; the text says why."""


def check_built():
    for name in ("nomudp", "nomctl", "nom-load"):
        if not (g.BUILD / "bin" / name).is_file():
            raise ServerError(f"build/bin/{name} is not built: run `make user`")
    if not (g.BUILD / "nom.ko").is_file():
        raise ServerError("build/nom.ko is not built: run `make module`")


def is_nom(variant):
    return variant.startswith("nom")


def side(variant):
    """What lib/nhttpd.py and lib/boots.py call it: which core serves, and how its instructions are told."""
    return "nom" if is_nom(variant) else variant


def url(nic=0):
    return f"udp://{nhttpd.address(nic)}:{PORT}"


def load(seconds, connections, rate=None, size=BYTES, nic=0):
    """nom-load's figures as a dict: a closed loop, or with a rate an open one; LoadError when nothing was answered.  nic: number of the device."""
    loop = ["--rate", f"{rate:.1f}", "--seed", str(openload.SEED)] if rate else ["--closed"]
    command = [str(openload.NOM_LOAD), *loop, "--connections", str(connections), "--seconds", str(seconds), "--bytes", str(size),
               "--timeout-ms", str(TIMEOUT_MS), "--warm-up", str(openload.WARM_S), "--drain", str(openload.DRAIN_S), url(nic)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False, preexec_fn=die_with_parent)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"nom-load: {error}") from None
    if done.returncode:
        raise LoadError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout)


class Server:
    """nomudp in the guest for the length of a with block."""

    def __init__(self, guest, variant, tuned=None, w_us=0, nic=0):
        self.guest, self.variant, self.w_us, self.nic = guest, variant, w_us, nic
        self.tuning = tuned or tuning.DEFAULT
        self.job, self.ran = None, []

    def command(self):
        common = ["nomudp", "--port", str(PORT)]
        if not is_nom(self.variant):
            busy = ["--busy-poll-us", str(self.tuning.prefer_us)] if self.tuning.prefer_us else []
            return [*common, "--stack", "linux", "--cpu", str(nhttpd.LINUX_CPU), *busy]
        return [*common, "--stack", "nom", "--tier", "native" if self.variant == "nom-native" else "raw", "--device", self.guest.bdf(self.nic),
                "--ip", f"{nhttpd.address(self.nic)}/{nhttpd.PREFIX}", "--cpu", str(nhttpd.NOM_CPU), *(["--w-us", str(self.w_us)] if self.w_us else [])]

    def __enter__(self):
        if is_nom(self.variant):
            self.guest.run(nhttpd.settle_device(-1), timeout=20)
        else:
            self.guest.capture(nhttpd.in_tree_commands(self.nic, self.tuning), timeout=20)
        self.ran = self.command()
        self.job = self.guest.spawn(self.ran)
        try:
            end = time.monotonic() + START_S
            while True:
                self.check()
                try:
                    load(0.2, 1, nic=self.nic)
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
            raise ServerError(f"nomudp ended with status {g.exit_code(status)[0]}; it printed:\n{self.guest.log_of(self.job)}")

    def stop(self):
        if self.guest.alive() and self.job is not None:
            self.guest.end(self.job, signal.SIGTERM)

    def settings(self):
        """What it was started with and, where it has knobs, how they stand."""
        if not is_nom(self.variant):
            return {"command": " ".join(self.ran), "knobs": self.tuning.text()}
        tuned = json.loads(self.guest.capture(["nomctl", "tune", "nomudp", "--json"], timeout=20))
        return {"command": " ".join(self.ran), "knobs": " ".join(f"{k['name']}={k['value']}" for k in tuned["knobs"])}

    def counters(self):
        """Name -> value of the counters on the application's page."""
        return json.loads(self.guest.capture(["nomctl", "stat", "nomudp", "--json"], timeout=20))
