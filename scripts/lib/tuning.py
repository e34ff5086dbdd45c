# SPDX-License-Identifier: MIT
"""tuning - what the in-tree stack can be told, and which of it serves best here

    apply(guest, SETTINGS[3])           # all knobs of one setting, in the guest
    best = winners(lines, "few", key)   # of a sweep's lines

Each setting names all knobs, so that applying one undoes the last.  The knobs
are those that Documentation/networking/napi.rst and scaling.rst of the kernel
and vendors' tuning guides name for latency and for small requests.
"""
import statistics
from typing import NamedTuple

BOUND = 8		# connections from which a load counts as "many"
CLASSES = ("few", "many")


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


def load_class(connections):
    return "few" if connections < BOUND else "many"


def commands(tuning, device="eth0"):
    """A shell command that sets every knob and fails when one cannot be set."""
    queue = f"/sys/class/net/{device}"
    return (f"ethtool -K {device} gro {'on' if tuning.gro else 'off'} && "
            f"echo {tuning.poll_us} > /proc/sys/net/core/busy_poll && echo {tuning.poll_us} > /proc/sys/net/core/busy_read && "
            f"echo {tuning.defer_irqs} > {queue}/napi_defer_hard_irqs && echo {tuning.flush_ns} > {queue}/gro_flush_timeout && "
            f"echo {int(tuning.threaded)} > {queue}/threaded")


def apply(guest, tuning):
    guest.capture(commands(tuning), timeout=20)


def winner(lines, kind, figure, better):
    """The setting with the best median of `figure` among a sweep's lines of this class of load, or None: (Tuning, median).

    better: 1 more is better, -1 less.  `figure` takes a line and may give None.
    """
    seen = {}
    for line in lines:
        value = figure(line)
        if value is not None and load_class(line["connections"]) == kind:
            seen.setdefault(line["tuning"], []).append(value)
    if not seen:
        return None
    name = max(seen, key=lambda n: better * statistics.median(seen[n]))
    return next(t for t in SETTINGS if t.name == name), statistics.median(seen[name])
