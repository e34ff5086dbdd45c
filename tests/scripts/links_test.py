#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""links_test - the links of the wide comparison: which can be had, and nom-peer behind lib/links.py (TAP)

No guest: nhttpd on the private stack, hosted, is what nom-peer loads.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/lib"))
import links  # noqa: E402
import qemu  # noqa: E402
import tap  # noqa: E402

HOST, PORT, PATH, BYTES = "10.0.0.2", 80, "/index.html", 175
KEYS = {"requests", "seconds", "bytes", "errors", "mean", "sd", "p50", "p90", "p99", "p999", "max", "corrected"}


class OfVersion:
    """A QEMU that says it is this one."""

    def __init__(self, text):
        self.text = text

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        program = pathlib.Path(self.directory.name) / "qemu-system-x86_64"
        program.write_text(f"#!/bin/sh\necho '{self.text}'\n")
        program.chmod(0o755)
        self.path = os.environ["PATH"]
        os.environ["PATH"] = f"{self.directory.name}:{self.path}"

    def __exit__(self, *_):
        os.environ["PATH"] = self.path
        self.directory.cleanup()


@tap.test
def old_qemu_is_refused_without_kvm():
    with OfVersion("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"):
        assert "7.2 crashes" in links.unusable("vhost-user", "tcg")
        assert links.unusable("vhost-user", "kvm") is None and links.unusable("tap", "tcg") is None
    with OfVersion("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"):
        assert links.unusable("vhost-user", "tcg") is None
    with OfVersion("something else"):
        assert "not known" in links.unusable("vhost-user", "tcg")


@tap.test
def machine_shares_its_memory_with_the_back_end():
    command = " ".join(qemu.Machine(accel="tcg", net="vhost-user", nics=1, vhost=["/tmp/s"]).qemu_command("initrd", 3))
    assert "memory-backend-memfd,id=ram,size=2G,share=on" in command and "-M q35,memory-backend=ram" in command, command
    assert "-chardev socket,id=v0,path=/tmp/s -netdev vhost-user,id=n0,chardev=v0" in command and "ioeventfd=off" not in command, command
    on_tap = " ".join(qemu.Machine(accel="tcg", net="tap", nics=1).qemu_command("initrd", 3))
    assert "memory-backend" not in on_tap and "ioeventfd=off" in on_tap, on_tap
    both = " ".join(qemu.Machine(accel="tcg", **links.make("tap", ("on", "off")).machine()).qemu_command("initrd", 3))
    assert "netdev=n0" in both and both.index("ioeventfd=on") < both.index("netdev=n1") < both.index("ioeventfd=off"), both
    assert links.make("tap").machine()["nics"] == 1 and not links.make("tap").machine()["ioeventfd"]
    for machine in ({"net": "tap", "nics": 2, "ioeventfd": ("on",)}, {"net": "tap", "nics": 1, "ioeventfd": ("maybe",)},
                    {"net": "vhost-user", "nics": 1, "vhost": ["/tmp/s"], "ioeventfd": ("off",)}):
        try:
            qemu.Machine(accel="tcg", **machine).check()
        except qemu.GuestError as error:
            assert "on or off for each" in str(error), error
        else:
            raise AssertionError(machine)
    try:
        qemu.Machine(accel="tcg", net="vhost-user", nics=2, vhost=["/tmp/s"]).check()
    except qemu.GuestError as error:
        assert "one socket for each" in str(error)
    else:
        raise AssertionError("two devices on one back-end")


@tap.test
def peer_gives_the_figures_that_wrk_gives():
    with links.make("vhost-user") as link:
        assert os.sched_getscheduler(link.process.pid) == os.SCHED_IDLE and link.pids == (link.process.pid,)
        server = subprocess.Popen([ROOT / "build/bin/nhttpd", "--root", TMP, "--stack", "nom", "--device", f"unix:{link.socket}", "--ip", f"{HOST}/24",
                                   "--port", str(PORT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            link.wait_until_served(HOST, PORT, PATH, BYTES, 20)
            url = f"http://{HOST}:{PORT}{PATH}"
            closed = link.closed(url, 4, 1)
            assert KEYS <= set(closed) and closed["requests"] > 0 and closed["seconds"] == 1 and not closed["errors"], closed
            assert BYTES + 100 < closed["bytes"] / closed["requests"] < BYTES + 400, closed
            assert abs(closed["samples"] - closed["requests"]) <= 4, "one under way on each connection at the end"
            deep = link.closed(url, 2, 1, 16)
            assert abs(deep["samples"] - deep["requests"]) <= 32 and deep["samples"] % 16 == 0, deep
            offered = link.offered(url, 100, 4, 1)
            assert offered["due"] > 50 and offered["answers"] + offered["unanswered"] == offered["sent"], offered
            for words, text in (((f"http://{HOST}:{PORT}/none", 1, 1), "no request was answered"), ((f"http://{HOST}:81/", 1, 1), "refused")):
                try:
                    link.closed(*words)
                except links.LoadError as error:
                    assert text in str(error), error
                else:
                    raise AssertionError(f"figures of nothing: {words}")
            link.wait_until_served(HOST, PORT, PATH, BYTES, 20)
            try:
                link.wait_until_served(HOST, PORT, PATH, 10 * BYTES, 0.5)
            except links.LoadError as error:
                assert "answered" in str(error), error
            else:
                raise AssertionError("a short file is not the file")
        finally:
            server.kill()
            server.wait()
        directory = link.directory
    assert not directory.exists()


@tap.test
def peer_that_ended_is_an_error():
    with links.make("vhost-user") as link:
        link.process.kill()
        link.process.wait()
        began = time.monotonic()
        try:
            link.closed("http://10.0.0.2/", 1, 1)
        except links.LoadError as error:
            assert "nom-peer" in str(error) and time.monotonic() - began < 5, error
        else:
            raise AssertionError("figures from the dead")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nom-links-") as temporary:
        TMP = pathlib.Path(temporary)
        (TMP / "index.html").write_bytes(b"x" * BYTES)
        sys.exit(tap.main())
