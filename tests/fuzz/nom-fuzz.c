// SPDX-License-Identifier: MIT
/*
 * nom-fuzz: random sequences of calls to nom.ko, kept and varied when they reach
 * kernel code that none reached before.
 *
 * Usage: nom-fuzz [--seconds N] [--seed S] [--workers N] [--trace FILE] [--plain]
 *                 [--cover FILE] [--limit-ms N]
 *        nom-fuzz --replay FILE [--times N]
 *   --trace   each program is written there before it runs
 *   --plain   programs by seed alone, without coverage: the same ones in each run
 *   --replay  runs the programs of a trace, one after the other
 *
 * Prints TAP.  Whether the kernel complained is for whoever reads its console;
 * here it is judged what became of calls, of an innocent application, and of
 * cores and memory.  tests/fuzz/run does both.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../system/lib/kmod.h"
#include "../system/lib/kmod_mmio.h"
#include "../system/lib/kmod_pci.h"
#include "aftermath.h"
#include "fuzz.h"

#define WORKERS_MAX	8
#define ENOUGH		200	/* tries of a call, after which one should have succeeded */
#define PLAIN_UID	1001	/* "nomuser" of the guest, in group nom */
#define PLAIN_GID	990

static struct shared {
	uint64_t programs, calls, timeouts, stuck, pcs;
	uint64_t good[256], bad[256], late[256];	/* by row of the grammar */
} *total;

static int trace_fd = -1;
static unsigned int limit_ms = 600;
static bool plain;

static void add(uint64_t *to, uint64_t n)
{
	__atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

static void trace(const struct fz_program *p)
{
	static char text[32768];
	size_t n;

	if (trace_fd < 0)
		return;
	n = fz_program_print(p, text, sizeof(text));
	if (write(trace_fd, text, n) != (ssize_t)n)
		t_diag("the trace is incomplete: %s", strerror(errno));
}

/* Run one; true if it showed something new. */
static bool run_one(const struct fz_program *p)
{
	struct fz_result res;
	unsigned int i, fresh = 0, late = 0, pcs;

	trace(p);
	fz_cover_reset();
	fz_execute(p, limit_ms, &res);
	add(&total->programs, 1);
	add(&total->timeouts, res.timed_out);
	add(&total->stuck, res.stuck);
	pcs = fz_cover_collect(fz_corpus_seen);
	add(&total->pcs, pcs);
	for (i = 0; i < p->nr; i++) {
		unsigned int op = p->call[i].op;

		if (res.ret[i] == FZ_NOT_RUN) {
			if (res.timed_out && !(late & 1 << p->call[i].thread))
				add(&total->late[op], 1);
			late |= 1 << p->call[i].thread;
			continue;
		}
		add(&total->calls, 1);
		add(res.ret[i] >= 0 ? &total->good[op] : &total->bad[op], 1);
		/* a result that this call has not had: news, too, where there is no KCOV */
		fresh += fz_corpus_seen((uint64_t)(op + 1) << 32 | (res.ret[i] < 0 ? -res.ret[i] : 0));
	}
	return pcs || fresh;
}

static uint64_t now(void)
{
	return time(NULL);
}

static void worker(uint64_t seed, unsigned int index, uint64_t end)
{
	struct fz_program p, other;
	struct fz_rng r;
	uint64_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fz_cover_open();
	for (n = 0; now() < end; n++) {
		/* each program from a number of its own, so that one can be made again */
		r.s = seed ^ (uint64_t)index << 56 ^ n << 20;
		if (!plain && fz_percent(&r, 65) && fz_corpus_pick(&r, &p) && fz_corpus_pick(&r, &other))
			fz_program_change(&p, &other, &r);
		else
			fz_program_make(&p, &r);
		if (run_one(&p))
			fz_corpus_keep(&p);
	}
	_exit(0);
}

static void fuzz(uint64_t seed, unsigned int workers, unsigned int seconds)
{
	struct fz_victim *victim = fz_victim_start();
	uint64_t end = now() + seconds, next = now() + 10;
	pid_t pid[WORKERS_MAX];
	unsigned int i, left = workers;
	int status;

	for (i = 0; i < workers; i++) {
		fflush(NULL);
		pid[i] = fork();
		if (!pid[i])
			worker(seed, i, end);
		if (pid[i] < 0)
			t_bail("fork: %s", strerror(errno));
	}
	while (left) {
		for (i = 0; i < workers; i++)
			if (pid[i] && waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				pid[i] = 0;
				left--;
				if (status)
					t_ok(false, "worker %u ended with %#x", i, status);
			}
		if (now() >= next) {
			t_diag("%llu programs, %llu calls, %llu addresses, %u kept", (unsigned long long)total->programs,
			       (unsigned long long)total->calls, (unsigned long long)total->pcs, fz_corpus_nr());
			next = now() + 30;
		}
		t_sleep_ms(50);
	}
	fz_victim_end(victim);
}

static void replay(const char *name, unsigned int times)
{
	FILE *in = fopen(name, "r");
	struct fz_program p;
	unsigned int n;
	int ret;

	if (!in)
		t_bail("%s: %s", name, strerror(errno));
	fz_cover_open();
	while (!(ret = fz_program_parse(&p, in)))
		for (n = 0; n < times; n++)
			run_one(&p);
	if (ret < 0)
		t_diag("%s: a program that cannot be read, or is cut off; the rest was left out", name);
	fclose(in);
	t_ok(total->programs, "%llu programs of %s ran", (unsigned long long)total->programs, name);
}

/* -------------------------------------------------------------- set-up --- */

static void note_path(const char *path)
{
	if (fz_nr_paths < 64)
		snprintf(fz_paths[fz_nr_paths++], sizeof(fz_paths[0]), "%.120s", path);
}

static void note_files(const char *dir)
{
	char path[400];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR)
			note_files(path);
		else if (e->d_type == DT_REG)
			note_path(path);
	}
	if (d)
		closedir(d);
}

/* A device in user space's hands, for the board's devices and NOM_MEM_PHYS. */
static uint32_t lend_device(void)
{
	static struct k_pci nic;

	if (!k_pci_find(&nic) || k_pci_move(&nic, "vfio-pci"))
		return 0;
	setenv("FZ_NIC", nic.slot, 1);
	return nic.bdf;
}

static void judge(bool whole)
{
	unsigned int i, never = 0;

	for (i = 0; i < fz_nr_ops; i++) {
		t_diag("%-20s %8llu ok %8llu refused %6llu at the deadline", fz_ops[i].name,
		       (unsigned long long)total->good[i], (unsigned long long)total->bad[i],
		       (unsigned long long)total->late[i]);
		if (!fz_mmio[0] && (fz_ops[i].cmd == NOM_MMIO_OPEN || fz_ops[i].on == K_MMIO))
			continue;	/* no such device here */
		if (fz_op_is_ioctl(&fz_ops[i]) && !total->good[i] && total->bad[i] > ENOUGH) {
			t_diag("%s never succeeded: the grammar does not reach it", fz_ops[i].name);
			never++;
		}
	}
	t_diag("%llu programs (%llu ran into the deadline), %llu calls, %llu addresses of nom's code, %u programs kept",
	       (unsigned long long)total->programs, (unsigned long long)total->timeouts,
	       (unsigned long long)total->calls, (unsigned long long)total->pcs, fz_corpus_nr());
	if (whole)
		t_ok(!never, "no ioctl of the grammar was always refused");
	t_ok(!total->stuck, "every program ended, if need be by SIGKILL");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", 1, NULL, 's' }, { "seed", 1, NULL, 'S' }, { "workers", 1, NULL, 'w' },
		{ "trace", 1, NULL, 't' }, { "plain", 0, NULL, 'p' }, { "replay", 1, NULL, 'r' },
		{ "times", 1, NULL, 'n' }, { "cover", 1, NULL, 'c' }, { "limit-ms", 1, NULL, 'l' }, { 0 },
	};
	unsigned int seconds = 20, workers = 2, times = 1;
	uint64_t seed = (uint64_t)time(NULL) << 20 ^ getpid();
	static uint64_t pcs[32768];
	const char *file = NULL, *cover = NULL;
	FILE *out;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 's': seconds = strtoul(optarg, NULL, 0); break;
		case 'S': seed = strtoull(optarg, NULL, 0); break;
		case 'w': workers = strtoul(optarg, NULL, 0); break;
		case 'n': times = strtoul(optarg, NULL, 0); break;
		case 'l': limit_ms = strtoul(optarg, NULL, 0); break;
		case 'p': plain = true; break;
		case 'r': file = optarg; break;
		case 'c': cover = optarg; break;
		case 't':
			trace_fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
			if (trace_fd < 0)
				t_bail("%s: %s", optarg, strerror(errno));
			break;
		default:
			return 2;
		}
	}
	if (!workers || workers > WORKERS_MAX || !seconds || !times)
		t_bail("1 to %d workers, some seconds, some times", WORKERS_MAX);
	total = mmap(NULL, sizeof(*total), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (total == MAP_FAILED || fz_corpus_init())
		t_bail("no memory");
	signal(SIGPIPE, SIG_IGN);
	close(k_open(O_RDWR));
	if (fz_nl_init())
		t_bail("no netlink family \"nom\"");
	note_files("/sys/kernel/debug/nom");
	note_files("/sys/class/misc/nom");
	note_path("/proc/self/maps");
	note_path("/proc/self/smaps");
	note_path("/proc/self/pagemap");
	note_path("/proc/self/status");
	if (!k_mmio_find(fz_mmio))
		t_diag("no virtio device without PCI: its calls are refused");
	fz_values_init(lend_device(), sysconf(_SC_NPROCESSORS_CONF));
	fz_exec_init(PLAIN_UID, PLAIN_GID);

	ret = fz_cover_open();
	t_diag("seed %llu, %u workers, %u s%s", (unsigned long long)seed, workers, seconds, plain ? ", by seed alone" : "");
	if (ret)
		t_diag("no coverage (%s): results of calls are the guide", strerror(-ret));
	if (file)
		replay(file, times);
	else
		fuzz(seed, workers, seconds);
	judge(!file);
	fz_aftermath();
	out = cover ? fopen(cover, "w") : NULL;
	if (out) {
		fz_cover_report(out, pcs, fz_corpus_pcs(pcs, sizeof(pcs) / sizeof(pcs[0])));
		fclose(out);
	}
	return t_done();
}
