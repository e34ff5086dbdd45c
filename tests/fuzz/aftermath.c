// SPDX-License-Identifier: MIT
/*
 * nom-fuzz: who was never touched, and what must be as before when all programs
 * have ended.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../system/lib/kmod.h"
#include "aftermath.h"
#include "fuzz.h"

/*
 * The victim is another application: it holds a lease (which opens no event to
 * anybody) and a grant, and looks whether anything of them changes.
 */
struct fz_victim {
	pid_t pid;
	volatile int stop, ready, rounds;
};

static int victim_loop(struct fz_victim *v)
{
	int nom = k_open(O_RDWR), grant = k_grant(nom, FZ_CHUNK);
	struct k_lease l;
	uint64_t *w;
	unsigned int i;

	if (grant < 0 || k_claim(nom, NOM_CPU_ANY, 0, &l))
		return 2;
	w = k_window(grant, FZ_CHUNK, PROT_READ | PROT_WRITE);
	if (w == MAP_FAILED || k_map1(grant, w, 0, FZ_CHUNK, NOM_MAP_READ | NOM_MAP_WRITE))
		return 3;
	for (i = 0; i < FZ_CHUNK / 8; i++)
		w[i] = i * 0x9e3779b97f4a7c15ULL;
	v->ready = 1;
	do {
		for (i = 0; i < FZ_CHUNK / 8; i += 61)
			if (w[i] != i * 0x9e3779b97f4a7c15ULL)
				return 4;
		if (l.sh->pending || l.sh->vif)
			return 5;
		for (i = 0; i < NOM_NR_EVENTS; i++)
			if (l.sh->count[i])
				return 6;
		v->rounds++;
		t_sleep_ms(20);
	} while (!v->stop);
	return 0;
}

struct fz_victim *fz_victim_start(void)
{
	struct fz_victim *v = mmap(NULL, FZ_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int patience = 2000;
	pid_t pid;

	if (v == MAP_FAILED)
		t_bail("victim: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		t_bail("victim: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(victim_loop(v));
	}
	v->pid = pid;
	while (!v->ready && patience--)
		t_sleep_ms(10);
	if (!v->ready)
		t_bail("the victim could not take a core and 2 MiB");
	return v;
}

bool fz_victim_end(struct fz_victim *v)
{
	static const char *const what[] = {
		[2] = "no core or memory", [3] = "no window", [4] = "its memory changed",
		[5] = "an event is pending", [6] = "events were counted",
	};
	int ret;

	v->stop = 1;
	ret = t_reap(v->pid);
	if (ret)
		t_diag("victim: %s (%d)", ret > 1 && ret < 7 ? what[ret] : "killed", ret);
	return t_ok(!ret && v->rounds > 1, "another application's memory and events are as they were, in %d looks", v->rounds);
}

/* ----------------------------------------------------------- the world --- */

static const struct nom_board *board;

static bool cores_are_free(void *unused)
{
	struct nom_board_core c;
	unsigned int i;

	for (i = 0; !k_board_read(board, NOM_BOARD_CORES, i, &c, sizeof(c)); i++)
		if (c.state != NOM_CORE_FREE || c.handle || c.pid)
			return false;
	return i;
}

static bool memory_is_free(void *unused)
{
	struct nom_board_memory m;

	return !k_board_read(board, NOM_BOARD_MEMORY, 0, &m, sizeof(m)) && m.free_bytes == m.total_bytes &&
	       !m.granted_bytes && !m.quarantined_bytes;
}

static bool module_unloads(void *ret)
{
	*(int *)ret = k_unload();
	return !*(int *)ret;
}

static void all_cpus_online(void)
{
	char path[64];
	unsigned int cpu;
	int fd;

	for (cpu = 1; cpu < 64; cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, "1", 1) != 1)
			t_diag("cpu %u does not come online: %s", cpu, strerror(errno));
		close(fd);
	}
}

/* Every object that was allocated and cannot be reached any more; slow. */
static void leaks(void)
{
	int fd = open("/sys/kernel/debug/kmemleak", O_RDWR | O_CLOEXEC);
	static char text[65536];
	ssize_t n = 0;
	unsigned int turn;

	if (fd < 0) {
		t_skip("leaks: this kernel has no kmemleak");
		return;
	}
	/* what was freed by RCU is gone by the second scan, and an object in flight not the same */
	for (turn = 0; turn < 2; turn++) {
		if (write(fd, "scan", 4) != 4) {
			t_skip("leaks: kmemleak is off; boot with kmemleak=on");
			close(fd);
			return;
		}
		t_sleep_ms(5500);	/* younger objects are not reported */
	}
	if (write(fd, "scan", 4) == 4)
		n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	if (n > 0)
		t_diag("kmemleak:\n%s", text);
	t_ok(!strstr(text, "nom_"), "kmemleak finds nothing that nom allocated");
}

void fz_aftermath(void)
{
	int nom = k_open(O_RDWR), ret = 0;
	struct nom_info info;

	all_cpus_online();
	board = k_board(nom);
	t_ok(t_wait(cores_are_free, NULL, 10000), "all cores are free");
	t_ok(t_wait(memory_is_free, NULL, 10000), "all memory is free, none in quarantine");
	leaks();
	if (k_info(nom, &info))
		t_bail("NOM_GET_INFO");
	munmap((void *)board, info.out_board_bytes);
	close(nom);
	t_ok(t_wait(module_unloads, &ret, 10000), "nobody holds the module: it unloads (%d)", ret);
	if (!ret)
		t_eq(k_load(), 0, "  and loads again");
}
