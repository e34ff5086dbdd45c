# SPDX-License-Identifier: MIT
"""plan - which cells the wide comparison has, and what belongs together

A cell is one load of one server over one link (lib/links.py).  Time and counts
of the same cell come from different boots; Cell is what identifies it in both.

Which link has which cells: rates and latencies, closed loop and open, on both;
what does not depend on it (instructions, idle), or is about a host's stack at
the other end (files of 1 MiB, W against wrk's pace), on the tap.

1 MiB is measured in both directions, and on two devices: one with QEMU's offloads,
and one without any, which has boots of its own.
"""
from typing import NamedTuple, Optional

SMALL, BULK = "small", "1m"
FILES = {SMALL: ("/index.html", 175), BULK: ("/bulk.bin", 1 << 20)}	# thesis 6.1, and the bulk transfer
PIPELINE = 16
TUNE_CONNECTIONS = (1, 64)
OPEN_CONNECTIONS = 64
VARIANTS = ("linux-default", "linux-tuned", "nginx", "packet", "nom")
LOADED_OPEN = ("linux-default", "linux-tuned", "nom")
TAP, PEER = "tap", "vhost-user"
LINKS = (TAP, PEER)
DOWN, UP = "down", "up"
UPLOADED = ("linux-default", "linux-tuned", "nom")	# nhttpd on both stacks: nginx throws nothing away
ON, OFF = "on", "off"


class Cell(NamedTuple):
    """group: closed, sweep, tune, idle, open or saturation."""
    group: str
    variant: str
    connections: int
    file: str = SMALL
    pipeline: int = 1
    w_us: Optional[int] = None		# nom: fixed; None: its default, picked by price and load
    tuning: Optional[str] = None	# of a sweep over the in-tree stack's settings
    level: Optional[float] = None	# open loop: part of the in-tree stack's saturation on this link
    link: str = TAP
    direction: str = DOWN			# of the file; up: the request carries it
    offloads: str = ON				# of the device

    def text(self):
        what = self.variant + (f" {self.tuning}" if self.tuning else "") + (f" W={self.w_us}" if self.w_us is not None else "")
        how = f"{self.connections} conn" + (", 1 MiB" + (" up" if self.direction == UP else "") if self.file == BULK else "") + (f", {self.pipeline} deep" if self.pipeline > 1 else "")
        return f"{self.group:6} {what:32} {how}" + (f", offered {self.level:.2f}" if self.level else "") + f", {self.link}" + \
            (", no offloads" if self.offloads == OFF else "")


class Plan(NamedTuple):
    boots: int			# for time, over each link; for counts
    count_boots: int
    seconds: int		# of load per cell
    connections: tuple
    bulk: tuple
    pipelined: tuple
    sweep_w: tuple
    sweep: tuple		# (connections, file, pipeline)
    levels: tuple
    search_steps: int


QUICK = Plan(boots=1, count_boots=1, seconds=1, connections=(1, 8, 64, 500), bulk=(8,), pipelined=(64,), sweep_w=(0, 5, 20, 80), sweep=((1, SMALL, 1), (64, SMALL, 1)),
             levels=(0.25, 0.5, 0.75, 1.0), search_steps=4)
FULL = Plan(boots=5, count_boots=1, seconds=2, connections=(1, 8, 64, 500), bulk=(1, 8, 64), pipelined=(1, 64), sweep_w=(0, 2, 5, 10, 20, 40, 80),
            sweep=((1, SMALL, 1), (8, SMALL, 1), (64, SMALL, 1), (500, SMALL, 1), (8, BULK, 1), (64, SMALL, PIPELINE)),
            levels=(0.1, 0.25, 0.5, 0.75, 0.9, 1.0), search_steps=6)
TRY = Plan(boots=1, count_boots=1, seconds=1, connections=(1, 64), bulk=(8,), pipelined=(64,), sweep_w=(0, 20), sweep=((64, SMALL, 1),), levels=(0.5,), search_steps=2)
# What tests/reach/requests counts: nothing but requests for the small file, against every setting of the in-tree stack.
COUNTS = Plan(boots=0, count_boots=1, seconds=1, connections=(1, 64, 500), bulk=(), pipelined=(), sweep_w=(), sweep=(), levels=(), search_steps=0)
PLANS = {"quick": QUICK, "full": FULL, "try": TRY, "counts": COUNTS}


def closed(plan, variant, link=TAP):
    """Closed-loop cells of a variant at its ordinary settings."""
    cells = [Cell("closed", variant, c, link=link) for c in plan.connections]
    cells += [Cell("closed", variant, c, pipeline=PIPELINE, link=link) for c in plan.pipelined]
    return cells + (bulk(plan, variant, ON) if link == TAP else [])


def bulk(plan, variant, offloads):
    """1 MiB in both directions, downloads first; on the tap."""
    ways = (DOWN, UP) if variant in UPLOADED else (DOWN,)
    return [Cell("closed", variant, c, file=BULK, direction=d, offloads=offloads) for d in ways for c in plan.bulk]


def sweep(plan):
    """nom's cells over W, those of one W together; on the tap."""
    return [[Cell("sweep", "nom", c, file=f, pipeline=p, w_us=w) for c, f, p in plan.sweep] for w in plan.sweep_w]


def tune(settings, link=TAP):
    """The in-tree stack's cells over its settings, those of one setting together."""
    return [[Cell("tune", "linux-tuned", c, tuning=s.name, link=link) for c in TUNE_CONNECTIONS] for s in settings]


def opened(plan, variant, link=TAP):
    return [Cell("open", variant, OPEN_CONNECTIONS, level=level, link=link) for level in plan.levels]


def how_many(plan, variants, boots, counting, settings, links=LINKS):
    """Cells of the whole comparison, for the progress line."""
    tuned = len(settings) * len(TUNE_CONNECTIONS) if "linux-tuned" in variants else 0
    loaded = [v for v in variants if v in LOADED_OPEN]
    swept = len(plan.sweep_w) * len(plan.sweep) if "nom" in variants else 0
    total = 0
    for link in links:
        both = sum(len(closed(plan, v, link)) for v in variants) + (swept if link == TAP else 0)
        timed = both + (len(variants) if link == TAP else 0) + len(loaded) * (len(plan.levels) + plan.search_steps)
        total += boots * timed + (boots > 0) * tuned
        if link == TAP:
            bare = sum(len(bulk(plan, v, OFF)) for v in variants if v in UPLOADED)
            total += counting * both + (counting > 0) * tuned + (boots + counting) * bare
    return total


CELL_S, BOOT_S = 0.8, 15	# what a cell takes beside its load, and a boot, on an idle host of two cores without KVM


def duration_min(cells, seconds, booted):
    return (cells * (seconds + CELL_S) + booted * BOOT_S) / 60


def minutes(plan, variants, boots, counting, seconds, settings, links=LINKS):
    """About how long the whole comparison takes on an idle host, in minutes."""
    booted = (boots + counting) * (1 + bool(plan.bulk)) if TAP in links else 0
    booted += boots * (len(links) - (TAP in links))
    return duration_min(how_many(plan, variants, boots, counting, settings, links), seconds, booted)

