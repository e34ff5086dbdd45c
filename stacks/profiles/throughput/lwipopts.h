/* SPDX-License-Identifier: MIT */
/*
 * lwipopts.h - profile "throughput": most bytes and requests for a core's time
 *
 * Differences from profile "default" only; profile.rst says what they do.
 */
#define NOMSTACK_PROFILE_NAME	"throughput"

#define TCP_SND_BUF		(704 * 1460)	/* a megabyte per round trip */
#define TCP_SND_QUEUELEN	2048
#define MEMP_NUM_TCP_SEG	16384
#define MEMP_NUM_PBUF		16384
#define NOMSTACK_HEAP_BYTES	(16 << 20)
#define NOMSTACK_W_US		50
#define NOMSTACK_BATCH_MAX	256
#define NOMSTACK_CC		1	/* CUBIC: long round trips */

#include "../default/lwipopts.h"
