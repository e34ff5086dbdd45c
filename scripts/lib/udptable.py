# SPDX-License-Identifier: MIT
"""udptable - what compare-udp measured, as rows: medians over boots, CSV, JSON

    rows = table(lines)             # one for each variant, group and number of requests under way
    write(rows, machine, out)       # OUT/udp.json, OUT/udp.csv

Run as a program with a path of udp.jsonl, it prints the CSV, for scripts/figures/udp.gp.
"""
import csv
import io
import json
import pathlib
import statistics
import sys

import plan
import widetable

CLOSED = (1, 64)			# requests under way
OPEN_CONNECTIONS = 64
LINK = plan.TAP
FIGURES = ("requests_per_s", "latency_us.mean", "latency_us.sd", "latency_us.p50", "latency_us.p99", "latency_us.p999", "lost_share", "saturation_per_s", "bounded",
           "idle_share", "cpu_us_per_request", "exits_per_request", "irq_injections_per_request",
           "instructions", "instructions_per_request.user", "instructions_per_request.kernel", "doorbells_per_request", "interrupts_per_request",
           "syscalls_per_request", "context_switches_per_request", "requests_per_batch")
KEY = ("group", "variant", "connections", "tuning", "w_us", "ioeventfd")


def value(line, path):
    """A figure of a line, None when it has none; "instructions" are those of both rings."""
    if path == "instructions":
        parts = [value(line, f"instructions_per_request.{ring}") for ring in ("user", "kernel")]
        return None if None in parts else sum(parts)
    for name in path.split("."):
        line = line.get(name) if isinstance(line, dict) else None
    return line


def rate_of(line):
    return line.get("requests_per_s")


def table(lines):
    groups = {}
    for line in lines:
        groups.setdefault(tuple(line.get(k) for k in KEY), []).append(line)
    rows = []
    for key, members in groups.items():
        row = dict(zip(KEY, key))
        for figure in FIGURES:
            seen = [v for v in (value(l, figure) for l in members) if v is not None]
            row[figure] = round(statistics.median(seen), 4) if seen else None
            row[f"{figure}.min"], row[f"{figure}.max"] = (min(seen), max(seen)) if seen else (None, None)
        row["boots"] = len({l["boot"] for l in members if l["kind"] == "time"})
        row["count_boots"] = len({l["boot"] for l in members if l["kind"] == "count"})
        row["other_cpu"] = round(max((l.get("other_cpu") or 0) for l in members), 3)
        rows.append(row)
    mark_frontier(rows)
    return rows


def mark_frontier(rows):
    """"pareto_rate": among the delays W of one load, on the frontier of mean latency and rate; W = 0 is the ordinary cell."""
    swept = {r["connections"] for r in rows if r["group"] == "sweep"}
    for row in rows:
        row["pareto_rate"] = 0
    for connections in swept:
        same = [r for r in rows if r["connections"] == connections and (r["group"] == "sweep" or (r["group"], r["variant"]) == ("closed", "nom"))]
        for row in widetable.frontier(same, "latency_us.mean", "requests_per_s"):
            row["pareto_rate"] = 1


def find(rows, group, variant, connections):
    """The row of a cell at ordinary settings, or None."""
    return next((r for r in rows if (r["group"], r["variant"], r["connections"]) == (group, variant, connections)), None)


def read(path):
    """(machine, lines) of a udp.jsonl."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return next(l["machine"] for l in lines if "machine" in l), [{"link": "tap", "ioeventfd": None, **l} for l in lines if "machine" not in l]


def csv_text(rows):
    text = io.StringIO(newline="")
    sheet = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    sheet.writeheader()
    sheet.writerows(rows)
    return text.getvalue()


def write(rows, machine, out):
    (out / "udp.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    (out / "udp.csv").write_text(csv_text(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write(csv_text(table(read(pathlib.Path(sys.argv[1]))[1])))
