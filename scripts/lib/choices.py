# SPDX-License-Identifier: MIT
"""choices - what a sweep has found to be best for each variant and load, so far

    chosen = Choices(lines, {"tap": ("on", "off")}, {"nginx": "linux-default"})
    chosen.settle("tap", rate, 1)               # after some lines of group "tune" were added
    how, device = chosen.of("linux-tuned", 64, "tap")

Both comparisons take from here how their columns are set: the in-tree stack's
settings and the device of each (lib/plan.py says why there are two), by one rule.
"""
import tuning

TOP = 2			# settings that are tried on the other device, too, unless all are
CONFIRMED = 2		# settings that a second boot measures again


class Choices:
    def __init__(self, lines, devices, same=()):
        """lines: of all boots, as they grow; devices: link -> ioeventfd of each; same: variant -> the one whose choices it has."""
        self.lines, self.devices, self.same = lines, devices, dict(same)
        self.found = {}		# link -> variant -> connections -> tuning.Choice

    def swept(self, variant, link):
        lines = [l for l in self.lines if l["group"] == "tune" and l["link"] == link]
        return tuning.of_default(lines) if variant == "linux-default" else [l for l in lines if l["variant"] == variant]

    def ranked(self, variant, connections, link, figure, better):
        return tuning.ranked(self.swept(variant, link), connections, figure, better)

    def settle(self, link, figure, better):
        lines = [l for l in self.lines if l["group"] == "tune" and l["link"] == link]
        for variant in {"linux-default", *(l["variant"] for l in lines)}:
            for connections in {l["connections"] for l in lines}:
                best = self.ranked(variant, connections, link, figure, better)
                if best:
                    self.found.setdefault(link, {}).setdefault(variant, {})[connections] = best[0]

    def of(self, variant, connections, link):
        """(how a server is to be started, ioeventfd of its device); a load that was not swept has the next smaller one's."""
        found = self.found.get(link, {}).get(self.same.get(variant, variant))
        if not found:
            return {"tuned": tuning.CLASSIC} if variant == "linux-tuned" else {}, self.devices[link][0]
        best = found[max((c for c in found if c <= connections), default=min(found))]
        return {"tuned": best.tuning} if variant == "linux-tuned" else {}, best.ioeventfd

    def once_more(self, settings, connections, link, kind, figure, better):
        """Names of the settings worth another device at a load: the kernel's defaults, and the best few of this kind of boot."""
        lines = [l for l in self.swept("linux-tuned", link) if l["kind"] == kind]
        best = [choice.tuning.name for choice in tuning.ranked(lines, connections, figure, better)[:TOP]]
        return [s.name for s in settings if s.name in (tuning.DEFAULT.name, *best)]

    def texts(self):
        """"link, variant" -> connections -> what it has, for the page."""
        return {f"{link}, {variant}": {c: best.text() for c, best in sorted(found.items())}
                for link, variants in self.found.items() for variant, found in sorted(variants.items())}
