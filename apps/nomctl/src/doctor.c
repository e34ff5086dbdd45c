// SPDX-License-Identifier: MIT
/*
 * nomctl doctor: is everything there, and if not, what to do.
 *
 * Checks are rows of a table; each says ok, warn or FAIL with one line of what
 * was found and, unless ok, one of what to do.  On a machine whose kernel has nom
 * it looks at that machine; elsewhere at a host that is to run the guest.
 */
#include "nomctl.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/capability.h>
#include <sys/syscall.h>

#include <econ/nl.h>

enum level { OK, WARN, FAIL, SKIPPED };

static const char *const level_names[] = { "ok", "warn", "FAIL", "skip" };

struct finding {
	enum level level;
	char found[800];
	char advice[1200];
};

/* What several checks look at, gathered once. */
struct machine {
	struct econ_nl *nl;		/* NULL: no family */
	int nl_error;
	struct econ_nl_record info;
	unsigned nr_prices;
};

#define ON_HOST		(1U << 0)
#define ON_NOM		(1U << 1)	/* a machine that runs nom */

static struct {
	bool json, host, guest, trace;
	double seconds;
} values = { .seconds = 1 };

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, OPT(json), NULL, "for programs", 0, 0 },
	{ "host", 0, ECON_OPT_FLAG, OPT(host), NULL, "check this machine as a host for the guest", 0, 0 },
	{ "guest", 0, ECON_OPT_FLAG, OPT(guest), NULL, "check this machine as one that runs nom", 0, 0 },
	{ "seconds", 's', ECON_OPT_REAL, OPT(seconds), "SECONDS", "watch the reserved cores for so long (1)", 0.1, 86400 },
	{ "trace", 0, ECON_OPT_FLAG, OPT(trace), NULL, "name what disturbs them by trace events, which does so, too", 0, 0 },
	NOMCTL_OPTIONS_END,
};

static void find(struct finding *f, enum level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void find(struct finding *f, enum level level, const char *fmt, ...)
{
	va_list ap;

	f->level = level;
	va_start(ap, fmt);
	vsnprintf(f->found, sizeof(f->found), fmt, ap);
	va_end(ap);
}

static void advise(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void advise(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->advice, sizeof(f->advice), fmt, ap);
	va_end(ap);
}

/* -------------------------------------------------------------- a host --- */

/* A word among the flags of /proc/cpuinfo */
static bool cpu_flag(const char *flag)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char *line = NULL;
	size_t room = 0;
	bool found = false;

	while (f && !found && getline(&line, &room, f) > 0) {
		char *save = NULL, *word;

		if (strncmp(line, "flags", 5))
			continue;
		for (word = strtok_r(line, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save))
			found |= !strcmp(word, flag);
		break;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static void check_virtualisation(struct machine *m, struct finding *f)
{
	bool vmx = cpu_flag("vmx"), svm = cpu_flag("svm");

	if (!vmx && !svm) {
		find(f, WARN, "the CPU shows neither vmx nor svm%s",
		     access("/dev/kvm", F_OK) ? "" : " (/dev/kvm is there all the same, and of no use)");
		advise(f, "the guest runs emulated (TCG): right, but slow; for KVM, enable virtualisation in the firmware or nested virtualisation in the hypervisor");
	} else if (access("/dev/kvm", F_OK)) {
		find(f, WARN, "%s, but no /dev/kvm", vmx ? "vmx" : "svm");
		advise(f, "modprobe %s", vmx ? "kvm_intel" : "kvm_amd");
	} else if (access("/dev/kvm", R_OK | W_OK)) {
		find(f, WARN, "%s and /dev/kvm, which this user may not open", vmx ? "vmx" : "svm");
		advise(f, "join the group kvm: usermod -aG kvm USER, then log in again");
	} else {
		find(f, OK, "%s and /dev/kvm", vmx ? "vmx" : "svm");
	}
}

static void check_qemu(struct machine *m, struct finding *f)
{
	char line[128] = "";
	FILE *p;

	if (!nomctl_in_path("qemu-system-x86_64")) {
		find(f, FAIL, "qemu-system-x86_64 is not in PATH");
		advise(f, "apt install qemu-system-x86");
		return;
	}
	p = popen("qemu-system-x86_64 --version 2>/dev/null", "re");
	if (p && fgets(line, sizeof(line), p))
		line[strcspn(line, "\n")] = '\0';
	if (p && pclose(p)) {
		find(f, FAIL, "qemu-system-x86_64 does not start");
		advise(f, "run qemu-system-x86_64 --version and see");
		return;
	}
	find(f, OK, "%s", *line ? line : "qemu-system-x86_64");
}

static void check_namespaces(struct machine *m, struct finding *f)
{
	char text[32];

	if (nomctl_read("/proc/sys/kernel/unprivileged_userns_clone", text, sizeof(text)) > 0 &&
	    !strcmp(text, "0") && geteuid()) {
		find(f, FAIL, "unprivileged user namespaces are off");
		advise(f, "sysctl kernel.unprivileged_userns_clone=1");
	} else if (nomctl_read("/proc/sys/user/max_user_namespaces", text, sizeof(text)) > 0 &&
		   !strcmp(text, "0")) {
		find(f, FAIL, "no user namespaces are allowed");
		advise(f, "sysctl user.max_user_namespaces=10000");
	} else if (access("/dev/net/tun", R_OK | W_OK)) {
		find(f, FAIL, "/dev/net/tun cannot be opened");
		advise(f, "modprobe tun, and see the device's mode: the guest's network is a tap");
	} else {
		find(f, OK, "user namespaces and /dev/net/tun");
	}
}

static void check_memory(struct machine *m, struct finding *f)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128], text[24];
	uint64_t kb = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %" SCNu64, &kb) == 1)
			break;
	if (file)
		fclose(file);
	nomctl_bytes(kb << 10, text, sizeof(text));
	if (kb < 2560 << 10) {
		find(f, kb < 1536 << 10 ? FAIL : WARN, "%s of memory available", text);
		advise(f, "the guest takes 2 GiB: end something, or give the guest less (run-guest --mem)");
	} else {
		find(f, OK, "%s of memory available", text);
	}
}

/* Room where the kernel is built and where things are kept. */
static void check_disk(struct machine *m, struct finding *f)
{
	const char *cache = getenv("NOM_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	char *tree = nomctl_tree(".");
	const char *places[] = { tree ? tree : ".", cache ? cache : xdg ? xdg : home ? home : "/" };
	uint64_t least = UINT64_MAX;
	const char *where = places[0];
	char text[24];

	for (int i = 0; i < 2; i++) {
		struct statvfs s;

		if (!statvfs(places[i], &s) && (uint64_t)s.f_bavail * s.f_frsize < least) {
			least = (uint64_t)s.f_bavail * s.f_frsize;
			where = places[i];
		}
	}
	nomctl_bytes(least, text, sizeof(text));
	if (least >= 6ULL << 30) {
		find(f, OK, "%s free", text);
	} else {
		find(f, least < 2ULL << 30 ? FAIL : WARN, "%s free at %s", text, where);
		advise(f, "a kernel build takes about 4 GiB; set NOM_CACHE to a place with room");
	}
	free(tree);
}

static void check_built(struct machine *m, struct finding *f)
{
	static const char *const products[] = { "build/kernel/bzImage", "build/nom.ko",
						"build/bin/nhttpd" };
	static const char *const targets[] = { "kernel", "module", "user" };

	for (int i = 0; i < 3; i++) {
		char *path = nomctl_tree(products[i]);
		bool there = path && !access(path, F_OK);

		if (!path) {
			find(f, SKIPPED, "this nomctl is not in a source tree");
			return;
		}
		free(path);
		if (!there) {
			find(f, WARN, "%s is not built yet", products[i]);
			advise(f, "make %s (make demo does it all)", targets[i]);
			return;
		}
	}
	find(f, OK, "kernel, module and programs are built");
}

static void check_tools(struct machine *m, struct finding *f)
{
	static const char *const tools[] = { "wrk", "gnuplot", "ip", "unshare", "gcc", "make" };
	char missing[128] = "";

	for (size_t i = 0; i < sizeof(tools) / sizeof(*tools); i++)
		if (!nomctl_in_path(tools[i]))
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " %s",
				 tools[i]);
	if (*missing) {
		find(f, WARN, "not in PATH:%s", missing);
		advise(f, "scripts/install-deps installs what make demo needs");
	} else {
		find(f, OK, "the tools of make demo");
	}
}

/* ------------------------------------------------ a machine that runs nom --- */

static void check_kernel(struct machine *m, struct finding *f)
{
	char cmdline[4096] = "";

	nomctl_read("/proc/cmdline", cmdline, sizeof(cmdline));
	if (m->nl) {
		find(f, OK, "nom, version %u of its ABI", m->info.version);
	} else if (!access("/sys/module/nom", F_OK)) {
		find(f, FAIL, "nom.ko is loaded, but its netlink family does not answer: %s",
		     strerror(-m->nl_error));
		advise(f, "look at dmesg; in a container, use the first network namespace");
	} else if (strstr(cmdline, "nom_cpus=") || strstr(cmdline, "nom_mem=")) {
		find(f, FAIL, "booted for nom, but nom.ko is not loaded");
		advise(f, "insmod nom.ko (built as build/nom.ko), or modprobe nom");
	} else {
		find(f, FAIL, "this kernel has no nom");
		advise(f, "boot the patched kernel with nom_cpus=LIST nom_mem=SIZE and load nom.ko; scripts/run-guest does");
	}
}

static void check_cores(struct machine *m, struct finding *f)
{
	if (!m->nl) {
		find(f, SKIPPED, "no nom");
	} else if (!m->info.nr_cores) {
		find(f, FAIL, "no reserved cores");
		advise(f, "boot with nom_cpus=LIST, leaving at least one core to Linux");
	} else {
		find(f, OK, "%u reserved core%s", m->info.nr_cores, m->info.nr_cores == 1 ? "" : "s");
	}
}

static void check_reserved_memory(struct machine *m, struct finding *f)
{
	char total[24], free_text[24];

	if (!m->nl) {
		find(f, SKIPPED, "no nom");
		return;
	}
	nomctl_bytes(m->info.mem_total_bytes, total, sizeof(total));
	nomctl_bytes(m->info.mem_free_bytes, free_text, sizeof(free_text));
	if (!m->info.mem_total_bytes) {
		find(f, FAIL, "no reserved memory");
		advise(f, "boot with nom_mem=SIZE, 64M at least");
	} else if (m->info.mem_quarantined_bytes && m->info.mem_free_bytes < 16 << 20) {
		find(f, WARN, "%s of %s free, the rest partly in quarantine", free_text, total);
		advise(f, "memory that a device may still write to comes back when the device leaves vfio-pci: nomctl run --give-back BDF");
	} else if (m->info.mem_free_bytes < 16 << 20) {
		find(f, WARN, "%s of %s free", free_text, total);
		advise(f, "nomctl status shows who holds it");
	} else {
		find(f, OK, "%s reserved, %s free", total, free_text);
	}
}

static void check_device_node(struct machine *m, struct finding *f)
{
	int fd;

	if (!m->nl) {
		find(f, SKIPPED, "no nom");
		return;
	}
	fd = open("/dev/nom", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		find(f, OK, "/dev/nom opens");
		close(fd);
	} else if (errno == ENOENT) {
		find(f, FAIL, "no /dev/nom");
		advise(f, "mount devtmpfs on /dev, or see udev's log");
	} else {
		find(f, WARN, "/dev/nom does not open: %s", strerror(errno));
		advise(f, "run as root, or join the group nom (nom-kmod/90-nom.rules)");
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
		find(f, FAIL, "no vfio-pci driver");
		advise(f, "modprobe vfio-pci, or build the kernel with CONFIG_VFIO_PCI");
	} else if (!directory_empty("/sys/kernel/iommu_groups")) {
		find(f, OK, "vfio-pci, with an IOMMU");
	} else if (nomctl_read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", text,
			       sizeof(text)) > 0 && *text == 'Y') {
		find(f, OK, "vfio-pci in trusted mode (no IOMMU: applications with a device can write any memory)");
	} else {
		find(f, FAIL, "vfio-pci, but no IOMMU and no trusted mode");
		advise(f, "boot with intel_iommu=on or amd_iommu=on, or: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
	}
}

/* CAP_SYS_RAWIO: trusted mode asks for it */
static void check_privilege(struct machine *m, struct finding *f)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	syscall(SYS_capget, &head, data);
	if (data[0].effective & (1U << CAP_SYS_RAWIO)) {
		find(f, OK, "this user may drive devices in trusted mode");
	} else if (!directory_empty("/sys/kernel/iommu_groups")) {
		find(f, OK, "not needed: there is an IOMMU");
	} else {
		find(f, WARN, "this user lacks CAP_SYS_RAWIO");
		advise(f, "run applications that own a device as root, or use an IOMMU");
	}
}

static void check_hugepages(struct machine *m, struct finding *f)
{
	char text[24] = "0";

	nomctl_read("/proc/sys/vm/nr_hugepages", text, sizeof(text));
	if (strcmp(text, "0"))
		find(f, OK, "%s set aside; nom does not need them", text);
	else
		find(f, OK, "none set aside, none needed: nom's memory is reserved at boot");
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
		find(f, OK, "running, %u price%s on the board", m->nr_prices,
		     m->nr_prices == 1 ? "" : "s");
	} else {
		find(f, WARN, "not running, %u price%s on the board", m->nr_prices,
		     m->nr_prices == 1 ? "" : "s");
		advise(f, "priced FILE, or nomctl price set NAME AMOUNT --unit UNIT");
	}
}

static void check_clock(struct machine *m, struct finding *f)
{
	char text[32] = "?";

	nomctl_read("/sys/devices/system/clocksource/clocksource0/current_clocksource", text,
		    sizeof(text));
	if (!strcmp(text, "tsc")) {
		find(f, OK, "tsc");
	} else {
		find(f, WARN, "clocksource %s: libnomux reads the TSC", text);
		advise(f, "boot with tsc=reliable clocksource=tsc if the TSC is constant");
	}
}

/* -------------------------------------------------------------- all of it --- */

static const struct check {
	const char *name;
	unsigned where;
	void (*run)(struct machine *m, struct finding *f);
} checks[] = {
	{ "virtualisation", ON_HOST, check_virtualisation },
	{ "qemu", ON_HOST, check_qemu },
	{ "network", ON_HOST, check_namespaces },
	{ "memory", ON_HOST, check_memory },
	{ "disk", ON_HOST, check_disk },
	{ "tools", ON_HOST, check_tools },
	{ "build", ON_HOST, check_built },
	{ "kernel", ON_NOM, check_kernel },
	{ "device", ON_NOM, check_device_node },
	{ "cores", ON_NOM, check_cores },
	{ "reserved", ON_NOM, check_reserved_memory },
	{ "vfio", ON_NOM, check_vfio },
	{ "privilege", ON_NOM, check_privilege },
	{ "hugepages", ON_NOM, check_hugepages },
	{ "clock", ON_NOM, check_clock },
	{ "priced", ON_NOM, check_priced },
};

static int keep_info(const struct econ_nl_record *r, void *arg)
{
	((struct machine *)arg)->info = *r;
	return 0;
}

static int count_price(const struct econ_nl_record *r, void *arg)
{
	((struct machine *)arg)->nr_prices++;
	return 0;
}

static void look(struct machine *m)
{
	m->nl_error = econ_nl_open(&m->nl);
	if (m->nl_error)
		return;
	m->nl_error = econ_nl_get(m->nl, NOM_GENL_CMD_GET_INFO, keep_info, m);
	econ_nl_get(m->nl, NOM_GENL_CMD_GET_PRICES, count_price, m);
}

/* A host, unless something of nom is here. */
static unsigned where_are_we(const struct machine *m)
{
	char cmdline[4096] = "";

	if (values.host || values.guest)
		return (values.host ? ON_HOST : 0) | (values.guest ? ON_NOM : 0);
	nomctl_read("/proc/cmdline", cmdline, sizeof(cmdline));
	return m->nl || strstr(cmdline, "nom_cpus=") || !access("/sys/module/nom", F_OK) ? ON_NOM :
											ON_HOST;
}

struct report {
	json_t *list;
	unsigned nr[4];		/* by level */
};

static void report(const char *name, const struct finding *f, struct report *r)
{
	r->nr[f->level]++;
	if (values.json) {
		json_array_append_new(r->list, json_pack("{s:s,s:s,s:s,s:s}", "check", name, "level",
						      level_names[f->level], "found", f->found,
						      "advice", f->advice));
		return;
	}
	printf("%-5s %-15s %s\n", level_names[f->level], name, f->found);
	if (*f->advice)
		printf("%-5s %-15s %s\n", "", "", f->advice);
	fflush(stdout);
}

static void report_core(unsigned cpu, enum nomctl_quiet verdict, const char *found,
			const char *advice, void *arg)
{
	static const enum level levels[] = {
		[NOMCTL_QUIET] = OK, [NOMCTL_QUIET_NOISE] = WARN, [NOMCTL_QUIET_UNKNOWN] = SKIPPED,
	};
	struct finding f = { .level = levels[verdict] };
	char name[16];

	snprintf(name, sizeof(name), "core %u", cpu);
	snprintf(f.found, sizeof(f.found), "%s", found);
	snprintf(f.advice, sizeof(f.advice), "%s", advice);
	report(name, &f, arg);
}

static int run_doctor(int argc, char **argv)
{
	struct report r = { .list = json_array() };
	struct machine m = { 0 };
	unsigned where;

	look(&m);
	where = where_are_we(&m);
	if (!values.json)
		printf("checking this machine as %s\n", where == ON_HOST ? "a host for the guest" :
		       where == ON_NOM ? "one that runs nom" : "a host, and as one that runs nom");
	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		struct finding f = { .level = OK };

		if (!(checks[i].where & where))
			continue;
		checks[i].run(&m, &f);
		report(checks[i].name, &f, &r);
	}
	if (m.nl && (where & ON_NOM))
		nomctl_quiet_cores(m.nl, values.seconds, values.trace, report_core, &r);
	econ_nl_close(m.nl);
	if (values.json)
		nomctl_print_json(json_incref(r.list));
	else
		printf("%u ok, %u warnings, %u failures\n", r.nr[OK], r.nr[WARN], r.nr[FAIL]);
	json_decref(r.list);
	return r.nr[FAIL] ? ECON_EXIT_FAILED : ECON_EXIT_OK;
}

static const struct nomctl_action actions[] = {
	{ NULL, "", "Says ok, warn or FAIL for each thing, and what to do; ends with 1 if any FAIL.", 0, 0, run_doctor },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_doctor = {
	"doctor", "is everything there, and if not, what to do", actions, options, &values, 0,
};
