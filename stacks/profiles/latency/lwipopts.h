/* SPDX-License-Identifier: MIT */
/*
 * lwipopts.h - profile "latency": the answer as early as it can be had
 *
 * Differences from profile "default" only; profile.rst says what they do.
 */
#define NOMSTACK_PROFILE_NAME	"latency"

#define TCP_TMR_INTERVAL	50	/* ms: ACKs are delayed by as much at most, not by 250 */
#define NOMSTACK_BATCH_MAX	1	/* each answer announced before the next packet is looked at */

#include "../default/lwipopts.h"
