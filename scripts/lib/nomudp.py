# SPDX-License-Identifier: MIT
"""nomudp - run the responder of the comparison in a guest, and load it with datagrams

The variants differ in nothing but --stack, --device and --tier, and the core.  The device
moves from one to the other, as with nhttpd (lib/nhttpd.py).
"""
import json
import subprocess

import guestserver
import nhttpd
import openload
import tuning
from guest import die_with_parent
from httpload import LoadError

PORT, BYTES = 7000, 32
TIMEOUT_MS = 500		# on an emulated machine whose cores others want, too

VARIANTS = {
    "linux-default": "in-tree stack and driver with the kernel's defaults, recvmmsg and sendmmsg, core 0",
    "linux-tuned": "the same with the best of the settings of scripts/lib/tuning.py, core 0",
    "packet": "the raw tier's code over a packet socket with mapped rings: in-tree driver, kernel's interrupts, core 0",
    "xdp": "the raw tier's code over an AF_XDP socket, in copy mode, for virtio-net of 6.12 has no other: in-tree driver, kernel's interrupts, core 0",
    "nom-native": "private stack and driver, nomstack_udp_*(), reserved core 1",
    "nom": "raw tier: frames, answers in their place, reserved core 1",
}


def check_built():
    guestserver.check_built("nomudp", "nomctl", "nom-load")


def is_nom(variant):
    return variant.startswith("nom")


def side(variant):
    """What lib/nhttpd.py and lib/boots.py call it: which core serves, and how its instructions are told."""
    return "nom" if is_nom(variant) else variant


def url(nic=0):
    return f"udp://{guestserver.address(nic)}:{PORT}"


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


class Server(guestserver.GuestServer):
    """nomudp in the guest for the length of a with block."""

    name = "nomudp"

    def __init__(self, guest, variant, tuned=None, w_us=0, nic=0):
        super().__init__(guest, variant, tuned or guestserver.INTERFACE.get(variant, tuning.DEFAULT), nic)
        self.w_us = w_us

    def command(self):
        common = ["nomudp", "--port", str(PORT)]
        if self.on_interface():
            return [*common, *self.interface_options(nhttpd.LINUX_CPU)]
        if not self.on_nom():
            return [*common, *self.linux_options(nhttpd.LINUX_CPU)]
        return [*common, *self.nom_options(nhttpd.NOM_CPU), "--tier", "native" if self.variant == "nom-native" else "raw",
                *(["--w-us", str(self.w_us)] if self.w_us else [])]

    def answers(self):
        load(0.2, 1, nic=self.nic)

    def settings(self):
        """What it was started with and, where it has knobs, how they stand."""
        if not self.on_nom() and not self.on_interface():
            return {"command": " ".join(self.ran), "knobs": self.tuning.text()}
        tuned = json.loads(self.guest.capture(["nomctl", "tune", self.name, "--json"], timeout=20))
        return {"command": " ".join(self.ran), "knobs": " ".join(f"{k['name']}={k['value']}" for k in tuned["knobs"])}
