# SPDX-License-Identifier: MIT
"""trials - the in-tree stack's settings by another figure than the small file's rate

    for cell in trials.cells(chosen, settings, stage.cells, "tap"): ...	# measure it
    best = trials.best(lines, cell, "tap")	# for a cell of the column, or None

The setting with which a closed loop has the highest rate need not be the one with
the least p99 at an equal offered load, nor the best for 1 MiB.  Where a plan has the
time, the best few by rate and all that put interrupts off or have a NAPI thread are tried
once: at half of the saturation with each number of connections, and with files of
1 MiB in each direction.  The column then has the winner there, in all boots.
"""
import plan as p
import tuning

OPEN, BULK = p.TRIALS


def rate(line):
    return line.get("requests_per_s")


def p99(line):
    return (line.get("latency_us") or {}).get("p99")


FIGURES = {OPEN: (p99, -1), BULK: (rate, 1)}


def candidates(found, settings, connections, link):
    """[(Tuning, ioeventfd)] that are worth a trial at a load; found: what a sweep has found, a choices.Choices."""
    how, device = found.of("linux-tuned", connections, link)
    best = found.ranked("linux-tuned", connections, link, rate, 1)[:p.TRIED_BEST]
    return list(dict.fromkeys([(how["tuned"], device), *((b.tuning, b.ioeventfd) for b in best), *((s, device) for s in settings if s.name in p.ALSO_TRIED)]))


def cells(found, settings, planned, link):
    """A cell for each candidate of each load that was planned."""
    loads = dict.fromkeys(c._replace(tuning=None) for c in planned)
    return [load._replace(tuning=setting.name, ioeventfd=device) for load in loads
            for setting, device in candidates(found, settings, load.connections, link)]


def kind_of(cell):
    return OPEN if cell.group == "open" else BULK if cell.file == p.BULK else None


def best(lines, cell, link):
    """The Choice that the trials made for what this cell is about; None: the small file's rate decides."""
    kind = kind_of(cell)
    tried = [l for l in lines if l["group"] == kind and l["link"] == link and l["direction"] == cell.direction]
    ranked = tuning.ranked(tried, p.TRIAL_BULK if kind == BULK else cell.connections, *FIGURES[kind]) if kind else []
    return ranked[0] if ranked else None


def winners(lines):
    """(link, connections, by what, Choice) of all trials."""
    for link, kind, connections, direction in dict.fromkeys((l["link"], l["group"], l["connections"], l["direction"]) for l in lines if l["group"] in p.TRIALS):
        like = p.Cell("open" if kind == OPEN else "closed", "linux-tuned", connections, file=p.SMALL if kind == OPEN else p.BULK, direction=direction)
        found = best(lines, like, link)
        if found:
            yield link, connections, f"p99 at {p.TRIAL_LEVEL:g} of saturation" if kind == OPEN else f"rate of 1 MiB {direction}", found


def texts(lines):
    """"link, linux-tuned, by what" -> connections -> what it has, for the page."""
    said = {}
    for link, connections, by, found in winners(lines):
        said.setdefault(f"{link}, linux-tuned, by {by}", {})[connections] = found.text()
    return said
