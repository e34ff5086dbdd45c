// SPDX-License-Identifier: MIT
/*
 * Keys and their values.
 *
 * A key's sequence number is odd while it is in use; a value remembers the number
 * it was set under, so values of a key's earlier life are not found.  Values lie
 * in the thread, behind a mask of those that were set: nothing to clear when a
 * thread begins.
 */
#include <nomux/tls.h>

#include <errno.h>

#include "thread_internal.h"

#define DESTRUCTOR_ROUNDS 4	/* as PTHREAD_DESTRUCTOR_ITERATIONS */

static struct tls_key {
	uint32_t seq;
	void (*destructor)(void *);
} keys[NOMUX_TLS_KEYS];
static uint32_t keys_lock;

_Static_assert(NOMUX_TLS_KEYS == 64, "one bit each in tls_set");

static uint32_t key_seq(unsigned int key)
{
	return key < NOMUX_TLS_KEYS ? __atomic_load_n(&keys[key].seq, __ATOMIC_ACQUIRE) : 0;
}

int nomux_tls_key_create(void (*destructor)(void *value), unsigned int *key_out)
{
	unsigned int i;

	if (!key_out)
		return -EINVAL;
	spin_lock(&keys_lock);
	for (i = 0; i < NOMUX_TLS_KEYS && (keys[i].seq & 1); i++)
		;
	if (i < NOMUX_TLS_KEYS) {
		__atomic_store_n(&keys[i].destructor, destructor, __ATOMIC_RELAXED);
		__atomic_store_n(&keys[i].seq, keys[i].seq + 1, __ATOMIC_RELEASE);
	}
	spin_unlock(&keys_lock);
	if (i == NOMUX_TLS_KEYS)
		return -EAGAIN;
	*key_out = i;
	return 0;
}

int nomux_tls_key_delete(unsigned int key)
{
	int err = -EINVAL;

	spin_lock(&keys_lock);
	if (key_seq(key) & 1) {
		__atomic_store_n(&keys[key].seq, keys[key].seq + 1, __ATOMIC_RELEASE);
		err = 0;
	}
	spin_unlock(&keys_lock);
	return err;
}

void *nomux_tls_get(unsigned int key)
{
	struct nomux_thread *self = nomux_self();
	uint32_t seq = key_seq(key);

	if (!(seq & 1) || !self || !(self->tls_set & (1ULL << key)) || self->tls[key].seq != seq)
		return NULL;
	return self->tls[key].value;
}

int nomux_tls_set(unsigned int key, void *value)
{
	struct nomux_thread *self = nomux_self();
	uint32_t seq = key_seq(key);

	if (!(seq & 1))
		return -EINVAL;
	if (!self)
		return -ENOMEM;
	self->tls[key] = (struct tls_slot){ .seq = seq, .value = value };
	self->tls_set |= 1ULL << key;
	return 0;
}

static void run_destructor(struct nomux_thread *t, unsigned int key)
{
	void (*destructor)(void *) = __atomic_load_n(&keys[key].destructor, __ATOMIC_RELAXED);
	void *value = t->tls[key].value;

	if (t->tls[key].seq == key_seq(key) && value && destructor)
		destructor(value);
}

/* The thread ends.  Destructors may set values again, some rounds long. */
void nomux__tls_end(struct nomux_thread *t)
{
	unsigned int round, key;
	uint64_t set;

	for (round = 0; round < DESTRUCTOR_ROUNDS && t->tls_set; round++) {
		set = t->tls_set;
		t->tls_set = 0;
		for (; set; set &= set - 1) {
			key = (unsigned int)__builtin_ctzll(set);
			run_destructor(t, key);
		}
	}
}
