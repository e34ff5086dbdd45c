# SPDX-License-Identifier: MIT
"""links - what is at the other end of the guest's network device, and how it asks

    with make("vhost-user") as link:
        with Guest(**link.machine()) as guest:
            figures = link.closed(url, 64, 1)

Tap: QEMU's own device on a tap; wrk and nom-load ask through the host's stack.
This is what everybody has.  On two cores, one of which is the guest's, the
other's time for wrk, tap and QEMU's device thread bounds the rate.

VhostUser: nom-peer is the device and the clients behind it (nom-peer(1)), for
servers that are faster than that.  It runs as SCHED_IDLE: it polls, and QEMU's
main loop, which passes on the interrupts of the in-tree driver, takes the core
from it at once.
"""
import contextlib
import json
import os
import pathlib
import re
import selectors
import shutil
import subprocess
import tempfile
import time

import httpload
import initramfs
import openload
from guest import die_with_parent
from httpload import LoadError

NOM_PEER = initramfs.BUILD / "bin/nom-peer"
START_S = 10
CHECK_S = 0.05
CLOSED_DRAIN_S = 1


class Tap:
    """The everyday link."""
    name = "tap"
    text = "tap with virtio-net headers in a user and network namespace; wrk and nom-load on the host's stack"
    pids = ()

    def __init__(self, ioeventfd=()):
        """ioeventfd: "on" or "off" of each device, each on a tap of its own; one as lib/qemu.py has it if not said."""
        self.ioeventfd = tuple(ioeventfd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def machine(self):
        """What a Guest takes."""
        return {"net": "tap", "nics": len(self.ioeventfd) or 1, "ioeventfd": self.ioeventfd}

    def pin(self, cores):
        """wrk inherits our own affinity."""

    def closed(self, url, connections, seconds, pipeline=1, upload=0):
        """A closed loop's figures, as httpload.run() has them."""
        return httpload.run(url, connections, seconds, pipeline, upload)

    def offered(self, url, rate, connections, seconds):
        """An open loop's figures, nom-load(1)'s."""
        return openload.run(url, rate, connections, seconds)

    def wait_until_served(self, host, port, path, bytes_wanted, deadline_s):
        httpload.wait_until_served(host, port, path, bytes_wanted, deadline_s)


def closed_figures(got, seconds):
    """nom-peer's figures of a closed loop, as httpload.run() has them."""
    errors = openload.errors(got) + got["unanswered"]
    requests = round(got["achieved_per_s"] * seconds)
    return {"requests": requests, "seconds": seconds, "bytes": got["bytes_per_answer"] * requests, "errors": errors,
            "samples": got["answers"], **{k: got["latency_us"][k] for k in ("mean", "sd", "p50", "p90", "p99", "p999", "max")},
            "corrected": {}, "link_figures": got["link"]}


def closed_words(url, connections, seconds, pipeline):
    """What nom-peer is asked for a closed loop."""
    return [str(word) for word in ("--closed", "--connections", connections, "--seconds", seconds, "--depth", pipeline, "--drain", CLOSED_DRAIN_S, url)]


def open_words(url, rate, connections, seconds):
    return [str(word) for word in ("--rate", rate, "--connections", connections, "--seconds", seconds, "--warm-up", openload.WARM_S,
                                   "--drain", openload.DRAIN_S, "--seed", openload.SEED, url)]


class VhostUser:
    """The server itself, without a host's stack before it."""
    name = "vhost-user"
    text = "vhost-user: nom-peer is the device's back-end and the clients behind it, polls, and is SCHED_IDLE beside QEMU's main loop"

    def __init__(self):
        self.process = None

    def __enter__(self):
        if not NOM_PEER.is_file():
            raise LoadError("build/bin/nom-peer is not built: run `make user`")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="nom-peer-"))
        self.socket = self.directory / "vhost"
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen([str(NOM_PEER), str(self.socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            preexec_fn=self._become)
        end = time.monotonic() + START_S
        while not self.socket.is_socket():
            if self.process.poll() is not None or time.monotonic() > end:
                text = self._said()
                self.__exit__()
                raise LoadError(f"nom-peer does not start: {text}")
            time.sleep(0.02)
        return self

    @staticmethod
    def _become():
        die_with_parent()
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    def _said(self):
        return (self.directory / "log").read_text(errors="replace").strip()[-300:]

    def __exit__(self, *_):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pids(self):
        return (self.process.pid,)

    def machine(self):
        return {"net": "vhost-user", "nics": 1, "vhost": [self.socket]}

    def pin(self, cores):
        os.sched_setaffinity(self.process.pid, cores)

    def ask(self, *words, timeout):
        """One load's figures."""
        line = " ".join(str(word) for word in words)
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(self.process.stdout, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise LoadError(f"nom-peer did not end: {line}")
            answer = self.process.stdout.readline()
        except OSError as error:
            raise LoadError(f"nom-peer: {error}: {self._said()}") from None
        if not answer:
            raise LoadError(f"nom-peer ended: {self._said()}")
        figures = json.loads(answer)
        if "error" in figures:
            raise LoadError(f"nom-peer: {figures['error']}: {line}")
        if figures["link"]["protocol_errors"]:
            raise LoadError(f"nom-peer: the guest's device broke the protocol: {self._said()}")
        return figures

    def closed(self, url, connections, seconds, pipeline=1):
        got = self.ask(*closed_words(url, connections, seconds, pipeline), timeout=seconds + 30)
        figures = closed_figures(got, seconds)
        if not figures["requests"]:
            raise LoadError(f"no request was answered ({figures['errors']} errors)")
        httpload.check_errors(figures["errors"], figures["requests"])
        return figures

    def offered(self, url, rate, connections, seconds):
        return self.ask(*open_words(url, f"{rate:.1f}", connections, seconds), timeout=seconds + 30)

    def wait_until_served(self, host, port, path, bytes_wanted, deadline_s):
        end, last = time.monotonic() + deadline_s, "no answer"
        while time.monotonic() < end:
            try:
                got = self.ask("--closed", "--connections", 1, "--seconds", CHECK_S, "--drain", 3, f"http://{host}:{port}{path}", timeout=30)
                if got["bytes_per_answer"] >= bytes_wanted:
                    return
                last = f"answered {got['bytes_per_answer']:.0f} bytes"
            except LoadError as error:
                if self.process.poll() is not None:
                    raise
                last = str(error)
                time.sleep(0.1)
        raise LoadError(f"http://{host}:{port}{path} is not served within {deadline_s} s: {last}")


LINKS = {link.name: link for link in (Tap, VhostUser)}
# Without KVM, 7.2 ends with a segmentation fault when a driver starts a vhost-user device
# with MSI-X (it uses KVM's interrupt routes, which are not there); 10.0 was seen to work.
QEMU_TCG = 10


def unusable(name, accel):
    """Why a link cannot be had with this QEMU, or None."""
    if name != VhostUser.name or accel == "kvm":
        return None
    said = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if not found:
        return "the version of qemu-system-x86_64 is not known"
    if int(found.group(1)) < QEMU_TCG:
        return f"QEMU {found.group(1)}.{found.group(2)} crashes on vhost-user devices without KVM; {QEMU_TCG}.0 or later in PATH is needed"
    return None


def make(name, ioeventfd=()):
    return LINKS[name](ioeventfd) if ioeventfd else LINKS[name]()
