# SPDX-License-Identifier: MIT
"""widetable - lines of the wide comparison to rows, with the frontier of W and the verdicts

    write(directory)    # wide.jsonl -> wide.json, wide.csv

Run as a program with a path of wide.jsonl, it prints the CSV: what a figure's
script draws of raw data (scripts/figures/common.gp).

A row is a cell: of each figure the median over boots, and beside it the least
and the greatest (NAME.min, NAME.max).  Nothing is judged by one boot alone, but
with one boot the spread is that of one.
"""
import csv
import io
import json
import pathlib
import statistics
import sys

import httpload
import plan as p
import trials
import tuning

KEY = p.Cell._fields
FIGURES = ("requests_per_s", "offered_per_s", "latency_us.mean", "latency_us.sd", "latency_us.p50", "latency_us.p99", "latency_us.p999",
           "latency_us.max", "latency_corrected_us.sd", "instructions_per_request.user", "instructions_per_request.kernel", "instructions",
           "doorbells_per_request", "interrupts_per_request", "syscalls_per_request", "context_switches_per_request", "exits_per_request", "irq_injections_per_request", "cpu_us_per_request",
           "idle_share", "late", "waited", "unsent", "unanswered", "errors", "error_share", "w_seen_us", "other_cpu", "saturation_per_s", "not_served_per_s", "bounded", "bytes_per_request")


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def instructions(line):
    cost = line.get("instructions_per_request")
    return cost["user"] + cost["kernel"] if cost else None


def error_share(line):
    """Part of a load's requests that came to nothing; of an open loop, of those that were due."""
    requests = line.get("requests", line.get("due"))
    return httpload.error_share(line["errors"], requests) if requests is not None and "errors" in line else None


def figure(line, name):
    if name == "error_share":
        return error_share(line)
    if name == "instructions":
        return instructions(line)
    for part in name.split("."):
        if not isinstance(line, dict) or line.get(part) is None:
            return None
        line = line[part]
    return line


def rows_of(lines):
    """One row for each cell, in the order of their first lines; searches for saturation, and what was loaded once more, are left out."""
    cells = {}
    for line in lines:
        if line["group"] != "search" and not line.get("again"):
            cells.setdefault(tuple(line[k] for k in KEY), []).append(line)
    rows = []
    for key, members in cells.items():
        row = dict(zip(KEY, key))
        for name in FIGURES:
            values = [int(v) if isinstance(v, bool) else v for v in (figure(l, name) for l in members) if v is not None]
            row[name] = median(values)
            row[f"{name}.min"], row[f"{name}.max"] = (min(values), max(values)) if values else (None, None)
        row["tuning_nr"] = next((n for n, t in enumerate(tuning.SETTINGS) if t.name == row["tuning"]), None)	# for plots
        row["boots"] = len({l["boot"] for l in members if "failed" not in l})
        rows.append(row)
    return rows


def frontier(rows, cost, gain):
    """Those that no other beats or equals in both: `cost` less is better, `gain` more is."""
    def beats(a, b):
        return a[cost] <= b[cost] and a[gain] >= b[gain] and (a[cost] < b[cost] or a[gain] > b[gain])
    known = [r for r in rows if r.get(cost) is not None and r.get(gain) is not None]
    return [r for r in known if not any(beats(other, r) for other in known)]


def mark_frontiers(rows):
    """"pareto_rate", "pareto_cost": on the frontier of latency against rate, and against instructions saved."""
    loads = {(r["connections"], r["file"], r["pipeline"]) for r in rows if r["group"] == "sweep"}
    for row in rows:
        row["pareto_rate"] = row["pareto_cost"] = 0
    for load in loads:
        same = [r for r in rows if r["group"] == "sweep" and (r["connections"], r["file"], r["pipeline"]) == load]
        for row in frontier(same, "latency_us.mean", "requests_per_s"):
            row["pareto_rate"] = 1
        saved = [{**r, "saved": None if r["instructions"] is None else -r["instructions"]} for r in same]
        for row in frontier(saved, "latency_us.mean", "saved"):
            next(r for r in same if r["w_us"] == row["w_us"])["pareto_cost"] = 1


class Rows:
    """Rows by what they are."""

    def __init__(self, rows):
        self.rows = rows

    def get(self, name, variant, connections=p.OPEN_CONNECTIONS, group="closed", file=p.SMALL, pipeline=1, level=None, link=p.TAP,
            direction=p.DOWN, offloads=p.ON):
        for r in self.rows:
            if (r["group"], r["variant"], r["connections"], r["file"], r["pipeline"], r["level"], r["link"], r["direction"], r["offloads"]) == \
                    (group, variant, connections, file, pipeline, level, link, direction, offloads):
                return r[name]
        return None

    def ratio(self, name, ours, theirs=None, better=1, **which):
        """Ours to theirs, or to the better of the in-tree stack's columns; None where one of them is missing."""
        a = self.get(name, ours, **which)
        b = self.get(name, theirs, **which) if theirs else self.best_in_tree(name, better, **which)
        return a / b if a is not None and b else None

    def best_in_tree(self, name, better, **which):
        """The better of the in-tree stack's columns; a setting that wins one figure need not win another."""
        seen = [self.get(name, v, **which) for v in p.IN_TREE]
        seen = [v for v in seen if v is not None]
        return (max(seen) if better > 0 else min(seen)) if seen else None

    def unbounded(self, variants, **which):
        """Did a search of one of them end, in any boot, with all served?"""
        return any(self.get("bounded.min", v, group="saturation", **which) == 0 for v in variants)

    def least_instructions(self, connections):
        """Over all settings that were swept, too: the hardest in-tree figure to beat."""
        swept = [r["instructions"] for r in self.rows if r["group"] == "tune" and r["variant"] in p.IN_TREE and r["connections"] == connections and
                 r["instructions"] is not None]
        best = self.best_in_tree("instructions", -1, connections=connections)
        return min(swept + ([best] if best is not None else []), default=None)


def reach(rows):
    """What the project wants of the comparison: [{what, wanted, better, seen, reached, link, on_tap, bound}].

    reached is None where nothing was measured, or where what was seen is no more
    than a bound on the wrong side: "at most", or "uncertain" with no bound on either side.  Rates and latencies are judged
    where the server itself is seen, from the other end of the rings, if that
    was measured; what was seen over the tap stands beside it.
    """
    table, out = Rows(rows), []
    judged = p.PEER if any(r["link"] == p.PEER for r in rows) else p.TAP

    def verdict(what, wanted, seen, at_least, link=p.TAP, on_tap=None, bound=None):
        def rounded(value):
            return None if value is None else round(value, 4)
        reached = None if seen is None else (seen >= wanted if at_least else seen <= wanted)
        if bound == "uncertain" or (bound == "at most" and reached):
            reached = None
        out.append({"what": what + (f" ({bound})" if bound else ""), "wanted": wanted, "better": "more" if at_least else "less", "seen": rounded(seen), "link": link,
                    "on_tap": rounded(on_tap), "reached": reached, "bound": bound})

    def claim(what, wanted, at_least, name, bound=None, **which):
        """A ratio to the in-tree stack, or to another server, on the link that is judged, and on the tap."""
        better = 1 if at_least else -1
        seen = table.ratio(name, better=better, link=judged, **which)
        on_tap = table.ratio(name, better=better, link=p.TAP, **which) if judged != p.TAP else None
        verdict(what, wanted, seen, at_least, judged, on_tap, bound)

    def plain(what, wanted, seen):
        verdict(what, wanted, seen, False)

    for connections, wanted in ((1, 1 / 4), (64, 1 / 3), (500, 1 / 3)):
        ours, theirs = table.get("instructions", "nom", connections), table.least_instructions(connections)
        verdict(f"instructions a request, nom to best in-tree, {connections} connections", round(wanted, 4),
                ours / theirs if ours is not None and theirs else None, False)
    for connections, wanted in ((1, 3), (64, 4)):
        claim(f"request rate, nom to best in-tree, {connections} connections", wanted, True, "requests_per_s", ours="nom", connections=connections)
    for connections, level in sorted({(r["connections"], r["level"]) for r in rows if r["group"] == "open"}):
        for name, text in (("latency_us.p99", "p99"), ("latency_us.sd", "sd")):
            claim(f"{text}, nom to best in-tree, {connections} connections, offered {level:g} of in-tree's saturation", 1, False, name, ours="nom",
                  group="open", connections=connections, level=level)
    bounds = {(False, False): None, (True, False): "at least", (False, True): "at most", (True, True): "uncertain"}
    claim("open-loop saturation point, nom to best in-tree", 2, True, "saturation_per_s", ours="nom", group="saturation",
          bound=bounds[table.unbounded(("nom",), link=judged), table.unbounded(p.IN_TREE, link=judged)])
    bulk = {(r["connections"], r["direction"], r["offloads"]) for r in rows if r["file"] == p.BULK and r["group"] == "closed"}
    for connections, direction, offloads in sorted(bulk, key=lambda b: (b[2] == p.OFF, b[1], b[0])):
        verdict(f"1 MiB {direction}, offloads {offloads}, nom to best in-tree, {connections} connections", 1,
                table.ratio("requests_per_s", "nom", connections=connections, file=p.BULK, direction=direction, offloads=offloads), True)
    for link in dict.fromkeys(r["link"] for r in rows):
        for whose, variants in (("nom", ("nom",)), ("the in-tree columns", p.IN_TREE)):
            worst = max((r["error_share.max"] for r in rows if r["link"] == link and r["variant"] in variants and r["error_share.max"] is not None), default=None)
            verdict(f"errors, part of the requests of the worst load, {whose}", httpload.MOST_ERRORS, worst, False, link)
    plain("doorbells a request, nom, 64 connections", 0.1, table.get("doorbells_per_request", "nom"))
    plain("device interrupts a request, nom, 64 connections", 0.001, table.get("interrupts_per_request", "nom"))
    plain("system calls a request, nom, 64 connections", 0.001, table.get("syscalls_per_request", "nom"))
    plain("part of its core that idle nom takes", 0.02, table.get("idle_share", "nom", group="idle"))
    for connections in (1, 64):
        claim(f"nhttpd on the in-tree stack to nginx, {connections} connections", 1, True, "requests_per_s", ours="linux-default", theirs="nginx",
              connections=connections)
    return out


def winners(lines):
    """What the sweeps found: [{link, variant, connections, by, name, settings, ioeventfd, median, boots}]."""
    found = []
    for link in p.LINKS:
        swept = [l for l in lines if l["group"] == "tune" and l["link"] == link]
        for variant, same in (("linux-default", tuning.of_default(swept)), ("linux-tuned", [l for l in swept if l["variant"] == "linux-tuned"]),
                              ("nom", [l for l in swept if l["variant"] == "nom"])):
            for connections in sorted({l["connections"] for l in same}):
                for by, get, better in (("rate", lambda l: l.get("requests_per_s"), 1), ("instructions", instructions, -1)):
                    best = next(iter(tuning.ranked(same, connections, get, better)), None)
                    if best and (variant == "linux-tuned" or link == p.TAP):	# elsewhere there is one device
                        found.append({"link": link, "variant": variant, "connections": connections, "by": by, "name": best.text(),
                                      "settings": best.tuning.text() if best.tuning else "", "ioeventfd": best.ioeventfd,
                                      "median": round(best.median, 1), "boots": best.boots})
    found += [{"link": link, "variant": "linux-tuned", "connections": connections, "by": by, "name": best.text(), "settings": best.tuning.text(),
               "ioeventfd": best.ioeventfd, "median": round(best.median, 1), "boots": best.boots} for link, connections, by, best in trials.winners(lines)]
    return found


def read_file(path):
    """(machine, lines) of a wide.jsonl."""
    lines = [json.loads(l) for l in path.read_text(encoding="utf-8").splitlines() if l.strip()]
    return next((l["machine"] for l in lines if "machine" in l), {}), [{"link": p.TAP, "direction": p.DOWN, "offloads": p.ON, "ioeventfd": None, **l} for l in lines if "group" in l]


def read(directory):
    return read_file(directory / "wide.jsonl")


def marked_rows(lines):
    rows = rows_of(lines)
    mark_frontiers(rows)
    return rows


def csv_text(rows):
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else list(KEY), lineterminator="\n")
    out.writeheader()
    for row in rows:
        out.writerow({k: "" if v is None else v for k, v in row.items()})
    return text.getvalue()


def write(directory):
    machine, lines = read(directory)
    rows = marked_rows(lines)
    whole = {"machine": machine, "winners": winners(lines), "reach": reach(rows), "rows": rows}
    (directory / "wide.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    (directory / "wide.csv").write_text(csv_text(rows), encoding="utf-8")
    return whole


if __name__ == "__main__":
    sys.stdout.write(csv_text(marked_rows(read_file(pathlib.Path(sys.argv[1]))[1])))
