// SPDX-License-Identifier: MIT
/* metrics.c - the counters and knobs nomctl sees, for both stacks */
#include "metrics.h"

#include <stdio.h>
#include <string.h>

_Static_assert(NR_KNOBS <= 64, "given_mask has a bit for each knob");

static const struct app_counter table[NR_METRICS] = {
	[M_REQUESTS] = { "http.requests", "requests", NOMUX_COUNTER },
	[M_BYTES] = { "http.bytes", "bytes", NOMUX_COUNTER },
	[M_2XX] = { "http.2xx", "responses", NOMUX_COUNTER },
	[M_3XX] = { "http.3xx", "responses", NOMUX_COUNTER },
	[M_4XX] = { "http.4xx", "responses", NOMUX_COUNTER },
	[M_5XX] = { "http.5xx", "responses", NOMUX_COUNTER },
	[M_CONNECTIONS] = { "http.connections", "connections", NOMUX_GAUGE },
	[M_ACCEPTED] = { "http.accepted", "connections", NOMUX_COUNTER },
	[M_REFUSED] = { "http.refused", "connections", NOMUX_COUNTER },
	[M_TIMEOUTS] = { "http.timeouts", "connections", NOMUX_COUNTER },
	[M_RESETS] = { "http.resets", "connections", NOMUX_COUNTER },
	[M_SITE_FILES] = { "site.files", "files", NOMUX_GAUGE },
	[M_SITE_BYTES] = { "site.bytes", "bytes", NOMUX_GAUGE },
	[M_RESCANS] = { "site.rescans", "scans", NOMUX_COUNTER },
	[M_W_US] = { "w_us", "us", NOMUX_GAUGE },
	[M_PRICE] = { "price.bandwidth", "ucr/Gbit", NOMUX_GAUGE },
	[M_PRICE_UPCALLS] = { "price.upcalls", "events", NOMUX_COUNTER },
	[M_DECISIONS] = { "controller.changes", "decisions", NOMUX_COUNTER },
	[M_POLLS] = { "loop.busy_turns", "turns", NOMUX_COUNTER },
	[M_SLEEPS] = { "loop.sleeps", "sleeps", NOMUX_COUNTER },
	[M_SYSCALLS] = { "loop.syscalls", "calls", NOMUX_COUNTER },
	[M_RX_PACKETS] = { "rx_packets", "packets", NOMUX_COUNTER },
	[M_TX_PACKETS] = { "tx_packets", "packets", NOMUX_COUNTER },
	[M_RX_BATCHES] = { "rx_batches", "batches", NOMUX_COUNTER },
	[M_TX_BATCHES] = { "tx_batches", "batches", NOMUX_COUNTER },
	[M_DOORBELLS_RX] = { "doorbells_rx", "doorbells", NOMUX_COUNTER },
	[M_DOORBELLS_TX] = { "doorbells_tx", "doorbells", NOMUX_COUNTER },
	[M_INTERRUPTS] = { "interrupts", "interrupts", NOMUX_COUNTER },
	[M_RX_BAD] = { "rx_bad", "packets", NOMUX_COUNTER },
	[M_DROPS] = { "stack.drops", "packets", NOMUX_COUNTER },
	[M_DROP_ARP] = { "stack.drop_arp", "packets", NOMUX_COUNTER },
	[M_DROP_ND] = { "stack.drop_nd", "packets", NOMUX_COUNTER },
	[M_DROP_ICMP] = { "stack.drop_icmp", "packets", NOMUX_COUNTER },
	[M_DROP_FRAGMENT] = { "stack.drop_fragment", "packets", NOMUX_COUNTER },
	[M_RETRANSMITS] = { "stack.retransmits", "segments", NOMUX_COUNTER },
	[M_PREDICTED] = { "stack.predicted", "segments", NOMUX_COUNTER },
	[M_TX_ZERO_COPY] = { "stack.tx_zero_copy", "packets", NOMUX_COUNTER },
	[M_TX_LONG] = { "stack.tx_long", "frames", NOMUX_COUNTER },
	[M_TX_RING_FULL] = { "stack.tx_ring_full", "frames", NOMUX_COUNTER },
	[M_TX_JOINED] = { "stack.tx_joined", "segments", NOMUX_COUNTER },
	[M_DELAY_RX] = { "stack.delay_max_rx", "ns", NOMUX_GAUGE },
	[M_DELAY_TX] = { "stack.delay_max_tx", "ns", NOMUX_GAUGE },
	[M_WAKEUPS] = { "loop.wakeups", "sleeps", NOMUX_COUNTER },
	[M_SPIN_NS] = { "loop.spin", "ns", NOMUX_GAUGE },
	[M_LINK_UP] = { "link.up", "yes or no", NOMUX_GAUGE },
	[M_LINK_CHANGES] = { "link.changes", "changes", NOMUX_COUNTER },
	[M_ANNOUNCEMENTS] = { "link.announcements", "frames", NOMUX_COUNTER },
	[M_RESTARTS] = { "device.restarts", "restarts", NOMUX_COUNTER },
	[M_RX_LOST] = { "rx_lost", "packets", NOMUX_COUNTER },
	[M_TX_LOST] = { "tx_lost", "packets", NOMUX_COUNTER },
	[M_XDP_MODE] = { "xdp.mode", "kind, 0: none", NOMUX_GAUGE },
	[M_BUSY_POLLS] = { "xdp.busy_polls", "calls", NOMUX_COUNTER },
};

int metrics_open(struct metrics *m, const char *app_name)
{
	int ret;

	memset(m, 0, sizeof(*m));
	app_counters_private(m->word, m->private_word, NR_METRICS);
	for (unsigned i = 0; i < NR_KNOBS; i++)
		m->knob[i] = -1;
	ret = nomux_page_create(app_name, &m->page);
	return ret ? ret : app_counters_show(m->page, "", table, NR_METRICS, m->word);
}

int metrics_open_core(struct metrics *m, struct metrics *all, unsigned core)
{
	char prefix[16];

	memset(m, 0, sizeof(*m));
	app_counters_private(m->word, m->private_word, NR_METRICS);
	memcpy(m->knob, all->knob, sizeof(m->knob));
	m->page = core ? NULL : all->page;
	snprintf(prefix, sizeof(prefix), "core%u.", core);
	return all->page ? app_counters_show(all->page, prefix, table, NR_METRICS, m->word) : 0;
}

void metrics_sum(struct metrics *all, struct metrics *const *cores, unsigned nr)
{
	for (unsigned i = 0; i < NR_METRICS; i++) {
		/* all cores see the one device restarted */
		bool add = (table[i].kind == NOMUX_COUNTER && i != M_RESTARTS) || i == M_CONNECTIONS;
		uint64_t sum = 0;

		for (unsigned c = 0; c < nr; c++) {
			uint64_t v = metric_get(cores[c], i);

			sum = add ? sum + v : v > sum ? v : sum;
		}
		metric_set(all, i, sum);
	}
}

void metrics_close(struct metrics *m)
{
	app_counters_private(m->word, m->private_word, NR_METRICS);
	nomux_page_destroy(m->page);
	m->page = NULL;
}

int metrics_knob(struct metrics *m, enum knob_id id, const char *name, const char *unit, const char *effect,
		 int64_t min, int64_t max, int64_t value)
{
	return m->page ? nomux_page_knob(m->page, name, unit, effect, min, max, value, &m->knob[id]) : 0;
}

bool metrics_take(struct metrics *m, enum knob_id id, int64_t *value_out)
{
	uint64_t bit = 1ULL << id;

	if (__builtin_expect(__atomic_load_n(&m->given_mask, __ATOMIC_ACQUIRE) & bit, 0)) {
		__atomic_fetch_and(&m->given_mask, ~bit, __ATOMIC_ACQ_REL);
		*value_out = __atomic_load_n(&m->given[id], __ATOMIC_RELAXED);
		return true;
	}
	if (!m->page || m->knob[id] < 0 || !nomux_page_knob_take(m->page, m->knob[id], value_out))
		return false;
	for (struct metrics *other = m->next; other; other = other->next) {
		__atomic_store_n(&other->given[id], *value_out, __ATOMIC_RELAXED);
		__atomic_fetch_or(&other->given_mask, bit, __ATOMIC_RELEASE);
	}
	return true;
}

bool metrics_knobs_changed(const struct metrics *m)
{
	return __atomic_load_n(&m->given_mask, __ATOMIC_RELAXED) || (m->page && nomux_page_knobs_changed(m->page));
}

void metrics_show_knob(struct metrics *m, enum knob_id id, int64_t value)
{
	if (m->page && m->knob[id] >= 0)
		nomux_page_knob_set(m->page, m->knob[id], value);
}
