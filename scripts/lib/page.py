# SPDX-License-Identifier: MIT
"""page - what the pages of scripts/report and scripts/report-wide share"""
import html
import re

STYLE = """
:root { --ink: #1f2933; --muted: #616e7c; --line: #e4e7eb; --nom: #0b7285; --in-tree: #7b8794; --wash: #f7f9fa; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; color: var(--ink); background: #fff; }
main { max-width: 1080px; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.02em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; letter-spacing: -.01em; }
p { max-width: 46rem; margin: .4rem 0 1rem; }
.lead { color: var(--muted); font-size: 1.08rem; }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; margin: 2rem 0 0; }
.tile { border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.2rem; }
.tile b { display: block; font-size: 2rem; line-height: 1.15; font-variant-numeric: tabular-nums; letter-spacing: -.02em; }
.tile span { color: var(--muted); font-size: .9rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
th, td { padding: .38rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--muted); }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid var(--ink); color: var(--ink); vertical-align: bottom; }
.note { border-left: 4px solid #b58b4c; background: #faf5ec; padding: .7rem 1rem; margin: 1.5rem 0; }
td small { color: var(--muted); }
tr.group td { background: var(--wash); font-weight: 600; }
.good { color: var(--nom); font-weight: 600; } .bad { color: #b42318; font-weight: 600; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; }
figcaption { color: var(--muted); font-size: .88rem; max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; font-size: .9rem; margin: 0; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
pre { font: .8rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
code { font: .85em ui-monospace, "DejaVu Sans Mono", monospace; }
a { color: var(--nom); } footer { margin-top: 4rem; color: var(--muted); font-size: .88rem; }
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; } figure, .tile { break-inside: avoid; } }
"""


class ReportError(Exception):
    """The page cannot be made; the text says what to do."""


def inline_svg(path):
    """The SVG element of a file; its ids get the file's name, so that those of several plots on one page do not collide."""
    svg = path.read_text(encoding="utf-8")
    return re.sub(r'(id=["\']|href=["\']#|url\(#)', lambda m: m.group(1) + path.stem + "-", svg[svg.index("<svg"):])


def definitions(rows):
    """(name, value) pairs as a definition list."""
    return "<dl>" + "\n".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in rows) + "</dl>"
