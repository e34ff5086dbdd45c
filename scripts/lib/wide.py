# SPDX-License-Identifier: MIT
"""wide - nhttpd on nom beside everything a fair reader would ask for

The in-tree stack with its defaults and with the best of its settings (found by
a sweep in the first boots), Debian's nginx on it as a yardstick, nom with its
default and with W swept; 1 to 500 connections, small and large files, pipelined
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
import exits
import guest as g
import hostload
import httpload
import links
import nginx
import nhttpd
import openload
import plan as p
import tuning
import widetable
from boots import say

IDLE_S = 2
IDLE_SETTLE_S = 0.5
LEAST_S = {500: 2}		# connections: seconds of load, or handshakes are what is measured
PRICE = 1
FALLBACK_TUNED = {"few": tuning.CLASSIC, "many": tuning.CLASSIC}


class Boot(boots.Boot):
    """A boot of the wide comparison."""

    def prepare(self):
        nhttpd.prepare(self.guest, p.FILES[p.SMALL][1])
        path, size = p.FILES[p.BULK]
        self.guest.capture(f"busybox dd if=/dev/urandom of={nhttpd.ROOT}{path} bs=65536 count={size // 65536} 2>/dev/null")
        nhttpd.start_prices(self.guest, PRICE)

    def cpu_ns(self, variant):
        return hostload.thread_ns(self.guest.pid, f"CPU {nhttpd.serving_vcpu(variant)}/")


class Session:
    """What is carried from boot to boot."""

    def __init__(self, args, progress, out):
        self.args, self.progress, self.out = args, progress, out
        self.plan = p.PLANS[args.plan]
        self.lines, self.failed = [], 0
        self.tuned, self.saturated = {}, {}	# by link
        self.ran = {}		# server -> what it was set to when it first ran

    def keep(self, boot, cell, entry):
        entry = {"kind": "count" if boot.counting else "time", "boot": boot.number, "price": PRICE, **cell._asdict(),
                 "link": boot.link.name, "host_load": round(os.getloadavg()[0], 2), **entry}
        self.lines.append(entry)
        self.out.write(json.dumps(entry) + "\n")
        self.out.flush()
        return entry

    def note(self, link, variant, how, server):
        """Every setting of a server that differs from others, for the page."""
        name = variant + (f", {how['tuned'].name}" if how.get("tuned") else "") + (", W swept" if how.get("w_us") is not None else "") + f", {link}"
        if name not in self.ran:
            self.ran[name] = "; ".join(f"{k}: {v}" for k, v in server.settings().items())

    def rate(self, variant, connections, link):
        """Median closed-loop rate so far, or None."""
        return widetable.median([l["requests_per_s"] for l in self.lines if "requests_per_s" in l and l["group"] == "closed" and
                                 (l["variant"], l["connections"], l["file"], l["pipeline"], l["link"]) == (variant, connections, p.SMALL, 1, link)])

    def settle_tuning(self, link):
        """After the timed sweep over this link: the best setting by rate for few and for many connections."""
        self.tuned[link] = dict(FALLBACK_TUNED)
        sweep = [l for l in self.lines if l["group"] == "tune" and l["link"] == link]
        for kind in tuning.CLASSES:
            best = tuning.winner(sweep, kind, lambda l: l.get("requests_per_s"), 1) or \
                tuning.winner(sweep, kind, widetable.instructions, -1)
            if best:
                self.tuned[link][kind] = best[0]
                say(f"in-tree, {link}, {kind} connections: the best setting is {best[0].name}: {best[0].text()}")


def seconds_of(session, cell):
    return max(session.args.seconds, LEAST_S.get(cell.connections, 1))


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
    how = [nhttpd.url(path), cell.connections, seconds_of(session, cell), cell.pipeline]
    if cell.direction == p.UP:
        how[0] = nhttpd.url(nhttpd.SINK)
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
    if cell.variant == "nom":
        entry["w_seen_us"] = server.w_us()
    return session.keep(boot, cell, entry)


def open_line(session, boot, cell, rate):
    """One open-loop load: (nom-load's figures, the line)."""
    figures = boot.load(lambda: boot.link.offered(nhttpd.url(), rate, cell.connections, max(session.args.seconds, 1)))
    entry = {k: figures[k] for k in ("offered_per_s", "unsent", "unanswered", "waited", "late", "late_max_us", "due", "other_cpu", "latency_us")}
    return figures, session.keep(boot, cell, {**entry, "requests_per_s": figures["achieved_per_s"], "served": openload.served(figures)})


def idle_cell(session, boot, cell):
    """CPU time that a server takes when nobody asks."""
    time.sleep(IDLE_SETTLE_S)
    before, began = boot.cpu_ns(cell.variant), time.monotonic()
    time.sleep(IDLE_S)
    share = (boot.cpu_ns(cell.variant) - before) / 1e9 / (time.monotonic() - began)
    session.keep(boot, cell, {"idle_share": round(share, 4)})
    session.progress.step(f"boot {boot.number} {cell.text()}: {share:.2%} of its core when idle")


def attempt(session, boot, server, cell, work):
    """work() for one cell; its failure does not end the rest, the server's does."""
    try:
        work()
    except httpload.LoadError as error:
        session.failed += 1
        session.progress.step(f"boot {boot.number} {cell.text()} FAILED: {error}")
        server.check()


def measure_closed(session, boot, server, cell):
    def work():
        entry = closed_cell(session, boot, server, cell)
        session.progress.step(f"boot {boot.number} {describe(entry, cell)}")
    attempt(session, boot, server, cell, work)


def serve(session, boot, variant, cells, work, **how):
    """work(server), with a server for a group of cells; when it does not run, they all count as failed."""
    size = p.FILES[p.SMALL][1]
    done = session.progress.done
    try:
        make = nginx.Server(boot.guest, size, link=boot.link) if variant == "nginx" else \
            nhttpd.Server(boot.guest, variant, size, link=boot.link, **how)
        with make as server:
            boot.pin(variant)
            session.note(boot.link.name, variant, how, server)
            boot.link.closed(server.url, max(min(64, cells[0].connections), 8), 1)	# warm
            work(server)
    except (httpload.LoadError, nhttpd.ServerError) as error:
        say(f"boot {boot.number} {variant}: {error}")
        lost = max(len(cells) - (session.progress.done - done), 0)
        session.failed += max(lost, 1)
        session.progress.done += lost


def by_tuning(session, variant, cells, link):
    """Cells by the in-tree stack's best setting, which differs with the load."""
    if variant != "linux-tuned":
        return [(cells, {})]
    tuned = session.tuned[link]
    parts = [([c for c in cells if tuning.load_class(c.connections) == kind], {"tuned": tuned[kind]}) for kind in tuning.CLASSES]
    return [(cells, parts[0][1])] if tuned["few"] == tuned["many"] else parts


def groups_of(session, variant, cells, link):
    """Cells by the server that they need: how it is tuned, and whether it takes uploads."""
    groups = []
    for direction, more in ((p.DOWN, {}), (p.UP, {"sink": True})):
        same = [c for c in cells if c.direction == direction]
        groups += [(part, {**how, **more}) for part, how in by_tuning(session, variant, same, link) if part]
    return groups


def measure_tuning(session, boot):
    for cells in p.tune(tuning.SETTINGS, boot.link.name):
        setting = next(s for s in tuning.SETTINGS if s.name == cells[0].tuning)

        def work(server, cells=cells):
            for cell in cells:
                measure_closed(session, boot, server, cell)
        serve(session, boot, "linux-tuned", cells, work, tuned=setting)


def measure_variant(session, boot, variant):
    link = boot.link.name
    for cells, how in groups_of(session, variant, p.closed(session.plan, variant, link), link):
        def work(server, cells=cells):
            for cell in cells:
                measure_closed(session, boot, server, cell)
            if not boot.counting and link == p.TAP and cells[0].direction == p.DOWN and cells[-1].connections >= tuning.BOUND:
                idle_cell(session, boot, p.Cell("idle", variant, p.OPEN_CONNECTIONS))
        serve(session, boot, variant, cells, work, **how)


def measure_bare(session, boot):
    """Files of 1 MiB on a device without offloads."""
    for variant in boot.order([v for v in session.args.variants if v in p.UPLOADED]):
        for cells, how in groups_of(session, variant, p.bulk(session.plan, variant, p.OFF), boot.link.name):
            def work(server, cells=cells):
                for cell in cells:
                    measure_closed(session, boot, server, cell)
            serve(session, boot, variant, cells, work, **how)


def measure_sweep(session, boot):
    groups = p.sweep(session.plan)

    def work(server):
        for cells in groups:
            server.tune(cells[0].w_us)
            for cell in cells:
                measure_closed(session, boot, server, cell)
    serve(session, boot, "nom", [c for cells in groups for c in cells], work, w_us=0)


def measure_open(session, boot, variant):
    """Equal offered loads, then the search for the rate that is still served."""
    link = boot.link.name
    guess = session.rate(variant, p.OPEN_CONNECTIONS, link)
    cells = p.opened(session.plan, variant, link)
    if not guess or not session.saturated.get(link):
        say(f"boot {boot.number} {variant}: no closed-loop rate to derive offered loads from; open loop left out, {link}")
        session.failed += 1
        return
    how = {"tuned": session.tuned[link]["many"]} if variant == "linux-tuned" else {}

    def work(server):
        for cell in cells:
            def offered(cell=cell):
                _, entry = open_line(session, boot, cell, cell.level * session.saturated[link])
                session.progress.step(f"boot {boot.number} {describe(entry, cell)}")
            attempt(session, boot, server, cell, offered)
        cell = p.Cell("search", variant, p.OPEN_CONNECTIONS, link=link)

        def search():
            def offer(rate):
                figures, entry = open_line(session, boot, cell, rate)
                session.progress.step(f"boot {boot.number} search {variant}, {link}, offered {rate:,.0f}/s: {entry['requests_per_s']:,.0f}/s" +
                                      ("" if entry["served"] else ", not served"))
                return figures
            point, _ = openload.saturation(offer, guess, session.plan.search_steps)
            session.keep(boot, cell._replace(group="saturation"), {"saturation_per_s": round(point, 1)})
        attempt(session, boot, server, cell, search)
    serve(session, boot, variant, cells, work, **how)


def measure_boot(session, boot):
    if not boot.offloads:
        measure_bare(session, boot)
        return
    variants = boot.order(session.args.variants)
    link = boot.link.name
    first = not any(l["kind"] == ("count" if boot.counting else "time") and l["link"] == link for l in session.lines)
    if "linux-tuned" in variants and first:
        measure_tuning(session, boot)
    if link not in session.tuned:
        session.settle_tuning(link)
    for variant in variants:
        measure_variant(session, boot, variant)
    if "nom" in variants and link == p.TAP and session.plan.sweep_w:
        measure_sweep(session, boot)
    if boot.counting:
        return
    if not session.saturated.get(link):
        session.saturated[link] = session.rate("linux-tuned", p.OPEN_CONNECTIONS, link) or session.rate("linux-default", p.OPEN_CONNECTIONS, link)
    for variant in variants:
        if variant in p.LOADED_OPEN:
            measure_open(session, boot, variant)


def about(args, boot):
    machine = boots.about_machine(args, boot.guest)
    machine["settings"].update({
        "file_bytes": p.FILES[p.SMALL][1], "bulk_bytes": p.FILES[p.BULK][1], "plan": {args.plan: p.PLANS[args.plan]._asdict()},
        "variants": {**{v: nhttpd.VARIANTS.get(v) for v in args.variants if v in nhttpd.VARIANTS and v != "linux-tuned"},
                     **({"linux-tuned": "in-tree stack, core 0, with the best of the settings that were swept"} if "linux-tuned" in args.variants else {}),
                     **({"nginx": "Debian's nginx, in-tree stack with the kernel's defaults, core 0; " + nginx.configuration()} if "nginx" in args.variants else {})},
        "tunings": {s.name: s.text() for s in tuning.SETTINGS}, "scenario": [{"connections": c, "price": PRICE} for c in p.PLANS[args.plan].connections],
        "links": {name: links.LINKS[name].text for name in args.links}, **({"link_left_out": args.left_out} if args.left_out else {}),
        "open_loop": f"nom-load or nom-peer, Poisson, seed {openload.SEED}, warm-up {openload.WARM_S} s, drain {openload.DRAIN_S} s, "
                     f"saturated below {openload.SERVED:.0%} of the offered load"})
    return machine


def finish(session, machine):
    """All tables of the lines; exit status."""
    args = session.args
    raw = args.out / "raw.jsonl"
    demo = p.TAP if p.TAP in args.links else args.links[0]	# what the demo's figures are of
    same = [l for l in session.lines if (l["group"], l["file"], l["pipeline"], l["link"]) == ("closed", p.SMALL, 1, demo)]
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
    what = (p.PLANS[args.plan], args.variants, args.boots, counting)
    progress = boots.Progress(p.how_many(*what, tuning.SETTINGS, args.links))
    say(f"plan {args.plan}: {args.boots} boot{'s' if args.boots != 1 else ''} for time over each of {', '.join(args.links)}, {counting} for counts, "
        f"{progress.total} cells of {args.seconds} s: about {p.minutes(*what, args.seconds, tuning.SETTINGS, args.links):.0f} minutes on an idle host")
    extra = nginx.extra() if "nginx" in args.variants else []
    machine = None
    with open(args.out / "wide.jsonl", "w", encoding="utf-8") as out:
        session, commands = Session(args, progress, out), {}

        def work(boot):
            nonlocal machine
            if machine is None:
                machine = about(args, boot)
            where = boot.link.name + ("" if boot.offloads else ", no offloads")
            if where not in commands:
                commands[where] = " ".join(boot.guest.command)
            mark = len(session.lines)
            try:
                measure_boot(session, boot)
            except g.GuestError:
                del session.lines[mark:]	# a boot that is repeated is repeated whole
                raise
        plan = [(n, link) for n in range(1, args.boots + 1) for link in args.links]
        plan += [(n, p.TAP) for n in range(args.boots + 1, args.boots + counting + 1)]
        for number, link in plan:
            for offloads in (True, False) if link == p.TAP and session.plan.bulk else (True,):
                boots.boot_again(lambda n=number, l=link, o=offloads: Boot(args, n, n > args.boots, extra, l, o), work, progress)
        machine["settings"]["tuned"] = {link: {k: t.name for k, t in tuned.items()} for link, tuned in session.tuned.items()}
        machine["settings"]["saturation_of_in_tree_per_s"] = session.saturated
        machine["settings"]["qemu_command"] = commands
        machine["settings"]["ran"] = session.ran
        # again and whole: without the lines of boots that were repeated, and with the machine
        out.seek(0)
        out.truncate()
        for line in [{"machine": machine}] + session.lines:
            out.write(json.dumps(line) + "\n")
    return finish(session, machine)
