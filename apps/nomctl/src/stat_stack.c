// SPDX-License-Identifier: MIT
/*
 * nomctl stat, the stack's part: queues, drops by reason, connections as ss shows
 * them, and the dump of everything.
 */
#include "nomctl.h"
#include "look.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nomux/peek.h>

#define SHORT_TABLE 20u		/* connections that are shown unasked */

static const char *const states[NOMSTACK_LK_NR_STATES] = {
	[NOMSTACK_LK_CLOSED] = "CLOSED", [NOMSTACK_LK_LISTEN] = "LISTEN", [NOMSTACK_LK_SYN_SENT] = "SYN-SENT",
	[NOMSTACK_LK_SYN_RECEIVED] = "SYN-RECV", [NOMSTACK_LK_ESTABLISHED] = "ESTAB",
	[NOMSTACK_LK_FIN_WAIT_1] = "FIN-WAIT-1", [NOMSTACK_LK_FIN_WAIT_2] = "FIN-WAIT-2",
	[NOMSTACK_LK_CLOSE_WAIT] = "CLOSE-WAIT", [NOMSTACK_LK_CLOSING] = "CLOSING",
	[NOMSTACK_LK_LAST_ACK] = "LAST-ACK", [NOMSTACK_LK_TIME_WAIT] = "TIME-WAIT",
};

static const char *state_name(uint8_t state)
{
	return state < NOMSTACK_LK_NR_STATES ? states[state] : "?";
}

#define ADDRESS_TEXT (INET6_ADDRSTRLEN + 10)	/* "[fd00::2]:80" */

/* @rest: of an IPv6 address, else NULL. */
static const char *address(uint32_t ip, const uint32_t rest[3], uint16_t port, bool any, char *buf, size_t n)
{
	uint32_t ip6[4] = { ip };
	char bare[INET6_ADDRSTRLEN] = "?", text[INET6_ADDRSTRLEN + 2];

	if (rest) {
		memcpy(ip6 + 1, rest, 12);
		inet_ntop(AF_INET6, ip6, bare, sizeof(bare));
	} else {
		inet_ntop(AF_INET, &ip, bare, sizeof(bare));
	}
	snprintf(text, sizeof(text), rest ? "[%s]" : "%s", bare);
	if (any && !ip)
		snprintf(text, sizeof(text), "*");
	if (any && !port)
		snprintf(buf, n, "%s:*", text);
	else
		snprintf(buf, n, "%s:%u", text, port);
	return buf;
}

/* ---------------------------------------------------------------- facts --- */

struct fact {
	unsigned core;
	struct nomstack_lk_fact fact;
};

struct facts {
	struct fact *of;
	size_t nr, room;
	unsigned core;		/* whose are coming */
	bool several;		/* cores */
};

/* Others wrote it: terminated, printable, no tabs. */
static void clean(char *s, size_t n)
{
	s[n - 1] = '\0';
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}

static int keep_fact(const void *row, void *arg)
{
	struct facts *all = arg;
	struct nomstack_lk_fact *f;

	if (all->nr == all->room) {
		all->room = all->room * 2 + 128;
		all->of = reallocarray(all->of, all->room, sizeof(*all->of));
		if (!all->of)
			abort();
	}
	all->of[all->nr].core = all->core;
	f = &all->of[all->nr++].fact;
	memcpy(f, row, sizeof(*f));
	clean(f->group, sizeof(f->group));
	clean(f->name, sizeof(f->name));
	clean(f->unit, sizeof(f->unit));
	clean(f->text, sizeof(f->text));
	return 0;
}

/* "rx0", "tx3" */
static bool is_queue(const char *group)
{
	return (!strncmp(group, "rx", 2) || !strncmp(group, "tx", 2)) && group[2] >= '0' && group[2] <= '9';
}

static bool is_drop(const char *group)
{
	return !strcmp(group, "drop");
}

/* "rx0.size", "tx0.delay": a histogram, most of whose rows are empty. */
static bool is_histogram(const char *group)
{
	return is_queue(group) && strchr(group, '.');
}

static bool is_any(const char *group)
{
	return true;
}

static void print_facts(const struct facts *all, bool (*wanted)(const char *), bool zeroes, const char *what)
{
	struct nomctl_table *t = nomctl_table_create(all->several ? "core\tpart\tname\t>value\tunit" : "part\tname\t>value\tunit");
	char core[16] = "";
	size_t nr = 0, left_out = 0;

	for (size_t i = 0; i < all->nr; i++) {
		const struct nomstack_lk_fact *f = &all->of[i].fact;

		if (!wanted(f->group))
			continue;
		if (!zeroes && !f->is_text && !f->value) {
			left_out++;
			continue;
		}
		nr++;
		if (is_histogram(f->group) && !f->value)
			continue;
		if (all->several)
			snprintf(core, sizeof(core), "%u\t", all->of[i].core);
		if (f->is_text)
			nomctl_table_row(t, "%s%s\t%s\t%s\t", core, f->group, f->name, f->text);
		else
			nomctl_table_row(t, "%s%s\t%s\t%" PRIu64 "\t%s", core, f->group, f->name, f->value, f->unit);
	}
	printf("\n");
	nomctl_table_print(t, nr ? stdout : NULL);
	if (!nr)
		printf("%s: none\n", what);
	else if (left_out)
		printf("(and %zu that are 0)\n", left_out);
}

/* The object of that name in @parent, made when it is not there. */
static json_t *object_in(json_t *parent, const char *name)
{
	json_t *o = json_object_get(parent, name);

	if (!o) {
		o = json_object();
		json_object_set_new(parent, name, o);
	}
	return o;
}

/*
 * {"rx0": {"size": 256, ...}, ...}, or all of @only; of several cores
 * {"core0": {"rx0": ...}, "core1": ...}
 */
static json_t *facts_json(const struct facts *all, bool (*wanted)(const char *), const char *only)
{
	json_t *root = json_object();
	char core[16];

	for (size_t i = 0; i < all->nr; i++) {
		const struct nomstack_lk_fact *f = &all->of[i].fact;
		json_t *group = root;

		if (!wanted(f->group))
			continue;
		snprintf(core, sizeof(core), "core%u", all->of[i].core);
		if (all->several)
			group = object_in(group, core);
		if (!only)
			group = object_in(group, f->group);
		json_object_set_new(group, f->name, f->is_text ? json_string(f->text) : json_integer((json_int_t)f->value));
	}
	return root;
}

/* ---------------------------------------------------------- connections --- */

struct conns {
	struct nomctl_table *table;	/* for people */
	json_t *list;			/* for programs */
	size_t nr, most;		/* all there are; rows wanted */
	unsigned core;			/* whose are coming */
	bool several;			/* cores */
};

static const char *const flag_names[] = { NULL, "paused", "speaks", "recovery", NULL };

static int conn_json(const struct nomstack_lk_conn *c, const struct conns *all)
{
	char local[ADDRESS_TEXT], remote[ADDRESS_TEXT];
	bool six = c->flags & NOMSTACK_LK_F_IP6;
	json_t *o = json_pack("{s:s,s:s,s:s}", "state", state_name(c->state), "local",
			      address(c->local_ip, six ? c->local_ip6 : NULL, c->local_port, false, local,
				      sizeof(local)), "peer",
			      address(c->remote_ip, six ? c->remote_ip6 : NULL, c->remote_port, false, remote,
				      sizeof(remote)));
	const struct { const char *name; uint32_t value; } numbers[] = {
		{ "recv_q", c->recv_q }, { "send_q", c->send_q }, { "unacked", c->unacked }, { "ooseq", c->ooseq },
		{ "cwnd", c->cwnd }, { "ssthresh", c->ssthresh }, { "snd_wnd", c->snd_wnd }, { "rcv_wnd", c->rcv_wnd },
		{ "snd_scale", c->snd_scale }, { "rcv_scale", c->rcv_scale },
		{ "mss", c->mss }, { "rto_ms", c->rto_ms }, { "retries", c->retries }, { "dupacks", c->dupacks },
		{ "resent", c->resent }, { "w_rx_us", c->w_rx_us }, { "w_tx_us", c->w_tx_us }, { "idle_ms", c->idle_ms },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(o, numbers[i].name, json_integer(numbers[i].value));
	/* null: no segment was acknowledged while it was measured */
	json_object_set_new(o, "rtt_us", c->flags & NOMSTACK_LK_F_RTT ? json_integer(c->rtt_us) : json_null());
	json_object_set_new(o, "rtt_min_us", c->flags & NOMSTACK_LK_F_RTT ? json_integer(c->rtt_min_us) : json_null());
	json_object_set_new(o, "application", json_boolean(c->flags & NOMSTACK_LK_F_APP));
	for (unsigned i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
		if (flag_names[i])
			json_object_set_new(o, flag_names[i], json_boolean(c->flags & 1u << i));
	if (all->several)
		json_object_set_new(o, "core", json_integer(all->core));
	return json_array_append_new(all->list, o);
}

static void conn_row(const struct nomstack_lk_conn *c, const struct conns *all)
{
	struct nomctl_table *t = all->table;
	char core[16] = "", local[ADDRESS_TEXT], remote[ADDRESS_TEXT], rtt[32] = "-", w[32], flags[64] = "";
	bool listens = c->state == NOMSTACK_LK_LISTEN, six = c->flags & NOMSTACK_LK_F_IP6;

	address(c->local_ip, six ? c->local_ip6 : NULL, c->local_port, listens, local, sizeof(local));
	address(c->remote_ip, six ? c->remote_ip6 : NULL, c->remote_port, listens, remote, sizeof(remote));
	if (all->several)
		snprintf(core, sizeof(core), "%u\t", all->core);
	if (listens) {
		nomctl_table_row(t, "%sLISTEN\t%s\t%s\t%u\t%u", core, local, remote, c->recv_q, c->send_q);
		return;
	}
	if (c->flags & NOMSTACK_LK_F_RTT)
		snprintf(rtt, sizeof(rtt), "%u/%u", c->rtt_us, c->rtt_min_us);
	if (c->w_rx_us == c->w_tx_us)
		snprintf(w, sizeof(w), "%u", c->w_rx_us);
	else
		snprintf(w, sizeof(w), "%u/%u", c->w_rx_us, c->w_tx_us);
	for (unsigned i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
		if (flag_names[i] && c->flags & 1u << i)
			snprintf(flags + strlen(flags), sizeof(flags) - strlen(flags), "%s%s", *flags ? "," : "", flag_names[i]);
	nomctl_table_row(t, "%s%s\t%s\t%s\t%u\t%u\t%u\t%u\t%s\t%u\t%u/%u\t%s\t%u\t%s", core, state_name(c->state), local, remote,
			 c->recv_q, c->send_q, c->unacked, c->cwnd, rtt, c->rto_ms, c->retries, c->resent, w, c->idle_ms, flags);
}

static int keep_conn(const void *row, void *arg)
{
	struct nomstack_lk_conn c;
	struct conns *all = arg;

	memcpy(&c, row, sizeof(c));
	if (all->nr++ >= all->most)
		return 0;
	if (all->list)
		return conn_json(&c, all) ? -ENOMEM : 0;
	conn_row(&c, all);
	return 0;
}

#define CONN_HEADS "state\tlocal\tpeer\t>recv-q\t>send-q\t>unacked\t>cwnd\t>rtt/min us\t>rto ms\t>retries/resent\t>W us\t>idle ms\t"

/* ------------------------------------------------------------------ all --- */

int nomctl_look_fail(int err, const char *app)
{
	switch (err) {
	case -ENOENT:
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "%s: the application ended", app);
	case -EBUSY:
		return nomctl_fail(ECON_EXIT_BUSY, "%s: others are asking it all the time: try again", app);
	case -ETIMEDOUT:
		return nomctl_fail(ECON_EXIT_FAILED, "%s: did not answer in time: is it stopped, or its core taken away? (--timeout-ms)", app);
	case -EPROTO:
		return nomctl_fail(ECON_EXIT_FAILED, "%s: what it says of its stack is malformed, or of another version", app);
	default:
		return nomctl_fail_errno(err, app);
	}
}

int nomctl_app_look(const char *app, struct nomctl_looks *out, pid_t *pid_out)
{
	struct nomux_peek *peek;
	int ret = nomctl_app_open(app, &peek, pid_out);

	if (ret)
		return ret;
	nomux_peek_close(peek);
	ret = nomctl_looks_open(*pid_out, out);
	switch (ret) {
	case 0:
		return ECON_EXIT_OK;
	case -ENOENT:
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "%s offers no look at a stack of its own (on the in-tree stack, `ss` and tcpdump show what there is)",
				   app);
	case -EACCES:
	case -EPERM:
		return nomctl_fail(ECON_EXIT_PERMISSION, "%s: another user's: run as that user or root", app);
	default:
		return nomctl_look_fail(ret, app);
	}
}

static void print_sections(const struct nomctl_sections *want, const struct facts *facts, struct conns *conns)
{
	if (want->dump)
		print_facts(facts, is_any, true, "facts");
	if (want->queues && !want->dump)
		print_facts(facts, is_queue, true, "queues");
	if (want->drops && !want->dump)
		print_facts(facts, is_drop, false, "drops");
	if (!conns->table)
		return;
	printf("\n");
	nomctl_table_print(conns->table, conns->nr ? stdout : NULL);
	conns->table = NULL;
	if (!conns->nr)
		printf("connections: none\n");
	else if (conns->nr > conns->most)
		printf("(and %zu more: --connections)\n", conns->nr - conns->most);
}

static int print_sections_json(const struct nomctl_sections *want, const struct facts *facts, struct conns *conns)
{
	json_t *root = json_object();

	if (want->dump)
		json_object_set_new(root, "dump", facts_json(facts, is_any, NULL));
	if (want->queues)
		json_object_set_new(root, "queues", facts_json(facts, is_queue, NULL));
	if (want->drops)
		json_object_set_new(root, "drops", facts_json(facts, is_drop, "drop"));
	if (conns->list)
		json_object_set(root, "connections", conns->list);
	return nomctl_print_json(root);
}

/* Let all stacks measure round trips for a while. */
static int watch(const struct nomctl_looks *looks, const struct nomctl_sections *want)
{
	struct timespec t = { want->watch_ms / 1000, (long)(want->watch_ms % 1000) * 1000000 };
	int ret = 0;

	for (unsigned i = 0; !ret && i < looks->nr; i++)
		ret = nomctl_look_ask(looks->of[i], NOMSTACK_ASK_RTT, 0, (unsigned)want->timeout_ms);
	if (!ret)
		nanosleep(&t, NULL);
	return ret;
}

int nomctl_stat_stack(const struct nomctl_looks *looks, const char *app, const struct nomctl_sections *want, bool json)
{
	struct facts facts = { .several = looks->nr > 1 };
	struct conns conns = { .most = want->connections || want->dump || json ? SIZE_MAX : SHORT_TABLE, .several = looks->nr > 1 };
	bool with_conns = want->connections || want->dump || want->few;
	unsigned timeout_ms = (unsigned)want->timeout_ms;
	int ret = 0;

	if (with_conns && json)
		conns.list = json_array();
	else if (with_conns)
		conns.table = nomctl_table_create(conns.several ? "core\t" CONN_HEADS : CONN_HEADS);
	if (with_conns && want->watch_ms)
		ret = watch(looks, want);
	for (unsigned i = 0; !ret && i < looks->nr; i++) {
		conns.core = facts.core = i;
		if (with_conns)
			ret = nomctl_look_rows(looks->of[i], NOMSTACK_ASK_CONNS, sizeof(struct nomstack_lk_conn), timeout_ms,
					       keep_conn, &conns);
		if (!ret && (want->queues || want->drops || want->dump))
			ret = nomctl_look_rows(looks->of[i], NOMSTACK_ASK_FACTS, sizeof(struct nomstack_lk_fact), timeout_ms,
					       keep_fact, &facts);
	}
	if (ret)
		ret = nomctl_look_fail(ret, app);
	else if (json)
		ret = print_sections_json(want, &facts, &conns);
	else
		print_sections(want, &facts, &conns);
	if (conns.table)
		nomctl_table_print(conns.table, NULL);
	json_decref(conns.list);
	free(facts.of);
	return ret;
}
