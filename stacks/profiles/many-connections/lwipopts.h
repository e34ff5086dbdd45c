/* SPDX-License-Identifier: MIT */
/*
 * lwipopts.h - profile "many-connections": 10,000 and more at once, most of them idle
 *
 * Differences from profile "default" only; profile.rst says what they do.
 */
#define NOMSTACK_PROFILE_NAME	"many-connections"

#define MEMP_NUM_TCP_PCB	16384
#define TCP_PCB_HASH_SIZE	32768
#define MEMP_NUM_TCP_SEG	16384	/* an answer under way on each */
#define MEMP_NUM_PBUF		16384
#define NOMSTACK_HEAP_BYTES	(16 << 20)
#define NOMSTACK_KEEPALIVE_S	300	/* who has vanished keeps no PCB */

#include "../default/lwipopts.h"
