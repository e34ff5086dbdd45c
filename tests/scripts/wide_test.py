#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wide_test - what the wide comparison makes of its lines: rows, frontiers, verdicts, the page (TAP)

No guest is booted and nothing is timed: the lines are made up, with known ratios.
"""
import argparse
import csv
import html
import importlib.machinery
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from unittest import mock

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/lib"))
import boots  # noqa: E402
import count  # noqa: E402
import guest as g  # noqa: E402
import httpload  # noqa: E402
import links  # noqa: E402
import nginx  # noqa: E402
import nhttpd  # noqa: E402
import nomudp  # noqa: E402
import openload  # noqa: E402
import plan as p  # noqa: E402
import tap  # noqa: E402
import tuning  # noqa: E402
import wide  # noqa: E402
import widetable  # noqa: E402

loader = importlib.machinery.SourceFileLoader("compare_nhttpd", str(ROOT / "scripts/compare-nhttpd"))
compare_nhttpd = importlib.util.module_from_spec(importlib.util.spec_from_loader("compare_nhttpd", loader))
loader.exec_module(compare_nhttpd)

# variant: requests/s, instructions a request at every load
MADE_UP = {"linux-default": (1000, 10000), "linux-tuned": (1250, 12000), "nginx": (900, 11000), "packet": (2000, 7000), "xdp": (2200, 6000), "nom": (5000, 3000),
           "nom-priced": (4000, 3500)}
ROUGH = {("nom", p.UP, p.ON): 0.2, ("nom", p.DOWN, p.OFF): 0.5}	# parts of nom's rate for 1 MiB
SATURATION = {"linux-default": 2000, "linux-tuned": 2500, "nom": 4900}
# The same from the other end of the rings: nom is no longer bound by what feeds it.
AT_PEER = {"linux-default": 1, "linux-tuned": 1, "nginx": 1, "packet": 1, "xdp": 1, "nom": 2, "nom-priced": 1}
SWEEP_US = {0: (100, 1000), 5: (120, 1500), 20: (130, 1400), 80: (200, 2000)}	# W: mean latency, requests/s


def latency(mean):
    return {"mean": mean, "sd": mean / 2, "p50": mean, "p90": mean, "p99": 2 * mean, "p999": 3 * mean, "max": 4 * mean}


def time_line(cell, boot, rate, mean, **more):
    return {"kind": "time", "boot": boot, "price": 1, **cell._asdict(), "host_load": 1.0, "other_cpu": 0.5, "requests_per_s": rate,
            "latency_us": latency(mean), **more}


def count_line(cell, instructions):
    nom = cell.variant == "nom"
    return {"kind": "count", "boot": 9, "price": 1, **cell._asdict(), "host_load": 1.0, "other_cpu": 0.0,
            "instructions_per_request": {"user": instructions if nom else 1000, "kernel": 0 if nom else instructions - 1000},
            "doorbells_per_request": 0.05, "interrupts_per_request": 0, "syscalls_per_request": 0 if nom else 2, "context_switches_per_request": 0}


def peer_lines():
    """What is measured over the other link."""
    out = []
    for variant, (rate, _) in MADE_UP.items():
        rate *= AT_PEER[variant]
        out += [time_line(cell, 1, rate, 1e6 / rate) for cell in p.closed(p.QUICK, variant, p.PEER)]
    for variant in p.LOADED_OPEN:
        out += [time_line(cell, 1, 100, 50 if variant == "nom" else 200, offered_per_s=100) for cell in p.opened(p.QUICK, variant, p.PEER)]
        out.append({**time_line(p.Cell("saturation", variant, 64, link=p.PEER), 1, None, 1), "saturation_per_s": AT_PEER[variant] * SATURATION[variant]})
    return out + [time_line(cell, 0, 2000 - n, 1000) for n, cells in enumerate(p.tune(tuning.SETTINGS, (1, 64, 500), p.PEER, p.ON)) for cell in cells]


def lines():
    out = []
    for variant, (rate, cost) in MADE_UP.items():
        for cell in p.closed(p.QUICK, variant) + (p.bulk(variant, p.OFF, p.QUICK.bare) if variant in p.UPLOADED else []):
            rate = MADE_UP[variant][0] * ROUGH.get((variant, cell.direction, cell.offloads), 1)
            for boot, factor in ((1, 1), (2, 1), (3, 100)):	# a lucky boot
                out.append(time_line(cell, boot, rate * factor, 1e6 / rate, errors=3, irq_injections_per_request=1.25))
            out.append(count_line(cell, cost))
        out.append({**time_line(p.Cell("idle", variant, 64), 1, None, 1), "idle_share": 0.5})
    for cells in p.sweep(p.QUICK):
        for cell in cells:
            mean, rate = SWEEP_US[cell.w_us]
            out += [time_line(cell, 1, rate, mean), count_line(cell, 3000 - cell.w_us)]
    for variant in p.LOADED_OPEN:
        for cell in p.opened(p.QUICK, variant):
            out.append(time_line(cell, 1, 100, 300 if variant == "nom" and (cell.level == 0.9 or cell.connections == 500) else 200 if variant != "nom" else 100, offered_per_s=100, unanswered=7))
        out.append({**time_line(p.Cell("saturation", variant, 64), 1, None, 1), "saturation_per_s": SATURATION[variant]})
        out.append(time_line(p.Cell("search", variant, 64), 1, 1, 1))
    for device, more in ((p.ON, 0), (p.OFF, 0.5)):
        for n, cells in enumerate(p.tune(tuning.SETTINGS, (1, 64), p.TAP, device)):
            for cell in cells:
                out += [time_line(cell, 0, 1000 + n + more, 1000), count_line(cell, 9000 - 100 * n - more)]
        for cell in (c for cells in p.on_devices("nom", (1, 64), p.TAP, (device,)) for c in cells):
            out.append(time_line(cell, 0, 4000 - more, 1000))
    return out


TITLES = {"linux-default": "in-tree", "linux-tuned": "in-tree, tuned", "packet": "nom&#x27;s stack, packet socket", "xdp": "nom&#x27;s stack, AF_XDP", "nom": "nom"}


def line_of(page, section, name, load):
    """The figures of a line in a section's table, those of boots apart left out."""
    table = page.split(f"<h2>{section}</h2>")[1].split("</table>")[0]
    same = table.split(f">{load}</td></tr>")[1].split("<tr class=group>")[0]
    line = next(l for l in same.splitlines() if l.startswith(f"<tr><td>{name}<"))
    return [re.sub("<br>.*", "", cell) for cell in re.findall("<td>(.*?)</td>", line)][1:]


def left_in(name, some=None):
    directory = TMP / name
    directory.mkdir()
    machine = {"kernel": "6.12.0-test", "cores": 2, "settings": {"tunings": {t.name: t.text() for t in tuning.SETTINGS}}}
    (directory / "wide.jsonl").write_text("".join(json.dumps(l) + "\n" for l in [{"machine": machine}] + (some or lines() + peer_lines())))
    return directory


@tap.test
def rows_are_medians_of_time_and_counts():
    rows = widetable.Rows(widetable.rows_of(lines()))
    assert rows.get("requests_per_s", "nom") == 5000, "a lucky boot must not show"
    assert rows.get("requests_per_s.max", "nom") == 500000 and rows.get("requests_per_s.min", "nom") == 5000
    assert rows.get("instructions", "linux-default") == 10000 and rows.get("boots", "nom") == 4
    assert rows.get("instructions", "nom", 8, file=p.BULK) == 3000 and rows.get("instructions", "nom", 9) is None
    assert not [r for r in rows.rows if r["group"] == "search"]


@tap.test
def best_of_the_in_tree_stack_is_taken_figure_by_figure():
    rows = widetable.Rows(widetable.rows_of(lines()))
    assert rows.best_in_tree("requests_per_s", 1, connections=1) == 1250
    assert rows.best_in_tree("instructions", -1, connections=1) == 10000
    assert rows.least_instructions(64) == 9000 - 100 * (len(tuning.SETTINGS) - 1) - 0.5, "settings that were swept count, too, on either device"
    assert rows.least_instructions(500) == 10000 and rows.least_instructions(3) is None


@tap.test
def frontier_leaves_out_what_is_beaten():
    rows = widetable.rows_of(lines())
    widetable.mark_frontiers(rows)
    for connections in (1, 64):
        sweep = {r["w_us"]: r for r in rows if r["group"] == "sweep" and r["connections"] == connections}
        assert {w for w, r in sweep.items() if r["pareto_rate"]} == {0, 5, 80}, "W = 20 is slower and later than W = 5"
        assert {w for w, r in sweep.items() if r["pareto_cost"]} == {0, 5, 20, 80}
    assert not any(r["pareto_rate"] for r in rows if r["group"] != "sweep")
    same = [{"c": 1, "g": 1}, {"c": 1, "g": 1}, {"c": 2, "g": 1}]
    assert widetable.frontier(same, "c", "g") == same[:2]


@tap.test
def verdicts_are_what_the_lines_say():
    seen = {c["what"]: c for c in widetable.reach(widetable.rows_of(lines()))}
    assert seen["request rate, nom to best in-tree, 64 connections"]["seen"] == 4 and seen["request rate, nom to best in-tree, 64 connections"]["reached"]
    assert seen["open-loop saturation point, nom to best in-tree"]["reached"] is False, "1.96 is not 2"
    assert seen["instructions a request, nom to best in-tree, 1 connections"]["reached"] is False, "3000 of 8099.5"
    assert seen["instructions a request, nom to best in-tree, 500 connections"]["reached"]
    assert seen["p99, nom to best in-tree, 64 connections, offered 0.9 of in-tree's saturation"]["reached"] is False
    assert seen["part of its core that idle nom takes"]["seen"] == 0.5 and seen["part of its core that idle nom takes"]["reached"] is False
    bulk = {what.split(", nom")[0]: c for what, c in seen.items() if what.startswith("1 MiB")}
    assert {what: c["seen"] for what, c in bulk.items()} == \
        {"1 MiB down, offloads on": 4, "1 MiB up, offloads on": 0.8, "1 MiB down, offloads off": 2, "1 MiB up, offloads off": 4}, bulk
    assert [c["reached"] for c in bulk.values()] == [True, False, True, True]
    assert all(c["reached"] is None for c in widetable.reach([])), "what was not measured is neither reached nor missed"


@tap.test
def rates_are_judged_at_the_other_end_of_the_rings_where_that_was_seen():
    seen = {c["what"]: c for c in widetable.reach(widetable.rows_of(lines() + peer_lines()))}
    rate = seen["request rate, nom to best in-tree, 64 connections"]
    assert (rate["link"], rate["seen"], rate["on_tap"], rate["reached"]) == (p.PEER, 8, 4, True), rate
    saturation = seen["open-loop saturation point, nom to best in-tree"]
    assert (saturation["seen"], saturation["on_tap"], saturation["reached"]) == (3.92, 1.96, True), saturation
    p99 = seen["p99, nom to best in-tree, 64 connections, offered 0.9 of in-tree's saturation"]
    assert (p99["seen"], p99["on_tap"], p99["reached"]) == (0.25, 1.5, True), "missed on the tap, and said so beside it"
    for what in ("instructions a request, nom to best in-tree, 64 connections", "1 MiB up, offloads on, nom to best in-tree, 8 connections",
                 "doorbells a request, nom, 64 connections", "part of its core that idle nom takes"):
        assert seen[what]["link"] == p.TAP and seen[what]["on_tap"] is None, seen[what]
    only_tap = {c["what"]: c for c in widetable.reach(widetable.rows_of(lines()))}["request rate, nom to best in-tree, 64 connections"]
    assert (only_tap["link"], only_tap["seen"], only_tap["on_tap"]) == (p.TAP, 4, None), only_tap


@tap.test
def links_have_rows_of_their_own():
    rows = widetable.Rows(widetable.rows_of(lines() + peer_lines()))
    assert rows.get("requests_per_s", "nom", 1) == 5000 and rows.get("requests_per_s", "nom", 1, link=p.PEER) == 10000
    assert rows.best_in_tree("requests_per_s", 1, connections=1, link=p.PEER) == 1250
    assert rows.get("instructions", "nom", 1, link=p.PEER) is None and rows.get("requests_per_s", "nom", 8, file=p.BULK, link=p.PEER) is None
    assert rows.least_instructions(64) == 9000 - 100 * (len(tuning.SETTINGS) - 1) - 0.5


@tap.test
def winners_are_named_by_load_rate_and_instructions():
    both = {(w["link"], w["variant"], w["connections"], w["by"]): w for w in widetable.winners(lines() + peer_lines())}
    assert both[p.PEER, "linux-tuned", 500, "rate"]["name"] == f"{tuning.SETTINGS[0].name}, ioeventfd=on"
    assert not [w for w in both if w[0] == p.PEER and (w[3] == "instructions" or w[1] != "linux-tuned")], "one device, and no counts"
    last = tuning.SETTINGS[-1]
    for connections in (1, 64):
        for by in ("rate", "instructions"):
            won = both[p.TAP, "linux-tuned", connections, by]
            assert won["name"] == f"{last.name}, ioeventfd=off" and "threaded=1" in won["settings"] and won["boots"] == 1, won
    assert both[p.TAP, "nom", 64, "rate"]["ioeventfd"] == p.ON and both[p.TAP, "linux-default", 64, "rate"]["ioeventfd"] == p.OFF


@tap.test
def lucky_settings_lose_in_the_second_boot():
    def line(name, device, boot, rate):
        return {"variant": "linux-tuned", "tuning": name, "ioeventfd": device, "boot": boot, "connections": 8, "requests_per_s": rate}
    first = [line("default", p.ON, 0, 100), line("default", p.OFF, 0, 190), line("threaded", p.ON, 0, 200), line("busy-poll", p.OFF, 0, 180)]
    def ranked(lines):
        return [(c.tuning.name, c.ioeventfd, c.boots) for c in tuning.ranked(lines, 8, wide.rate_of, 1)]
    assert ranked(first)[:2] == [("threaded", p.ON, 1), ("default", p.OFF, 1)], "the same setting on another device is another candidate"
    assert ranked(first + [line("threaded", p.ON, 1, 120), line("default", p.OFF, 1, 188)]) == [("default", p.OFF, 2), ("threaded", p.ON, 2)]
    assert tuning.ranked(first, 64, wide.rate_of, 1) == []


@tap.test
def saturation_is_searched_for():
    def server(limit):
        return lambda rate: {"offered_per_s": rate, "achieved_per_s": min(rate, limit), "due": 1000, "errors": {"lost": int(rate > limit / 2)}}
    for limit, guess in ((1000, 1000), (1000, 300), (1000, 8000)):
        point, above, seen = openload.saturation(server(limit), guess, steps=8)
        assert point < above, (point, above)
        assert 0.8 * limit <= point <= limit, (limit, guess, point)
        assert len(seen) == 8
    assert not openload.answered({"offered_per_s": 100, "achieved_per_s": 100, "due": 1000, "errors": {"lost": 1, "refused": 1}}), "who hangs up does not serve"
    assert openload.answered({"offered_per_s": 100, "achieved_per_s": 100, "due": 1000, "errors": {"lost": 1, "stray": 5}})
    assert openload.saturation(server(0), 1000, steps=4)[0] == 0
    low, high, seen = openload.saturation(server(1000), 200, steps=3)
    assert (low, high, len(seen)) == (225, None, 3) and openload.found(low, high)["bounded"] is False, "said where it ended too early"
    low, high, seen = openload.saturation(server(1000), 200, steps=3, more=openload.more_steps(True))
    assert low <= 1000 < high and 3 < len(seen) <= 3 + openload.MORE_STEPS and openload.found(low, high)["bounded"]
    assert len(openload.saturation(server(1e9), 200, steps=3, more=openload.more_steps(True))[2]) == 3 + openload.MORE_STEPS and openload.more_steps(False) == 0


@tap.test
def saturation_without_an_upper_bound_is_marked():
    def reach_of(**bounded):
        some = [{**l, "bounded": bounded.get(l["variant"].replace("-", "_"), True), "not_served_per_s": None} if l["group"] == "saturation" else l for l in lines()]
        return some, next(c for c in widetable.reach(widetable.rows_of(some)) if c["what"].startswith("open-loop saturation"))
    assert reach_of()[1] == {**reach_of()[1], "bound": None, "reached": False, "what": "open-loop saturation point, nom to best in-tree"}
    some, claim = reach_of(nom=False)
    assert claim["what"].endswith("(at least)") and claim["reached"] is False
    page = (left_in("bound", some), subprocess.run([ROOT / "scripts/report-wide", "--out", TMP / "bound"], capture_output=True, check=True))[0] / "index.html"
    assert line_of(page.read_text(), "Saturation", "nom", "64 connections (tap)") == ["at least 4,900", "not found"]
    some, claim = reach_of(linux_tuned=False)
    assert claim["what"].endswith("(at most)") and claim["reached"] is False, "not reached even so"
    for l in some:
        l["saturation_per_s"] = 4 * l["saturation_per_s"] if l["group"] == "saturation" and l["variant"] == "nom" else l.get("saturation_per_s")
    claim = next(c for c in widetable.reach(widetable.rows_of(some)) if c["what"].startswith("open-loop saturation"))
    assert (claim["seen"], claim["reached"]) == (7.84, None), "too low a figure of the in-tree stack must not flatter"
    assert reach_of(nom=False, linux_default=False)[1]["reached"] is None


@tap.test
def plans_promise_what_they_measure():
    for plan in p.PLANS.values():
        for booted in p.boots_of(plan, p.VARIANTS, 1, 1):
            cells = [c for stage in booted.stages if stage.name not in ("again", "confirm") for c in stage.cells]	# these say how many
            assert len(set(cells)) == len(cells), "no two cells may be the same: their lines would be mixed"
            assert {stage.name for stage in booted.stages} <= set(wide.STAGES)
            tuned = {c.connections for c in cells if c.group == "tune" and c.variant == "linux-tuned"}
            if booted.number == 0:
                assert tuned == set(p.loads(plan, booted.link)), "settings are swept at every load"
                assert {c.tuning for c in cells if c.variant == "linux-tuned"} == {t.name for t in plan.settings}
    assert not p.closed(p.FULL, "xdp", p.PEER) and p.closed(p.FULL, "packet", p.PEER) and p.closed(p.FULL, "xdp"), "AF_XDP is on the tap only"
    assert set(p.QUICK.connections) == set(p.FULL.connections) == {1, 8, 64, 500} and p.FULL.settings == p.QUICK.settings == tuning.SETTINGS
    for plan in (p.QUICK, p.FULL):
        for link in p.LINKS:
            assert {c.connections for c in p.opened(plan, "nom", link)} >= {1, 64, 500}, "equal offered loads at few and many connections, too"
            names = [s.name for b in p.boots_of(plan, p.VARIANTS, 1, 0) if b.link == link for s in b.stages if s.name in ("settings", "confirm", "saturation", "open")]
            assert names == ["settings", "confirm", *["saturation"] * 3, *["open"] * 3], "what is offered is known when it is offered"
    assert len({b.number for b in p.boots_of(p.FULL, p.VARIANTS, 5, 1) if b.link == p.TAP and not b.counting}) == 6


@tap.test
def open_loop_of_the_full_plan_has_every_number_of_connections():
    for number, more in ((1, {(1, 0.75), (8, 0.5), (8, 0.75), (500, 0.75)}), (3, {(1, 0.75), (8, 0.5), (8, 0.75), (500, 0.75)}), (4, set())):
        ends = {(c.connections, c.level) for c in p.opened(p.FULL, "nom", p.PEER, number) if c.connections != 64}
        assert ends == {(1, 0.5), (500, 0.5)} | more, (number, ends)
    assert p.searched(p.FULL) == (1, 8, 500) and p.searched(p.QUICK) == (1, 500), "each part is of a saturation that was searched for"


@tap.test
def what_is_left_out_is_said():
    for name, plan in (("quick", p.QUICK), ("full", p.FULL)):
        said = p.left_out(plan, p.USUAL_VARIANTS[name])
        cells = [c for b in p.boots_of(plan, p.USUAL_VARIANTS[name], 1, 1) for s in b.stages for c in s.cells if c.variant == "nom"]
        for what, has in (("open loop", [c for c in cells if c.group == "open"]), ("pipelined requests", [c for c in cells if c.pipeline > 1]),
                          ("files of 1 MiB", [c for c in cells if c.file == p.BULK and c.offloads == p.ON]),
                          ("files of 1 MiB without offloads", [c for c in cells if c.offloads == p.OFF]),
                          ("closed loop over vhost-user", [c for c in cells if c.link == p.PEER and c.group == "closed"]),
                          ("W swept", [c for c in cells if c.group == "sweep"])):
            missing = [c for c in p.CONNECTIONS if c not in {cell.connections for cell in has}]
            assert (f"{what} at {p.listed(missing)} connections" in said) if missing else not [t for t in said if t.startswith(f"{what} at ") and "all levels" not in t], (name, what, missing, said)
        assert ("column packet" in said) == (name == "quick")
    assert "open loop at 8 connections, all levels but 0.5 and 0.75; 0.5 and 0.75 in 3 boots only" in p.left_out(p.FULL)
    text = (ROOT / "Documentation/measuring.rst").read_text()
    for words in ("Left out", "pipelined requests at 8 and 500", "1 MiB at 500", "no equal offered loads"):
        assert words in text, words


@tap.test
def plans_keep_their_time():
    for links_of in (p.LINKS, (p.TAP,)):
        for name, most in (("quick", 10), ("full", 65)):
            plan = p.PLANS[name]
            booted = p.boots_of(plan, p.USUAL_VARIANTS[name], plan.boots, plan.count_boots, links_of)
            assert p.duration_s(booted, plan.seconds) < 60 * most, (p.duration_s(booted, plan.seconds), most)
    one = p.Booted(1, p.TAP, False, True, [p.Stage("closed", "nom", [p.Cell("closed", "nom", 64), p.Cell("closed", "nom", 500)], 1),
                                           p.Stage("saturation", "nom", [], 1, 4)])
    assert abs(p.duration_s([one], 1) - (p.BOOT_S + p.WARM_S + 2 * p.SERVER_S + (1 + 2) + 2 * p.CELL_S + 4 * (1 + p.OPEN_S))) < 1e-6


@tap.test
def plans_bring_their_boots_and_contradictions_are_refused():
    def parsed(*words):
        with mock.patch.object(sys, "argv", ["compare-nhttpd", *words]):
            return compare_nhttpd.options()

    def settings(*words):
        args = parsed(*words)
        return args.wide, args.boots, args.count_boots, args.seconds
    assert settings("--wide", "quick") == settings("--wide", "--quick") == settings("--wide", "quick", "--quick") == ("quick", 1, 1, 1)
    assert settings("--wide") == settings("--wide", "full") == ("full", 5, 1, 2)
    assert settings("--wide", "quick", "--boots", "3") == ("quick", 3, 1, 1), "what is said counts"
    assert "packet" in parsed("--wide").variants and "packet" not in parsed("--wide", "quick").variants, "where time is short AF_XDP is there instead"
    assert parsed("--wide", "--quick", "--variants", "packet,nom").variants == ["packet", "nom"] and "xdp" in parsed("--wide", "quick").variants
    assert settings() == (None, 5, 1, 2) and settings("--quick") == (None, 1, 1, 1)
    for wrong in (("--wide", "full", "--quick"), ("--link", "tap")):
        try:
            with mock.patch.object(sys, "stderr"):
                parsed(*wrong)
        except SystemExit as end:
            assert end.code == 2
        else:
            raise AssertionError(wrong)


@tap.test
def nomctl_knows_the_links():
    nomctl = g.BUILD / "bin/nomctl"
    for words, why in ((("nhttpd", "--link", "wire"), "there are tap and vhost-user"), (("udp", "--link", "vhost-user"), "over HTTP only"),
                       (("bar",), "`compare nhttpd` and `compare udp`"),
                       (("some.jsonl", "--link", "tap"), "are for `compare nhttpd`")):
        done = subprocess.run([nomctl, "compare", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and why in done.stderr, (words, done.returncode, done.stderr)


@tap.test
def man_page_names_every_column():
    text = (ROOT / "Documentation/man/nomctl.1").read_text().split("\n.Cm compare nhttpd\nmeasures")[1].split("\n.Ss bench")[0]
    wide_part, udp_part = text.split("\n.Cm compare udp\nmeasures")
    assert [v for v in p.VARIANTS if f"\n.It Cm {v}\n" not in wide_part] == [], "columns of compare nhttpd"
    assert [v for v in nomudp.VARIANTS if f"\n.Pq Cm {v}" not in udp_part] == [], "columns of compare udp"
    minutes = p.duration_s(p.boots_of(p.FULL, p.VARIANTS, p.FULL.boots, p.FULL.count_boots), p.FULL.seconds) / 60
    for page, words in ((wide_part, f"{minutes:.0f} minutes"), ((ROOT / "Documentation/measuring.rst").read_text(), f"five boots for time and {minutes:.0f} minutes")):
        assert words in page, words


@tap.test
def readme_has_the_ratios_of_the_table():
    text = (ROOT / "Documentation/measuring.rst").read_text().split("What was seen\n---")[1]
    number = r"([\d,.]+)"
    readme = {line.split("|")[1].strip(): line for line in (ROOT / "README.md").read_text().splitlines() if line.endswith("x |")}
    for load in ("1", "64", "500"):
        wanted = []
        for link in ("tap", "vhost-user"):
            table = text.split(f"\n{link} ")[1].split("\n\n")[0]
            line = next(l for l in table.splitlines() if re.match(rf"{load}( connection)? +[\d,]+ ", l))
            numbers = [float(n.replace(",", "")) for n in re.findall(rf"(?<= ){number}(?= )", line)]
            default, tuned, nom = numbers[0], numbers[1], numbers[-3]
            assert abs(nom / max(default, tuned) - numbers[-2]) < 0.06, (line, numbers)
            wanted += [f"{nom / default:.1f}x", f"{numbers[-2]:.1f}x"]
        assert re.findall(r"[\d.]+x", readme[load]) == wanted, (load, readme[load], wanted)


@tap.test
def page_states_settings_and_every_figure():
    directory = left_in("page")
    done = subprocess.run([ROOT / "scripts/report-wide", "--out", directory, "--table"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (directory / "index.html").read_text()
    figures = [f.stem for f in (ROOT / "scripts/figures").glob("*.gp") if f.stem not in ("common", "udp")]
    at_peer = {"rate", "open", "jitter", "saturation", "tuning"}
    names = {f.stem for f in (directory / "figures").glob("*.svg")}
    assert names == set(figures) | {f"{name}-vhost-user" for name in at_peer} and page.count("<svg") == len(names), (page.count("<svg"), names)
    assert (directory / "figures/rate.svg").read_text() != (directory / "figures/rate-vhost-user.svg").read_text()
    assert "Request rate (tap)" in page and "Request rate (vhost-user)" in page and "64 connections (vhost-user)" in page
    for setting in tuning.SETTINGS:
        assert setting.text() in page, setting.name
    assert "MISSED" in page and "reached" in page and "Others took 50%" in page
    assert "<small>1,000 … 100,000</small>" in page, "the spread is beside the median"
    for column, mean in SATURATION.items():
        assert line_of(page, "Saturation", TITLES[column], "64 connections (tap)") == [f"{mean:,}", "–"], column
    for column in (*p.LOADED_OPEN, "packet", "xdp"):
        assert line_of(page, "Idle", TITLES[column], "nobody asks (tap)") == ["0.5000"], f"idle {column}"
    assert line_of(page, "Closed loop", TITLES["nom"], "64 connections (tap)")[-3:] == ["1.250", "–", "3"], "injected interrupts and errors"
    assert line_of(page, "Open loop", TITLES["nom"], "64 connections, offered 0.5 (tap)")[-3:] == ["7", "–", "–"], "unanswered"
    without = (directory / "wide.csv").read_text().replace("requests_per_s.max", "was").replace("latency_us.p99.max", "was").replace("latency_us.sd.max", "was").replace(
        "saturation_per_s.max", "was")
    (directory / "without.csv").write_text(without)
    for figure in ("rate", "bulk", "open", "jitter", "saturation"):
        subprocess.run(["gnuplot", "-c", ROOT / f"scripts/figures/{figure}.gp", directory / "without.csv", directory / "without.svg", p.TAP],
                       capture_output=True, check=False)
        whole = directory / f"figures/{figure}.svg"
        assert not (directory / "without.svg").exists() or (directory / "without.svg").read_text() != whole.read_text(), f"{figure}: no whiskers"
        (directory / "without.svg").unlink(missing_ok=True)
    assert " ● ○" in page and "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    table = {line[:56].strip(): line[56:].split() for line in done.stdout.splitlines()}
    assert {line[:56].strip(): line[56:].split()[0] for line in done.stdout.splitlines() if ", 1 MiB " in line and "(tap)" in line} == \
        {"closed, 8 connections, 1 MiB down (tap)": "4.00", "closed, 8 connections, 1 MiB up (tap)": "0.80",
         "closed, 8 connections, 1 MiB down, offloads off (tap)": "2.00", "closed, 8 connections, 1 MiB up, offloads off (tap)": "4.00"}
    assert table["closed, 64 connections (tap)"][0] == "4.00" and table["closed, 64 connections (vhost-user)"][0] == "8.00", table
    assert "MISSED" in done.stdout
    rows = list(csv.DictReader((directory / "wide.csv").open()))
    assert len(rows) == len(json.loads((directory / "wide.json").read_text())["rows"]) and rows[0]["requests_per_s"] == "1000"


@tap.test
def figures_are_made_from_raw_data():
    directory = left_in("raw")
    widetable.write(directory)
    figures = [f for f in (ROOT / "scripts/figures").glob("*.gp") if f.stem not in ("common", "udp")]
    for figure in figures:
        made = []
        for data in ("wide.csv", "wide.jsonl"):
            target = directory / f"{figure.stem}-{data}.svg"
            done = subprocess.run(["gnuplot", "-c", figure, directory / data, target], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            made.append(target.read_text())
        assert made[0] == made[1] and "NaN" not in made[0], figure
    (directory / "wide.csv").unlink()
    printed = subprocess.run([sys.executable, ROOT / "scripts/lib/widetable.py", directory / "wide.jsonl"], capture_output=True, text=True, check=True).stdout
    assert printed == widetable.csv_text(widetable.marked_rows(widetable.read(directory)[1])) and printed.count("\n") > 100


@tap.test
def page_of_a_part_is_made_and_of_nothing_refused():
    directory = left_in("part")
    part = [l for l in (directory / "wide.jsonl").read_text().splitlines() if '"count"' in l and '"closed"' in l]
    (directory / "wide.jsonl").write_text("\n".join(part) + "\n")
    done = subprocess.run([ROOT / "scripts/report-wide", "--out", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "not measured" in (directory / "index.html").read_text(), done.stderr
    uncounted = left_in("uncounted", [l for l in lines() + peer_lines() if l["kind"] == "time"])	# as with KVM
    done = subprocess.run([ROOT / "scripts/report-wide", "--out", uncounted], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "tuning.svg" in {f.name for f in (uncounted / "figures").iterdir()}, done.stderr
    (directory / "wide.jsonl").write_text("")
    for out, why in ((directory, "no measured cell"), (TMP, "run `nomctl compare nhttpd` first")):
        done = subprocess.run([ROOT / "scripts/report-wide", "--out", out], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and why in done.stderr, done.stderr


class FakePeer(links.Tap):
    """The other link, with the same fakes behind it."""
    name = p.PEER

    def closed(self, url, connections, seconds, pipeline=1):
        got = httpload.run(url, connections, seconds, pipeline)
        return {**got, "link_figures": {"interrupts": 2 * got["requests"], "doorbells": 0}}


class FakeGuest:
    """A guest in which nothing runs."""
    crash_lines, starved, stale_code, pid, command = [], 0, False, 1, ["qemu", "made-up"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class FakeServer:
    """Serves at the rates of MADE_UP; nhttpd's name for variants, settings and W is what it is made with."""
    started = []

    def __init__(self, variant, tuned=None, sink=False, nic=0):
        self.variant, self.tuning, self.w, self.sink, self.nic = variant, tuned, 0, sink, nic
        self.url = f"http://none/{nic}"
        FakeServer.started.append((variant, tuned and tuned.name, nic))

    def __enter__(self):
        FakeServer.now = self
        return self

    def __exit__(self, *_):
        pass

    def counters(self):
        return {"doorbells_rx": 1, "doorbells_tx": 1}

    def settings(self):
        return {"command": f"made-up {self.variant}{' --sink' * self.sink}", "knobs": "w_us=0"}

    def w_us(self):
        return self.w or 0

    def tune(self, w_us):
        self.w = w_us

    def check(self):
        pass

    def set_to(self, name):
        return bool(self.tuning) and self.tuning.name == name

    def rate(self):
        """gro-off is the fastest, and the second device is good for it alone."""
        fastest = self.set_to("gro-off")
        return MADE_UP[self.variant][0] + (100 if fastest else 0) + (10 if fastest else -10) * self.nic - self.w


class FakeCounters:
    def read(self):
        FakeCounters.nr = getattr(FakeCounters, "nr", 0) + 1000
        names = [w for w in count.WORDS if w] + [s for symbols in count.EVENTS.values() for s in symbols]
        return count.Counts([dict.fromkeys(names, FakeCounters.nr) for _ in range(2)])


class FakeBoot(wide.Boot):
    def __init__(self, args, number, counting, extra=(), link=p.TAP, offloads=True, ioeventfd=()):
        assert ioeventfd == ((p.ON, p.OFF) if link == p.TAP else ())
        self.args, self.number, self.counting, self.guest, self.offloads = args, number, counting, FakeGuest(), offloads
        self.link = FakePeer() if link == p.PEER else links.Tap()
        self.counters = FakeCounters() if counting else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def pin(self, variant):
        pass

    def cpu_ns(self, variant):
        return 0


OPEN_LIKES, BULK_LIKES = "threaded", ("defer-20us", "threaded-defer")	# settings; for downloads, for uploads
HANGS_UP = set()	# variants and connections whose server hangs up on one of a hundred


def wrk(url, connections, seconds, pipeline=1, upload=0):
    assert url.startswith(("http://none", f"http://10.0.{FakeServer.now.nic}.2")), url
    if url != FakeServer.now.url:	# which only warms
        assert bool(upload) == url.endswith(nhttpd.SINK) == FakeServer.now.sink, "uploads go to a server that takes them, and nothing else does"
    if (FakeServer.now.variant, connections) == ("nginx", 1) and not FakeBoot.whole:
        raise httpload.LoadError("no request was answered")
    large = upload or url.endswith(p.FILES[p.BULK][0])
    requests = (FakeServer.now.rate() + (500 if large and FakeServer.now.set_to(BULK_LIKES[bool(upload)]) else 0)) * seconds
    if (FakeServer.now.variant, connections) in HANGS_UP:
        httpload.check_errors(requests // 100, requests)
    return {"requests": requests, "seconds": seconds, "bytes": 400 * requests, "errors": 0, "corrected": {}, **latency(100)}


SILENT_ONCE = []	# connections at which the next open loop finds a starved host


def nom_load(url, rate, connections, seconds, extra=()):
    if connections in SILENT_ONCE:
        SILENT_ONCE.remove(connections)
        raise httpload.LoadError("no request was answered: the server is silent")
    limit = 2 * FakeServer.now.rate()
    mean = 50 if FakeServer.now.set_to(OPEN_LIKES) else 100
    return {"offered_per_s": rate, "achieved_per_s": min(rate, limit), "unsent": 0, "unanswered": 0, "waited": 0, "late": 0, "late_max_us": 0,
            "due": 100, "latency_us": latency(mean), "errors": {"status": 0, "lost": 0, "protocol": 0, "refused": int((FakeServer.now.variant, connections) in HANGS_UP), "stray": 0}}


def compare_fakes(name, whole, unusable=None, link=None, variants=p.VARIANTS, plan="quick", boots_of=2):
    """wide.compare() with nothing real but its own code and nomctl."""
    replaced = {(wide, "Boot"): FakeBoot, (httpload, "run"): wrk, (openload, "run"): nom_load, (boots, "SETTLE_S"): 0, (boots, "TIMED_SETTLE_S"): 0, (wide, "IDLE_S"): 0.01,
                (wide, "IDLE_SETTLE_S"): 0, (openload, "check_built"): lambda: None, (g, "accelerator"): lambda wanted: ("tcg", "made up"),
                (boots, "about_machine"): lambda args, guest: {"time_scale": 16, "settings": {}}, (nginx, "BINARY"): ROOT / "Makefile",
                (nhttpd, "Server"): lambda guest, variant, size, tuned=None, link=None, sink=False, nic=0: FakeServer(variant, tuned, sink, nic),
                (nginx, "Server"): lambda guest, size, link=None, nic=0: FakeServer("nginx", nic=nic), (links, "unusable"): lambda name, accel: unusable.get(name)}
    unusable = unusable or {}
    kept = {where: getattr(*where) for where in replaced}
    args = argparse.Namespace(plan=plan, link=link, links=[link] if link else list(p.LINKS), left_out="", variants=list(variants), boots=boots_of, count_boots=1, seconds=1, accel="auto", kernel=None, no_pin=True, out=TMP / name)
    FakeBoot.whole, FakeServer.started = whole, []
    try:
        for (module, attribute), value in replaced.items():
            setattr(module, attribute, value)
        return wide.compare(args), args.out
    finally:
        for (module, attribute), value in kept.items():
            setattr(module, attribute, value)


@tap.test
def from_boots_to_compare_json():
    status, out = compare_fakes("flow", whole=True)
    assert status == 0
    machine, all_lines = widetable.read(out)
    best = machine["settings"]["best_by_connections"]
    assert best["tap, linux-tuned"] == {str(c): "gro-off, ioeventfd=off" for c in p.QUICK.connections}, "the fastest setting of each load, and its device"
    assert best["tap, linux-default"] == {str(c): "default, ioeventfd=on" for c in p.QUICK.connections} and set(best["tap, nom"].values()) == {"ioeventfd=on"}
    assert best["vhost-user, linux-tuned"] == {str(c): "gro-off, ioeventfd=on" for c in p.QUICK.peer_connections}
    base = machine["settings"]["saturation_of_in_tree_per_s"]
    assert set(base) == {f"{link}, {c} connections" for link in p.LINKS for c in (1, 64, 500)} and set(machine["settings"]["links"]) == set(p.LINKS)
    for where, rate in base.items():	# twice the closed loop's rate is served
        link, connections = where.split(", ")
        searched = [l["saturation_per_s"] for l in all_lines if (l["group"], l["link"], l["connections"], l["variant"]) ==
                    ("saturation", link, int(connections.split()[0]), "linux-tuned")]
        assert rate == searched[0] and 1.5 * 1350 < rate <= 2 * 1360, (where, rate, searched)
    assert all(l["bounded"] == (l["not_served_per_s"] is not None) for l in all_lines if l["group"] == "saturation")
    assert all(l["bounded"] for l in all_lines if l["group"] == "saturation" and l["variant"] in p.IN_TREE), "searched for until something is not served"
    assert machine["settings"]["qemu_command"] == {where: "qemu made-up" for where in (*p.LINKS, "tap, no offloads")}
    ran = machine["settings"]["ran"]
    assert ran["nom, tap, ioeventfd=on"] == ran["nom, W swept, tap, ioeventfd=on"] == "command: made-up nom; knobs: w_us=0", ran
    assert ran["nom, uploads, tap, ioeventfd=on"] == ran["nom, uploads, tap, no offloads, ioeventfd=on"] == "command: made-up nom --sink; knobs: w_us=0", ran
    assert {f"linux-tuned, {t.name}, {where}" for t in tuning.SETTINGS for where in ("tap, ioeventfd=on", p.PEER)} <= set(ran) and "nginx, vhost-user" in ran, ran
    done = subprocess.run([ROOT / "scripts/report-wide", "--out", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "made-up linux-tuned" in (out / "index.html").read_text(), done.stderr
    page = html.unescape((out / "index.html").read_text())
    assert "are those of the same settings" in page and "none was looked for that suits these better" in page, "by what the settings were chosen"
    for stated in (f"wrk {' '.join(httpload.command('', 'CONNECTIONS', 'SECONDS')[1:5])}", "--timeout 5s", "500 connections</dt><dd>2 s", "swept or tried</dt><dd>1 s; where instructions are counted 2 s at 500",
                   "--depth PIPELINED", "nom-load --rate RATE", "--sink"):
        assert stated in page, f"not stated: {stated}"
    tuned = [(t, nic) for v, t, nic in FakeServer.started if v == "linux-tuned"]
    assert tuned[:len(tuning.SETTINGS)] == [(t.name, 0) for t in tuning.SETTINGS] and {("gro-off", 1), ("default", 1)} <= set(tuned)
    assert {nic for v, _, nic in FakeServer.started if v in ("linux-default", "nginx", "packet", "xdp", "nom-priced")} == {0}, "the device that suits them"
    assert {nic for v, _, nic in FakeServer.started if v == "nom"} == {0, 1} and {l["ioeventfd"] for l in all_lines if l["group"] == "closed" and l["variant"] == "nom"} == {p.ON}
    confirmed = {l["tuning"] for l in all_lines if l["group"] == "tune" and l["boot"] == 1 and l["link"] == p.TAP}
    assert "gro-off" in confirmed and len(confirmed) <= 2
    assert {l["variant"] for l in all_lines if l["group"] == "open"} == set(p.LOADED_OPEN)
    assert {l["variant"] for l in all_lines if l["group"] == "idle"} == {*p.LOADED_OPEN, "packet", "xdp"}
    assert {l["variant"] for l in all_lines if l["group"] == "tune"} == {"linux-tuned", "nom"}, "nothing is swept for packet socket and AF_XDP"
    assert {(l["link"], l["connections"], l["offered_per_s"]) for l in all_lines if l["group"] == "open" and l["level"] == 0.5} == \
        {(link, c, 0.5 * base[f"{link}, {c} connections"]) for link in p.LINKS for c in (1, 64, 500)}, "the same for all variants, in all boots"
    whole = json.loads((out / "wide.json").read_text())
    rows = widetable.Rows(whole["rows"])
    assert 1.6 * 5000 < rows.get("saturation_per_s", "nom", group="saturation") <= 10000
    assert rows.get("interrupts_per_request", "linux-default", 1, link=p.PEER) == 2 and not rows.get("doorbells_per_request", "nom", link=p.PEER)
    for direction in (p.DOWN, p.UP):
        for offloads in (p.ON, p.OFF):
            assert rows.get("boots", "nom", 8, file=p.BULK, direction=direction, offloads=offloads) == 2, (direction, offloads)
            assert rows.get("boots", "nginx", 8, file=p.BULK, direction=direction, offloads=offloads) == \
                (2 if (direction, offloads) == (p.DOWN, p.ON) else None)
    assert rows.get("boots", "nom", 64) == 3 and rows.get("boots", "nom", 64, link=p.PEER) == 2 and rows.get("instructions", "nom", 64) is not None
    results = json.loads((out / "compare.json").read_text())["results"]
    assert {(r["variant"], r["connections"]) for r in results} == {(v, c) for v in p.VARIANTS for c in p.FEW.get(v, (1, 8, 64, 500))}
    assert all(r["requests_per_s"]["median"] and (r["variant"] == "nom-priced" or r["instructions_per_request"]["user"]["median"] is not None) for r in results)
    by_figures = {r["w_us"]: r["instructions"] for r in whole["rows"] if r["group"] == "sweep" and r["connections"] == 64}
    assert None not in by_figures.values() and set(by_figures) == set(p.QUICK.sweep_w)


@tap.test
def full_plan_is_carried_out_whole():
    status, out = compare_fakes("full", whole=True, plan="full", boots_of=4)
    machine, all_lines = widetable.read(out)
    assert status == 0 and not [l for l in all_lines if "failed" in l]
    rows = widetable.Rows(widetable.rows_of(all_lines))
    for link in p.LINKS:
        for variant in p.LOADED_OPEN:
            boots_with = {(c, level): rows.get("boots", variant, c, group="open", level=level, link=link) for c, level in ((1, 0.5), (1, 0.75), (8, 0.5), (8, 0.75), (500, 0.5), (500, 0.75), (64, 0.9))}
            assert boots_with == {(1, 0.5): 4, (1, 0.75): 3, (8, 0.5): 3, (8, 0.75): 3, (500, 0.5): 4, (500, 0.75): 3, (64, 0.9): 4}, (variant, boots_with)
        assert f"{link}, 8 connections" in machine["settings"]["saturation_of_in_tree_per_s"]
    done = subprocess.run([ROOT / "scripts/report-wide", "--out", out], capture_output=True, text=True, check=False)
    page = html.unescape((out / "index.html").read_text())
    assert done.returncode == 0 and all(text in page for text in p.left_out(p.FULL)), done.stderr
    assert "p99, nom to best in-tree, 8 connections, offered 0.75 of in-tree's saturation" in page
    # the tuned column has by figure what suits it
    tried = [l for l in all_lines if l["group"] in p.TRIALS]
    assert {(l["group"], l["link"], l["connections"], l["direction"]) for l in tried} == \
        {("trial-open", link, c, p.DOWN) for link in p.LINKS for c in p.CONNECTIONS} | {("trial-bulk", p.TAP, 8, d) for d in (p.DOWN, p.UP)}
    assert {l["tuning"] for l in tried} >= {"gro-off", *p.ALSO_TRIED} and len({l["tuning"] for l in tried}) <= p.TRIED_BEST + len(p.ALSO_TRIED) + 1
    assert len(tried) == len({tuple(l[k] for k in widetable.KEY) for l in tried}), "once each"
    best = machine["settings"]["best_by_connections"]
    assert best["vhost-user, linux-tuned, by p99 at 0.5 of saturation"] == {str(c): "threaded, ioeventfd=on" for c in p.CONNECTIONS}, best
    assert (best["tap, linux-tuned, by rate of 1 MiB down"], best["tap, linux-tuned, by rate of 1 MiB up"]) == ({"8": "defer-20us, ioeventfd=off"}, {"8": "threaded-defer, ioeventfd=off"})
    for link in p.LINKS:
        for c in p.CONNECTIONS:
            assert rows.get("latency_us.p99", "linux-tuned", c, group="open", level=0.5, link=link) == 100, "of threaded; 200 of what is fastest"
        assert rows.get("latency_us.p99", "linux-default", 64, group="open", level=0.5, link=link) == 200
    for c in (1, 8, 64):
        for d in (p.DOWN, p.UP):
            assert rows.get("requests_per_s", "linux-tuned", c, file=p.BULK, direction=d) == 1250 + 500 - 10, (c, d)
    assert rows.get("requests_per_s", "linux-tuned", 64) == 1250 + 100 + 10, "a small file's is what the sweep found"
    assert "Settings tried: open loop" in page and "the least p99 in a trial" in page and "in-tree, tuned, 64 connections, by p99 at 0.5 of saturation (tap)" in page


@tap.test
def a_link_that_cannot_be_had_is_left_out_and_said():
    status, out = compare_fakes("one", whole=True, unusable={p.PEER: "an old QEMU"})
    machine, all_lines = widetable.read(out)
    assert status == 0 and {l["link"] for l in all_lines} == {p.TAP}
    assert machine["settings"]["link_left_out"] == "vhost-user: an old QEMU" and set(machine["settings"]["links"]) == {p.TAP}
    try:
        compare_fakes("asked", whole=True, unusable={p.PEER: "an old QEMU"}, link=p.PEER)
    except links.LoadError as error:
        assert "an old QEMU" in str(error)
    else:
        raise AssertionError("asked for, and silently left out")
    status, out = compare_fakes("only", whole=True, link=p.PEER)
    _, all_lines = widetable.read(out)
    assert status == 0 and {(l["link"], l["kind"]) for l in all_lines} == {(p.PEER, "time")}
    assert json.loads((out / "compare.json").read_text())["results"], "of the only link that there is"


@tap.test
def some_of_the_variants_can_be_compared():
    status, out = compare_fakes("two", whole=True, variants=("linux-default", "nom"))
    machine, all_lines = widetable.read(out)
    assert status == 0 and {l["variant"] for l in all_lines} == {"linux-default", "nom"}
    assert {k: set(v.values()) for k, v in machine["settings"]["best_by_connections"].items()} == {f"tap, {v}": {"ioeventfd=on"} for v in ("linux-default", "nom")}
    assert len({l["level"] for l in all_lines if l["group"] == "open" and l["variant"] == "nom" and l["link"] == p.TAP}) == len(p.QUICK.levels)
    status, out = compare_fakes("alone", whole=True, variants=("nom",))
    _, all_lines = widetable.read(out)
    assert status == 1 and not [l for l in all_lines if l["group"] == "open"], "no in-tree stack to take a part of: said, and failed"
    done = subprocess.run([ROOT / "scripts/report-wide", "--out", out, "--table"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@tap.test
def failed_cells_fail_the_comparison_and_spare_the_rest():
    status, out = compare_fakes("failing", whole=False)
    assert status == 1
    rows = widetable.Rows(json.loads((out / "wide.json").read_text())["rows"])
    assert rows.get("requests_per_s", "nginx", 1) is None and rows.get("requests_per_s", "nginx", 64) == 900


@tap.test
def search_that_a_starved_host_ended_is_done_once_more():
    SILENT_ONCE.extend([500, 1])
    status, out = compare_fakes("silent", whole=True, link=p.TAP)
    machine, all_lines = widetable.read(out)
    assert status == 0 and [(l["group"], l["connections"], l["again"]) for l in all_lines if "failed" in l] == [("search", 1, True), ("search", 500, True)], "one load each"
    assert set(machine["settings"]["saturation_of_in_tree_per_s"]) == {f"tap, {c} connections" for c in (1, 64, 500)}, "or there would be no offered loads in any boot"


@tap.test
def servers_that_hang_up_are_not_fast_but_failed():
    HANGS_UP.add(("nom", 500))
    try:
        status, out = compare_fakes("lossy", whole=True)
    finally:
        HANGS_UP.clear()
    assert status == 1
    whole = json.loads((out / "wide.json").read_text())
    rows = widetable.Rows(whole["rows"])
    assert rows.get("requests_per_s", "nom", 500) is None and rows.get("requests_per_s", "nom", 500, group="open", level=0.5) is None, "no figure of a load with errors"
    assert rows.get("requests_per_s", "nom", 64) == 5000 and 0.009 < rows.get("error_share", "nom", 500) < 0.011
    seen = {(c["what"].split(", ")[-1], c["link"]): c for c in whole["reach"] if c["what"].startswith("errors")}
    assert {where: c["reached"] for where, c in seen.items()} == {(whose, link): whose != "nom" for whose in ("nom", "the in-tree columns") for link in p.LINKS}, seen
    done = subprocess.run([ROOT / "scripts/report-wide", "--out", out], capture_output=True, text=True, check=False)
    page = (out / "index.html").read_text()
    assert done.returncode == 0 and "Loads that failed" in page and "50 errors beside 5000 requests: more than 0.1%" in page and "loaded once more" in page, done.stderr
    assert not [r for r in json.loads((out / "compare.json").read_text())["results"] if (r["variant"], r["connections"]) == ("nom", 500)]
    for errors, requests, bad in ((1, 1000, False), (2, 1000, True), (0, 0, False)):
        try:
            httpload.check_errors(errors, requests)
        except httpload.Lossy:
            assert bad, (errors, requests)
        else:
            assert not bad, (errors, requests)


@tap.test
def server_that_does_not_run_costs_its_cells_alone():
    class Broken(FakeServer):
        def __init__(self, *_, nic, **__):
            assert nic == 1
            super().__init__("nom")

        def __enter__(self):
            raise nhttpd.ServerError("not today")
    session = wide.Session.__new__(wide.Session)
    session.failed, session.progress, session.accel = 0, boots.Progress(10), "tcg"
    cells = [p.Cell("closed", "nom", n) for n in (1, 8, 64)]
    with mock.patch.object(wide.nhttpd, "Server", Broken):
        wide.serve(session, FakeBoot(None, 1, False, ioeventfd=(p.ON, p.OFF)), "nom", p.OFF, cells, lambda server, cells: cells.clear())
    assert len(cells) == 3 and session.failed == 3 and session.progress.done == 3


@tap.test
def boot_that_the_emulator_spoils_is_repeated_whole():
    class Spoilt(FakeGuest):
        stale_code, tries = True, 0

    def work(boot):
        Spoilt.tries += 1
        if Spoilt.tries < 3:
            raise g.GuestError(g.EX_CRASH, "Oops: int3")
        return "figures"
    boot = FakeBoot(None, 1, False, ioeventfd=(p.ON, p.OFF))
    boot.guest = Spoilt()
    progress = boots.Progress(1)
    assert boots.boot_again(lambda: boot, work, progress) == "figures" and progress.repeats == boots.REPEATS == 2
    Spoilt.tries = 0
    try:
        boots.boot_again(lambda: boot, work, progress)
    except g.GuestError:
        pass
    else:
        raise AssertionError("repeated without end")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nom-wide-") as temporary:
        TMP = pathlib.Path(temporary)
        sys.exit(tap.main())
