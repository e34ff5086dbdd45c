/* SPDX-License-Identifier: MIT */
/*
 * Every ordered access to memory shared with a device, and nothing else.
 *
 * Each function names the section of virtio 1.2 that asks for it and the
 * access of the device it pairs with.  On x86 an acquire or a release costs
 * no instruction; vb_full() is one locked instruction and is needed wherever
 * this side writes one word and then reads another that the device writes
 * before it reads ours (store -> load).
 *
 * Words the device may change at any time are read exactly once, through
 * here, into a local variable that is then checked and used.
 */
#ifndef NOMDRV_VBARRIER_H
#define NOMDRV_VBARRIER_H

#include <stdint.h>
#include <linux/virtio_ring.h>

/*
 * 2.7.13.3: descriptors and ring entries before avail->idx.
 * Partner: the device reads avail->idx, then the entries.
 */
static inline void vb_store_avail_idx(uint16_t *idx, uint16_t v)
{
	__atomic_store_n(idx, v, __ATOMIC_RELEASE);
}

/*
 * 2.7.14: used->idx before the used entries and the buffers they name.
 * Partner: the device writes buffers and entries, then used->idx.
 */
static inline uint16_t vb_load_used_idx(const uint16_t *idx)
{
	return __atomic_load_n(idx, __ATOMIC_ACQUIRE);
}

/*
 * 2.7.13.4: avail->idx written before avail_event (or used->flags) is read.
 * Partner: the device writes avail_event (or clears NO_NOTIFY), then reads
 * avail->idx once more.  Without it both may miss and the queue stands still.
 *
 * 2.7.14: used_event (or avail->flags) written before used->idx is read again.
 * Partner: the device writes used->idx, then reads used_event.  Without it a
 * frame may arrive with no interrupt while the driver goes to sleep.
 */
static inline void vb_full(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* 2.7.10, 2.7.7: suppression words; unordered, a stale value costs a doorbell or an interrupt. */
static inline uint16_t vb_load_event(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void vb_store_event(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* 2.7.8: fields of a used entry, ordered by vb_load_used_idx() before. */
static inline uint32_t vb_load_used_elem(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/*
 * 2.8.21.1: all of a chain, and of the chains behind it, before the flags that
 * announce them.  Partner: the device reads these flags, then the rest.
 */
static inline void vb_store_desc_flags(uint16_t *flags, uint16_t v)
{
	__atomic_store_n(flags, v, __ATOMIC_RELEASE);
}

/*
 * 2.8.22: flags before id, length and the buffer.
 * Partner: the device writes buffer, id and length, then the flags.
 */
static inline uint16_t vb_load_desc_flags(const uint16_t *flags)
{
	return __atomic_load_n(flags, __ATOMIC_ACQUIRE);
}

/* 2.8.10: offset and flags of the other side's event structure, at once; the offset is low. */
static inline uint32_t vb_load_packed_event(const struct vring_packed_desc_event *e)
{
	return __atomic_load_n((const uint32_t *)(const void *)e, __ATOMIC_RELAXED);
}

/* 2.8.10: the offset before the flags that say it counts.  Partner: the device reads both at once. */
static inline void vb_store_packed_flags(uint16_t *flags, uint16_t v)
{
	__atomic_store_n(flags, v, __ATOMIC_RELEASE);
}

#endif /* NOMDRV_VBARRIER_H */
