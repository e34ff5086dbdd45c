/* SPDX-License-Identifier: MIT */
/*
 * The context: an open /dev/nom, from which leases, grants and the bulletin
 * board are had.  A process normally opens one and keeps it.
 */
#ifndef NOMUX_CTX_H
#define NOMUX_CTX_H

#include <nomux/api.h>

struct nom_info;
struct nom_limits;
struct nomux_ctx;

/**
 * nomux_open - open /dev/nom and map the bulletin board
 * @ctx_out: the context; give back with nomux_close()
 *
 * Who may only read /dev/nom can read the bulletin board, and gets -EPERM for
 * leases and grants.
 *
 * Threads: any; a context may be shared by threads.
 *
 * Return: 0, -ENOENT (this kernel has no nom, or its module is not loaded),
 * -EACCES (no access to /dev/nom), -EPROTO (the kernel speaks
 * another version of the ABI), -EMFILE, -ENOMEM.
 */
NOMUX_API int nomux_open(struct nomux_ctx **ctx_out);

/**
 * nomux_close - give a context back
 * @ctx: context, or NULL
 *
 * Leases, grants and devices had from it must have been given back before.
 */
NOMUX_API void nomux_close(struct nomux_ctx *ctx);

/**
 * nomux_info - what this kernel offers
 * @ctx: context
 * @info_out: filled in; see struct nom_info of <linux/nom.h>
 *
 * Threads: any.  One system call.
 * Return: 0, or -errno of the ioctl.
 */
NOMUX_API int nomux_info(struct nomux_ctx *ctx, struct nom_info *info_out);

/**
 * nomux_limits - what the user who opened @ctx has, and may have
 * @ctx: context
 * @out: filled in; see struct nom_limits of <linux/nom.h>
 *
 * Threads: any.  One system call.
 * Return: 0, -EINVAL, -ENOTTY (the kernel's nom.ko knows no limits).
 */
NOMUX_API int nomux_limits(struct nomux_ctx *ctx, struct nom_limits *out);

/**
 * nomux_fd - the descriptor of /dev/nom, for ioctls this library lacks
 * @ctx: context, keeps the descriptor
 */
NOMUX_API int nomux_fd(const struct nomux_ctx *ctx);

#endif /* NOMUX_CTX_H */
