# SPDX-License-Identifier: MIT
"""qemu - what QEMU is to emulate, and its command line"""
import functools
import os
import pathlib
import re
import shutil
import subprocess
import threading

import initramfs
from guesterr import EX_HOST, EX_KERNEL, EX_USAGE, GuestError

BUILD = initramfs.BUILD
KERNEL = BUILD / "kernel"
BOOT_DEADLINE_S = {"kvm": 60, "tcg": 120}
DEBUG_SLOWER = 6		# boot deadline of kernels with KASAN, KCSAN or lockdep
MAC = "52:54:00:6e:6f:{:02x}"
NIC_SLOT = 0x10			# PCI slot of the first network device: 0000:00:10.0


def accelerator(wanted="auto"):
    """(name, reason).  /dev/kvm can exist with no hardware behind it: the CPU flag decides first."""
    if wanted == "tcg":
        return "tcg", "asked for"
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        flags = ""
    if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", flags, re.M):
        why = "no vmx or svm CPU flag"
    else:
        try:
            os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
            return "kvm", "vmx or svm CPU flag, /dev/kvm opens"
        except OSError as error:
            why = f"/dev/kvm: {error.strerror}"
    if wanted == "kvm":
        raise GuestError(EX_HOST, f"--accel kvm: {why}; use --accel tcg or a machine with hardware virtualisation")
    return "tcg", why


def host_tsc_khz():
    """Frequency of the host's time stamp counter, which emulated guests read."""
    try:
        return int(subprocess.run([initramfs.compile_tool("tsc-khz")], capture_output=True, text=True, check=True).stdout)
    except initramfs.ImageError as error:
        raise GuestError(EX_HOST, str(error)) from None


@functools.cache
def without_pci():
    """QEMU's arguments for a machine with a virtio network device without PCI, and a PCI bus besides; [] where it has none."""
    seen = subprocess.run(["qemu-system-x86_64", "-M", "microvm,help"], capture_output=True, text=True, check=False).stdout
    if "pcie=" not in seen:
        return []
    return ["-M", "microvm,pcie=on", "-global", "virtio-mmio.force-legacy=false", "-netdev", "hubport,id=nommmio,hubid=0",
            "-device", "virtio-net-device,netdev=nommmio,mac=52:54:00:6e:4d:01"]


@functools.cache
def may_yield():
    """May we leave SCHED_IDLE again?  Not without CAP_SYS_NICE, as most users' limits are."""
    allowed = []

    def there_and_back():
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
        try:
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_OTHER, os.sched_param(0))
            allowed.append(True)
        except PermissionError:
            pass
    thread = threading.Thread(target=there_and_back)
    thread.start()
    thread.join()
    return bool(allowed)


class Machine:
    """A virtual machine that is not started.

    accel      auto, kvm or tcg
    smp, mem   as QEMU's
    kernel     directory with bzImage (and config, System.map); or a kernel image
    nom_cpus, nom_mem   reserved for nom; None: not given to the kernel
    net        none: `nics` devices on one hub inside QEMU; tap: on taps t0, t1...
               of the network namespace we are in; vhost-user: on the back-ends that
               listen at `vhost`, one socket a device
    ioeventfd  "on" or "off" for each device on a tap, of which there are then as many
    plugin     list of "FILE,ARG=..." for QEMU's -plugin
    icount     guest time counts instructions (single-threaded TCG)
    module     a kernel without nom is an error
    """

    def __init__(self, accel="auto", smp=2, mem="2G", kernel=None, nom_cpus="1", nom_mem="256M", net="none", nics=0, vhost=(), ioeventfd=(),
                 append=(), qemu_args=(), plugin=(), icount=False, gdb=False, boot_deadline=None, module=True):
        self.kernel = pathlib.Path(kernel or KERNEL)
        self.smp, self.mem, self.nom_cpus, self.nom_mem = smp, mem, nom_cpus, nom_mem
        self.net, self.nics, self.vhost, self.ioeventfd = net, nics, list(vhost), list(ioeventfd)
        self.append, self.qemu_args, self.plugin = list(append), list(qemu_args), list(plugin)
        self.icount, self.gdb, self.module = icount, gdb, module
        self.accel, self.accel_why = accelerator(accel)
        if self.accel == "kvm" and (icount or plugin):
            raise GuestError(EX_USAGE, "--icount and --plugin count emulated instructions: add --accel tcg")
        self.config = self._read_config()
        self.deadline = boot_deadline or BOOT_DEADLINE_S[self.accel] * (DEBUG_SLOWER if self._is_debug() else 1)
        self.gdb_socket = initramfs.GUEST / f"gdb-{os.getpid()}.sock"

    def _read_config(self):
        try:
            text = (self.kernel / "config").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        return set(re.findall(r"^(CONFIG_\w+)=[ym]", text, re.M))

    def _is_debug(self):
        return bool(self.config and self.config & {"CONFIG_KASAN", "CONFIG_KCSAN", "CONFIG_PROVE_LOCKING"})

    @property
    def image(self):
        """The kernel image."""
        return self.kernel / "bzImage" if self.kernel.is_dir() or not self.kernel.exists() else self.kernel

    def bdf(self, nic=0):
        """PCI address of a network device."""
        return f"0000:00:{NIC_SLOT + nic:02x}.0"

    def mac(self, nic=0):
        return MAC.format(nic + 1)

    @property
    def port(self):
        """The guest's end of the command channel."""
        return "/dev/vport0p1" if self.config and "CONFIG_VIRTIO_CONSOLE" in self.config else "/dev/ttyS1"

    def qemu_command(self, initrd, agent_fd):
        """The QEMU command line."""
        words = ["console=ttyS0", "panic=-1", "tsc=reliable", "clocksource=tsc",
                 "random.trust_cpu=on", f"nom.agent={self.port}"]
        if self.accel == "tcg":
            # The IO-APIC's timer check counts ticks over a few emulated milliseconds; on a
            # busy host none may come, and the kernel gives up.  KVM guests skip it as well.
            words.append("no_timer_check")
            if not self.icount and os.uname().machine == "x86_64":
                words.append(f"tsc_early_khz={host_tsc_khz()}")
        if self.nom_cpus:
            words.append(f"nom_cpus={self.nom_cpus}")
        if self.nom_mem:
            words.append(f"nom_mem={self.nom_mem}")
        if not self.module:
            words.append("nom.module=0")
        if self.plugin or self.gdb:
            words.append("nokaslr")	# System.map holds then
        words += self.append
        accel = "kvm" if self.accel == "kvm" else f"tcg,thread={'single' if self.icount else 'multi'}"
        cmd = ["qemu-system-x86_64", "-accel", accel, "-cpu", "host" if self.accel == "kvm" else "max",
               "-name", "nom-guest,debug-threads=on", "-M", self._machine(), "-smp", str(self.smp), "-m", str(self.mem),
               "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot",
               "-kernel", str(self.image), "-initrd", str(initrd), "-append", " ".join(words),
               "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
               "-chardev", f"socket,id=agent,fd={agent_fd}"]
        if self.port == "/dev/ttyS1":
            cmd += ["-serial", "chardev:agent"]
        else:
            cmd += ["-device", "virtio-serial-pci,max_ports=2,disable-legacy=on,addr=0x0f",
                    "-device", "virtserialport,chardev=agent,nr=1,name=nom.agent"]
        # A doorbell of a polling guest is cheaper handled in the vCPU's thread than
        # through an eventfd when there is no vhost at its other end.
        usual = "" if self.accel == "kvm" or self.net == "vhost-user" else ",ioeventfd=off"
        if self.net == "vhost-user":
            cmd += ["-object", f"memory-backend-memfd,id=ram,size={self.mem},share=on"]
        for n in range(self.nics):
            eventfd = f",ioeventfd={self.ioeventfd[n]}" if self.ioeventfd else usual
            if self.net == "tap":
                vhost = ",vhost=on" if self.accel == "kvm" and os.access("/dev/vhost-net", os.R_OK | os.W_OK) else ""
                cmd += ["-netdev", f"tap,id=n{n},ifname=t{n},script=no,downscript=no{vhost}"]
            elif self.net == "vhost-user":
                cmd += ["-chardev", f"socket,id=v{n},path={self.vhost[n]}", "-netdev", f"vhost-user,id=n{n},chardev=v{n}"]
            else:
                cmd += ["-netdev", f"hubport,id=n{n},hubid=0"]
            cmd += ["-device", f"virtio-net-pci,netdev=n{n},mac={self.mac(n)},disable-legacy=on,addr={NIC_SLOT + n:#x},romfile={eventfd}"]
        if self.icount:
            cmd += ["-icount", "shift=0"]
        for spec in self.plugin:
            cmd += ["-plugin", spec]
        if self.gdb:
            cmd += ["-gdb", f"unix:{self.gdb_socket},server=on,wait=off", "-S"]
        return cmd + self.qemu_args

    def _machine(self):
        """A back-end of another process must see the guest's memory."""
        return "q35,memory-backend=ram" if self.net == "vhost-user" else "q35"

    def gdb_line(self):
        vmlinux = self.kernel / "tree/vmlinux"
        return f"gdb {vmlinux if vmlinux.exists() else '/path/to/vmlinux'} -ex 'target remote {self.gdb_socket}'"

    def check(self):
        """What the host lacks, as one error."""
        if self.net == "vhost-user" and len(self.vhost) != self.nics:
            raise GuestError(EX_USAGE, f"{self.nics} devices on {len(self.vhost)} vhost-user back-ends: one socket for each")
        if self.ioeventfd and (self.net == "vhost-user" or len(self.ioeventfd) != self.nics or not set(self.ioeventfd) <= {"on", "off"}):
            raise GuestError(EX_USAGE, f"ioeventfd {self.ioeventfd} of {self.nics} devices: on or off for each, and never with vhost-user, which needs it on")
        if not shutil.which("qemu-system-x86_64"):
            raise GuestError(EX_HOST, "no qemu-system-x86_64 in PATH: run scripts/install-deps (package qemu-system-x86)")
        if not self.image.is_file():
            raise GuestError(EX_KERNEL, f"no kernel at {self.image}: run `make kernel`, or give --kernel DIR")
        if self.module and self.config is not None and "CONFIG_NOM" not in self.config:
            raise GuestError(EX_KERNEL, f"the kernel in {self.kernel} has no nom (CONFIG_NOM is not set): "
                             "run `make kernel`, or boot it as it is with --no-module")
        if self.net == "tap":
            for n in range(self.nics):
                if f"t{n}" not in os.environ.get("NOM_NETNS", "").split():
                    raise GuestError(EX_HOST, f"no tap t{n} here: start through scripts/netns --taps {self.nics} -- ...")
            if self.nics and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
                raise GuestError(EX_HOST, "/dev/net/tun cannot be opened: as root, `modprobe tun; chmod 666 /dev/net/tun`")
