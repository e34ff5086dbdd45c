// SPDX-License-Identifier: MIT
/* nom-soak: grants come and go, with all that can be mapped of them. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nomux/ctx.h>
#include <nomux/mem.h>

#include "../system/lib/kmod.h"
#include "soak.h"

#define WORDS		(CHUNK / 8)

/* Nobody else's words, at any time; the key says whose they are. */
static int fill_and_look(volatile uint64_t *w, size_t words, uint64_t key, bool fill)
{
	size_t i;

	for (i = 0; i < words; i += 509) {
		if (fill && w[i] && w[i] != (key ^ i))
			return soak_fail("grants: fresh memory holds %#llx", (unsigned long long)w[i]);
		if (fill)
			w[i] = key ^ i;
		else if (w[i] != (key ^ i))
			return soak_fail("grants: word %zu changed", i);
	}
	return 0;
}

static int grant_round(int nom)
{
	size_t chunks = 1 + soak_random() % 4;
	uint64_t key = (uint64_t)soak_random() << 32 | getpid();
	int grant = k_grant(nom, chunks * CHUNK), ret;
	bool huge = soak_random() % 2;
	volatile uint64_t *a, *b;

	if (grant == -ENOMEM) {
		soak_nap(2000);
		return 0;
	}
	if (grant < 0)
		return soak_fail("grants: %s", strerror(-grant));
	soak_add(SOAK_GRANTS, 1);
	a = k_window(grant, (chunks + 1) * CHUNK, PROT_READ | PROT_WRITE);
	b = mmap(NULL, chunks * CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, grant, NOM_GRANT_MMAP_DMA);
	if (a == MAP_FAILED || b == MAP_FAILED)
		return soak_fail("grants: mmap: %s", strerror(errno));
	if ((uintptr_t)a % CHUNK)
		huge = false;
	ret = k_map1(grant, (void *)a, 0, chunks * CHUNK, NOM_MAP_READ | NOM_MAP_WRITE | (huge ? NOM_MAP_HUGE : 0));
	if (ret)
		return soak_fail("grants: map: %s", strerror(-ret));
	soak_add(SOAK_MAPS, 1);
	ret = fill_and_look(a, chunks * WORDS, key, true);
	soak_nap(soak_random() % 3000);
	/* the same memory, by the other view */
	ret = ret ?: fill_and_look(b, chunks * WORDS, key, false);
	if (soak_random() % 2 && k_unmap1(grant, (void *)a, chunks * CHUNK, huge ? NOM_MAP_HUGE : 0))
		ret = ret ?: soak_fail("grants: unmap");
	close(grant);		/* views and window hold it */
	ret = ret ?: fill_and_look(b, chunks * WORDS, key, false);
	munmap((void *)a, (chunks + 1) * CHUNK);
	munmap((void *)b, chunks * CHUNK);
	return ret;
}

int soak_grants(void)
{
	int nom = k_open(O_RDWR), ret = 0;

	while (!soak->stop && !ret)
		ret = grant_round(nom);
	return ret;
}
