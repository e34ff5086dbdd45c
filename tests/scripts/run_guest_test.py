#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_guest_test - what scripts/run-guest promises, from outside (TAP)

Exit status of the command, of each kind of failure, files in and out, the
console, sessions, and that nothing stays behind.  NOM_TEST_KERNEL names a
kernel directory or image to use instead of build/kernel.
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/lib"))
import tap  # noqa: E402

RUN = ROOT / "scripts/run-guest"
NETNS = ROOT / "scripts/netns"
KERNEL = os.environ.get("NOM_TEST_KERNEL", str(ROOT / "build/kernel"))


def run(*args, command=None, env=None, timeout=200, kernel=KERNEL, stdin=None):
    """Run run-guest; its console log goes to a place of ours."""
    argv = [RUN, "--kernel", kernel, "--no-module", "--console-log", f"{TMP}/console.log", *args]
    argv += ["--", *command] if command else []
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, check=False,
                          env={**os.environ, **(env or {})}, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL)


def expect(done, code, *needles):
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\nstdout: {done.stdout[-600:]}\nstderr: {done.stderr[-1500:]}"
    for needle in needles:
        assert needle in done.stdout + done.stderr, f"{needle!r} is not in\n{done.stdout[-600:]}\n{done.stderr[-1500:]}"


def ours():
    """Processes that run our initramfs (of this build directory)."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(TMP).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


@tap.test
def usage_errors_are_120():
    expect(run("--no-such-option"), 120, "usage:")
    expect(run(), 120, "no command")
    expect(run("--in", "nothing", command=["true"]), 120, "SRC:DEST")
    expect(run("--in", f"{TMP}/absent:/x", command=["true"]), 120, "no such file")


@tap.test
def dry_run_prints_the_command():
    done = run("--dry-run", "--smp", "3", "--append", "one=1", "--net", "tap")
    expect(done, 0)
    assert done.stdout.startswith("qemu-system-x86_64 -accel "), done.stdout
    for word in ("-smp 3", "one=1", "nom_cpus=1", "ifname=t0", "disable-legacy=on", "-no-reboot"):
        assert word in done.stdout, f"{word} is not in {done.stdout}"
    expect(run("--dry-run", "--accel", "tcg", "--icount"), 0, "thread=single", "-icount shift=0")


@tap.test
def accelerator_is_announced():
    done = run("--dry-run")
    assert "accelerator tcg" in done.stderr or "accelerator kvm" in done.stderr, done.stderr
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    if " vmx" not in flags and " svm" not in flags:
        assert "accelerator tcg (no vmx or svm" in done.stderr, done.stderr
        expect(run("--dry-run", "--accel", "kvm"), 121, "--accel kvm: no vmx or svm")


@tap.test
def missing_qemu_is_121():
    python = os.path.dirname(os.path.realpath(sys.executable))
    empty = TMP / "bin"
    empty.mkdir()
    (empty / "python3").symlink_to(f"{python}/{os.path.basename(os.path.realpath(sys.executable))}")
    (empty / "env").symlink_to("/usr/bin/env")
    expect(run(command=["true"], env={"PATH": str(empty)}), 121, "no qemu-system-x86_64", "install-deps")


@tap.test
def missing_kernel_is_122():
    expect(run(command=["true"], kernel=TMP / "nothing"), 122, "no kernel at", "make kernel")


@tap.test
def kernel_without_nom_is_122():
    plain = TMP / "plain"
    plain.mkdir()
    (plain / "bzImage").write_bytes(b"x")
    (plain / "config").write_text("CONFIG_VIRTIO_CONSOLE=y\n")
    done = subprocess.run([RUN, "--kernel", plain, "--", "true"], capture_output=True, text=True, check=False)
    expect(done, 122, "has no nom", "--no-module")


@tap.test
def full_disk_is_121():
    small = f"mount -t tmpfs -o size=1m none {ROOT}/build/guest && exec {RUN} --kernel {KERNEL} --no-module -- true"
    (ROOT / "build/guest").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", small], capture_output=True, text=True, timeout=60, check=False)
    expect(done, 121, "MiB free", "make room")


@tap.test
def bogus_kernel_is_123_with_the_command_line():
    bogus = TMP / "bogus"
    bogus.write_bytes(b"this is no kernel " * 4096)
    expect(run("--boot-deadline", "20", command=["true"], kernel=bogus), 123, "boot failed", "qemu-system-x86_64 -accel")


@tap.test
def boot_deadline_is_123_with_the_console():
    began = time.monotonic()
    expect(run("--boot-deadline", "15", "--append", "rdinit=/bin/sh", command=["true"]), 123,
           "no sign of life within 15 s", "last lines", "qemu-system-x86_64 -accel")
    assert time.monotonic() - began < 60


@tap.test
def output_status_and_files_pass():
    source = TMP / "in"
    (source / "sub").mkdir(parents=True)
    (source / "sub/data").write_bytes(bytes(range(256)) * 4096)
    script = "cat; cp -r /data/in /data/back; echo to-stderr >&2; id -u; uname -r > /data/release; exit 7"
    done = run("--stdin", "--in", f"{source}:/data/in", "--out", f"/data/back:{TMP}/back", "--out", f"/data/release:{TMP}/release",
               command=["sh", "-c", script], stdin="from-stdin\n")
    expect(done, 7)
    assert done.stdout == "from-stdin\n0\n", repr(done.stdout)
    assert "to-stderr\n" in done.stderr and "to-stderr" not in done.stdout
    assert (TMP / "back/sub/data").read_bytes() == (source / "sub/data").read_bytes()
    assert (TMP / "release").read_text().strip()
    assert "Linux version" in (TMP / "console.log").read_text(errors="replace")
    assert "from-stdin" not in (TMP / "console.log").read_text(errors="replace")


@tap.test
def reserved_codes_are_mapped_and_missing_command_named():
    expect(run(command=["no-such-command"]), 119, "no-such-command", "No such file", "exited with 127")


@tap.test
def regular_user_and_signal():
    expect(run("--user", "user", command=["sh", "-c", "id -u; kill -TERM $$"]), 128 + 15, "1000", "signal 15")


@tap.test
def timeout_is_124_and_quick():
    began = time.monotonic()
    done = run("--timeout", "2", command=["sh", "-c", "echo started; sleep 1000"])
    expect(done, 124, "started", "no end within 2 s")
    assert time.monotonic() - began < 100


@tap.test
def panic_is_125_with_its_lines():
    expect(run(command=["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"]), 125, "Kernel panic - not syncing")


@tap.test
def kernel_splat_is_125_although_the_command_succeeds():
    expect(run(command=["sh", "-c", "echo 'BUG: invented by a test' > /dev/kmsg; sleep 1"]), 125, "BUG: invented by a test")


@tap.test
def missing_file_out_is_127():
    expect(run("--out", f"/nothing:{TMP}/nothing", command=["true"]), 127, "cannot read /nothing")


@tap.test
def tap_network_is_private_and_works():
    listing = subprocess.run([NETNS, "--taps", "2", "--", "ip", "-br", "addr"], capture_output=True, text=True, check=False)
    assert listing.returncode == 0, listing.stderr
    names = [line.split()[0] for line in listing.stdout.splitlines()]
    assert names == ["lo", "t0", "t1"], listing.stdout
    expect(subprocess.run([NETNS, "--taps", "x", "true"], capture_output=True, text=True, check=False), 120, "--taps x")
    if not KERNEL.endswith("build/kernel"):
        return
    expect(run("--net", "tap", command=["sh", "-c", "ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; ping -c 1 -W 5 10.0.0.1"]),
           0, "1 packets received")


@tap.test
def session_runs_many_commands_and_leaves_nothing():
    sock = TMP / "session.sock"
    server = subprocess.Popen([str(RUN), "--kernel", KERNEL, "--no-module", "--console-log", f"{TMP}/s.log", "--session", str(sock)],
                              stderr=subprocess.PIPE, text=True)
    try:
        assert "accelerator" in server.stderr.readline()
        deadline = time.monotonic() + 150
        while not sock.exists() and time.monotonic() < deadline and server.poll() is None:
            time.sleep(0.2)
        began = time.monotonic()
        for code in (0, 3):
            done = subprocess.run([RUN, "--session", sock, "--", "sh", "-c", f"echo hello {code}; exit {code}"],
                                  capture_output=True, text=True, timeout=60, check=False)
            expect(done, code, f"hello {code}")
        assert time.monotonic() - began < 30, "a command in a session must not boot anything"
        done = subprocess.run([RUN, "--session", sock, "--timeout", "1", "--", "sleep", "100"], capture_output=True, text=True,
                              timeout=60, check=False)
        expect(done, 124, "no end within 1 s")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        server.stderr.close()
    assert not sock.exists(), "the socket stayed behind"
    expect(subprocess.run([RUN, "--session", sock, "--", "true"], capture_output=True, text=True, check=False), 121, "nobody serves")


@tap.test
def killed_parent_takes_its_guest_along():
    runner = subprocess.Popen([str(RUN), "--kernel", KERNEL, "--no-module", "--console-log", f"{TMP}/killed.log",
                               "--append", f"marker={TMP}", "--", "sh", "-c", "echo up; sleep 1000"], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL)
    assert runner.stdout.readline() == "up\n"
    runner.kill()
    runner.wait()
    runner.stdout.close()
    deadline = time.monotonic() + 10
    while ours() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not ours(), f"still running: {ours()}"


@tap.test
def a_starved_processor_is_no_trouble_of_the_kernel():
    from guest import kernel_trouble
    for line in ("[   11.783784] WARNING: CPU: 0 PID: 37 at sched_tick_remote+0x119/0x120",
                 "<4>[   11.783784] WARNING: CPU: 0 PID: 37 at kernel/sched/core.c:5721 sched_tick_remote+0x119/0x120",
                 "[    1.0] nom: WARNING: quoted", "WARNING: CPU: 0 PID: 1 at somewhere+0x1/0x2"):
        assert not kernel_trouble(line), line
    for line in ("[   11.783784] WARNING: CPU: 0 PID: 37 at sched_tick_remote_not+0x119/0x120",
                 "[   11.783784] WARNING: CPU: 1 PID: 37 at nom_post+0x119/0x120 [nom]",
                 "[    2.000000] BUG: KASAN: use-after-free in sched_tick_remote+0x1/0x2"):
        assert kernel_trouble(line), line
    # the fuzzer and the soak judge by the same
    from flavour import reports
    trace = ("\n[ 1694.471681] Call Trace:\n" + "[ 1694.472541]  ? somewhere+0x1/0x2\n" * 8 +
             "[ 1694.533941] ---[ end trace 0000000000000000 ]---\n")
    starved = "[ 1694.307329] WARNING: CPU: 1 PID: 1104 at sched_tick_remote+0x423/0x4c0" + trace
    ours = "[ 1700.000000] WARNING: CPU: 1 PID: 37 at nom_post+0x119/0x120 [nom]" + trace
    assert reports(starved) == []
    assert len(reports(starved + ours)) == 1
    dying = "[  935.460445] WARNING: CPU: 1 PID: 24 at sched_cpu_dying+0x1a9/0x670" + trace
    stopper = "[  936.126060] \tpid: 24, name: migration/1\n"
    alone = "[  935.864336] CPU1 enqueued tasks (2 total):\n" + stopper + "[  936.8] smpboot: CPU 1 is now offline\n"
    another = "[  935.864336] CPU1 enqueued tasks (2 total):\n" + stopper + "[  936.2] \tpid: 95, name: nom-soak\n"
    assert reports(dying + alone) == []
    assert len(reports(dying + another)) == 1
    assert len(reports(dying + alone + dying + another)) == 2


if __name__ == "__main__":
    if not os.path.exists(KERNEL):
        print(f"1..0 # SKIP no kernel at {KERNEL}: run `make kernel`")
        sys.exit(4)
    with tempfile.TemporaryDirectory(prefix="nom-run-guest-") as directory:
        TMP = pathlib.Path(directory)
        sys.exit(tap.main())
