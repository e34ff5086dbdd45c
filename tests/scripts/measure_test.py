#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""measure_test - the arithmetic between the plugin's file and the report (TAP)

No guest is booted: what a counting boot yields is tests/reach's business.
"""
import importlib.machinery
import importlib.util
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/lib"))
import count  # noqa: E402
import guestserver  # noqa: E402
import hostload  # noqa: E402
import httpload  # noqa: E402
import nhttpd  # noqa: E402
import nomudp  # noqa: E402
import tap  # noqa: E402
import tuning  # noqa: E402


def script(name):
    """A script without .py, as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(ROOT / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@tap.test
def python_and_c_agree_on_the_layout():
    program = """#include <stdio.h>
#include <stddef.h>
#include "layout.h"
int main(void) { struct count_file f; printf("%zu %zu %zu %zu %d %d %d %d %d\\n", sizeof(f), offsetof(struct count_file, name),
	offsetof(struct count_file, vcpu), sizeof(f.vcpu[0]), COUNT_VCPUS, COUNT_SYMBOLS, COUNT_NAME, COUNT_WORDS, COUNT_ANSWER_USER); }
"""
    subprocess.run(["cc", f"-I{ROOT}/scripts/tcg-count", "-x", "c", "-", "-o", TMP / "layout"], input=program, text=True, check=True)
    seen = [int(word) for word in subprocess.run([TMP / "layout"], capture_output=True, text=True, check=True).stdout.split()]
    want = [count.VCPUS_AT + count.VCPUS * count.VCPU.size, count.NAMES_AT, count.VCPUS_AT, count.VCPU.size, count.VCPUS,
            count.SYMBOLS, count.NAME, len(count.WORDS), count.WORDS.index("answer_user")]
    assert seen == want, f"{seen} in C, {want} in Python"


def load_plugin(arguments):
    plugin = count.usable_plugin()
    return subprocess.run(["qemu-system-x86_64", "-M", "none", "-accel", "tcg", "-display", "none", "-nodefaults", "-monitor", "stdio",
                           "-plugin", f"{plugin},{arguments}"], input="quit\n", capture_output=True, text=True, timeout=60, check=False)


@tap.test
def plugin_writes_a_file_that_reads_as_zero():
    done = load_plugin(f"out={TMP}/counts,alpha=0xffffffff81000000,beta=4096")
    assert done.returncode == 0, done.stderr
    counters = count.Counters.__new__(count.Counters)
    counters.path, counters._map = TMP / "counts", None
    reading = counters.read()
    assert len(reading.words) == count.VCPUS
    assert {"alpha", "beta", "user_busy"} <= set(reading.vcpu(0)), reading.vcpu(0)
    assert not any(any(words.values()) for words in reading.words)


@tap.test
def plugin_refuses_bad_arguments():
    for arguments, message in ((f"out={TMP}/c,alpha=twelve", "alpha=twelve is not NAME=ADDRESS"), ("alpha=1", "must be out=FILE"),
                               (f"out={TMP}/none/c", "No such file"), (f"out={TMP}/c," + ",".join(f"s{i}=1" for i in range(25)), "at most 24")):
        done = load_plugin(arguments)
        assert done.returncode != 0 and message in done.stderr, f"{arguments}: {done.returncode} {done.stderr}"


@tap.test
def foreign_files_are_refused():
    (TMP / "foreign").write_bytes(bytes(count.VCPUS_AT + count.VCPUS * count.VCPU.size))
    counters = count.Counters.__new__(count.Counters)
    counters.path, counters._map = TMP / "foreign", None
    try:
        counters.read()
    except count.CountError as error:
        assert "not written by this plugin" in str(error)
    else:
        raise AssertionError("a file of zeroes was taken")


def counts(**core):
    """Counts with the given figures on each of two cores."""
    names = [w for w in count.WORDS if w] + [s for symbols in count.EVENTS.values() for s in symbols]
    return count.Counts([{**dict.fromkeys(names, 0), **core.get(f"cpu{n}", {})} for n in range(2)])


@tap.test
def in_tree_request_is_all_of_core_0():
    cost = nhttpd.per_request("linux-default", counts(
        cpu0={"user_idle": 100000, "kernel_idle": 900000, "do_syscall_64": 300, "vp_notify": 90, "vp_notify_with_data": 10,
              "common_interrupt": 150, "__switch_to_asm": 20},
        cpu1={"kernel_idle": 5000, "common_interrupt": 50, "do_syscall_64": 7}), {}, 100)
    assert cost["instructions_per_request"] == {"user": 1000.0, "kernel": 9000.0}
    assert cost["doorbells_per_request"] == 1.0 and cost["syscalls_per_request"] == 3.0
    assert cost["interrupts_per_request"] == 2.0, "device interrupts count wherever they are handled"
    assert cost["other_core_instructions_per_request"] == 50.0 and cost["other_core_events"]["syscalls"] == 7


@tap.test
def nom_request_is_busy_work_and_all_of_ring_0():
    core1 = {"user_busy": 350000, "user_idle": 700000, "kernel_idle": 900, "kernel_busy": 100, "begin": 5, "end": 5}
    cost = nhttpd.per_request("nom", counts(cpu1=core1), {"doorbells_rx": 2, "doorbells_tx": 8}, 100)
    assert cost["instructions_per_request"] == {"user": 3500.0, "kernel": 10.0}
    assert cost["idle_polling_instructions_per_request"] == 7000.0 and cost["doorbells_per_request"] == 0.1
    try:
        nhttpd.per_request("nom", counts(cpu1={**core1, "begin": 0}), {"doorbells_rx": 0, "doorbells_tx": 0}, 100)
    except nhttpd.ServerError:
        pass
    else:
        raise AssertionError("a loop without brackets was taken for one that never works")


@tap.test
def columns_of_defaults_have_no_options_of_taste():
    class Guest:
        @staticmethod
        def bdf(nic):
            return f"0000:00:1{nic}.0"
    where = {"--stack", "--device", "--ip", "--cpu", "--root", "--port", "--max-connections", "--tier"}

    def options(server):
        return {word for word in server.command() if word.startswith("--")}
    for variant in ("linux-default", "nom"):
        assert options(nhttpd.Server(Guest, variant, 175)) <= where, variant
        assert options(nomudp.Server(Guest, variant)) <= where, variant
    assert options(nomudp.Server(Guest, "nom-native")) <= where
    assert options(nhttpd.Server(Guest, "nom-priced", 175)) - where == {"--policy", "--terms", "--table"}
    second = nhttpd.Server(Guest, "nom", 175, nic=1)
    assert "10.0.1.2/24" in second.command() and "0000:00:11.0" in second.command() and second.url.startswith("http://10.0.1.2:")
    assert "dev eth1 &&" in guestserver.in_tree_commands(1, tuning.DEFAULT) and "ethtool -K eth1" in guestserver.in_tree_commands(1, tuning.DEFAULT)


@tap.test
def scenario_changes_one_thing_at_a_time():
    compare = script("compare-nhttpd")
    args = type("", (), {"connections": [64, 1], "prices": [1, 10], "more_connections": [500]})
    cells = compare.scenario(args)
    assert cells == [(64, 1), (64, 10), (1, 10), (1, 1), (500, 1)]
    assert all((a[0] == b[0]) != (a[1] == b[1]) for a, b in zip(cells, cells[1:]))


@tap.test
def best_tuning_is_by_median_and_load():
    lines = [{"tuning": name, "connections": c, "rate": r, "boot": 1, "ioeventfd": "on"} for name, c, r in (
        ("default", 64, 100), ("default", 64, 100), ("default", 64, 400), ("busy-poll", 64, 150), ("busy-poll", 64, 150), ("busy-poll", 64, 1),
        ("default", 1, 50), ("threaded", 1, 49), ("threaded", 64, None))]
    best = tuning.ranked(lines, 64, lambda l: l["rate"], 1)
    assert best[0] == (tuning.SETTINGS[4], "on", 150, 1) and len(best) == 2, "a lucky run must not win"
    assert tuning.ranked(lines, 1, lambda l: l["rate"], 1)[0].tuning is tuning.DEFAULT
    assert tuning.ranked(lines, 1, lambda l: l["rate"], -1)[0].tuning.name == "threaded"
    assert tuning.ranked([], 1, lambda l: l["rate"], 1) == []
    assert tuning.SETTINGS[0] is tuning.DEFAULT and len({t.name for t in tuning.SETTINGS}) == len(tuning.SETTINGS)


@tap.test
def every_setting_sets_every_knob():
    for setting in tuning.SETTINGS:
        text = tuning.commands(setting)
        for knob in ("gro", "busy_poll", "busy_read", "napi_defer_hard_irqs", "gro_flush_timeout", "threaded"):
            assert knob in text and knob in setting.text(), (setting.name, knob)


@tap.test
def other_peoples_cpu_is_seen():
    others = hostload.Others([])
    spinner = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        time.sleep(1.5)
        assert others.share() > 0.05, f"a spinning process reads as {others.share()}"
        ours = hostload.Others([spinner.pid])
        busy = hostload.Others([])
        time.sleep(1.5)
        assert ours.share() < busy.share() - 0.02, f"{ours.share()} with the spinner ours, {busy.share()} without"
    finally:
        spinner.kill()
        spinner.wait()


@tap.test
def load_generator_needs_an_answer():
    try:
        httpload.wait_until_served("127.0.0.1", 9, "/", 1, 0.5)
    except httpload.LoadError as error:
        assert "is not served within" in str(error)
    else:
        raise AssertionError("port 9 served a file")
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def hang_up():
        listener.settimeout(0.2)
        while not stop.is_set():
            try:
                listener.accept()[0].close()
            except OSError:
                pass

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        httpload.run(f"http://127.0.0.1:{listener.getsockname()[1]}/", 1, 1)
    except httpload.LoadError as error:
        assert "no request was answered" in str(error), error
    else:
        raise AssertionError("figures from a server that hangs up")
    finally:
        stop.set()
        thread.join()
        listener.close()


@tap.test
def load_with_errors_is_no_load():
    """One connection in two is hung up on: those that are answered look quick."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop, turn = threading.Event(), [0]

    def serve(link):
        link.settimeout(0.2)
        with link:
            while not stop.is_set():
                try:
                    if not link.recv(4096):
                        return
                    turn[0] += 1
                    if turn[0] % 2 == 0:
                        return
                    link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
                except OSError:
                    return

    def accept():
        listener.settimeout(0.2)
        while not stop.is_set():
            try:
                serve(listener.accept()[0])
            except OSError:
                pass

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        httpload.run(f"http://127.0.0.1:{listener.getsockname()[1]}/", 1, 1)
    except httpload.Lossy as error:
        assert error.errors and error.requests and "more than 0.1%" in str(error), error
    else:
        raise AssertionError("figures from a server that hangs up on every second request")
    finally:
        stop.set()
        thread.join()
        listener.close()


def raw_lines():
    """A comparison in which nom has three times the rate and half the jitter, but more ring 3 instructions."""
    lines = [{"machine": {"accelerator": "tcg", "kernel": "6.12.0-test", "cores": 2, "time_scale": 16, "settings": {
        "file_bytes": 175, "scenario": [{"connections": 64, "price": 1}]}}}]
    for boot in range(1, 4):
        for variant, rate, sd in (("linux-default", 1000, 600), ("nom", 3000, 300)):
            lines.append({"kind": "time", "boot": boot, "variant": variant, "connections": 64, "price": 1,
                          "requests_per_s": rate + boot, "errors": 0, "bytes_per_request": 400, "other_cpu": 0.5, "host_load": 1.0,
                          "latency_us": {"mean": 1000, "sd": sd, "p50": 900, "p90": 950, "p99": 2000, "p999": 3000, "max": 4000}})
    for variant, user, kernel in (("linux-default", 1000, 9000), ("nom", 2500, 0)):
        lines.append({"kind": "count", "boot": 4, "variant": variant, "connections": 64, "price": 1, "errors": 0, "bytes_per_request": 400,
                      "instructions_per_request": {"user": user, "kernel": kernel}, "doorbells_per_request": 0.5,
                      "interrupts_per_request": 0, "syscalls_per_request": 0, "context_switches_per_request": 0})
    return lines


@tap.test
def report_says_ratios_and_what_got_slower():
    directory = TMP / "report"
    directory.mkdir()
    (directory / "raw.jsonl").write_text("".join(json.dumps(line) + "\n" for line in raw_lines()))
    subprocess.run([ROOT / "build/bin/nomctl", "compare", directory / "raw.jsonl", "--json", directory / "compare.json"], check=True,
                   stdout=subprocess.DEVNULL)
    done = subprocess.run([ROOT / "scripts/report", "--out", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (directory / "index.html").read_text()
    assert "3.0×" in page and "0.50×" in page and "1/4.0" in page, "ratios are missing"
    assert "Instructions, ring 3 at 64 connections, $1/Gb: 2,500 against 1,000" in page, "what got slower is missing"
    assert "Others took 50% of this machine" in page, "a disturbed comparison must say so"
    assert page.count("<svg") == 5 and "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    assert (directory / "plots/throughput.gp").exists() and (directory / "plots/throughput.dat").exists()


def micro_lines():
    """nom's trap is exactly four times cheaper, its page fault not twice."""
    rows = (("invalid-instruction/upcall", "nom", 100), ("invalid-instruction/sigill", "linux", 400),
            ("page-fault-map/upcall", "nom", 100), ("page-fault-map/sigsegv-mprotect", "linux", 199),
            ("ipc-round-trip-cross-core/nomux-ipc", "nom", None), ("thread/yield", "nom", 50), ("thread/yield", "linux", 500))
    return [{"name": name, "mechanism": by, "instructions": count, "ns_p50": 10.5, "ns_p99": 20, "ns_spread": 1,
             "hypervisor": "TCG"} for name, by, count in rows]


@tap.test
def micro_is_plotted_and_stands_in_the_report():
    directory = TMP / "micro"
    directory.mkdir()
    (directory / "raw.jsonl").write_text("".join(json.dumps(line) + "\n" for line in raw_lines()))
    (directory / "micro.json").write_text(json.dumps(micro_lines()))
    subprocess.run([ROOT / "build/bin/nomctl", "compare", directory / "raw.jsonl", "--json", directory / "compare.json"], check=True,
                   stdout=subprocess.DEVNULL)
    done = subprocess.run([ROOT / "scripts/plot-micro", directory / "micro.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    svg = (directory / "micro.svg").read_text()
    assert "sigsegv-mprotect" in svg and "thread/yield" in svg and "cross-core" not in svg, "bars for what has instructions"
    done = subprocess.run([ROOT / "scripts/report", "--out", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (directory / "index.html").read_text()
    assert page.count("<svg") == 6, page.count("<svg")
    assert re.search(r"4\.0x: 100, 400 +reached", page) and re.search(r"1\.9x: 100, 199 +MISSED", page), "targets in words"
    (directory / "micro.json").write_text("[]")
    done = subprocess.run([ROOT / "scripts/report", "--out", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "nothing was measured" in done.stderr, done.stderr
    done = subprocess.run([ROOT / "scripts/plot-micro", directory / "micro.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "nothing has instructions" in done.stderr, done.stderr


@tap.test
def micro_merges_two_runs_and_refuses_what_is_broken():
    loader = importlib.machinery.SourceFileLoader("micro", str(ROOT / "scripts/micro"))
    micro = importlib.util.module_from_spec(importlib.util.spec_from_loader("micro", loader))
    loader.exec_module(micro)
    counted = {("a", "nom"): {"name": "a", "mechanism": "nom", "instructions": 7, "ns_p50": None}}
    timed = {("a", "nom"): {"name": "a", "mechanism": "nom", "instructions": None, "ns_p50": 3}}
    assert micro.merge(counted, timed) == [{"name": "a", "mechanism": "nom", "instructions": 7, "ns_p50": 3}]
    try:
        micro.merge(counted, {})
    except micro.Failed as failed:
        assert "a" in failed.args[0]
    else:
        raise AssertionError("a line of one run only was taken")
    line = '[{"name": "a", "mechanism": "nom"}]'
    assert list(micro.parse(f"noise\n{micro.MARK}nom-micro\n{line}\n")) == [("a", "nom")]
    try:
        micro.parse(f"noise\n{micro.MARK}nom-micro\n{line}\n{micro.MARK}nom-handover\nSegmentation fault\n")
    except micro.Failed as failed:
        assert "nom-handover" in failed.args[0]
    else:
        raise AssertionError("a program that printed no list was left out")


@tap.test
def report_without_data_says_what_to_run():
    done = subprocess.run([ROOT / "scripts/report", "--out", TMP], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "run scripts/compare-nhttpd first" in done.stderr, done.stderr


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nom-measure-") as temporary:
        TMP = pathlib.Path(temporary)
        sys.exit(tap.main())
