// SPDX-License-Identifier: MIT
/*
 * nomctl run: start an application with what it leases made ready, and put the
 * machine back afterwards.
 *
 * nomctl stays the application's parent: it moves the device to vfio-pci before,
 * waits, hands signals on, gives the device back to the driver it had, and ends
 * with the application's exit code (128 + N if signal N killed it).  If nomctl
 * itself is killed, the application gets SIGTERM, the core comes back by itself,
 * and the device stays at vfio-pci until nomctl run --give-back.
 */
#include "nomctl.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <econ/nl.h>
#include <nomux/vfio.h>

#define PCI_DEVICES	"/sys/bus/pci/devices"

/* Exit codes of a shell for a command that cannot be started. */
#define EXIT_NOT_EXECUTABLE	126
#define EXIT_NO_COMMAND		127

static struct {
	int64_t cpu;
	const char *device, *env, *give_back;
	bool verbose;
} values = { .cpu = -1 };

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "cpu", 'C', ECON_OPT_INT, OPT(cpu), "N", "the reserved core it is to lease (NOM_CPU; default: any)", 0, 4095 },
	{ "device", 'd', ECON_OPT_STRING, OPT(device), "BDF",
	  "give it this PCI function, 0000:00:03.0 (NOM_DEVICE)", 0, 0 },
	{ "env", 'e', ECON_OPT_STRING, OPT(env), "K=V,...", "more of its environment", 0, 0 },
	{ "give-back", 'g', ECON_OPT_STRING, OPT(give_back), "BDF",
	  "only give a function back to its usual driver, after a kill -9", 0, 0 },
	{ "verbose", 'v', ECON_OPT_FLAG, OPT(verbose), NULL, "say what is moved", 0, 0 },
	NOMCTL_OPTIONS_END,
};

/* The function taken for the application. */
struct device {
	const char *bdf;
	char driver[64];	/* it had; "" for none */
	bool taken;
};

static void say(const char *fmt, const char *a, const char *b)
{
	if (!values.verbose)
		return;
	fprintf(stderr, "nomctl: ");
	fprintf(stderr, fmt, a, b);
	fputc('\n', stderr);
}

/* -------------------------------------------------------------- a device --- */

static bool well_formed(const char *bdf)
{
	static const char pattern[] = "xxxx:xx:xx.x";

	for (size_t i = 0; i < sizeof(pattern); i++)
		if (pattern[i] == 'x' ? !strchr("0123456789abcdef", bdf[i]) || !bdf[i] :
					bdf[i] != pattern[i])
			return false;
	return true;
}

static void device_path(char *path, size_t n, const char *bdf, const char *file)
{
	snprintf(path, n, PCI_DEVICES "/%s/%s", bdf, file);
}

/* Its driver's name, "" for none; -ENODEV if there is no such function. */
static int driver_of(const char *bdf, char *name, size_t n)
{
	char path[128];

	device_path(path, sizeof(path), bdf, "");
	if (access(path, F_OK))
		return -ENODEV;
	device_path(path, sizeof(path), bdf, "driver");
	if (nomctl_link(path, name, n))
		name[0] = '\0';
	return 0;
}

/* The network interface that is up on this function, if one is. */
static bool interface_up(const char *bdf, char *name, size_t n)
{
	static const char *const patterns[] = { PCI_DEVICES "/%s/net/*/flags",
						PCI_DEVICES "/%s/virtio*/net/*/flags" };
	bool up = false;

	for (int i = 0; i < 2 && !up; i++) {
		char pattern[128], text[24];
		glob_t g = { 0 };

		snprintf(pattern, sizeof(pattern), patterns[i], bdf);
		if (glob(pattern, 0, NULL, &g))
			g.gl_pathc = 0;
		for (size_t k = 0; k < g.gl_pathc && !up; k++) {
			char *end = strrchr(g.gl_pathv[k], '/');

			if (nomctl_read(g.gl_pathv[k], text, sizeof(text)) <= 0 ||
			    !(strtoul(text, NULL, 0) & IFF_UP))
				continue;
			*end = '\0';
			snprintf(name, n, "%s", strrchr(g.gl_pathv[k], '/') + 1);
			up = true;
		}
		globfree(&g);
	}
	return up;
}

static int rebind(const char *bdf, const char *override)
{
	char path[128];
	int ret;

	device_path(path, sizeof(path), bdf, "driver_override");
	ret = nomctl_write(path, override);
	if (ret)
		return ret;
	device_path(path, sizeof(path), bdf, "driver/unbind");
	ret = nomctl_write(path, bdf);
	if (ret && ret != -ENOENT)
		return ret;
	return nomctl_write("/sys/bus/pci/drivers_probe", bdf);
}

static int take_device(struct device *d)
{
	char now[64], interface[IFNAMSIZ];
	int ret;

	if (!well_formed(d->bdf))
		return nomctl_fail(ECON_EXIT_USAGE, "run: \"%s\" is not a PCI function: 0000:00:03.0 (lspci -D lists them)",
				   d->bdf);
	if (driver_of(d->bdf, d->driver, sizeof(d->driver)))
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "run: no PCI function %s (lspci -D lists them)", d->bdf);
	if (!strcmp(d->driver, "vfio-pci"))
		return 0;
	if (access("/sys/bus/pci/drivers/vfio-pci", F_OK))
		return nomctl_fail(ECON_EXIT_FAILED, "run: no vfio-pci driver: modprobe vfio-pci (nomctl doctor)");
	if (interface_up(d->bdf, interface, sizeof(interface)))
		return nomctl_fail(ECON_EXIT_BUSY, "run: %s carries %s, which is up: ip link set %s down first",
				   d->bdf, interface, interface);
	ret = rebind(d->bdf, "vfio-pci");
	if (ret == -EACCES || ret == -EPERM)
		return nomctl_fail(ECON_EXIT_PERMISSION, "run: %s: moving a device needs root", d->bdf);
	if (!ret && (driver_of(d->bdf, now, sizeof(now)) || strcmp(now, "vfio-pci")))
		ret = -EBUSY;
	d->taken = true;
	if (ret)
		return nomctl_fail(ECON_EXIT_FAILED, "run: %s does not go to vfio-pci: no IOMMU and no trusted mode? (nomctl doctor)",
				   d->bdf);
	say("%s: from %s to vfio-pci", d->bdf, *d->driver ? d->driver : "no driver");
	return 0;
}

/* To the driver it had; the kernel's own choice at boot as a rule. */
static int give_device_back(struct device *d)
{
	char now[64], path[128];
	int ret;

	if (!d->taken)
		return 0;
	ret = nomux_vfio_restore(d->bdf);
	if (ret == -EBUSY)
		return nomctl_fail(ECON_EXIT_BUSY, "run: %s is still in use, so it stays at vfio-pci: end its user, then nomctl run --give-back %s",
				   d->bdf, d->bdf);
	device_path(path, sizeof(path), d->bdf, "driver_override");
	nomctl_write(path, "\n");
	if (!ret && !driver_of(d->bdf, now, sizeof(now)) && strcmp(now, d->driver) && *d->driver) {
		snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", d->driver);
		nomctl_write(path, d->bdf);
	}
	if (ret || driver_of(d->bdf, now, sizeof(now)) || strcmp(now, d->driver))
		return nomctl_fail(ECON_EXIT_FAILED, "run: %s does not go back to %s", d->bdf,
				   *d->driver ? d->driver : "no driver");
	say("%s: back to %s", d->bdf, *d->driver ? d->driver : "no driver");
	return 0;
}

static int only_give_back(const char *bdf)
{
	char driver[64] = "";
	int ret;

	if (!well_formed(bdf))
		return nomctl_fail(ECON_EXIT_USAGE, "run: \"%s\" is not a PCI function: 0000:00:03.0", bdf);
	ret = nomux_vfio_restore(bdf);
	if (ret == -ENODEV)
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "run: no PCI function %s (lspci -D lists them)", bdf);
	if (ret == -EBUSY)
		return nomctl_fail(ECON_EXIT_BUSY, "run: %s is in use: nomctl status shows the applications", bdf);
	if (ret)
		return nomctl_fail(econ_exit_code(ret), "run: %s does not go back: %s", bdf, strerror(-ret));
	driver_of(bdf, driver, sizeof(driver));
	printf("%s: %s\n", bdf, *driver ? driver : "no driver");
	return ECON_EXIT_OK;
}

/* ---------------------------------------------------------------- a core --- */

struct wanted_core {
	uint32_t cpu;
	bool reserved;
	struct econ_nl_record record;
};

static int match_core(const struct econ_nl_record *r, void *arg)
{
	struct wanted_core *w = arg;

	if (r->cpu == w->cpu) {
		w->reserved = true;
		w->record = *r;
	}
	return 0;
}

/* The application leases the core itself; this says early what it would run into. */
static int check_core(void)
{
	struct wanted_core w = { .cpu = (uint32_t)values.cpu };
	struct econ_nl *nl;
	int ret = econ_nl_open(&nl);

	if (ret)
		return nomctl_fail_errno(ret, "run");
	ret = values.cpu < 0 ? 0 : econ_nl_get(nl, NOM_GENL_CMD_GET_CORES, match_core, &w);
	econ_nl_close(nl);
	if (ret)
		return nomctl_fail_errno(ret, "run");
	if (values.cpu < 0)
		return 0;
	if (!w.reserved)
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "run: CPU %u is not a reserved core (nomctl status lists them)",
				   w.cpu);
	if (w.record.state != NOM_CORE_FREE)
		return nomctl_fail(ECON_EXIT_BUSY, "run: core %u is %s%s%s", w.cpu,
				   nomctl_core_state(w.record.state), *w.record.comm ? " by " : "",
				   w.record.comm);
	return 0;
}

/* -------------------------------------------------------- the application --- */

static int set_environment(void)
{
	char text[16], *copy, *save = NULL;

	if (values.cpu >= 0) {
		snprintf(text, sizeof(text), "%d", (int)values.cpu);
		setenv("NOM_CPU", text, 1);
	}
	if (values.device)
		setenv("NOM_DEVICE", values.device, 1);
	if (!values.env)
		return 0;
	copy = strdup(values.env);
	for (char *pair = strtok_r(copy, ",", &save); pair; pair = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(pair, '=');

		if (!equals || equals == pair) {
			nomctl_fail(ECON_EXIT_USAGE, "run: --env wants NAME=VALUE, not \"%s\"", pair);
			free(copy);
			return ECON_EXIT_USAGE;
		}
		*equals = '\0';
		setenv(pair, equals + 1, 1);
	}
	free(copy);
	return 0;
}

/* {cpu} and {device} in the command's words stand for what was leased. */
static void fill_in(int argc, char **argv)
{
	static char cpu[16];

	snprintf(cpu, sizeof(cpu), "%d", (int)values.cpu);
	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "{cpu}") && values.cpu >= 0)
			argv[i] = cpu;
		else if (!strcmp(argv[i], "{device}") && values.device)
			argv[i] = (char *)(uintptr_t)values.device;
	}
}

static const int handed_on[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };

static int open_signals(sigset_t *old)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < sizeof(handed_on) / sizeof(*handed_on); i++)
		sigaddset(&set, handed_on[i]);
	sigprocmask(SIG_BLOCK, &set, old);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void become(char **argv, const sigset_t *old, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(128 + SIGTERM);
	sigprocmask(SIG_SETMASK, old, NULL);
	execvp(argv[0], argv);
	nomctl_fail(0, "run: %s: %s", argv[0], strerror(errno));
	_exit(errno == ENOENT ? EXIT_NO_COMMAND : EXIT_NOT_EXECUTABLE);
}

static int wait_for(pid_t child, int signals)
{
	struct signalfd_siginfo info;
	int status;

	for (;;) {
		if (waitpid(child, &status, WNOHANG) == child)
			break;
		if (read(signals, &info, sizeof(info)) != sizeof(info) ||
		    info.ssi_signo == SIGCHLD)
			continue;
		/* What the terminal sent went to the whole foreground group already. */
		if (info.ssi_code != SI_KERNEL)
			kill(child, (int)info.ssi_signo);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int start_and_wait(char **argv)
{
	pid_t child, self = getpid();
	sigset_t old;
	int signals = open_signals(&old), ret;

	if (signals < 0)
		return nomctl_fail(ECON_EXIT_FAILED, "run: signalfd: %s", strerror(errno));
	fflush(NULL);
	child = fork();
	if (!child)
		become(argv, &old, self);
	ret = child < 0 ? nomctl_fail(ECON_EXIT_FAILED, "run: fork: %s", strerror(errno)) :
			  wait_for(child, signals);
	close(signals);
	return ret;
}

static int run_run(int argc, char **argv)
{
	struct device device = { .bdf = values.device };
	int ret, back;

	if (values.give_back)
		return argc ? nomctl_fail(ECON_EXIT_USAGE, "run: --give-back takes no command") :
			      only_give_back(values.give_back);
	if (!argc)
		return nomctl_fail(ECON_EXIT_USAGE, "run: which command?");
	ret = check_core();
	if (!ret)
		ret = set_environment();
	if (ret)
		return ret;
	if (values.device)
		ret = take_device(&device);
	if (!ret) {
		argv[argc] = NULL;	/* our own options were taken from before it, and words moved up */
		fill_in(argc, argv);
		ret = start_and_wait(argv);
	}
	back = give_device_back(&device);
	return ret ? ret : back;
}

static const struct nomctl_action actions[] = {
	{ NULL, "-- COMMAND [ARGUMENT]...",
	  "Starts COMMAND with its device at vfio-pci and NOM_CPU, NOM_DEVICE set; {cpu} and {device} among its\n"
	  "  arguments are filled in.  Afterwards the device goes back.  Ends with COMMAND's exit code.",
	  0, -1, run_run },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_run = {
	"run", "start an application with leased resources", actions, options, &values,
	ECON_OPTIONS_STOP,
};
