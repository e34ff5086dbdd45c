#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""impair - a wire between two interfaces that loses, doubles, reorders and spoils frames

usage: impair.py A B [NAME=VALUE]...

    loss, dup, reorder, corrupt   per cent of the frames of each direction (0)
    delay_ms                      for all of them (0)
    late_ms                       more for those that are reordered (8)
    seed                          (1)

Forwards between A and B what comes in on either; both must leave checksums to nobody (no
offloads), since a frame that is spoilt must be noticed. What is spoilt is a bit behind the
IP header, so that it is TCP's sum that notices. ARP passes unharmed. On SIGTERM prints what
was done to how many frames, as JSON. For hosts whose kernel has no netem.

Needs CAP_NET_RAW: a network namespace of one's own.
"""
import heapq
import json
import random
import select
import signal
import socket
import sys
import time

OUTGOING = 4		# PACKET_OUTGOING
HEADERS = 14 + 20	# Ethernet, IPv4: what is behind them may be spoilt


class Stop(Exception):
    pass


class Wire:
    def __init__(self, names, how):
        self.how = {"loss": 0.0, "dup": 0.0, "reorder": 0.0, "corrupt": 0.0, "delay_ms": 0.0, "late_ms": 8.0, "seed": 1.0, **how}
        self.dice = random.Random(self.how["seed"])
        self.counts = {k: 0 for k in ("frames", "loss", "dup", "reorder", "corrupt", "long")}
        self.ends = []
        for name in names:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            s.bind((name, 3))
            s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)	# SO_RCVBUFFORCE
            self.ends.append(s)
        self.queue, self.number = [], 0

    def _chance(self, what):
        happens = self.dice.random() * 100 < self.how[what]
        self.counts[what] += happens
        return happens

    def _later(self, frame, end, after_ms):
        self.number += 1
        heapq.heappush(self.queue, (time.monotonic() + after_ms / 1000, self.number, frame, end))

    def _take(self, frame, end):
        self.counts["frames"] += 1
        self.counts["long"] += len(frame) > 9100
        after = self.how["delay_ms"]
        if frame[12:14] == b"\x08\x00":
            if self._chance("loss"):
                return
            if len(frame) > HEADERS and self._chance("corrupt"):
                at = self.dice.randrange(HEADERS, len(frame))
                frame = frame[:at] + bytes([frame[at] ^ 1 << self.dice.randrange(8)]) + frame[at + 1:]
            if self._chance("dup"):
                self._later(frame, end, after)
            if self._chance("reorder"):
                after += self.how["late_ms"]
        self._later(frame, end, after)

    def run(self):
        while True:
            now = time.monotonic()
            while self.queue and self.queue[0][0] <= now:
                _, _, frame, end = heapq.heappop(self.queue)
                try:
                    end.send(frame)
                except OSError:
                    pass		# the interface's queue is full, or it is down: lost
            wait = max(0, self.queue[0][0] - now) if self.queue else 1
            ready, _, _ = select.select(self.ends, [], [], wait)
            for end in ready:
                frame, where = end.recvfrom(65536)
                if where[2] != OUTGOING:
                    self._take(frame, self.ends[1 - self.ends.index(end)])


def main():
    def stop(*_):
        raise Stop

    signal.signal(signal.SIGTERM, stop)
    wire = Wire(sys.argv[1:3], {k: float(v) for k, v in (word.split("=") for word in sys.argv[3:])})
    print("ready", flush=True)
    try:
        wire.run()
    except Stop:
        print(json.dumps(wire.counts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
