# SPDX-License-Identifier: MIT
"""nhttpd - run the server of the comparison in a guest, on either stack

The variants differ in nothing but --stack, --device and the core.  The device moves
from one to the other: nhttpd takes it from the in-tree driver for nom and gives
it back when it ends.
"""
import json
import subprocess
import time

import guest as g
import guestserver
import links
import tuning
from guestserver import ServerError, address, on_nom

PORT = 80
PATH = "/index.html"
SINK = "/up"		# takes uploads, and throws them away
ROOT = "/srv/www"
TABLE = "/usr/share/nom/tables/nhttpd-tcg.json"
TERMS = "/run/terms.json"
PRICES = "/run/prices.json"
PRICE_S = 5
# An SLO of 750 us means nothing on an emulated processor.  A shell loop takes 15
# times as long in the guest as natively (emulation_factor() measures it anew).
TIME_SCALE = {"kvm": 1, "tcg": 16}
LINUX_CPU, NOM_CPU = 0, 1

VARIANTS = {
    "linux-default": "in-tree stack and driver with the kernel's defaults, core 0",
    "linux-tuned": "in-tree stack told to poll (scripts/lib/tuning.py), core 0: " + tuning.CLASSIC.text(),
    "packet": "private stack over a packet socket with mapped rings: in-tree driver, kernel's interrupts, core 0",
    "xdp": "private stack over an AF_XDP socket, in copy mode, for virtio-net of 6.12 has no other: in-tree driver, kernel's interrupts, core 0",
    "nom": "private stack and driver with their defaults, reserved core 1",
    "nom-priced": "the same, W picked by price and load for the penalty valuation",
}


DEFAULT_VARIANTS = ("linux-default", "nom")


def check_built():
    guestserver.check_built("nhttpd", "nomctl", "priced")


def prepare(guest, file_bytes):
    """The file to serve."""
    text = ("nom on Linux. " * (file_bytes // 14 + 1))[:file_bytes - 1] + "\n"
    guest.capture(f"mkdir -p {ROOT} && cat > {ROOT}{PATH}", stdin=text.encode())
    terms = json.loads((g.ROOT / "econd/terms/penalty.json").read_text(encoding="utf-8"))
    terms["time_scale"] = TIME_SCALE[guest.accel]
    guest.capture(f"cat > {TERMS}", stdin=json.dumps(terms).encode())


def emulation_factor(guest):
    """How many times longer a branchy piece of work takes in the guest than here."""
    loop = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done"
    times = []
    for run in (lambda: guest.capture(["busybox", "sh", "-c", loop], timeout=120),
                lambda: subprocess.run(["busybox", "sh", "-c", loop], check=True)):
        began = time.monotonic()
        run()
        times.append(time.monotonic() - began)
    return round(times[0] / times[1], 1)


def mitigations(guest):
    """CPU vulnerabilities as the guest's kernel sees them."""
    text = guest.capture("cd /sys/devices/system/cpu/vulnerabilities && grep . *").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def offloads(guest):
    """The in-tree driver's offloads that are on."""
    text = guest.capture("ethtool -k eth0").decode()
    return [line.split(":")[0] for line in text.splitlines()[1:] if ": on" in line and not line.startswith("\t")]


def start_prices(guest, dollars):
    """priced publishes whatever stands in its file; it sleeps until that changes."""
    write_price(guest, dollars)
    return guest.spawn(["priced", "--poll-ms", "60000", PRICES])


def write_price(guest, dollars):
    text = json.dumps({"prices": [{"name": "bandwidth", "unit": "Gbit", "usd": dollars}]})
    guest.capture(f"cat > {PRICES}.new && mv {PRICES}.new {PRICES}", stdin=text.encode())


def per_request(variant, counts, stat, requests):
    """What a request cost, of a counting boot.

    linux-default: everything core 0 executed, ring 3 and ring 0.
    nom: busy-bracketed ring 3 and all of ring 0 on the leased core; polling for
    nothing stands beside it.  packet, xdp: the same on core 0.  Device interrupts and doorbells are those of the
    whole guest, the other events those of the serving core, in both; what the
    other core did meanwhile (a handful of wake-ups a second) stands beside them.
    """
    cpu, other = (NOM_CPU, LINUX_CPU) if on_nom(variant) else (LINUX_CPU, NOM_CPU)
    own, idle = counts.vcpu(cpu), 0
    if on_nom(variant) or variant in guestserver.INTERFACE:
        if not own["begin"]:
            raise ServerError("nom's loop executed no busy brackets: its instructions cannot be told from polling")
        user, idle = own["user_busy"], own["user_idle"]
    else:
        user = counts.user(cpu)
    if on_nom(variant):
        doorbells = stat["doorbells_rx"] + stat["doorbells_tx"]
    else:
        doorbells = counts.event(cpu, "kicks") + counts.event(other, "kicks")

    def each(value):
        return round(value / requests, 4)

    def events(core):
        return {name: counts.event(core, name) for name in ("interrupts_device", "interrupts_timer", "interrupts_ipi", "syscalls",
                                                            "context_switches", "page_faults")}

    serving, elsewhere = events(cpu), events(other)
    return {
        "instructions_per_request": {"user": round(user / requests, 1), "kernel": round(counts.kernel(cpu) / requests, 1)},
        "doorbells_per_request": each(doorbells),
        "interrupts_per_request": each(serving["interrupts_device"] + elsewhere["interrupts_device"]),
        "syscalls_per_request": each(serving["syscalls"]),
        "context_switches_per_request": each(serving["context_switches"]),
        "timer_interrupts_per_request": each(serving["interrupts_timer"]),
        "ipis_per_request": each(serving["interrupts_ipi"]),
        "page_faults_per_request": each(serving["page_faults"]),
        "idle_polling_instructions_per_request": round(idle / requests, 1),
        "other_core_instructions_per_request": round((counts.user(other) + counts.kernel(other)) / requests, 1),
        "serving_core_events": serving, "other_core_events": elsewhere,
    }


def serving_vcpu(variant):
    return NOM_CPU if on_nom(variant) else LINUX_CPU


def url(path=PATH, nic=0):
    return f"http://{address(nic)}:{PORT}{path}"


class Server(guestserver.GuestServer):
    """nhttpd in the guest for the length of a with block."""

    name = "nhttpd"

    def __init__(self, guest, variant, file_bytes, tuned=None, path=PATH, link=None, sink=False, nic=0):
        """tuned: a setting of the in-tree stack; link: a tap if not said; sink: take uploads to SINK; nic: number of the device."""
        super().__init__(guest, variant, tuned or {"linux-tuned": tuning.CLASSIC, **guestserver.INTERFACE}.get(variant, tuning.DEFAULT), nic)
        self.file_bytes = file_bytes
        self.path, self.url = path, url(path, nic)
        self.link = link or links.Tap()
        self.sink = sink

    def priced(self):
        return self.variant == "nom-priced"

    def command(self):
        common = ["nhttpd", "--root", ROOT, "--port", str(PORT), "--max-connections", "1024", *(["--sink", SINK] if self.sink else [])]
        if not self.on_nom():
            return [*common, *self.interface_options(LINUX_CPU)] if self.on_interface() else [*common, *self.linux_options(LINUX_CPU)]
        nom = [*common, *self.nom_options(NOM_CPU)]
        return nom + ["--policy", "penalty", "--terms", TERMS, "--table", TABLE] if self.priced() else nom

    def answers(self):
        self.link.wait_until_served(address(self.nic), PORT, self.path, self.file_bytes, 2)

    def set_price(self, dollars):
        """Publish a price, and wait until a price-aware server has seen it."""
        write_price(self.guest, dollars)
        if not self.priced():
            return
        end = time.monotonic() + PRICE_S
        while self.counters()["price.bandwidth"] != dollars * 1000000:
            if time.monotonic() > end:
                raise ServerError(f"nhttpd has not seen the price of ${dollars}/Gb within {PRICE_S} s")

    def w_us(self):
        return self.counters()["w_us"] if self.on_nom() else None

    def tune(self, w_us):
        self.guest.capture(["nomctl", "tune", "nhttpd", f"w_us={w_us}"], timeout=20)
