// SPDX-License-Identifier: MIT
/* The context: /dev/nom and the mapping of its bulletin board. */
#include <nomux/ctx.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>
#include <string.h>

#include <nomux/clock.h>
#include <nomux/log.h>

#include "internal.h"

static int ctx_map_board(struct nomux_ctx *ctx)
{
	void *p;

	ctx->board_bytes = ctx->info.out_board_bytes;
	if (ctx->board_bytes < sizeof(struct nom_board))
		return -EPROTO;
	p = mmap(NULL, ctx->board_bytes, PROT_READ, MAP_SHARED, ctx->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	ctx->board = p;
	if (ctx->board->magic != NOM_BOARD_MAGIC || ctx->board->version != NOM_BOARD_VERSION) {
		munmap(p, ctx->board_bytes);
		return -EPROTO;
	}
	return 0;
}

int nomux_open(struct nomux_ctx **ctx_out)
{
	struct nomux_ctx *ctx;
	int err;

	if (!ctx_out)
		return -EINVAL;
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	ctx->fd = open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	if (ctx->fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS))
		ctx->fd = open(NOM_DEVICE_PATH, O_RDONLY | O_CLOEXEC);
	if (ctx->fd < 0) {
		err = errno == ENXIO || errno == ENODEV ? -ENOENT : -errno;
		nomux_log(LOG_INFO, "nomux: cannot open %s: %s", NOM_DEVICE_PATH, strerror(-err));
		goto err_free;
	}
	err = nomux_info(ctx, &ctx->info);
	if (err)
		goto err_close;
	if (ctx->info.out_version != NOM_ABI_VERSION) {
		nomux_log(LOG_ERR, "nomux: kernel speaks ABI version %u, this library %u",
			  ctx->info.out_version, NOM_ABI_VERSION);
		err = -EPROTO;
		goto err_close;
	}
	err = ctx_map_board(ctx);
	if (err) {
		nomux_log(LOG_ERR, "nomux: cannot map the bulletin board: %s", strerror(-err));
		goto err_close;
	}
	nomux_clock_init();	/* without a counter nomux_now_ns() still works, slower */
	*ctx_out = ctx;
	return 0;

err_close:
	close(ctx->fd);
err_free:
	free(ctx);
	return err;
}

void nomux_close(struct nomux_ctx *ctx)
{
	if (!ctx)
		return;
	munmap((void *)(uintptr_t)ctx->board, ctx->board_bytes);
	close(ctx->fd);
	free(ctx);
}

int nomux_info(struct nomux_ctx *ctx, struct nom_info *info_out)
{
	struct nom_info info = { .size = sizeof(info) };

	if (!ctx || !info_out)
		return -EINVAL;
	if (ioctl(ctx->fd, NOM_GET_INFO, &info))
		return -errno;
	*info_out = info;
	return 0;
}

int nomux_limits(struct nomux_ctx *ctx, struct nom_limits *out)
{
	struct nom_limits limits = { .size = sizeof(limits) };

	if (!ctx || !out)
		return -EINVAL;
	if (ioctl(ctx->fd, NOM_GET_LIMITS, &limits))
		return -errno;
	*out = limits;
	return 0;
}

int nomux_fd(const struct nomux_ctx *ctx)
{
	return ctx->fd;
}
