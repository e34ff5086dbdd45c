// SPDX-License-Identifier: MIT
/* nomctl doctor: a machine that runs nom */
#include "doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <linux/capability.h>
#include <sys/syscall.h>

static void check_kernel(struct machine *m, struct finding *f)
{
	char cmdline[4096] = "";

	nomctl_read("/proc/cmdline", cmdline, sizeof(cmdline));
	if (m->nl) {
		doctor_find(f, OK, "nom, version %u of its ABI", m->info.version);
	} else if (!access("/sys/module/nom", F_OK)) {
		doctor_find(f, FAIL, "nom.ko is loaded, but its netlink family does not answer: %s",
		     strerror(-m->nl_error));
		doctor_advise(f, "look at dmesg; in a container, use the first network namespace");
	} else if (strstr(cmdline, "nom_cpus=") || strstr(cmdline, "nom_mem=")) {
		doctor_find(f, FAIL, "booted for nom, but nom.ko is not loaded");
		doctor_advise(f, "insmod nom.ko (built as build/nom.ko), or modprobe nom");
	} else {
		doctor_find(f, FAIL, "this kernel has no nom");
		doctor_advise(f, "boot the patched kernel with nom_cpus=LIST nom_mem=SIZE and load nom.ko; scripts/run-guest does");
	}
}

static void check_cores(struct machine *m, struct finding *f)
{
	if (!m->nl) {
		doctor_find(f, SKIPPED, "no nom");
	} else if (!m->info.nr_cores) {
		doctor_find(f, FAIL, "no reserved cores");
		doctor_advise(f, "boot with nom_cpus=LIST, leaving at least one core to Linux");
	} else {
		doctor_find(f, OK, "%u reserved core%s", m->info.nr_cores, m->info.nr_cores == 1 ? "" : "s");
	}
}

static void check_reserved_memory(struct machine *m, struct finding *f)
{
	char total[24], free_text[24];

	if (!m->nl) {
		doctor_find(f, SKIPPED, "no nom");
		return;
	}
	nomctl_bytes(m->info.mem_total_bytes, total, sizeof(total));
	nomctl_bytes(m->info.mem_free_bytes, free_text, sizeof(free_text));
	if (!m->info.mem_total_bytes) {
		doctor_find(f, FAIL, "no reserved memory");
		doctor_advise(f, "boot with nom_mem=SIZE, 64M at least");
	} else if (m->info.mem_quarantined_bytes && m->info.mem_free_bytes < 16 << 20) {
		doctor_find(f, WARN, "%s of %s free, the rest partly in quarantine", free_text, total);
		doctor_advise(f, "memory that a device may still write to comes back when the device leaves vfio-pci: nomctl run --give-back BDF");
	} else if (m->info.mem_free_bytes < 16 << 20) {
		doctor_find(f, WARN, "%s of %s free", free_text, total);
		doctor_advise(f, "nomctl status shows who holds it");
	} else {
		doctor_find(f, OK, "%s reserved, %s free", total, free_text);
	}
}

static void check_device_node(struct machine *m, struct finding *f)
{
	int fd;

	if (!m->nl) {
		doctor_find(f, SKIPPED, "no nom");
		return;
	}
	fd = open("/dev/nom", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		doctor_find(f, OK, "/dev/nom opens");
		close(fd);
	} else if (errno == ENOENT) {
		doctor_find(f, FAIL, "no /dev/nom");
		doctor_advise(f, "mount devtmpfs on /dev, or see udev's log");
	} else {
		doctor_find(f, WARN, "/dev/nom does not open: %s", strerror(errno));
		doctor_advise(f, "run as root, or join the group nom (nom-kmod/90-nom.rules)");
	}
}

static bool directory_empty(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool empty = true;

	while (d && (e = readdir(d)))
		empty &= e->d_name[0] == '.';
	if (d)
		closedir(d);
	return empty;
}

static void check_vfio(struct machine *m, struct finding *f)
{
	char text[8];

	if (access("/sys/bus/pci/drivers/vfio-pci", F_OK)) {
		doctor_find(f, FAIL, "no vfio-pci driver");
		doctor_advise(f, "modprobe vfio-pci, or build the kernel with CONFIG_VFIO_PCI");
	} else if (!directory_empty("/sys/kernel/iommu_groups")) {
		doctor_find(f, OK, "vfio-pci, with an IOMMU");
	} else if (nomctl_read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", text,
			       sizeof(text)) > 0 && *text == 'Y') {
		doctor_find(f, OK, "vfio-pci in trusted mode (no IOMMU: applications with a device can write any memory)");
	} else {
		doctor_find(f, FAIL, "vfio-pci, but no IOMMU and no trusted mode");
		doctor_advise(f, "boot with intel_iommu=on or amd_iommu=on, or: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
	}
}

/* CAP_SYS_RAWIO: trusted mode asks for it */
static void check_privilege(struct machine *m, struct finding *f)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	syscall(SYS_capget, &head, data);
	if (data[0].effective & (1U << CAP_SYS_RAWIO)) {
		doctor_find(f, OK, "this user may drive devices in trusted mode");
	} else if (!directory_empty("/sys/kernel/iommu_groups")) {
		doctor_find(f, OK, "not needed: there is an IOMMU");
	} else {
		doctor_find(f, WARN, "this user lacks CAP_SYS_RAWIO");
		doctor_advise(f, "run applications that own a device as root, or use an IOMMU");
	}
}

static void check_hugepages(struct machine *m, struct finding *f)
{
	char text[24] = "0";

	nomctl_read("/proc/sys/vm/nr_hugepages", text, sizeof(text));
	if (strcmp(text, "0"))
		doctor_find(f, OK, "%s set aside; nom does not need them", text);
	else
		doctor_find(f, OK, "none set aside, none needed: nom's memory is reserved at boot");
}

/* The daemon holds this abstract socket as long as it lives. */
static void check_priced(struct machine *m, struct finding *f)
{
	FILE *file = fopen("/proc/net/unix", "re");
	char line[256];
	bool running = false;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strchr(line, '@');

		running |= at && !strcmp(at, "@nom-priced\n");
	}
	if (file)
		fclose(file);
	if (running) {
		doctor_find(f, OK, "running, %u price%s on the board", m->nr_prices,
		     m->nr_prices == 1 ? "" : "s");
	} else {
		doctor_find(f, WARN, "not running, %u price%s on the board", m->nr_prices,
		     m->nr_prices == 1 ? "" : "s");
		doctor_advise(f, "priced FILE, or nomctl price set NAME AMOUNT --unit UNIT");
	}
}

static void check_clock(struct machine *m, struct finding *f)
{
	char text[32] = "?";

	nomctl_read("/sys/devices/system/clocksource/clocksource0/current_clocksource", text,
		    sizeof(text));
	if (!strcmp(text, "tsc")) {
		doctor_find(f, OK, "tsc");
	} else {
		doctor_find(f, WARN, "clocksource %s: libnomux reads the TSC", text);
		doctor_advise(f, "boot with tsc=reliable clocksource=tsc if the TSC is constant");
	}
}

const struct doctor_check doctor_nom[] = {
	{ "kernel", check_kernel },
	{ "device", check_device_node },
	{ "cores", check_cores },
	{ "reserved", check_reserved_memory },
	{ "vfio", check_vfio },
	{ "privilege", check_privilege },
	{ "hugepages", check_hugepages },
	{ "clock", check_clock },
	{ "priced", check_priced },
	{ NULL, NULL },
};
