// SPDX-License-Identifier: MIT
/* metrics.c - the counters and knobs nomctl sees */
#include "metrics.h"

#include <errno.h>
#include <string.h>

static const struct app_counter table[M_KIND] = {
	[M_REQUESTS] = { "udp.requests", "requests", NOMUX_COUNTER },
	[M_BYTES] = { "udp.bytes", "bytes", NOMUX_COUNTER },
	[M_BAD] = { "udp.bad", "datagrams", NOMUX_COUNTER },
	[M_OTHER_PORT] = { "udp.other_port", "datagrams", NOMUX_COUNTER },
	[M_UNSENT] = { "udp.unsent", "answers", NOMUX_COUNTER },
	[M_ARP] = { "arp.answers", "answers", NOMUX_COUNTER },
	[M_ARP_LIMITED] = { "arp.limited", "questions", NOMUX_COUNTER },
	[M_ICMP] = { "icmp.answers", "answers", NOMUX_COUNTER },
	[M_ICMP_LIMITED] = { "icmp.limited", "questions", NOMUX_COUNTER },
	[M_W_US] = { "w_us", "us", NOMUX_GAUGE },
	[M_POLLS] = { "loop.busy_turns", "turns", NOMUX_COUNTER },
	[M_SLEEPS] = { "loop.sleeps", "sleeps", NOMUX_COUNTER },
	[M_WAKEUPS] = { "loop.wakeups", "sleeps", NOMUX_COUNTER },
	[M_SPIN_NS] = { "loop.spin", "ns", NOMUX_GAUGE },
	[M_SYSCALLS] = { "loop.syscalls", "calls", NOMUX_COUNTER },
	[M_LINK_UP] = { "link.up", "yes or no", NOMUX_GAUGE },
	[M_LINK_CHANGES] = { "link.changes", "changes", NOMUX_COUNTER },
	[M_ANNOUNCEMENTS] = { "link.announcements", "frames", NOMUX_COUNTER },
	[M_RX_PACKETS] = { "rx_packets", "packets", NOMUX_COUNTER },
	[M_TX_PACKETS] = { "tx_packets", "packets", NOMUX_COUNTER },
	[M_RX_BATCHES] = { "rx_batches", "batches", NOMUX_COUNTER },
	[M_TX_BATCHES] = { "tx_batches", "batches", NOMUX_COUNTER },
	[M_DOORBELLS_RX] = { "doorbells_rx", "doorbells", NOMUX_COUNTER },
	[M_DOORBELLS_TX] = { "doorbells_tx", "doorbells", NOMUX_COUNTER },
	[M_INTERRUPTS] = { "interrupts", "interrupts", NOMUX_COUNTER },
	[M_RX_BAD] = { "rx_bad", "packets", NOMUX_COUNTER },
	[M_RX_OTHERS] = { "rx_others", "packets", NOMUX_COUNTER },
	[M_RX_LOST] = { "rx_lost", "packets", NOMUX_COUNTER },
	[M_TX_LOST] = { "tx_lost", "packets", NOMUX_COUNTER },
	[M_RESTARTS] = { "device.restarts", "restarts", NOMUX_COUNTER },
	[M_XDP_MODE] = { "xdp.mode", "kind, 0: none", NOMUX_GAUGE },
	[M_BUSY_POLLS] = { "xdp.busy_polls", "calls", NOMUX_COUNTER },
	[M_TX_LONG] = { "tx_long", "frames", NOMUX_COUNTER },
	[M_TX_JOINED] = { "tx_joined", "answers", NOMUX_COUNTER },
	[M_STACK_DROPS] = { "stack.drops", "packets", NOMUX_COUNTER },
	[M_DELAY_RX] = { "delay_max_rx", "ns", NOMUX_GAUGE },
};

int metrics_open(struct metrics *m, const char *app_name)
{
	struct app_counter kinds[NR_METRICS - M_KIND];
	int ret;

	memset(m, 0, sizeof(*m));
	app_counters_private(m->word, m->private_word, NR_METRICS);
	for (unsigned i = 0; i < NR_METRICS - M_KIND; i++)
		kinds[i] = (struct app_counter){ nomstack_frame_kind_name(i + NOMSTACK_FRAME_SHORT), "frames", NOMUX_COUNTER };
	ret = nomux_page_create(app_name, &m->page);
	if (!ret)
		ret = app_counters_show(m->page, "", table, M_KIND, m->word);
	return ret ? ret : app_counters_show(m->page, "drop.", kinds, NR_METRICS - M_KIND, m->word + M_KIND);
}

void metrics_close(struct metrics *m)
{
	app_counters_private(m->word, m->private_word, NR_METRICS);
	nomux_page_destroy(m->page);
	m->page = NULL;
}

int metrics_knob(struct metrics *m, const struct nomstack_knob *k)
{
	unsigned i = m->nr_knobs;
	int ret = i == KNOBS_MAX ? -ENOSPC : 0;

	if (!ret && m->page)
		ret = nomux_page_knob(m->page, k->name, k->unit, k->effect, k->min, k->max, k->def, &m->knob[i]);
	if (!ret)
		m->nr_knobs++;
	return ret;
}

bool metrics_take(struct metrics *m, unsigned i, int64_t *value_out)
{
	return m->page && i < m->nr_knobs && nomux_page_knob_take(m->page, m->knob[i], value_out);
}

void metrics_show_knob(struct metrics *m, unsigned i, int64_t value)
{
	if (m->page && i < m->nr_knobs)
		nomux_page_knob_set(m->page, m->knob[i], value);
}
