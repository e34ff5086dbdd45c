#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""exits_test - KVM's counts by way of QEMU's monitor

A monitor of the test's own answers as QEMU does where KVM runs the guest; QEMU
itself, emulating, has nothing to tell, and that is not taken for zero.
"""
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/lib"))
import exits  # noqa: E402
from qmp import Qmp, QmpError  # noqa: E402
from tap import Points  # noqa: E402


class Monitor(threading.Thread):
    """Says what it is told to, one answer for each command; then hangs up."""

    def __init__(self, path, *answers):
        super().__init__(daemon=True)
        self.asked, self.answers = [], answers
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.start()

    def run(self):
        peer, _ = self.listener.accept()
        with peer, peer.makefile("rw", encoding="utf-8") as stream:
            stream.write('{"QMP": {"version": {}, "capabilities": []}}\n')
            for answer in ({"return": {}}, *self.answers):
                stream.flush()
                self.asked.append(json.loads(stream.readline()))
                stream.write('{"event": "NIC_RX_FILTER_CHANGED", "data": {}}\n' + json.dumps(answer) + "\n")
            stream.flush()
        self.listener.close()


def cpu(number, provider="kvm", **stats):
    return {"provider": provider, "qom-path": f"/machine/unattached/device[{number}]",
            "stats": [{"name": name, "value": value} for name, value in stats.items()]}


def told(place, *answers):
    """What read() makes of each answer, and what was asked."""
    path = place / f"monitor-{time.monotonic_ns()}"
    monitor = Monitor(path, *answers)
    seen = []
    with Qmp(path, 5) as qmp:
        for _ in answers:
            try:
                seen.append(exits.read(qmp))
            except QmpError as error:
                seen.append(error)
    return seen, monitor.asked


def main():
    points = Points()
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        first = [cpu(0, exits=100, io_exits=10, irq_injections=1, halt_wakeup=3), cpu(1, exits=1000, io_exits=4, irq_injections=0, halt_wakeup=0)]
        second = [cpu(0, exits=300, io_exits=10, irq_injections=21, halt_wakeup=3), cpu(1, exits=1000, io_exits=8, irq_injections=0, halt_wakeup=0)]
        (before, after), asked = told(place, {"return": first}, {"return": second})
        points.ok(before == {"exits": 1100, "io_exits": 14, "irq_injections": 1}, "counts are summed over processors")
        points.ok(asked[0]["execute"] == "qmp_capabilities" and asked[1]["arguments"] == {"target": "vcpu"}, "they are asked of the processors")
        points.ok(exits.per_request(before, after, 100) == {"exits_per_request": 2, "io_exits_per_request": 0.04, "irq_injections_per_request": 0.2},
                  "what a request took lies between two readings")
        points.ok(exits.per_request(None, after, 100) == {} and exits.per_request(before, after, 0) == {}, "no reading or no request: no figure")
        (seen,), _ = told(place, {"return": [cpu(0, provider="cryptodev", ops=3)]})
        points.ok(seen is None, "another provider's counts are not KVM's")
        (seen,), _ = told(place, {"error": {"class": "CommandNotFound", "desc": "The command query-stats has not been found"}})
        points.ok(seen is None, "an old QEMU has none")
        (seen,), _ = told(place, {"error": {"class": "GenericError", "desc": "something else"}})
        points.ok(isinstance(seen, QmpError) and "something else" in str(seen), "another refusal is no silence")
        Monitor(place / "closes")
        with Qmp(place / "closes", 5) as qmp:
            try:
                qmp.ask("query-stats")
                points.ok(False, "a monitor that hangs up is told of")
            except QmpError as error:
                points.ok("closed" in str(error) or "reset" in str(error) or "pipe" in str(error), f"a monitor that hangs up is told of: {error}")
        try:
            Qmp(place / "nobody")
            points.ok(False, "no monitor: refused")
        except QmpError as error:
            points.ok("nobody" in str(error), "no monitor: refused, with its name")
        real(points, place)
    return points.end()


def reached(path, seconds=20):
    """The monitor, as soon as QEMU listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Qmp(path)
        except QmpError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def real(points, place):
    if not shutil.which("qemu-system-x86_64"):
        points.ok(True, "the emulator counts no exits # SKIP no qemu-system-x86_64")
        return
    path = place / "qemu"
    with subprocess.Popen(["qemu-system-x86_64", "-M", "none", "-accel", "tcg", "-display", "none", "-nodefaults", "-S",
                           "-qmp", f"unix:{path},server=on,wait=off"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as qemu:
        try:
            with reached(path) as qmp:
                points.ok(exits.read(qmp) is None, "the emulator counts no exits, which is not 0")
                qmp.ask("quit")
        except QmpError as error:
            points.ok(False, f"the emulator counts no exits: {error}")
        finally:
            qemu.kill()


if __name__ == "__main__":
    sys.exit(main())
