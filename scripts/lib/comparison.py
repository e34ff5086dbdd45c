# SPDX-License-Identifier: MIT
"""comparison - what compare-nhttpd and compare-udp have in common as programs

Options, which boots count, a network namespace of one's own, and how they end.
"""
import os
import pathlib
import signal
import sys

import count
import guest as g
import httpload
import nhttpd
import page
from boots import say

NETNS = pathlib.Path(__file__).resolve().parent.parent / "netns"


def add_options(parser):
    """Of the machine, the same in both."""
    parser.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    parser.add_argument("--kernel", metavar="DIR", help="build/kernel")
    parser.add_argument("--no-pin", action="store_true", help="let the host place all threads; else the serving vCPU has a host core of its own")


def variants(parser, text, known, usual, without=()):
    """Those that --variants names."""
    named = [v for v in text.split(",") if v] if text else list(usual)
    named = [v for v in named if v not in without]
    unknown = set(named) - set(known)
    if unknown or not named:
        parser.error(f"unknown variant {' '.join(unknown)}: one of {' '.join(known)}")
    return named


def counting_boots(args):
    """How many there will be: --count-boots, where instructions can be counted."""
    counting = args.count_boots if g.accelerator(args.accel)[0] == "tcg" else 0
    if args.count_boots and not counting:
        say("KVM: guest instructions cannot be counted from outside; no counting boots")
    return counting


def enter_netns(taps):
    """Does not return, unless this program runs in a namespace with taps already: it is started anew in one."""
    if "NOM_NETNS" not in os.environ:
        os.execv(NETNS, [str(NETNS), "--taps", str(taps), "--", sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def run(work, failed):
    """Exit status: what work() returns; of a guest's failure the guest's, of any other one @failed."""
    try:
        return work()
    except g.GuestError as error:
        say(str(error))
        return error.code
    except (httpload.LoadError, nhttpd.ServerError, count.CountError, page.ReportError, OSError) as error:
        say(str(error))
        return failed
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
