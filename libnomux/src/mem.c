// SPDX-License-Identifier: MIT
/* Grants of reserved memory and the windows they are mapped in. */
#include <nomux/mem.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

#include <nomux/log.h>

#include "internal.h"

struct nomux_mem {
	int fd;
	size_t bytes;
	uint64_t id;
	unsigned int nr_windows;
	struct {
		void *va;
		size_t bytes;
	} window[NOMUX_MEM_WINDOWS];
};

static int mem_grant(struct nomux_ctx *ctx, size_t bytes, struct nom_mem_grant *grant,
		     struct nomux_mem **mem_out)
{
	struct nomux_mem *mem;
	int err;

	if (!ctx || !mem_out || !bytes || bytes > SIZE_MAX - NOMUX_HUGE_BYTES)
		return -EINVAL;
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	grant->size = sizeof(*grant);
	grant->bytes = ALIGN_UP(bytes, NOMUX_HUGE_BYTES);
	if (ioctl(ctx->fd, NOM_MEM_GRANT, grant)) {
		err = -errno;
		nomux_log(LOG_INFO, "nomux: no grant, bytes=%llu: %s",
			  (unsigned long long)grant->bytes, strerror(-err));
		free(mem);
		return err;
	}
	mem->fd = grant->out_grant_fd;
	mem->bytes = grant->bytes;
	mem->id = grant->out_id;
	*mem_out = mem;
	return 0;
}

int nomux_mem_grant(struct nomux_ctx *ctx, size_t bytes, struct nomux_mem **mem_out)
{
	struct nom_mem_grant grant = { .flags = 0 };

	return mem_grant(ctx, bytes, &grant, mem_out);
}

int nomux_mem_grant_node(struct nomux_ctx *ctx, size_t bytes, unsigned int node,
			 struct nomux_mem **mem_out)
{
	struct nom_mem_grant grant = { .flags = NOM_GRANT_NODE, .node = node };

	return mem_grant(ctx, bytes, &grant, mem_out);
}

void nomux_mem_put(struct nomux_mem *mem)
{
	if (!mem)
		return;
	while (mem->nr_windows--)
		munmap(mem->window[mem->nr_windows].va, mem->window[mem->nr_windows].bytes);
	close(mem->fd);
	free(mem);
}

size_t nomux_mem_bytes(const struct nomux_mem *mem)
{
	return mem->bytes;
}

uint64_t nomux_mem_id(const struct nomux_mem *mem)
{
	return mem->id;
}

/* Address space of @bytes, aligned to 2 MiB, with nothing in it. */
static int reserve_va(size_t bytes, char **va_out)
{
	char *p, *start;
	size_t head;

	p = mmap(NULL, bytes + NOMUX_HUGE_BYTES, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	start = (char *)ALIGN_UP((uintptr_t)p, NOMUX_HUGE_BYTES);
	head = (size_t)(start - p);
	if (head)
		munmap(p, head);
	munmap(start + bytes, NOMUX_HUGE_BYTES - head);
	*va_out = start;
	return 0;
}

int nomux_mem_window(struct nomux_mem *mem, size_t bytes, void *hint, void **va_out)
{
	int flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
	char *va = hint;
	void *p;
	int err;

	if (!mem || !va_out || !bytes || bytes > SIZE_MAX / 2 ||
	    ((uintptr_t)hint & (NOMUX_HUGE_BYTES - 1)))
		return -EINVAL;
	if (mem->nr_windows == NOMUX_MEM_WINDOWS)
		return -ENOSPC;
	bytes = ALIGN_UP(bytes, NOMUX_HUGE_BYTES);
	if (!va) {
		err = reserve_va(bytes, &va);
		if (err)
			return err;
		flags = MAP_SHARED | MAP_FIXED;		/* over our own reservation */
	}
	p = mmap(va, bytes, PROT_READ | PROT_WRITE, flags, mem->fd, 0);
	if (p == MAP_FAILED) {
		err = -errno;
		if (!hint)
			munmap(va, bytes);
		return err;
	}
	mem->window[mem->nr_windows].va = p;
	mem->window[mem->nr_windows].bytes = bytes;
	mem->nr_windows++;
	*va_out = p;
	return 0;
}

void *nomux__mem_dma_view(struct nomux_mem *mem)
{
	void *p = mmap(NULL, mem->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, mem->fd,
		       (off_t)NOM_GRANT_MMAP_DMA);

	return p == MAP_FAILED ? NULL : p;
}

/* Up to NOM_MAP_MAX entries, by one call.  No libc in here: fault handlers map pages. */
static int mem_op_once(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr, long cmd)
{
	struct nom_mem_map map = { .size = sizeof(map), .nr = nr, .entries = (uintptr_t)e };
	long err = nomux__syscall3(SYS_ioctl, mem->fd, cmd, (long)(uintptr_t)&map);

	if (__builtin_expect(!err, 1))
		return (int)nr;
	return map.out_done && map.out_done < nr ? (int)map.out_done : (int)err;
}

static int mem_op(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr, long cmd)
{
	unsigned int done = 0, piece;
	int ret;

	if (!mem || !e || !nr || nr > INT32_MAX)
		return -EINVAL;
	if (nr <= NOM_MAP_MAX)
		return mem_op_once(mem, e, nr, cmd);
	do {
		piece = nr - done < NOM_MAP_MAX ? nr - done : NOM_MAP_MAX;
		ret = mem_op_once(mem, e + done, piece, cmd);
		if (ret < 0)
			return done ? (int)done : ret;
		done += (unsigned int)ret;
	} while (done < nr && ret == (int)piece);
	return (int)done;
}

int nomux_mem_map(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr)
{
	return mem_op(mem, e, nr, NOM_MEM_MAP);
}

int nomux_mem_unmap(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr)
{
	return mem_op(mem, e, nr, NOM_MEM_UNMAP);
}

int nomux_mem_protect(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr)
{
	return mem_op(mem, e, nr, NOM_MEM_PROTECT);
}

int nomux_mem_promote(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr)
{
	return mem_op(mem, e, nr, NOM_MEM_PROMOTE);
}

int nomux_mem_demote(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr)
{
	return mem_op(mem, e, nr, NOM_MEM_DEMOTE);
}

int nomux_mem_return(struct nomux_mem *mem, struct nom_map_entry *e, unsigned int nr)
{
	return mem_op(mem, e, nr, NOM_MEM_RETURN);
}

static uint64_t bits_at(const uint64_t *bits, size_t pages)
{
	return bits ? (uintptr_t)(bits + pages / 64) : 0;
}

int nomux_mem_query(struct nomux_mem *mem, const void *va, size_t bytes, uint32_t flags,
		    struct nomux_mem_bits *bits)
{
	struct nomux_mem_bits sum;
	size_t at, piece;
	long err;

	if (!mem || !bits || !bytes || (bytes & (NOMUX_PAGE_BYTES - 1)) ||
	    ((uintptr_t)va & (NOMUX_HUGE_BYTES - 1)))
		return -EINVAL;
	sum = *bits;
	sum.nr_mapped = sum.nr_young = sum.nr_dirty = 0;
	for (at = 0; at < bytes; at += piece) {
		struct nom_mem_query q = { .size = sizeof(q), .flags = flags };

		piece = bytes - at < NOM_QUERY_MAX ? bytes - at : NOM_QUERY_MAX;
		q.va = (uintptr_t)va + at;
		q.bytes = piece;
		q.mapped = bits_at(bits->mapped, at / NOMUX_PAGE_BYTES);
		q.young = bits_at(bits->young, at / NOMUX_PAGE_BYTES);
		q.dirty = bits_at(bits->dirty, at / NOMUX_PAGE_BYTES);
		err = nomux__syscall3(SYS_ioctl, mem->fd, NOM_MEM_QUERY, (long)(uintptr_t)&q);
		if (err)
			return (int)err;
		sum.nr_mapped += q.out_mapped;
		sum.nr_young += q.out_young;
		sum.nr_dirty += q.out_dirty;
	}
	*bits = sum;
	return 0;
}

int nomux_mem_info(struct nomux_mem *mem, struct nom_mem_info *info)
{
	long err;

	if (!mem || !info)
		return -EINVAL;
	info->size = sizeof(*info);
	info->flags = 0;
	err = nomux__syscall3(SYS_ioctl, mem->fd, NOM_MEM_INFO, (long)(uintptr_t)info);
	return (int)err;
}

int nomux_mem_phys(struct nomux_mem *mem, uint64_t offset, uint32_t bdf, uint64_t *phys_out)
{
	return nomux__mem_phys(mem, offset, 0, bdf, phys_out);
}

int nomux__mem_phys(struct nomux_mem *mem, uint64_t offset, uint32_t flags, uint32_t device,
		    uint64_t *phys_out)
{
	struct nom_mem_phys phys = {
		.size = sizeof(phys), .flags = flags, .offset = offset, .bdf = device,
	};

	if (!mem || !phys_out || (offset & (NOMUX_HUGE_BYTES - 1)) || offset >= mem->bytes)
		return -EINVAL;
	if (ioctl(mem->fd, NOM_MEM_PHYS, &phys))
		return -errno;
	*phys_out = phys.out_phys;
	return 0;
}
