// SPDX-License-Identifier: MIT
/*
 * kmod_unload: the module cannot be unloaded while anybody holds anything of it,
 * each thing by itself; it can afterwards, and starts anew when loaded again.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "lib/kmod.h"

#define BUSY(what)	t_eq(k_unload(), -EWOULDBLOCK, "cannot be unloaded: " what)

static int enter_and_forget(void *unused)
{
	int nom = k_open(O_RDWR);
	struct k_lease l;

	if (k_claim(nom, NOM_CPU_ANY, 0, &l) || k_enter(&l, 0))
		return 1;
	close(nom);
	munmap(l.sh, PAGE);
	close(l.fd);
	pause();
	return 0;
}

static bool is_running(void *board)
{
	struct nom_board_core c;

	return !k_board_read(board, NOM_BOARD_CORES, 0, &c, sizeof(c)) &&
	       c.state == NOM_CORE_RUNNING;
}

static bool unloads(void *ret)
{
	*(int *)ret = k_unload();
	return !*(int *)ret;
}

int main(void)
{
	int nom = k_open(O_RDWR), grant, ret, turn, pipes[2];
	const struct nom_board *board;
	struct nom_board_memory m;
	struct k_lease l;
	struct iovec v;
	size_t bytes;
	pid_t pid;
	char *p;

	if (access("/lib/nom/nom.ko", R_OK)) {
		printf("1..0 # SKIP no /lib/nom/nom.ko to load again\n");
		return 4;
	}
	BUSY("/dev/nom is open");
	board = k_board(nom);
	bytes = board->bytes;
	pid = t_spawn(enter_and_forget, NULL);
	t_ok(t_wait(is_running, (void *)board, 5000), "a child enters and closes all it has");
	close(nom);
	BUSY("the board is mapped");
	munmap((void *)board, bytes);
	BUSY("a thread runs on a leased core");
	kill(pid, SIGKILL);
	t_eq(t_reap(pid), 128 + SIGKILL, "kill -9");

	nom = k_open(O_RDWR);
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "claim");
	grant = k_grant(nom, CHUNK);
	close(nom);
	BUSY("a lease and a grant are open");
	munmap(l.sh, PAGE);
	close(l.fd);
	BUSY("a grant is open");
	p = k_window(grant, PAGE, PROT_READ);
	close(grant);
	BUSY("a window is mapped");
	munmap(p, PAGE);

	nom = k_open(O_RDWR);
	grant = k_grant(nom, CHUNK);
	close(nom);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
	close(grant);
	BUSY("a view is mapped");
	v = (struct iovec){ p, PAGE };
	if (pipe(pipes) || vmsplice(pipes[1], &v, 1, SPLICE_F_NONBLOCK) != (ssize_t)PAGE)
		t_bail("vmsplice: %s", strerror(errno));
	munmap(p, PAGE);
	BUSY("memory is in quarantine");
	close(pipes[0]);
	close(pipes[1]);
	t_ok(t_wait(unloads, &ret, 5000), "nothing is held: it can be unloaded");
	t_ok(access(NOM_DEVICE_PATH, F_OK) && errno == ENOENT, "/dev/nom is gone");

	for (turn = 0; turn < 5; turn++) {
		ret = k_load();
		ret = ret ? ret : k_unload();
		if (ret)
			break;
	}
	t_eq(ret, 0, "load and unload five times");
	t_eq(k_load(), 0, "load");
	nom = k_open(O_RDWR);
	board = k_board(nom);
	k_board_read(board, NOM_BOARD_MEMORY, 0, &m, sizeof(m));
	t_ok(m.free_bytes == m.total_bytes && m.total_bytes, "all memory is free");
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "and the core");
	return t_done();
}
