# SPDX-License-Identifier: MIT
"""plan - which cells the wide comparison has, in which boots, and how long all that takes

A cell is one load of one server over one link (lib/links.py).  Time and counts
of the same cell come from different boots; Cell is what identifies it in both.
Boots hold stages, stages hold cells: boots_of() is what lib/wide.py carries out,
and what duration_s() adds up before it begins.

Which link has which cells: rates and latencies, closed loop and open, on both;
what does not depend on it (instructions, idle), or is about a host's stack at
the other end (files of 1 MiB, W against wrk's pace), on the tap.

Without KVM a tap's guest has two devices that differ in who takes a doorbell:
QEMU's device thread (ioeventfd=on, QEMU's default) or the vCPU that rang
(off).  That would be a setting of the boot; with a device of each kind, it is one
of the server, and every column can have what serves it best in one and the same boot.

Left out (left_out() has it for a plan, and for the page), for time, or as telling nothing more:
- open loop: with pipelined requests and files of 1 MiB; at 1, 8 and 500 connections all levels but 0.5 and
  0.75, these but 0.5 at 1 and 500 in three boots only; other columns than in-tree, tuned and nom;
- saturation but at 64 connections, where it is not the better in-tree column's;
- pipelined requests at 8 and 500 connections; files of 1 MiB at 500, over the second link, and
  without offloads other than at eight connections; counts of these;
- W swept under pipelined requests and files of 1 MiB, and over the second link; idle time and counts there;
- nginx but where it is the yardstick (1 and 64 connections, downloads), and its idle time;
- nom's stack on AF_XDP, and on a packet socket, which part nom's gain in two, but at 1 and 64 connections,
  downloads and idle, and AF_XDP but on the tap; the priced variant but at 1 and 64 on the tap;
- in the quick plan: open loop at 8 connections, and at 1 and 500 but 0.5; the packet socket; pipelined requests but at
  64; files of 1 MiB but at eight; pipelined requests and eight connections over the second link; W at 8 and 500; settings on
  the second device but the default and the best two; counts of pipelined requests, files of 1 MiB, the priced variant, and settings at 8 and 500.
"""
from typing import NamedTuple, Optional

import tuning
from choices import CONFIRMED, TOP

SMALL, BULK = "small", "1m"
FILES = {SMALL: ("/index.html", 175), BULK: ("/bulk.bin", 1 << 20)}	# thesis 6.1, and the bulk transfer
PIPELINE = 16
OPEN_CONNECTIONS = 64
IN_TREE = ("linux-default", "linux-tuned")
VARIANTS = (*IN_TREE, "nginx", "packet", "xdp", "nom", "nom-priced")
SHORT = tuple(v for v in VARIANTS if v != "packet")		# where time is short; by name it can be had there, too
LOADED_OPEN = (*IN_TREE, "nom")
TAP, PEER = "tap", "vhost-user"
LINKS = (TAP, PEER)
DOWN, UP = "down", "up"
UPLOADED = LOADED_OPEN		# nhttpd on both stacks: nginx throws nothing away
IDLE = (*LOADED_OPEN, "packet", "xdp")
FEW = {"nginx": (1, 64), "packet": (1, 64), "xdp": (1, 64), "nom-priced": (1, 64)}		# of the small file
TAP_ONLY = ("xdp", "nom-priced")		# nom-peer cannot turn off what virtio-net wants off for AF_XDP
ON, OFF = "on", "off"
LEAST_S = {500: 2}		# connections: seconds of load, or handshakes are what is measured


class Cell(NamedTuple):
    """group: closed, sweep, tune, idle, open, search, saturation, or one of TRIALS."""
    group: str
    variant: str
    connections: int
    file: str = SMALL
    pipeline: int = 1
    w_us: Optional[int] = None		# nom: fixed; None: its default
    tuning: Optional[str] = None	# of a sweep or trial over the in-tree stack's settings
    level: Optional[float] = None	# open loop: part of the in-tree stack's saturation with as many connections on this link
    link: str = TAP
    direction: str = DOWN			# of the file; up: the request carries it
    offloads: str = ON				# of the device
    ioeventfd: Optional[str] = None		# of the device; None: what is best for this variant and load

    def text(self):
        what = self.variant + (f" {self.tuning}" if self.tuning else "") + (f" W={self.w_us}" if self.w_us is not None else "")
        how = f"{self.connections} conn" + (", 1 MiB" + (" up" if self.direction == UP else "") if self.file == BULK else "") + (f", {self.pipeline} deep" if self.pipeline > 1 else "")
        return f"{self.group:6} {what:32} {how}" + (f", offered {self.level:.2f}" if self.level else "") + f", {self.link}" + \
            (", no offloads" if self.offloads == OFF else "") + (f", ioeventfd {self.ioeventfd}" if self.ioeventfd else "")


class Plan(NamedTuple):
    boots: int			# for time, over each link, beside the one that sweeps; for counts
    count_boots: int
    seconds: int		# of load per cell
    connections: tuple
    peer_connections: tuple	# over the second link
    bulk: tuple
    bare: tuple			# of these, without offloads
    pipelined: tuple
    sweep_w: tuple
    sweep: tuple		# connections
    levels: tuple
    ends: tuple			# connections that are offered END_LEVEL, beside the levels at 64
    more_open: tuple	# (connections, level) that are offered, too, in so many boots
    more_boots: int
    search_steps: int
    count_tune: tuple		# connections at which every setting is counted
    count_bulk: bool		# pipelined requests and files of 1 MiB are counted, too
    cross: bool			# every setting on every device, not only the best few
    alone: bool			# no pipelined requests over the second link
    trials: bool		# the tuned column has other settings where another figure than the small file's rate is judged (lib/trials.py)
    settings: tuple = tuning.SETTINGS


END_LEVEL, END_STEPS = 0.5, 3
TRIALS = ("trial-open", "trial-bulk")
TRIAL_LEVEL, TRIAL_BULK = 0.5, 8	# of saturation; connections with files of 1 MiB
TRIED_BEST = 2			# of the settings by rate, beside those that are always tried
ALSO_TRIED = tuple(s.name for s in tuning.SETTINGS if (s.defer_irqs or s.threaded) and not s.prefer_us)
SWEEP_S = 1
NOTHING = Plan(boots=1, count_boots=1, seconds=1, connections=(1, 64), peer_connections=(1, 64), bulk=(), bare=(), pipelined=(), sweep_w=(), sweep=(), levels=(),
               ends=(), more_open=(), more_boots=0, search_steps=0, count_tune=(1, 64), count_bulk=False, cross=False, alone=True, trials=False)
QUICK = NOTHING._replace(connections=(1, 8, 64, 500), peer_connections=(1, 64, 500), bulk=(8,), bare=(8,), pipelined=(64,), sweep_w=(0, 5, 20, 80), sweep=(1, 64),
                         levels=(0.25, 0.5, 0.9), ends=(1, 500), search_steps=3)
FULL = Plan(boots=5, count_boots=1, seconds=2, connections=(1, 8, 64, 500), peer_connections=(1, 8, 64, 500), bulk=(1, 8, 64), bare=(8,), pipelined=(1, 64),
            sweep_w=(0, 2, 5, 10, 20, 40, 80), sweep=(1, 8, 64, 500), levels=(0.1, 0.25, 0.5, 0.75, 0.9, 1.0), ends=(1, 500),
            more_open=((1, 0.75), (8, 0.5), (8, 0.75), (500, 0.75)), more_boots=3, search_steps=4,
            count_tune=(1, 8, 64, 500), count_bulk=True, cross=True, alone=False, trials=True)
TRY = NOTHING._replace(settings=(tuning.DEFAULT, tuning.CLASSIC, *tuning.SETTINGS[1:2]), bulk=(8,), bare=(8,), pipelined=(64,), sweep_w=(0, 20), sweep=(64,), levels=(0.5,), ends=(1,), search_steps=2)
# What tests/reach/requests counts: nothing but requests for the small file, against every setting of the in-tree stack.
COUNTS = NOTHING._replace(boots=0, connections=(1, 64, 500), count_tune=(1, 64, 500))
# What each has when no variants are named.
USUAL_VARIANTS = {"full": VARIANTS, "quick": SHORT, "try": SHORT, "counts": VARIANTS}
PLANS = {"quick": QUICK, "full": FULL, "try": TRY, "counts": COUNTS}


def devices(link, accel):
    """ioeventfd of each of a guest's devices; the first is QEMU's default.

    A vhost back-end of either kind needs it on.
    """
    return (ON, OFF) if link == TAP and accel == "tcg" else (ON,)


def loads(plan, link):
    return plan.connections if link == TAP else plan.peer_connections


def closed(plan, variant, link=TAP, counting=False):
    """Closed-loop cells of a variant at its ordinary settings."""
    if (variant in TAP_ONLY and link != TAP) or (variant == "nom-priced" and counting and not plan.count_bulk):
        return []
    cells = [Cell("closed", variant, c, link=link) for c in loads(plan, link) if c in FEW.get(variant, (c,))]
    if variant == "nom-priced" or (counting and not plan.count_bulk):
        return cells
    if link == TAP or not plan.alone:
        cells += [Cell("closed", variant, c, pipeline=PIPELINE, link=link) for c in plan.pipelined if c in FEW.get(variant, (c,))]
    return cells + (bulk(variant, ON, plan.bulk) if link == TAP else [])


def bulk(variant, offloads, connections):
    """1 MiB in both directions, downloads first; on the tap."""
    ways = (DOWN, UP) if variant in UPLOADED else (DOWN,)
    return [Cell("closed", variant, c, file=BULK, direction=d, offloads=offloads) for d in ways for c in connections]


def sweep(plan):
    """nom's cells over W, those of one W together; on the tap."""
    return [[Cell("sweep", "nom", c, w_us=w) for c in plan.sweep] for w in plan.sweep_w]


def tune(settings, connections, link, ioeventfd):
    """The in-tree stack's cells over its settings on one device, those of one setting together."""
    return [[Cell("tune", "linux-tuned", c, tuning=s.name, link=link, ioeventfd=ioeventfd) for c in connections] for s in settings]


def on_devices(variant, connections, link, devs):
    """A variant's cells on each device, those of one device together."""
    return [[Cell("tune", variant, c, link=link, ioeventfd=d) for c in connections] for d in devs]


def searched(plan):
    """Connections, beside 64, at which the in-tree stack's saturation is searched for: parts of it are offered."""
    return tuple(sorted({*plan.ends, *(c for c, _ in plan.more_open)}))


def opened(plan, variant, link=TAP, boot=1):
    """Equal offered loads: all levels at 64 connections, one at the ends, and a few more in the first boots."""
    offered = [(OPEN_CONNECTIONS, level) for level in plan.levels] + \
        sorted([(c, END_LEVEL) for c in plan.ends] + (list(plan.more_open) if boot <= plan.more_boots else []))
    return [Cell("open", variant, c, level=level, link=link) for c, level in offered]


def trials(plan, kind, link):
    """As many cells as there may be: the settings are chosen by what a sweep found."""
    tried = plan.settings[:TRIED_BEST + len(ALSO_TRIED)]
    if kind == "trial-bulk":
        return [Cell(kind, "linux-tuned", TRIAL_BULK, file=BULK, direction=d, tuning=s.name, link=link) for d in (DOWN, UP) for s in tried]
    return [Cell(kind, "linux-tuned", c, level=TRIAL_LEVEL, tuning=s.name, link=link) for s in tried for c in sorted({OPEN_CONNECTIONS, *searched(plan)})]


class Stage(NamedTuple):
    """name: what lib/wide.py does for it; servers: that it starts, at most."""
    name: str
    variant: Optional[str]
    cells: list		# or, of those that results decide, as many of them as there may be
    servers: int
    loads: int = 0		# beside the cells': of searches for saturation


class Booted(NamedTuple):
    number: int
    link: str
    counting: bool
    offloads: bool
    stages: list


def sweep_stages(plan, variants, link, connections, devs, nom_too):
    """The in-tree stack's settings on the first device, then on the others; and which device suits nom."""
    stages = []
    if "linux-tuned" in variants:
        first = [c for cells in tune(plan.settings, connections, link, devs[0]) for c in cells]
        stages.append(Stage("settings", "linux-tuned", first, len(plan.settings)))
        for device in devs[1:]:
            again = [c for cells in tune(plan.settings, connections, link, device) for c in cells]
            if not plan.cross:	# any of them, but TOP and the default at each load
                again = again[:len(connections) * min(TOP + 1, len(plan.settings))]
            stages.append(Stage("again", "linux-tuned", again, min(len(plan.settings), len(again))))
    elif "linux-default" in variants and len(devs) > 1:
        stages.append(Stage("device", "linux-default", [c for cells in on_devices("linux-default", connections, link, devs) for c in cells], len(devs)))
    if nom_too and "nom" in variants and len(devs) > 1:
        stages.append(Stage("device", "nom", [c for cells in on_devices("nom", connections, link, devs) for c in cells], len(devs)))
    if nom_too and plan.trials and plan.bulk and link == TAP and "linux-tuned" in variants:
        tried = trials(plan, "trial-bulk", link)
        stages.append(Stage("trial-bulk", "linux-tuned", tried, len(tried)))
    return stages


def closed_stages(plan, variants, link, counting):
    stages = []
    for variant in variants:
        cells = closed(plan, variant, link, counting)
        if not cells:
            continue
        if not counting and link == TAP and variant in IDLE:
            cells = cells + [Cell("idle", variant, OPEN_CONNECTIONS)]
        servers = len({(c.direction, c.file if plan.trials and c.file == BULK else c.connections) for c in cells}) if variant == "linux-tuned" else 2 * len({c.direction for c in cells})
        stages.append(Stage("closed", variant, cells, servers))
    if "nom" in variants and link == TAP and plan.sweep_w:
        stages.append(Stage("w", "nom", [c for cells in sweep(plan) for c in cells], 1))
    return stages


def open_stages(plan, variants, link, number):
    """The searches for saturation, then what is offered in parts of the in-tree stack's."""
    loaded = [v for v in variants if v in LOADED_OPEN]
    if not plan.levels:
        return []
    stages = [Stage("saturation", v, [], 1, plan.search_steps) for v in loaded]
    ends = searched(plan)
    if number == 1 and ends and any(v in IN_TREE for v in loaded):
        stages.append(Stage("ends", None, [], len(ends), len(ends) * END_STEPS))
    if number == 1 and plan.trials and "linux-tuned" in loaded:
        stages.append(Stage("trial-open", "linux-tuned", trials(plan, "trial-open", link), TRIED_BEST + len(ALSO_TRIED)))
    offered = {v: opened(plan, v, link, number) for v in loaded}
    return stages + [Stage("open", v, cells, len({c.connections for c in cells})) for v, cells in offered.items()]


def boots_of(plan, variants, boots, counting, links=LINKS, accel="tcg"):
    """Every boot of the comparison with its stages, in order.  Boot 0 of a link sweeps."""
    out = []
    for link in links if boots else ():
        stages = sweep_stages(plan, variants, link, loads(plan, link), devices(link, accel), True)
        if stages:
            out.append(Booted(0, link, False, True, stages))
    for number in range(1, boots + 1):
        for link in links:
            order = variants if number % 2 else variants[::-1]	# no stack always has the fresher machine
            stages = []
            if number == 1 and "linux-tuned" in variants:
                again = [Cell("tune", "linux-tuned", c, link=link) for c in loads(plan, link) for _ in range(CONFIRMED)]
                stages.append(Stage("confirm", "linux-tuned", again, len(again)))
            stages += closed_stages(plan, order, link, False) + open_stages(plan, order, link, number)
            out.append(Booted(number, link, False, True, stages))
            if link == TAP and plan.bare:
                bare = [(v, bulk(v, OFF, plan.bare)) for v in order if v in UPLOADED]
                out.append(Booted(number, link, False, False, [Stage("bare", v, cells, 2 * len(plan.bare)) for v, cells in bare]))
    for number in range(boots + 1, boots + counting + 1):
        order = variants if number % 2 else variants[::-1]
        stages = sweep_stages(plan, variants, TAP, plan.count_tune, devices(TAP, accel), boots == 0) if number == boots + 1 else []
        out.append(Booted(number, TAP, True, True, stages + closed_stages(plan, order, TAP, True)))
    return out


def steps_of(stage):
    return len(stage.cells) + stage.loads


def steps(booted):
    """Loads of all stages, for the progress line."""
    return sum(steps_of(stage) for boot in booted for stage in boot.stages)


CONNECTIONS = (1, 8, 64, 500)


def listed(values):
    *most, last = [v if isinstance(v, str) else f"{v:g}" for v in values]
    return f"{', '.join(most)} and {last}" if most else last


def left_out(plan, variants=VARIANTS):
    """What somebody might look for and the plan, or the choice of columns, does not have, as texts."""
    def but(have):
        return [c for c in CONNECTIONS if c not in have]
    levels = {}
    for cell in opened(plan, "nom"):
        levels.setdefault(cell.connections, []).append(cell.level)
    out = [f"column {v}" for v in VARIANTS if v not in variants]
    out += [f"open loop at {listed(c)} connections" for c in [but(levels)] if c]
    out += [f"open loop at {c} connections, all levels but {listed(found)}" + (f"; {listed(few)} in {plan.more_boots} boots only" if few else "")
            for c, found in sorted(levels.items()) if c != OPEN_CONNECTIONS for few in [[l for n, l in plan.more_open if n == c]]]
    out += ["open loop with pipelined requests or files of 1 MiB, and of other columns than " + listed(LOADED_OPEN),
            f"saturation but at {OPEN_CONNECTIONS} connections, where it is not the better in-tree column's"]
    out += [f"{what} at {listed(c)} connections" for what, c in
            (("pipelined requests", but(plan.pipelined)), ("files of 1 MiB", but(plan.bulk)), ("files of 1 MiB without offloads", but(plan.bare)),
             ("closed loop over vhost-user", but(plan.peer_connections)), ("W swept", but(plan.sweep)), ("counts of the in-tree stack's settings", but(plan.count_tune))) if c]
    out += ["over vhost-user: counts, idle time, W swept, files of 1 MiB" + (", pipelined requests" if plan.alone else ""),
            "W swept with pipelined requests or files of 1 MiB", "counts of files of 1 MiB without offloads"]
    out += ["counts of pipelined requests, of files of 1 MiB and of W by price"] * (not plan.count_bulk)
    out += ["the in-tree stack's settings on the second device, but the default and the best two of each load"] * (not plan.cross)
    return out + ["nginx but at 1 and 64 connections, downloads; its idle time", "packet socket and AF_XDP but at 1 and 64 connections, downloads and idle; AF_XDP but on the tap",
                  "W by price but at 1 and 64 connections on the tap", "datagrams, which `nomctl compare udp` has: 1 and 64 under way, and no equal offered loads"]


# What each takes on an idle host of two cores without KVM; a boot to its prompt, a server until it answers, a cell beside its load.
# With these the plan of which a run is known, 132 steps in 258 s, takes 286 s.
BOOT_S, SERVER_S, WARM_S, CELL_S, COUNT_S, OPEN_S, IDLE_S = 10, 0.7, 1, 0.3, 0.2, 0.7, 2.5


def load_s(cell, seconds, counting):
    """Of a cell's load; sweeps are short, but handshakes under the counting plugin are not."""
    if cell.group in TRIALS:
        return SWEEP_S
    if cell.group == "tune":
        return LEAST_S.get(cell.connections, SWEEP_S) if counting else SWEEP_S
    return max(seconds, LEAST_S.get(cell.connections, 1))


def cell_s(cell, seconds, counting):
    if cell.group == "idle":
        return IDLE_S
    return load_s(cell, seconds, counting) + (OPEN_S if cell.level is not None else CELL_S + COUNT_S * counting)


def duration_s(booted, seconds):
    """Of the boots, in seconds, when nobody else wants the host."""
    total = 0
    for boot in booted:
        total += BOOT_S + WARM_S * len({s.variant for s in boot.stages})
        for stage in boot.stages:
            total += stage.servers * SERVER_S + stage.loads * (max(seconds, 1) + OPEN_S)
            total += sum(cell_s(c, seconds, boot.counting) for c in stage.cells)
    return total
