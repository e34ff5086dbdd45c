# SPDX-License-Identifier: MIT
"""exits - what KVM counts of a guest's processors: how often they left it, and why

Asked through QEMU's monitor (query-stats, QEMU 7.1 and later), so no root is
needed.  The emulator counts nothing of the kind; then there is None.
"""
from qmp import QmpError

# As KVM's binary statistics name them (Linux, Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD).
NAMES = ("exits", "io_exits", "mmio_exits", "irq_exits", "halt_exits", "irq_injections")


def read(monitor):
    """{name: sum over all processors}, or None when the hypervisor does not tell."""
    try:
        answer = monitor.ask("query-stats", target="vcpu")
    except QmpError as error:
        if "not been found" in str(error):  # QEMU before 7.1
            return None
        raise
    cpus = [{s["name"]: s["value"] for s in entry["stats"]} for entry in answer if entry.get("provider") == "kvm"]
    if not cpus or "exits" not in cpus[0]:
        return None
    return {name: sum(cpu[name] for cpu in cpus) for name in NAMES if all(name in cpu for cpu in cpus)}


def per_request(before, after, requests):
    """{name_per_request: number} between two readings, {} when there are none."""
    if before is None or after is None or not requests:
        return {}
    return {f"{name}_per_request": round((after[name] - before[name]) / requests, 4) for name in after if name in before}
