// SPDX-License-Identifier: MIT
/*
 * vnet: automatic mode - when polling pays.
 *
 * The time to poll without work before sleeping, "spin", lies between two
 * bounds.  The upper one is what a sleep costs: if a frame comes within that,
 * to have polled would have been cheaper.  So each sleep is a lesson:
 *   - woken by a frame within the upper bound: polling would have paid, and spin
 *     doubles (from a sixteenth of the bound, where it was less);
 *   - asleep for more than twice the bound: polling was a waste, and spin halves
 *     (to the lower bound, once it is below a sixteenth);
 *   - in between: nothing to learn.
 * KVM decides in this way how long to poll before it halts a vCPU.  To predict
 * the next gap from a mean was rejected: traffic comes in bursts, and the mean
 * of long and short gaps is a gap that never comes.
 */
#include "vnet_internal.h"

#include <errno.h>

#define STEPS	16	/* of the upper bound: the least that is worth polling */

int vnet_auto_set(struct vnet *v, uint64_t min_ns, uint64_t max_ns)
{
	if (min_ns > max_ns)
		return -EINVAL;
	v->idle.min_ns = min_ns;
	v->idle.max_ns = max_ns;
	v->stats.auto_spin_ns = max_ns;	/* awake until it is known that it does not pay */
	return 0;
}

bool vnet_auto(struct vnet *v, uint64_t now_ns, bool busy)
{
	struct vnet_auto *a = &v->idle;
	uint64_t work = v->stats.rx_packets + v->stats.rx_bad + v->stats.tx_packets;

	if (busy || work != a->work || !a->idle_since) {
		a->work = work;
		a->idle_since = now_ns ? now_ns : 1;	/* 0: never called yet */
		return false;
	}
	if (now_ns - a->idle_since < v->stats.auto_spin_ns || v->stats.auto_spin_ns == UINT64_MAX)
		return false;
	a->slept_at = now_ns;
	a->refused = false;
	v->stats.auto_sleeps++;
	return true;
}

void vnet_auto_woke(struct vnet *v, uint64_t now_ns)
{
	struct vnet_auto *a = &v->idle;
	uint64_t slept = now_ns - a->slept_at, spin = v->stats.auto_spin_ns;
	uint64_t step = a->max_ns / STEPS ? a->max_ns / STEPS : 1;
	bool frame = a->refused || vnet_rx_pending(v);

	v->stats.auto_asleep_ns += slept;
	v->stats.auto_refused += a->refused;
	v->stats.auto_timeouts += !frame;
	/* What woke us is dealt with in the next turn; without any the core goes back to sleep. */
	a->idle_since = frame ? now_ns : a->idle_since;
	if (frame && slept <= a->max_ns)
		spin = spin < step ? step : 2 * spin;
	else if (slept / 2 > a->max_ns)
		spin = spin / 2 < step ? a->min_ns : spin / 2;
	if (spin > a->max_ns)
		spin = a->max_ns;
	v->stats.auto_spin_ns = spin < a->min_ns ? a->min_ns : spin;
}
