# SPDX-License-Identifier: MIT
"""flavour - kernels besides the ordinary one, their module, and what their console says

    kernel, module = flavour.find("debug")
    with Guest(kernel=kernel, extra=[(module, "lib/nom/nom.ko")], **flavour.room(kernel)) as guest:
        ...
    for report in flavour.reports(console_text): ...

A flavour is the fragments of kconfig/ on top of base and nom, joined by "-"; "" is
the ordinary kernel.
"""
import os
import re
import subprocess
import time

import guest as g

BUILD, ROOT = g.BUILD, g.ROOT


def how_to_build(name):
    fragments = " ".join(["base", "nom"] + name.split("-"))
    return f'NOM_KCONFIG="{fragments}" scripts/kernel-build.sh all'


def is_cached(name):
    """Is the kernel built, from these very sources?"""
    env = dict(os.environ)
    if name:
        env["NOM_KCONFIG"] = " ".join(["base", "nom"] + name.split("-"))
    done = subprocess.run([ROOT / "scripts/kernel-build.sh", "status"], env=env, cwd=ROOT, capture_output=True,
                          text=True, check=False)
    return "cached:" in done.stdout + done.stderr


def find(name):
    """(directory of the kernel, nom.ko built for it); GuestError says how to get what is missing."""
    if not name:
        return g.KERNEL, BUILD / "nom.ko"
    if not is_cached(name):
        raise g.GuestError(g.EX_KERNEL, f"the {name} kernel is not built: {how_to_build(name)}")
    env = {**os.environ, "NOM_KCONFIG": " ".join(["base", "nom"] + name.split("-"))}
    done = subprocess.run(["make", "module"], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise g.GuestError(g.EX_KERNEL, f"nom.ko does not build for the {name} kernel:\n{done.stdout}{done.stderr}")
    return BUILD / f"kernel-{name}", BUILD / f"nom-{name}.ko"


def room(name):
    """Guest options for a kernel that wants more memory, and switches on what it has.

    no5lvl: while identify_cpu() works on the boot CPU's features, pgtable_l5_enabled()
    is false; KASAN then takes an interrupt's memory accesses for wild ones.
    """
    if not name:
        return {}
    return {"mem": "4G", "append": ["kmemleak=on", "kasan.fault=report", "no5lvl"]}


def run_tap(points, name, program, args, timeout, console, **how):
    """Boot a flavour and run one program of TAP in it; then judge the console."""
    kernel, module = find(name)
    where = f"/usr/lib/nom/fuzz/{program.name}"
    extra = [(program, where.lstrip("/"))] + ([(module, "lib/nom/nom.ko")] if name else [])
    rest = [""]

    def take(_stream, data):
        *lines, rest[0] = (rest[0] + data.decode(errors="replace")).split("\n")
        for line in lines:
            points.take(line)

    console.parent.mkdir(parents=True, exist_ok=True)
    console.unlink(missing_ok=True)
    try:
        with g.Guest(kernel=kernel, extra=extra, console_log=console, **room(name), **how) as guest:
            job = guest.popen([where, *args], on_data=take)
            status = guest.wait(job, timeout)
            time.sleep(0.5)	# the last lines may come after the status
        points.ok(status == 0, f"{program.name} ends with status 0 ({status})")
    except g.GuestError as error:
        points.ok(False, f"{program.name}, in its guest")
        print("\n".join("# " + line for line in str(error).splitlines()))
    points.console(reports(console.read_text(errors="replace")) if console.exists() else [], name)


_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
_END = re.compile(r"^(=+|-+\[ end trace .*|)$")
REPORT_LINES = 90
# 6.12 counts a processor's fair server, which is no task and stops late, in nr_running:
# "not properly vacated" with two counted and the stopper alone found is that.
_FAIR_SERVER = re.compile(r"CPU(\d+) enqueued tasks \(2 total\):\r?\n[^\n]*\tpid: \d+, name: migration/\1\r?\n(?![^\n]*\tpid: )")


def reports(text):
    """What the kernel complained of: a list of texts.

    KCSAN reports that do not name nom are the kernel's own and left out, and so is a
    fair server that a processor took along when it was unplugged.
    """
    excused = len(_FAIR_SERVER.findall(text))
    found, block = [], None
    for raw in text.splitlines():
        line = raw.rstrip("\r")
        if block is None or len(block) >= REPORT_LINES:
            if g.kernel_trouble(line):
                block = [line]
                found.append(block)
            continue
        block.append(line)
        if _END.match(_STAMP.sub("", line)) and len(block) > 8:
            block = None
    texts = ["\n".join(block) for block in found]
    dying = [t for t in texts if " sched_cpu_dying+" in t.splitlines()[0]]
    if len(dying) <= excused:
        texts = [t for t in texts if t not in dying]
    return [t for t in texts if "BUG: KCSAN" not in t.splitlines()[0] or re.search(r"\bnom_|\[nom\]", t)]
