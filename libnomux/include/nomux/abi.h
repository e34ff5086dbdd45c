/* SPDX-License-Identifier: MIT */
/*
 * Does the library that was loaded fit the headers a program was compiled with?
 *
 * Opaque handles and structs with `sz` fit across versions; what callers lay out
 * themselves, or inline functions reach into, does not.
 */
#ifndef NOMUX_ABI_H
#define NOMUX_ABI_H

#include <asm/nom.h>
#include <nomux/api.h>
#include <nomux/clock.h>
#include <nomux/sync.h>
#include <nomux/upcall.h>

/* Grows when one of the sizes below changes, or what is in one of the structs. */
#define NOMUX_ABI_VERSION 1

struct nomux_abi {
	size_t sz;
	uint32_t version;
	uint32_t shared_offset;
	uint32_t mutex_bytes;
	uint32_t rwlock_bytes;
	uint32_t cond_bytes;
	uint32_t sem_bytes;
	uint32_t clock_bytes;
	uint32_t frame_bytes;	/* the kernel's, of <asm/nom.h> */
	uint32_t shared_bytes;	/* likewise */
	uint32_t reserved;
};

/* What these headers say. */
#define NOMUX_ABI_HERE ((struct nomux_abi){				\
	.sz = sizeof(struct nomux_abi),					\
	.version = NOMUX_ABI_VERSION,					\
	.shared_offset = NOMUX_CORE_SHARED_OFFSET,			\
	.mutex_bytes = sizeof(struct nomux_mutex),			\
	.rwlock_bytes = sizeof(struct nomux_rwlock),			\
	.cond_bytes = sizeof(struct nomux_cond),			\
	.sem_bytes = sizeof(struct nomux_sem),				\
	.clock_bytes = sizeof(struct nomux_clock),			\
	.frame_bytes = sizeof(struct nom_frame),			\
	.shared_bytes = sizeof(struct nom_shared),			\
})

NOMUX_API int nomux__abi_check(const struct nomux_abi *abi);

/**
 * nomux_abi_check - compare the headers with the library
 *
 * Worth a call at the start of a program that links the shared library.
 * Return: 0, -EPROTO (they do not fit; a line in the log says where).
 */
static inline int nomux_abi_check(void)
{
	struct nomux_abi abi = NOMUX_ABI_HERE;

	return nomux__abi_check(&abi);
}

#endif /* NOMUX_ABI_H */
