# SPDX-License-Identifier: MIT
"""tuning - what the in-tree stack can be told, and which of it serves best here

    guest.capture(commands(SETTINGS[3], "eth0"))	# all knobs of one setting
    best = ranked(lines, 64, rate, 1)[0]		# of a sweep's lines, at 64 connections

Each setting names all knobs, so that applying one undoes the last.  The knobs
are those that Documentation/networking/napi.rst and scaling.rst of the kernel
and vendors' tuning guides name for latency and for small requests.
"""
import statistics
from typing import NamedTuple, Optional


class Tuning(NamedTuple):
    name: str
    poll_us: int = 0		# net.core.busy_poll and busy_read
    prefer_us: int = 0		# nhttpd --busy-poll-us: epoll and sockets prefer polling to interrupts
    defer_irqs: int = 0		# napi_defer_hard_irqs: polls that found nothing before interrupts come back
    flush_ns: int = 0		# gro_flush_timeout: how long the device waits for such a poll
    threaded: bool = False	# NAPI in a thread of its own
    gro: bool = True		# received segments are merged

    def text(self):
        """Every knob, as a reader would set it."""
        return (f"net.core.busy_poll={self.poll_us} net.core.busy_read={self.poll_us} SO_PREFER_BUSY_POLL,EPIOCSPARAMS={self.prefer_us or 'off'} "
                f"napi_defer_hard_irqs={self.defer_irqs} gro_flush_timeout={self.flush_ns} threaded={int(self.threaded)} "
                f"gro={'on' if self.gro else 'off'}")


DEFAULT = Tuning("default")
CLASSIC = Tuning("prefer-polling", 50, 50, 200, 200000)
PACKET = Tuning("packet", gro=False)	# what GRO joins is longer than a slot of the ring
XDP = Tuning("xdp", gro=False)		# nothing that it has is joined
SETTINGS = (
    DEFAULT,
    Tuning("gro-off", gro=False),
    Tuning("defer-20us", defer_irqs=10, flush_ns=20000),
    Tuning("defer-200us", defer_irqs=200, flush_ns=200000),
    Tuning("busy-poll", poll_us=50),
    CLASSIC,
    Tuning("prefer-polling-long", 200, 200, 1000, 1000000),
    Tuning("prefer-polling-gro-off", 50, 50, 200, 200000, gro=False),
    Tuning("threaded", threaded=True),
    Tuning("threaded-defer", defer_irqs=200, flush_ns=200000, threaded=True),
)


def commands(tuning, device="eth0"):
    """A shell command that sets every knob and fails when one cannot be set."""
    queue = f"/sys/class/net/{device}"
    return (f"ethtool -K {device} gro {'on' if tuning.gro else 'off'} && "
            f"echo {tuning.poll_us} > /proc/sys/net/core/busy_poll && echo {tuning.poll_us} > /proc/sys/net/core/busy_read && "
            f"echo {tuning.defer_irqs} > {queue}/napi_defer_hard_irqs && echo {tuning.flush_ns} > {queue}/gro_flush_timeout && "
            f"echo {int(tuning.threaded)} > {queue}/threaded")


class Choice(NamedTuple):
    """What a sweep found: median is the figure's, over so many boots."""
    tuning: Optional[Tuning]	# None: of a variant without settings
    ioeventfd: str		# of the device
    median: float
    boots: int

    def text(self):
        return (f"{self.tuning.name}, " if self.tuning else "") + f"ioeventfd={self.ioeventfd}"


def named(name):
    return next((t for t in SETTINGS if t.name == name), None)


def ranked(lines, connections, figure, better):
    """A sweep's settings and devices for a load, as Choices, the best first.

    better: 1 more is better, -1 less.  `figure` takes a line and may give None.  Once
    a second boot has measured some of them again, only these are left: the best
    of many figures is also the luckiest.
    """
    seen = {}
    for line in lines:
        value = figure(line)
        if value is not None and line["connections"] == connections:
            seen.setdefault((line["tuning"], line["ioeventfd"]), []).append((line["boot"], value))
    again = {key: found for key, found in seen.items() if len({boot for boot, _ in found}) > 1}
    choices = [Choice(named(name), device, statistics.median(v for _, v in found), len({boot for boot, _ in found}))
               for (name, device), found in (again or seen).items()]
    return sorted(choices, key=lambda c: -better * c.median)


def of_default(lines):
    """Those of a sweep that the kernel's defaults served."""
    return [l for l in lines if (l["variant"], l["tuning"]) in (("linux-tuned", DEFAULT.name), ("linux-default", None))]
