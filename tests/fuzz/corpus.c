// SPDX-License-Identifier: MIT
/* nom-fuzz: what was seen, and the programs that showed it.  Shared by all workers. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "fuzz.h"

#define SEEN	(1 << 15)	/* a power of two, several times what there is */
#define KEPT	1024

static struct corpus {
	pthread_mutex_t lock;	/* of the programs; what was seen needs none */
	unsigned int nr;
	struct fz_program kept[KEPT];
	uint64_t seen[SEEN];
} *c;

int fz_corpus_init(void)
{
	pthread_mutexattr_t a;

	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c == MAP_FAILED)
		return -errno;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&c->lock, &a);
	return 0;
}

/**
 * fz_corpus_seen - note an address of kernel code, or a call and its result
 * @what: not 0
 *
 * Return: true if it is new.
 */
bool fz_corpus_seen(uint64_t what)
{
	struct fz_rng hash = { what };
	uint64_t at = fz_rand(&hash), was;
	unsigned int tries;

	for (tries = 0; tries < SEEN; tries++, at++) {
		was = 0;
		if (__atomic_compare_exchange_n(&c->seen[at % SEEN], &was, what, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
		if (was == what)
			return false;
	}
	return false;
}

void fz_corpus_keep(const struct fz_program *p)
{
	pthread_mutex_lock(&c->lock);
	c->kept[c->nr++ % KEPT] = *p;
	pthread_mutex_unlock(&c->lock);
}

unsigned int fz_corpus_nr(void)
{
	unsigned int nr = __atomic_load_n(&c->nr, __ATOMIC_RELAXED);

	return nr < KEPT ? nr : KEPT;
}

bool fz_corpus_pick(struct fz_rng *r, struct fz_program *out)
{
	unsigned int nr;

	pthread_mutex_lock(&c->lock);
	nr = c->nr < KEPT ? c->nr : KEPT;
	/* the late ones more often: what they show took longer to find */
	if (nr)
		*out = c->kept[fz_percent(r, 50) ? fz_below(r, nr) : nr - 1 - fz_below(r, nr < 32 ? nr : 32)];
	pthread_mutex_unlock(&c->lock);
	return nr;
}

/* Addresses are above every other thing that is noted. */
unsigned int fz_corpus_pcs(uint64_t *pc, unsigned int max)
{
	unsigned int i, n = 0;

	for (i = 0; i < SEEN && n < max; i++)
		if (c->seen[i] >> 63)
			pc[n++] = c->seen[i];
	return n;
}
