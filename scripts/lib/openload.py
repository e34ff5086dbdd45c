# SPDX-License-Identifier: MIT
"""openload - drive an HTTP server with nom-load, at a set rate

    got = run(url, 5000, 64, seconds=2)     # nom-load(1)'s figures
    point, above, _ = saturation(offer, 8000)       # the highest rate that is served
"""
import json
import subprocess

import initramfs
from guest import die_with_parent
from httpload import MOST_ERRORS, LoadError, error_share

NOM_LOAD = initramfs.BUILD / "bin/nom-load"
WARM_S, DRAIN_S = 0.2, 0.3
SERVED = 0.95			# of the requests due: less is beyond saturation
SEED = 1
STEP_UP, SEARCH_STEPS = 1.5, 5
MORE_STEPS = 6			# of a search that must end with an upper bound: eleven times as far


def check_built():
    if not NOM_LOAD.is_file():
        raise LoadError("build/bin/nom-load is not built: run `make user`")


def command(url, rate, connections, seconds, extra=()):
    return [str(NOM_LOAD), "--rate", rate, "--connections", str(connections), "--seconds", str(seconds),
            "--warm-up", str(WARM_S), "--drain", str(DRAIN_S), "--seed", str(SEED), *extra, url]


def run(url, rate, connections, seconds, extra=()):
    """nom-load's figures as a dict; LoadError when nothing was answered."""
    argv = command(url, f"{rate:.1f}", connections, seconds, extra)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30, check=False, preexec_fn=die_with_parent)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"nom-load: {error}") from None
    if done.returncode:
        raise LoadError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout)


def errors(figures):
    """Of nom-load or nom-peer: wrong answers, broken and refused connections, whatever came that was no answer."""
    return sum(figures["errors"].get(k, 0) for k in ("status", "lost", "protocol", "refused"))


def served(figures):
    """Did the server keep up?"""
    return figures["achieved_per_s"] >= SERVED * figures["offered_per_s"]


def answered(figures):
    """The same of connections: did it keep up, and answer rather than hang up on some?"""
    return served(figures) and error_share(errors(figures), figures["due"]) <= MOST_ERRORS


def saturation(offer, guess, steps=SEARCH_STEPS, good=served, more=0):
    """(the highest rate of a search that was served, the lowest that was not, all figures); offer(rate) yields nom-load's figures.

    Upwards from half of the guess until a rate is not served, then by halves.  After its steps it goes on upwards, @more of
    them at most, while all was served: without an upper bound (None) the first figure is less than what there is.
    """
    seen, low, high, rate = [], 0.0, None, guess / 2
    while len(seen) < steps or (high is None and len(seen) < steps + more):
        figures = offer(rate)
        seen.append(figures)
        if good(figures):
            low = max(low, min(figures["achieved_per_s"], figures["offered_per_s"]))	# what is left of before is answered, too
            rate = rate * STEP_UP if high is None else (rate + high) / 2
        else:
            high = rate
            rate = (low + high) / 2
    return low, high, seen


def found(low, high):
    """Of a search, as it stands in a line."""
    return {"saturation_per_s": round(low, 1), "not_served_per_s": None if high is None else round(high, 1), "bounded": high is not None}


def more_steps(in_tree):
    """Too low a figure of nom's is held against nom; one of the in-tree stack's would flatter it."""
    return MORE_STEPS if in_tree else 0
