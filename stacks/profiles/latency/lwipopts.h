/* SPDX-License-Identifier: MIT */
/*
 * lwipopts.h - profile "latency": the answer as early as it can be had
 *
 * Differences from profile "default" only; profile.rst says what they do.
 */
#define NOMSTACK_PROFILE_NAME	"latency"

#define TCP_TMR_INTERVAL	50	/* ms: retransmissions after 0.2 to 0.3 s, not 1 to 1.5 */
#define TCP_MAXRTX		11	/* as many more as make a peer given up as late */
#define NOMSTACK_BATCH_MAX	1	/* each answer announced before the next packet is looked at */

#include "../default/lwipopts.h"
