# SPDX-License-Identifier: MIT
"""udppage - what compare-udp measured, for people: the table that it prints, and its page

    report(out)             # of OUT/udp.jsonl
"""
import html
import pathlib
import subprocess

import choices
import nomudp
import page
import plan
import tuning
import udptable
import widetable
from boots import BUSY_HOST, say
from udptable import CLOSED, LINK, OPEN_CONNECTIONS, rate_of

FIGURES = pathlib.Path(__file__).resolve().parent.parent / "figures"
TITLES = {"linux-default": "in-tree", "linux-tuned": "in-tree, tuned", "packet": "packet socket", "xdp": "AF_XDP", "nom-native": "nom, native tier", "nom": "nom, raw tier"}
ROWS = (("requests_per_s", "requests/s", 1, 0), ("latency_us.mean", "latency, mean µs", -1, 0), ("latency_us.sd", "jitter, sd µs", -1, 0),
        ("latency_us.p50", "latency, median µs", -1, 0), ("latency_us.p99", "latency, p99 µs", -1, 0), ("latency_us.p999", "latency, p99.9 µs", -1, 0), ("lost_share", "lost, part of all", -1, 4), ("instructions", "instructions", -1, 0),
        ("instructions_per_request.user", "of these ring 3", -1, 0), ("instructions_per_request.kernel", "of these ring 0", -1, 0),
        ("doorbells_per_request", "doorbells", -1, 3), ("interrupts_per_request", "device interrupts", -1, 3),
        ("syscalls_per_request", "system calls", -1, 3), ("context_switches_per_request", "context switches", -1, 3),
        ("exits_per_request", "exits", -1, 3), ("cpu_us_per_request", "host CPU, µs", -1, 1),
        ("requests_per_batch", "requests per batch", 1, 2))


def best_in_tree(rows, group, connections, figure, better):
    seen = [r[figure] for r in (udptable.find(rows, group, v, connections) for v in ("linux-default", "linux-tuned")) if r and r[figure] is not None]
    if figure == "instructions":	# the hardest to beat of all that was swept, too, though no rate need go with it
        seen += [r[figure] for r in rows if r["group"] == "tune" and r["variant"] in plan.IN_TREE and r["connections"] == connections and r[figure] is not None]
    return (max(seen) if better > 0 else min(seen)) if seen else None


def winners(lines):
    """(what, Choice) of each sweep: by rate, and by instructions."""
    for variant in dict.fromkeys(["linux-default", *(l["variant"] for l in lines if l["group"] == "tune")]):
        for connections in CLOSED:
            for by, figure, better in (("rate", rate_of, 1), ("instructions", widetable.instructions, -1)):
                best = next(iter(choices.Choices(lines, {}).ranked(variant, connections, LINK, figure, better)), None)
                if best:
                    yield f"{TITLES.get(variant, variant)}, {connections} under way, best by {by}", best


def ratio(base, ours, better):
    if base is None or ours is None or not (base if better > 0 else ours):
        return ""
    times = ours / base if better > 0 else base / ours
    return f"{times:.2f}x" if times < 1000 else ">1000x"


def spread(row, figure, digits):
    """The least and the greatest boot, where they differ."""
    least, most = (row[f"{figure}.min"], row[f"{figure}.max"]) if row else (None, None)
    return f"{least:,.{digits}f} … {most:,.{digits}f}" if least != most else ""


def w_swept(rows):
    """Cells of the raw tier by number of requests under way and W, the ordinary one among them as W = 0."""
    swept = {r["connections"] for r in rows if r["group"] == "sweep"}
    chosen = [r for r in rows if r["connections"] in swept and (r["group"] == "sweep" or (r["group"], r["variant"]) == ("closed", "nom"))]
    return sorted(chosen, key=lambda r: (r["connections"], r["w_us"] or 0))


def shown(row, figure, digits):
    """A figure; a saturation without an upper bound is marked."""
    least = "at least " if figure == "saturation_per_s" and row.get("bounded.min") is not None and not row["bounded.min"] else ""
    return least + f"{row[figure]:,.{digits}f}"


def cells(rows):
    """(title, variants, [name, value by variant, spread by variant, nom's ratio to the best in-tree]) of each table."""
    variants = [v for v in TITLES if any(r["variant"] == v and r["group"] == "closed" for r in rows)]
    tables = [("closed", c, ROWS, f"{c} request{'s' if c > 1 else ''} under way, closed loop") for c in CLOSED]
    tables += [("saturation", OPEN_CONNECTIONS, (("saturation_per_s", "requests/s served", 1, 0),), "open loop, the highest rate of which 95 % was served"),
               ("idle", None, (("idle_share", "of the serving core", -1, 4),), "idle")]
    for group, connections, figures, title in tables:
        lines = []
        for figure, name, better, digits in figures:
            found = [udptable.find(rows, group, v, connections) for v in variants]
            values = [r[figure] if r else None for r in found]
            if any(v is not None for v in values):
                ours = values[variants.index("nom")] if "nom" in variants else None
                lines.append((name, ["" if v is None else shown(r, figure, digits) for v, r in zip(values, found)],
                              [spread(r, figure, digits) for r in found],
                              ratio(best_in_tree(rows, group, connections, figure, better), ours, better)))
        if lines:
            yield title, variants, lines


def print_table(rows, lines):
    for title, variants, values_of in cells(rows):
        print(f"{title:66}" + "".join(f"{TITLES[v]:>18}" for v in variants) + f"{'raw to best in-tree':>22}")
        for name, values, _, better in values_of:
            print(f"  {name:64}" + "".join(f"{v:>18}" for v in values) + f"{better:>22}")
        print()
    for row in w_swept(rows):
        counts = "" if row["instructions"] is None else f", {row['instructions']:,.0f} instructions, {row['doorbells_per_request']:.3f} doorbells"
        times = "" if row["requests_per_s"] is None else f"{row['requests_per_s']:,.0f} requests/s, {row['latency_us.mean']:,.0f} µs"
        print(f"raw tier, {row['connections']} under way, W = {row['w_us'] or 0} µs: {times}{counts}" + (" (on the frontier of latency and rate)" if row["pareto_rate"] else ""))
    for what, best in winners(lines):
        print(f"{what}: {best.text()}" + (f": {best.tuning.text()}" if best.tuning else ""))


def draw(out):
    (out / "figures").mkdir(exist_ok=True)
    svg = out / "figures/udp.svg"
    try:
        subprocess.run(["gnuplot", "-c", FIGURES / "udp.gp", out / "udp.csv", svg], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise page.ReportError("no gnuplot in PATH: run scripts/install-deps") from None
    except subprocess.CalledProcessError as error:
        raise page.ReportError(f"gnuplot: {error.stderr.strip()[-300:]}") from None
    return page.inline_svg(svg)


def w_table(rows):
    """W swept, those on the frontier marked; nothing where it was not."""
    def number(value, digits):
        return "–" if value is None else f"{value:,.{digits}f}"
    lines = [f"<tr><td>{r['connections']} under way, W = {r['w_us'] or 0} µs{' ●' * r['pareto_rate']}</td><td>{number(r['requests_per_s'], 0)}</td><td>{number(r['latency_us.mean'], 0)}</td>"
             f"<td>{number(r['latency_us.p99'], 0)}</td><td>{number(r['instructions'], 0)}</td><td>{number(r['doorbells_per_request'], 3)}</td></tr>" for r in w_swept(rows)]
    return "<h2>W swept, raw tier</h2><p>● on the frontier of mean latency and rate.</p><div class='scroll'><table><thead><tr><th></th><th>requests/s</th><th>mean, µs</th>" \
           "<th>p99</th><th>instructions</th><th>doorbells</th></tr></thead><tbody>" + "".join(lines) + "</tbody></table></div>" if lines else ""


def ran(lines):
    """(variant, command and knobs) of every server that was measured, as it first ran."""
    seen = {}
    for line in (l for l in lines if l.get("ran")):
        seen.setdefault(f"{line['variant']}, {line['connections']} under way", "; ".join(f"{k}: {v}" for k, v in line["ran"].items()))
    return list(seen.items())


def write_page(rows, machine, out, lines):
    body = []
    for title, variants, values_of in cells(rows):
        head = "".join(f"<th>{html.escape(TITLES[v])}</th>" for v in variants)
        body.append(f"<h2>{html.escape(title.capitalize())}</h2><div class='scroll'><table><thead><tr><th></th>{head}<th>raw to best in-tree</th></tr></thead><tbody>")
        body += [f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{v}" + (f"<br><small>{s}</small>" if s else "") + "</td>" for v, s in zip(values, spreads)) +
                 f"<td class='good'>{better}</td></tr>" for name, values, spreads, better in values_of]
        body.append("</tbody></table></div>")
    disturbed = max(r["other_cpu"] for r in rows)
    note = f"<p class='note'>Others took up to {disturbed:.0%} of the host during a cell: times are disturbed, counts are not.</p>" if disturbed > BUSY_HOST else ""
    settings = {**{k: v for k, v in machine.items() if k != "settings"}, **machine["settings"]}
    swept = [r for r in rows if r["group"] == "tune"]
    def number(value):
        return "–" if value is None else f"{value:,.0f}"
    tune = "".join(f"<tr><td>{html.escape(r['tuning'] or TITLES.get(r['variant'], r['variant']))}</td><td>{r['connections']}</td><td>{r['ioeventfd']}</td><td>{number(r['requests_per_s'])}</td>"
                   f"<td>{number(r['instructions'])}</td><td>{r['boots']}</td><td>{html.escape(next((t.text() for t in tuning.SETTINGS if t.name == r['tuning']), ''))}</td></tr>" for r in swept)
    best = page.definitions([(what, best.text() + (f": {best.tuning.text()}" if best.tuning else "")) for what, best in winners(lines)])
    text = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>nom on Linux: datagrams</title><style>{page.STYLE}</style><main>
<h1>Datagrams, four ways to the wire</h1>
<p class="lead">nomudp answers requests of {nomudp.BYTES} bytes on the kernel's stack, on frames of a packet socket and of an AF_XDP one, on the private stack, and on frames of a device of its own. Medians over boots; one kernel, the order alternates; each column has the device that serves it faster.</p>
{note}{''.join(body)}
<h2>What a request costs</h2><figure>{draw(out)}<figcaption>Guest instructions a request, counted from outside the guest: in-tree all that the serving core
executes, nom, packet socket and AF_XDP ring 3 while the loop has work and all of ring 0.</figcaption></figure>
{w_table(rows)}
<h2>The best settings and devices of each load</h2><p>By rate: what the columns have; of the two best in-tree settings the better after a second boot.
ioeventfd=on: QEMU's device thread takes doorbells (its default); off: the vCPU that rings.</p>{best}
<h2>Settings and devices swept</h2><div class="scroll"><table><thead><tr><th>setting</th><th>under way</th><th>ioeventfd</th><th>requests/s</th><th>instructions</th><th>boots</th><th>knobs</th></tr></thead><tbody>{tune}</tbody></table></div>
<h2>What is left out</h2><p>Other loads than {" and ".join(str(c) for c in CLOSED)} under way; equal offered loads: the open loop is the search for saturation; payloads of other lengths; other links than the tap.</p>
<h2>Settings</h2>{page.definitions([*settings.items(), *ran(lines)])}
</main></html>
"""
    (out / "index.html").write_text(text, encoding="utf-8")


def report(out):
    """Table, CSV and page of OUT/udp.jsonl."""
    machine, lines = udptable.read(out / "udp.jsonl")
    rows = udptable.table(lines)
    if not rows:
        raise page.ReportError(f"{out}/udp.jsonl has no figures")
    udptable.write(rows, machine, out)
    print_table(rows, lines)
    write_page(rows, machine, out, lines)
    say(f"page: {out}/index.html")
