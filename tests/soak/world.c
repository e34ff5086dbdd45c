// SPDX-License-Identifier: MIT
/* nom-soak: devices and cores come and go, prices change, and everybody looks. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nomux/board.h>
#include <nomux/ctx.h>

#include "../system/lib/kmod.h"
#include "../system/lib/kmod_nl.h"
#include "../system/lib/kmod_pci.h"
#include "soak.h"

int soak_plug_devices(void)
{
	struct k_pci nic;
	int ret = 0;

	if (!k_pci_find(&nic))
		return soak_fail("devices: this guest has no network device to bind");
	while (!soak->stop && !ret) {
		ret = k_pci_move(&nic, "vfio-pci");
		soak_nap(20000 + soak_random() % 100000);
		ret = ret ?: k_pci_move(&nic, "");
		soak_nap(20000 + soak_random() % 100000);
		soak_add(SOAK_DEVICES, 2);
	}
	return ret ? soak_fail("devices: %s", strerror(-ret)) : 0;
}

static int set_online(unsigned int cpu, bool online)
{
	char path[80];
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, online ? "1" : "0", 1) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

#define PATIENCE	4000	/* of 5 ms each */
#define ORDINARY_CPU	1	/* of the guest's two; the first cannot go */

/* While a device is being bound the kernel lets no core come or go (-EBUSY). */
static int move_core(unsigned int cpu, bool online)
{
	unsigned int patience = PATIENCE;
	int ret;

	do {
		ret = set_online(cpu, online);
		if (ret == -EBUSY)
			soak_nap(5000);
	} while (ret == -EBUSY && patience--);
	return ret;
}

/* An ordinary core goes and comes back; a leased one stays, whatever root says. */
int soak_plug_cores(void)
{
	int nom = k_open(O_RDWR), ret = 0;
	const struct nom_board *board = k_board(nom);
	struct nom_board_core c;
	unsigned int i = 0;
	struct k_lease l;

	while (!soak->stop && !ret) {
		soak_nap(1000000 + soak_random() % 2000000);
		ret = move_core(ORDINARY_CPU, false);
		soak_nap(soak_random() % 20000);
		ret = ret ?: move_core(ORDINARY_CPU, true);
		soak_add(SOAK_CORES_OFF, !ret);
		if (ret || k_board_read(board, NOM_BOARD_CORES, i++, &c, sizeof(c))) {
			i = 0;
			continue;
		}
		ret = set_online(c.cpu, false);
		if (ret == -EBUSY) {
			soak_add(SOAK_CORES_KEPT, 1);
			ret = 0;
		} else if (!ret) {	/* it was free just then, and kernels may let it go */
			if (k_claim(nom, c.cpu, 0, &l) != -ENOENT)
				ret = soak_fail("cores: a core that is offline was leased");
			ret = move_core(c.cpu, true) ?: ret;
		}
	}
	return ret ? soak_fail("cores: %s", strerror(-ret)) : 0;
}

int soak_prices(void)
{
	static const char *const names[] = { "bandwidth", "core", "memory", "soak" };
	int family, group, sock = k_nl_open(&family, &group), ret = sock < 0 ? sock : 0;

	while (!soak->stop && !ret) {
		const char *name = names[soak_random() % 4];

		ret = k_nl_price(sock, family, name, "unit", soak_random());
		soak_add(SOAK_PRICES, 1);
		soak_nap(soak_random() % 4000);
	}
	return ret ? soak_fail("prices: %s", strerror(-ret)) : 0;
}

/* What must hold in each snapshot, since a change is one. */
static int look_at(const struct nom_board *b, size_t bytes, const struct nom_board *last)
{
	const struct nom_board_memory *m = nomux_board_record(b, bytes, NOM_BOARD_MEMORY, 0, sizeof(*m));
	const struct nom_board_device *d;
	const struct nom_board_price *p;
	const struct nom_board_core *c;
	uint64_t changes = 0;
	unsigned int i, k;

	for (i = 0; i < b->nr_classes; i++) {
		changes += b->section[i].changes;
		if (b->section[i].changes < last->section[i].changes)
			return soak_fail("snapshot: changes of class %u went back", i);
	}
	if ((uint32_t)(changes * 2) != b->seq)
		return soak_fail("snapshot: %llu changes, but sequence %u", (unsigned long long)changes, b->seq);
	if (!m || m->free_bytes + m->granted_bytes + m->quarantined_bytes != m->total_bytes)
		return soak_fail("snapshot: memory does not add up");
	for (i = 0; (c = nomux_board_record(b, bytes, NOM_BOARD_CORES, i, sizeof(*c))); i++) {
		bool held = c->state == NOM_CORE_LEASED || c->state == NOM_CORE_RUNNING;

		if (c->state > NOM_CORE_OFFLINE || held != !!c->handle || held != !!c->pid ||
		    (held && (c->handle & 0xffff) != c->cpu))
			return soak_fail("snapshot: core %u: state %u, handle %#llx, pid %u", c->cpu, c->state,
					 (unsigned long long)c->handle, c->pid);
	}
	for (i = 0; (d = nomux_board_record(b, bytes, NOM_BOARD_DEVICES, i, sizeof(*d))); i++)
		if (d->vendor != 0x1af4 || d->class_code >> 16 != 2)
			return soak_fail("snapshot: device %#x is none of ours", d->bdf);
	for (i = 0; (p = nomux_board_record(b, bytes, NOM_BOARD_PRICES, i, sizeof(*p))); i++) {
		for (k = 0; k < sizeof(p->name) && p->name[k]; k++)
			;
		if (!k || k == sizeof(p->name) || strcmp(p->unit, "unit") || p->price_ucr < 0 ||
		    p->since_ns > b->updated_ns)
			return soak_fail("snapshot: price %u is not whole", i);
	}
	return 0;
}

int soak_snapshots(void)
{
	static uint64_t buf[2][8192];
	struct nomux_ctx *nom;
	unsigned int turn = 0;
	int ret = nomux_open(&nom);

	while (!soak->stop && !ret) {
		ret = nomux_board_snapshot(nom, buf[turn % 2], sizeof(buf[0]));
		if (ret == -EAGAIN) {		/* a bounded reader; a busy writer's host may stall */
			ret = 0;
			sched_yield();
			continue;
		}
		ret = ret ? soak_fail("snapshot: %s", strerror(-ret)) :
		      look_at((void *)buf[turn % 2], nomux_board_bytes(nom), (void *)buf[(turn + 1) % 2]);
		soak_add(SOAK_SNAPSHOTS, 1);
		if (++turn % 64 == 0)
			soak_nap(2000);
	}
	return ret;
}

static void count_message(const struct k_nl_msg *msg, void *arg)
{
	soak_add(SOAK_DUMPS, 1);
}

/* Dumps while everything comes and goes, and a listener that falls behind. */
int soak_dumps(void)
{
	static const uint8_t dumps[] = {
		NOM_GENL_CMD_GET_CORES, NOM_GENL_CMD_GET_GRANTS, NOM_GENL_CMD_GET_DEVICES, NOM_GENL_CMD_GET_PRICES,
	};
	int family, group, sock = k_nl_open(&family, &group), deaf = k_nl_open(&family, &group);
	int ret = sock < 0 ? sock : deaf < 0 ? deaf : k_nl_join(deaf, group);
	struct k_nl_req req;
	unsigned int turn = 0;

	while (!soak->stop && !ret) {
		k_nl_begin(&req, family, dumps[turn++ % 4], NLM_F_DUMP);
		ret = k_nl_talk(sock, &req, count_message, NULL);
		soak_nap(soak_random() % 3000);
	}
	return ret ? soak_fail("dumps: %s", strerror(-ret)) : 0;
}
