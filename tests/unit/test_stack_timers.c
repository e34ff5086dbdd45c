// SPDX-License-Identifier: MIT
/*
 * TCP's timers among many connections: a slice of them between two polls, all of
 * them once a tick, whatever callbacks do to the list meanwhile.
 */
#include "stack_rig.h"

#include "lwip/opt.h"
#include "lwip/priv/tcp_priv.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PORT 7
#define CONNS 1500u
#define NS_PER_MS 1000000ull

static struct rig rig;
static struct peer peers[CONNS];
static struct nomstack_conn *conns[CONNS];
static unsigned nr, gone[CONNS], nr_gone;
static bool take_along, close_first;

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	t_assert(nr < CONNS);
	conns[nr++] = c;
	return &conns[nr - 1];
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	t_assert(nomstack_tcp_send(c, data, len, NOMSTACK_SEND_COPY) == 0);
	if (close_first)
		nomstack_tcp_close(c);
}

static void end(unsigned i)
{
	t_assert(!gone[i]);
	gone[i] = 1;
	nr_gone++;
	conns[i] = NULL;
}

/* One that times out takes its neighbours in the list along, on both sides. */
static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	unsigned i = (unsigned)((struct nomstack_conn **)arg - conns), k;
	const unsigned others[] = { (i + 1) % CONNS, (i + CONNS - 1) % CONNS, (i + 700) % CONNS };

	if (!err)
		return;
	assert_int_equal(err, -ETIMEDOUT);
	end(i);
	for (k = 0; take_along && k < 3; k++)
		if (conns[others[k]]) {
			struct nomstack_conn *other = conns[others[k]];

			end(others[k]);
			nomstack_tcp_abort(other);
		}
}

static const struct nomstack_tcp_ops ops = { .accept = on_accept, .recv = on_recv, .closed = on_closed };

static void begin(void)
{
	unsigned i;

	memset(gone, 0, sizeof(gone));
	nr = nr_gone = 0;
	take_along = close_first = false;
	rig_open(&rig, "10.0.0.2/24", 0);
	assert_int_equal(nomstack_tcp_listen(rig.s, PORT, 255, &ops, NULL), 0);
	for (i = 0; i < CONNS; i++) {
		peer_init(&peers[i], &rig, (uint16_t)(2000 + i), PORT);
		peer_handshake(&peers[i]);
	}
	assert_int_equal(nr, CONNS);
}

/* Each peer says something and hears nothing of the answer; no time passes. */
static void all_speak(void)
{
	struct rig_frame f;
	unsigned i;

	for (i = 0; i < CONNS; i++) {
		peer_send(&peers[i], ACK | PSH, "?", 1);
		nomstack_poll(rig.s);
		while (rig_tx_pop(&rig, &f))
			;
	}
}

/* One poll; which connections sent data in it. */
static unsigned poll_counts(unsigned *seen)
{
	struct rig_frame f;
	unsigned n = 0, i;

	nomstack_poll(rig.s);
	while (rig_tx_pop(&rig, &f)) {
		i = ((unsigned)f.data[36] << 8 | f.data[37]) - 2000;
		if (i >= CONNS || f.data[47] & RST)
			continue;
		if (seen)
			seen[i]++;
		n++;
	}
	return n;
}

static void everybody_once_in_slices(void **state)
{
	static unsigned seen[CONNS];
	unsigned n, most = 0, sum = 0, polls = 0, i;

	begin();
	all_speak();
	memset(seen, 0, sizeof(seen));
	/* To the tick that sends again what was lost, then through all of it. */
	for (i = 0; i < 3000 && !nr_gone; i++) {
		rig.now_ns += NS_PER_MS;
		n = poll_counts(seen);
		if (!n)
			continue;
		do {
			most = n > most ? n : most;
			sum += n;
			polls++;
			t_assert(n == 0 || sum == CONNS || nomstack_next_ns(rig.s) == 0);
			t_assert(sum == CONNS || !nomstack_idle_prepare(rig.s));
			n = poll_counts(seen);
		} while (n || nomstack_next_ns(rig.s) == 0);
		break;
	}
	print_message("# %u connections in %u polls, at most %u in one\n", sum, polls, most);
	assert_int_equal(sum, CONNS);
	for (i = 0; i < CONNS; i++)
		assert_int_equal(seen[i], 1);
	t_assert(most <= TCP_TMR_SLICE);
	assert_int_equal(rig_stats(&rig).tcp_retransmits, CONNS);
	rig_close(&rig);
}

/* Who polls too seldom: nobody waits for more than the poll after the deadline (200, 400, 800 ms). */
static void a_late_tick_finishes_the_walk(void **state)
{
	static unsigned seen[CONNS];
	unsigned i;

	begin();
	all_speak();
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < 12; i++) {		/* 250 ms a poll: never enough polls for slices */
		rig.now_ns += 250 * NS_PER_MS;
		poll_counts(seen);
	}
	for (i = 0; i < CONNS; i++)
		assert_int_equal(seen[i], 3);
	rig_close(&rig);
}

static void callbacks_may_change_the_list(void **state)
{
	unsigned i, ms;

	begin();
	take_along = true;
	all_speak();
	for (ms = 0; ms < 3600000 && nr_gone < CONNS; ms += 5) {
		rig.now_ns += 5 * NS_PER_MS;
		poll_counts(NULL);
	}
	assert_int_equal(nr_gone, CONNS);
	for (i = 0; i < CONNS; i++)
		assert_int_equal(gone[i], 1);
	assert_int_equal(rig_stats(&rig).tcp_active, 0);
	rig_close(&rig);
}

/* 1500 in TIME-WAIT, which all end in the same tick: a slice of them a poll, too. */
static void time_wait_ends_in_slices(void **state)
{
	unsigned before, now, most = 0, i;
	struct seg s;

	begin();
	close_first = true;
	for (i = 0; i < CONNS; i++) {
		peer_send(&peers[i], ACK | PSH, "?", 1);
		nomstack_poll(rig.s);
		while (peer_recv(&peers[i], &s))
			peers[i].ack = s.seq + s.len + !!(s.flags & FIN);
		peer_send(&peers[i], FIN | ACK, NULL, 0);
		nomstack_poll(rig.s);
	}
	assert_int_equal(rig_pcbs(), CONNS);
	t_assert(!tcp_active_pcbs);
	for (i = 0, before = CONNS; i < 8000 && before; i++) {
		rig.now_ns += NS_PER_MS;
		poll_counts(NULL);
		now = rig_pcbs();
		most = before - now > most ? before - now : most;
		before = now;
	}
	assert_int_equal(before, 0);
	print_message("# after %u ms, at most %u at a time\n", i, most);
	t_assert(i >= TCP_TIME_WAIT_TIMEOUT && i <= TCP_TIME_WAIT_TIMEOUT + 2 * TCP_SLOW_INTERVAL);
	t_assert(most > 0 && most <= TCP_TMR_SLICE);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody_once_in_slices),
		cmocka_unit_test(a_late_tick_finishes_the_walk),
		cmocka_unit_test(callbacks_may_change_the_list),
		cmocka_unit_test(time_wait_ends_in_slices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
