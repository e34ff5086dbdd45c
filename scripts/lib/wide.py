# SPDX-License-Identifier: MIT
"""wide - nhttpd on nom beside everything a fair reader would ask for

The in-tree stack with its defaults and with the best of its settings for each
load (found by a sweep in a first boot, the best two confirmed in a second), Debian's
nginx on it as a yardstick, nom's stack over a packet socket and over an AF_XDP one, nom with its defaults, with W picked by the price, and with W
swept; each on the device whose doorbells suit it (lib/plan.py); 1 to 500 connections, small and large files, pipelined
and not, closed loop and open loop at equal offered loads, and where each
saturates; over a tap (wrk, nom-load) and from the other end of the device's
rings (nom-peer), each in boots of its own.

Lines go to OUT/wide.jsonl; those of the same shape as the demo's also to
OUT/raw.jsonl, of which `nomctl compare` makes OUT/compare.json.  lib/widetable.py
makes OUT/wide.json and OUT/wide.csv, scripts/report-wide the page.
"""
import json
import os
import subprocess
import time

import boots
import choices
import exits
import guest as g
import hostload
import httpload
import links
import nginx
import nhttpd
import openload
import plan as p
import stated
import trials
import tuning
import widetable
from boots import say
from stated import IDLE_S, IDLE_SETTLE_S, PRICE

BEGIN = 1.5		# a search begins at half of its guess, and saturation is seldom far from a closed loop's rate
AS = {"nginx": "linux-default", "packet": "linux-default", "xdp": "linux-default", "nom-priced": "nom"}		# whose device suits it, too


class Boot(boots.Boot):
    """A boot of the wide comparison."""

    def prepare(self):
        nhttpd.prepare(self.guest, p.FILES[p.SMALL][1])
        path, size = p.FILES[p.BULK]
        self.guest.capture(f"busybox dd if=/dev/urandom of={nhttpd.ROOT}{path} bs=65536 count={size // 65536} 2>/dev/null")
        nhttpd.start_prices(self.guest, PRICE)

    def cpu_ns(self, variant):
        return hostload.thread_ns(self.guest.pid, f"CPU {nhttpd.serving_vcpu(variant)}/")


def rate_of(line):
    return line.get("requests_per_s")


class Session:
    """What is carried from boot to boot."""

    def __init__(self, args, accel, progress, out):
        self.args, self.accel, self.progress, self.out = args, accel, progress, out
        self.plan = p.PLANS[args.plan]
        self.lines, self.failed = [], 0
        self.choices = choices.Choices(self.lines, {link: p.devices(link, accel) for link in p.LINKS}, AS)
        self.saturated = {}	# link -> connections -> requests/s of the in-tree stack
        self.ran = {}		# server -> what it was set to when it first ran
        self.warm = set()	# variants that this boot's emulator has translated

    def keep(self, boot, cell, entry):
        entry = {"kind": "count" if boot.counting else "time", "boot": boot.number, "price": PRICE, **cell._asdict(),
                 "link": boot.link.name, "host_load": round(os.getloadavg()[0], 2), **entry}
        self.lines.append(entry)
        self.out.write(json.dumps(entry) + "\n")
        self.out.flush()
        return entry

    def note(self, boot, variant, how, server, device, swept):
        """Every setting of a server that differs from others, for the page."""
        several = len(p.devices(boot.link.name, self.accel)) > 1
        name = stated.name_of_server(variant, how, boot.link.name, boot.offloads, device if several else None, swept)
        if name not in self.ran:
            self.ran[name] = "; ".join(f"{k}: {v}" for k, v in server.settings().items())

    def of(self, variant, cell, link):
        """(how a server is to be started, ioeventfd of its device) for a cell: by the figure that is judged, where that was tried."""
        tried = trials.best(self.lines, cell, link) if variant == "linux-tuned" else None
        return ({"tuned": tried.tuning}, tried.ioeventfd) if tried else self.choices.of(variant, cell.connections, link)

    def rate(self, variant, connections, link):
        """Median closed-loop rate so far, or None."""
        return widetable.median([l["requests_per_s"] for l in self.lines if "requests_per_s" in l and l["group"] == "closed" and
                                 (l["variant"], l["connections"], l["file"], l["pipeline"], l["link"]) == (variant, connections, p.SMALL, 1, link)])


def seconds_of(session, boot, cell):
    return p.load_s(cell, session.args.seconds, boot.counting)


def describe(entry, cell):
    busy = f"; others had {entry['other_cpu']:.0%} of the host" if entry.get("other_cpu", 0) > boots.BUSY_HOST else ""
    if entry["kind"] == "count":
        cost = entry["instructions_per_request"]
        return f"{cell.text()}: {cost['user'] + cost['kernel']:9,.0f} instructions a request"
    latency = entry["latency_us"]
    return f"{cell.text()}: {entry['requests_per_s']:9,.0f} requests/s, {latency['mean']:7,.0f} us, p99 {latency['p99']:,.0f}{busy}"


def closed_cell(session, boot, server, cell):
    """One closed-loop load, as a line."""
    path, size = p.FILES[cell.file]
    how = [nhttpd.url(path, server.nic), cell.connections, seconds_of(session, boot, cell), cell.pipeline]
    if cell.direction == p.UP:
        how[0] = nhttpd.url(nhttpd.SINK, server.nic)
        how.append(size)

    def load():
        before = boot.cpu_ns(cell.variant)
        figures = boot.link.closed(*how)
        return {**figures, "cpu_ns": boot.cpu_ns(cell.variant) - before}

    load, counts, stat = boot.measure(server, load)
    entry = {"requests": load["requests"], "errors": load["errors"], "bytes_per_request": round(load["bytes"] / load["requests"], 1),
             "other_cpu": load["other_cpu"]}
    entry.update(exits.per_request(*load["exits"], load["requests"]))
    if boot.counting:
        entry.update(nhttpd.per_request(cell.variant, counts, stat, load["requests"]))
    else:
        entry.update(requests_per_s=round(load["requests"] / load["seconds"], 1), cpu_us_per_request=round(load["cpu_ns"] / 1000 / load["requests"], 2),
                     latency_us={k: load[k] for k in ("mean", "sd", "p50", "p90", "p99", "p999", "max")}, latency_corrected_us=load["corrected"])
    if "link_figures" in load:	# the back-end's own counts
        link = entry["link_figures"] = load["link_figures"]
        entry.update({f"{name}_per_request": round(link[name] / load["requests"], 4) for name in ("interrupts", "doorbells")})
    if nhttpd.on_nom(cell.variant):
        entry["w_seen_us"] = server.w_us()
    return session.keep(boot, cell, entry)


def open_line(session, boot, server, cell, rate):
    """One open-loop load: (nom-load's figures, the line)."""
    figures = boot.load(lambda: boot.link.offered(nhttpd.url(nic=server.nic), rate, cell.connections, seconds_of(session, boot, cell)))
    lost = openload.errors(figures)
    if cell.level is not None:	# a search goes where it is too much
        httpload.check_errors(lost, figures["due"])
    entry = {k: figures[k] for k in ("offered_per_s", "unsent", "unanswered", "waited", "late", "late_max_us", "due", "other_cpu", "latency_us")}
    entry["errors"] = lost
    return figures, session.keep(boot, cell, {**entry, "requests_per_s": figures["achieved_per_s"], "served": openload.answered(figures)})


def idle_cell(session, boot, cell):
    """CPU time that a server takes when nobody asks."""
    time.sleep(IDLE_SETTLE_S)
    before, began = boot.cpu_ns(cell.variant), time.monotonic()
    time.sleep(IDLE_S)
    share = (boot.cpu_ns(cell.variant) - before) / 1e9 / (time.monotonic() - began)
    session.keep(boot, cell, {"idle_share": round(share, 4)})
    session.progress.step(f"boot {boot.number} {cell.text()}: {share:.2%} of its core when idle")


def attempt(session, boot, server, cell, work, tries=2):
    """work() for one cell, once more if nothing came of it; its failure does not end the rest, the server's does."""
    for left in reversed(range(tries)):
        try:
            work()
            return
        except httpload.LoadError as error:
            lossy = {"errors": error.errors, "requests": error.requests} if isinstance(error, httpload.Lossy) else {}
            session.keep(boot, cell, {"failed": str(error), "again": bool(left), **lossy})
            if left:
                say(f"boot {boot.number} {cell.text()}: {error}; once more")
            else:
                session.failed += 1
                session.progress.step(f"boot {boot.number} {cell.text()} FAILED: {error}")
        server.check()


def measure_cells(session, boot, server, cells):
    for cell in cells:
        if cell.group == "idle":
            idle_cell(session, boot, cell)
            continue

        def work(cell=cell):
            entry = closed_cell(session, boot, server, cell)
            session.progress.step(f"boot {boot.number} {describe(entry, cell)}")
        attempt(session, boot, server, cell, work)


def serve(session, boot, variant, device, cells, work, swept=False, **how):
    """work(server, cells), with a server on a device for a group of cells; when it does not run, they all count as failed.

    cells: as planned, their device filled in here.
    """
    size = p.FILES[p.SMALL][1]
    done = session.progress.done
    nic = p.devices(boot.link.name, session.accel).index(device)
    cells = [cell._replace(ioeventfd=device) for cell in cells]
    try:
        make = nginx.Server(boot.guest, size, link=boot.link, nic=nic) if variant == "nginx" else \
            nhttpd.Server(boot.guest, variant, size, link=boot.link, nic=nic, **how)
        with make as server:
            boot.pin(variant)
            session.note(boot, variant, how, server, device, swept)
            if variant not in session.warm:
                session.warm.add(variant)
                try:
                    boot.link.closed(server.url, max(min(64, cells[0].connections), 8), 1)
                except httpload.LoadError as error:	# on a starved host: what is measured may still be answered
                    say(f"boot {boot.number} {variant}, warm-up: {error}")
                    server.check()
            work(server, cells)
    except (httpload.LoadError, nhttpd.ServerError) as error:
        say(f"boot {boot.number} {variant}: {error}")
        lost = max(len(cells) - (session.progress.done - done), 0)
        session.failed += max(lost, 1)
        session.progress.done += lost


def grouped(cells, key):
    """[(key, cells)], in the order of the first of each."""
    groups = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.items())


def closed_work(session, boot):
    return lambda server, cells: measure_cells(session, boot, server, cells)


def sweep_cells(session, boot, cells):
    """Cells of the in-tree stack's settings, or of one variant on several devices."""
    for (variant, name, device), same in grouped(cells, lambda c: (c.variant, c.tuning, c.ioeventfd)):
        how = {"tuned": tuning.named(name)} if name else {}
        serve(session, boot, variant, device, same, closed_work(session, boot), **how)


def by_figure(boot):
    """What a sweep is about in this boot."""
    return (widetable.instructions, -1) if boot.counting else (rate_of, 1)


def stage_settings(session, boot, stage):
    sweep_cells(session, boot, stage.cells)


def stage_again(session, boot, stage):
    """On another device: all of the settings, or the default and the best few of each load."""
    link, device = boot.link.name, stage.cells[0].ioeventfd
    loads = list(dict.fromkeys(c.connections for c in stage.cells))
    wanted = dict.fromkeys(loads, [s.name for s in session.plan.settings])
    if not session.plan.cross:
        kind = "count" if boot.counting else "time"
        wanted = {c: session.choices.once_more(session.plan.settings, c, link, kind, *by_figure(boot)) for c in loads}
    sweep_cells(session, boot, [p.Cell("tune", "linux-tuned", c, tuning=s.name, link=link, ioeventfd=device)
                                for s in session.plan.settings for c in loads if s.name in wanted[c]])


def stage_confirm(session, boot, stage):
    """The best of each load once more, in another boot than found them."""
    link = boot.link.name
    cells = []
    for c in dict.fromkeys(c.connections for c in stage.cells):
        best = session.choices.ranked("linux-tuned", c, link, rate_of, 1)[:choices.CONFIRMED]
        cells += [p.Cell("tune", "linux-tuned", c, tuning=b.tuning.name, link=link, ioeventfd=b.ioeventfd) for b in best]
    sweep_cells(session, boot, cells)


def stage_closed(session, boot, stage):
    """Closed-loop cells at the best settings and device of each load; uploads ask for a server that takes them."""
    link, variant = boot.link.name, stage.variant

    def key(cell):
        how, device = session.of(variant, cell, link)
        return cell.direction, how.get("tuned"), device
    for (direction, tuned, device), cells in grouped(stage.cells, key):
        how = {**({"tuned": tuned} if tuned else {}), **({"sink": True} if direction == p.UP else {})}
        serve(session, boot, variant, device, cells, closed_work(session, boot), **how)


def stage_w(session, boot, stage):
    def work(server, cells):
        for w_us, same in grouped(cells, lambda c: c.w_us):
            server.tune(w_us)
            measure_cells(session, boot, server, same)
    _, device = session.choices.of("nom", p.OPEN_CONNECTIONS, boot.link.name)
    serve(session, boot, "nom", device, stage.cells, work, swept=True)


def search(session, boot, variant, connections, guess, steps):
    """The highest rate that is still served, as a line."""
    link = boot.link.name
    how, device = session.choices.of(variant, connections, link)

    def work(server, cells):
        def offer(rate):
            figures, entry = open_line(session, boot, server, cells[0], rate)
            session.progress.step(f"boot {boot.number} search {variant}, {connections} connections, {link}, offered {rate:,.0f}/s: {entry['requests_per_s']:,.0f}/s" +
                                  ("" if entry["served"] else ", not served"))
            return figures

        def whole():
            low, high, _ = openload.saturation(offer, guess, steps, openload.answered, openload.more_steps(variant in p.IN_TREE))
            session.keep(boot, cells[0]._replace(group="saturation"), openload.found(low, high))
            if high is None:
                say(f"boot {boot.number} {variant}, {connections} connections, {link}: saturates above {low:,.0f}/s; no upper bound was found")
        attempt(session, boot, server, cells[0], whole)
    serve(session, boot, variant, device, [p.Cell("search", variant, connections, link=link)], work, **how)


def left_out(session, boot, what):
    say(f"boot {boot.number}: no closed-loop rate to begin with; {what} left out, {boot.link.name}")
    session.failed += 1


def stage_saturation(session, boot, stage):
    guess = session.rate(stage.variant, p.OPEN_CONNECTIONS, boot.link.name)
    if not guess:
        left_out(session, boot, f"saturation of {stage.variant}")
        return
    search(session, boot, stage.variant, p.OPEN_CONNECTIONS, BEGIN * guess, session.plan.search_steps)


def stage_ends(session, boot, stage):
    """Where the faster of the in-tree stack's columns saturates with one connection, and with many."""
    link = boot.link.name
    for connections in p.searched(session.plan):
        rates = {v: session.rate(v, connections, link) for v in p.IN_TREE}
        best = max((v for v in rates if rates[v]), key=rates.get, default=None)
        if best:
            search(session, boot, best, connections, BEGIN * rates[best], p.END_STEPS)
        else:
            left_out(session, boot, f"saturation at {connections} connections")


def saturated(session, connections, link):
    """What the offered loads are parts of: once searched for, it stays for all boots and variants."""
    found = session.saturated.setdefault(link, {})
    if connections not in found:
        points = [l["saturation_per_s"] for l in session.lines if (l["group"], l["link"], l["connections"]) == ("saturation", link, connections) and
                  l["variant"] in p.IN_TREE and l["saturation_per_s"]]
        if not points:
            return None
        found[connections] = max(points)
    return found[connections]


def open_work(session, boot):
    """Equal offered loads."""
    def work(server, cells):
        for cell in cells:
            def offered(cell=cell):
                _, entry = open_line(session, boot, server, cell, cell.level * saturated(session, cell.connections, boot.link.name))
                session.progress.step(f"boot {boot.number} {describe(entry, cell)}")
            attempt(session, boot, server, cell, offered)
    return work


def stage_trials(session, boot, stage):
    """Once each: settings that may suit p99 or 1 MiB better than those that the small file's rate has chosen."""
    link = boot.link.name
    planned = [c for c in stage.cells if c.level is None or saturated(session, c.connections, link)]
    tried = trials.cells(session.choices, session.plan.settings, planned, link)
    work = (open_work if stage.name == trials.OPEN else closed_work)(session, boot)
    for (name, device, direction), cells in grouped(tried, lambda c: (c.tuning, c.ioeventfd, c.direction)):
        serve(session, boot, "linux-tuned", device, cells, work, tuned=tuning.named(name), **({"sink": True} if direction == p.UP else {}))


def stage_open(session, boot, stage):
    link, variant = boot.link.name, stage.variant

    def key(cell):
        how, device = session.of(variant, cell, link)
        return how.get("tuned"), device
    known = [c for c in stage.cells if saturated(session, c.connections, link)]
    if len(known) < len(stage.cells):
        left_out(session, boot, f"offered loads of {variant}")
    for (tuned, device), cells in grouped(known, key):
        serve(session, boot, variant, device, cells, open_work(session, boot), **({"tuned": tuned} if tuned else {}))


STAGES = {"settings": stage_settings, "again": stage_again, "device": stage_settings, "confirm": stage_confirm, "closed": stage_closed, "w": stage_w,
          "saturation": stage_saturation, "ends": stage_ends, "open": stage_open, "bare": stage_closed, **dict.fromkeys(p.TRIALS, stage_trials)}
SWEEPS = ("settings", "again", "device", "confirm")


def measure_boot(session, boot, stages):
    session.warm.clear()
    link = boot.link.name
    decides = not boot.counting or not session.args.boots	# columns are tuned for rates, where these are measured
    for stage in stages:
        done = session.progress.done
        STAGES[stage.name](session, boot, stage)
        session.progress.done = done + p.steps_of(stage)	# the plan has as many as there may be
        if stage.name in SWEEPS and decides:
            session.choices.settle(link, *by_figure(boot))
    if decides and any(stage.name in SWEEPS for stage in stages):
        tell_choices(session, link)


def tell_choices(session, link):
    for where, found in session.choices.texts().items():
        if where.startswith(f"{link}, "):
            say(f"best by connections, {where}: " + "; ".join(f"{c}: {text}" for c, text in found.items()))


def finish(session, machine):
    """All tables of the lines; exit status."""
    args = session.args
    raw = args.out / "raw.jsonl"
    demo = p.TAP if p.TAP in args.links else args.links[0]	# what the demo's figures are of
    same = [l for l in session.lines if (l["group"], l["file"], l["pipeline"], l["link"]) == ("closed", p.SMALL, 1, demo) and "failed" not in l]
    raw.write_text("".join(json.dumps(l) + "\n" for l in [{"machine": machine}] + same), encoding="utf-8")
    widetable.write(args.out)
    done = subprocess.run([g.BUILD / "bin/nomctl", "compare", raw, "--json", args.out / "compare.json"], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        say(f"nomctl compare failed with {done.returncode}")
    return 1 if session.failed or done.returncode else 0


def compare(args):
    openload.check_built()
    if "nginx" in args.variants and not nginx.BINARY.exists():
        raise nhttpd.ServerError("nginx is not there: run scripts/install-deps --wide, or leave it out with --no-nginx")
    args.out.mkdir(parents=True, exist_ok=True)
    accel = g.accelerator(args.accel)[0]
    counting = args.count_boots if accel == "tcg" else 0
    for name in args.links:
        why = links.unusable(name, accel)
        if why and args.link:
            raise links.LoadError(f"--link {name}: {why}")
        if why:
            args.left_out = f"{name}: {why}"
            say(f"link left out: {args.left_out}")
    args.links = [name for name in args.links if not args.left_out.startswith(f"{name}:")]
    if p.TAP not in args.links:
        counting = 0
        say("without the tap there are no counting boots: counts are taken there")
    elif args.count_boots and not counting:
        say("KVM: guest instructions cannot be counted from outside; no counting boots")
    plan = p.PLANS[args.plan]
    booted = p.boots_of(plan, args.variants, args.boots, counting, args.links, accel)
    progress = boots.Progress(p.steps(booted))
    say(f"plan {args.plan}: {args.boots} boot{'s' if args.boots != 1 else ''} for time over each of {', '.join(args.links)}, {counting} for counts, with those that "
        f"sweep {len(booted)} in all; {progress.total} loads of {args.seconds} s: about {p.duration_s(booted, args.seconds) / 60:.0f} minutes on an idle host")
    extra = nginx.extra() if "nginx" in args.variants else []
    machine = None
    with open(args.out / "wide.jsonl", "w", encoding="utf-8") as out:
        session, commands = Session(args, accel, progress, out), {}

        def work(boot, stages):
            nonlocal machine
            if machine is None:
                machine = stated.about(args, boot)
            where = boot.link.name + ("" if boot.offloads else ", no offloads")
            if where not in commands:
                commands[where] = " ".join(boot.guest.command)
            mark = len(session.lines)
            try:
                measure_boot(session, boot, stages)
            except g.GuestError:
                del session.lines[mark:]	# a boot that is repeated is repeated whole
                raise
        for one in booted:
            devices = p.devices(one.link, accel)
            boots.boot_again(lambda b=one, d=devices: Boot(args, b.number, b.counting, extra, b.link, b.offloads, d if len(d) > 1 else ()),
                             lambda boot, b=one: work(boot, b.stages), progress)
        machine["settings"]["best_by_connections"] = {**session.choices.texts(), **trials.texts(session.lines)}
        machine["settings"]["saturation_of_in_tree_per_s"] = {f"{link}, {c} connections": rate for link, found in session.saturated.items() for c, rate in found.items()}
        machine["settings"]["saturation_without_upper_bound"] = "; ".join(dict.fromkeys(
            f"{l['link']}, {l['variant']}, {l['connections']} connections" for l in session.lines if l["group"] == "saturation" and l.get("bounded") is False)) or "none"
        machine["settings"]["qemu_command"] = commands
        machine["settings"]["ran"] = session.ran
        # again and whole: without the lines of boots that were repeated, and with the machine
        out.seek(0)
        out.truncate()
        for line in [{"machine": machine}] + session.lines:
            out.write(json.dumps(line) + "\n")
    return finish(session, machine)
