# SPDX-License-Identifier: MIT
"""hostload - how much of the host's CPU went to somebody else

    others = Others([qemu_pid])
    ... children of ours run and end ...
    share = others.share()          # 0.0: the host was ours alone

The load average mixes our own load with that of others and lags by a minute;
this compares what all CPUs did (/proc/stat) with what we, the children we
waited for and the given processes did.  Time stolen by a hypervisor counts as
somebody else's.  Network interrupts of ours that the kernel books on nobody
make a quiet host read some per cent.
"""
import os
import pathlib
import time

TICKS = os.sysconf("SC_CLK_TCK")


def busy_s():
    """Seconds all CPUs were not idle, stolen time included."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / TICKS


def process_s(pid):
    """CPU seconds of a running process and its threads."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def own_s(pids):
    times = os.times()
    return sum(times[:4]) + sum(process_s(pid) for pid in pids)


class Others:
    def __init__(self, pids):
        self.pids = list(pids)
        self.began = (time.monotonic(), busy_s(), own_s(self.pids))

    def share(self):
        """Part of the host's CPU time since the start that was not ours, 0 to 1."""
        wall, busy, own = (now - then for now, then in
                           zip((time.monotonic(), busy_s(), own_s(self.pids)), self.began))
        return round(min(max((busy - own) / (wall * os.cpu_count()), 0.0), 1.0), 3) if wall > 0 else 0.0


def thread_ns(pid, name):
    """CPU time in ns of the process's threads whose name begins so: "CPU 1/" is a vCPU of QEMU's."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "comm").read_text(encoding="ascii", errors="replace").startswith(name):
                total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            pass		# a thread that has just ended
    return total
