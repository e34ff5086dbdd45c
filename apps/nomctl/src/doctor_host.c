// SPDX-License-Identifier: MIT
/* nomctl doctor: a host that is to run the guest */
#include "doctor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

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
		doctor_find(f, WARN, "the CPU shows neither vmx nor svm%s",
		     access("/dev/kvm", F_OK) ? "" : " (/dev/kvm is there all the same, and of no use)");
		doctor_advise(f, "the guest runs emulated (TCG): right, but slow; for KVM, enable virtualisation in the firmware or nested virtualisation in the hypervisor");
	} else if (access("/dev/kvm", F_OK)) {
		doctor_find(f, WARN, "%s, but no /dev/kvm", vmx ? "vmx" : "svm");
		doctor_advise(f, "modprobe %s", vmx ? "kvm_intel" : "kvm_amd");
	} else if (access("/dev/kvm", R_OK | W_OK)) {
		doctor_find(f, WARN, "%s and /dev/kvm, which this user may not open", vmx ? "vmx" : "svm");
		doctor_advise(f, "join the group kvm: usermod -aG kvm USER, then log in again");
	} else {
		doctor_find(f, OK, "%s and /dev/kvm", vmx ? "vmx" : "svm");
	}
}

static void check_qemu(struct machine *m, struct finding *f)
{
	char line[128] = "";
	FILE *p;

	if (!nomctl_in_path("qemu-system-x86_64")) {
		doctor_find(f, FAIL, "qemu-system-x86_64 is not in PATH");
		doctor_advise(f, "apt install qemu-system-x86");
		return;
	}
	p = popen("qemu-system-x86_64 --version 2>/dev/null", "re");
	if (p && fgets(line, sizeof(line), p))
		line[strcspn(line, "\n")] = '\0';
	if (p && pclose(p)) {
		doctor_find(f, FAIL, "qemu-system-x86_64 does not start");
		doctor_advise(f, "run qemu-system-x86_64 --version and see");
		return;
	}
	doctor_find(f, OK, "%s", *line ? line : "qemu-system-x86_64");
}

static void check_namespaces(struct machine *m, struct finding *f)
{
	char text[32];

	if (nomctl_read("/proc/sys/kernel/unprivileged_userns_clone", text, sizeof(text)) > 0 &&
	    !strcmp(text, "0") && geteuid()) {
		doctor_find(f, FAIL, "unprivileged user namespaces are off");
		doctor_advise(f, "sysctl kernel.unprivileged_userns_clone=1");
	} else if (nomctl_read("/proc/sys/user/max_user_namespaces", text, sizeof(text)) > 0 &&
		   !strcmp(text, "0")) {
		doctor_find(f, FAIL, "no user namespaces are allowed");
		doctor_advise(f, "sysctl user.max_user_namespaces=10000");
	} else if (access("/dev/net/tun", R_OK | W_OK)) {
		doctor_find(f, FAIL, "/dev/net/tun cannot be opened");
		doctor_advise(f, "modprobe tun, and see the device's mode: the guest's network is a tap");
	} else {
		doctor_find(f, OK, "user namespaces and /dev/net/tun");
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
		doctor_find(f, kb < 1536 << 10 ? FAIL : WARN, "%s of memory available", text);
		doctor_advise(f, "the guest takes 2 GiB: end something, or give the guest less (run-guest --mem)");
	} else {
		doctor_find(f, OK, "%s of memory available", text);
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
		doctor_find(f, OK, "%s free", text);
	} else {
		doctor_find(f, least < 2ULL << 30 ? FAIL : WARN, "%s free at %s", text, where);
		doctor_advise(f, "a kernel build takes about 4 GiB; set NOM_CACHE to a place with room");
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
			doctor_find(f, SKIPPED, "this nomctl is not in a source tree");
			return;
		}
		free(path);
		if (!there) {
			doctor_find(f, WARN, "%s is not built yet", products[i]);
			doctor_advise(f, "make %s (make demo does it all)", targets[i]);
			return;
		}
	}
	doctor_find(f, OK, "kernel, module and programs are built");
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
		doctor_find(f, WARN, "not in PATH:%s", missing);
		doctor_advise(f, "scripts/install-deps installs what make demo needs");
	} else {
		doctor_find(f, OK, "the tools of make demo");
	}
}

const struct doctor_check doctor_host[] = {
	{ "virtualisation", check_virtualisation },
	{ "qemu", check_qemu },
	{ "network", check_namespaces },
	{ "memory", check_memory },
	{ "disk", check_disk },
	{ "tools", check_tools },
	{ "build", check_built },
	{ NULL, NULL },
};
