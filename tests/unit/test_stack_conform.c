// SPDX-License-Identifier: MIT
/*
 * test_stack_conform.c - scripts of TCP segments: these go in, those must come out
 *
 * usage: test_stack_conform [FILE...]
 *
 * Runs tests/conform/ *.seg, or the files named, one TAP line each.  The notation
 * and the list of known deviations are in tests/conform/README.rst.  A script whose
 * first word is "deviation" says what the RFC wants and the stack does not do: it
 * must fail, and passing is an error, so that the list stays true.
 *
 * Each script runs twice: all segments taking the long way through TCP, and those that a
 * connection expects the short one, which must not be seen.  In the second run the device
 * vouches for the checksums and makes them.
 *
 * What states a script led through is held against the table of RFC 9293's figure 5 in
 * Documentation/testing.rst: each of its transitions must have been seen in the script that it names.
 *
 * Strict by default: a segment of the stack that no line expects is a failure, and
 * so is data or an end of the connection that the application got and no line names.
 */
#include "stack_rig.h"
#include "bytes.h"

#include "internal.h"
#include "lwip/priv/tcp_priv.h"

#include <errno.h>
#include <glob.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PORT 80
#define PEER_PORT 4000
#define PEER_ISN 0xfffff000u	/* wraps soon */
#define MAX_WAIT_MS 600000
#define MAX_LINE 256
#define STREAM_BYTES (512 << 10)
#define RUN_BYTES 512

/* Ways to run a script. */
enum { PLAIN, OFFLOAD, OFFLOAD6, NR_KINDS };
static const char *const kinds[NR_KINDS] = { "", " offload", " IPv6" };

struct run {
	struct rig rig;
	struct peer p;
	struct nomstack_conn *c;
	uint32_t iss;			/* of the stack's newest SYN */
	uint64_t since_ns;		/* the last thing that was done to the stack */
	uint32_t peer_read, app_sent;	/* offsets in the two byte streams */
	unsigned accepted, connected, got, closed;
	int closed_err;
	uint32_t wrong_at;		/* first wrong byte that the application got, or 0 */
	bool refuse;			/* accept() says no */
	bool close_on_fin;
	bool offload;			/* the device does checksums */
	bool six;			/* over IPv6 */
	bool listens;			/* port 80 */
	const char *state;		/* that the last line left; NULL: there is no connection */
	struct seg seg;
	bool have_seg;			/* seg came and no line has taken it yet */
	const char *file;
	unsigned line;
};

static struct run t;

/* A failed expectation, jumped out of: a script may be meant to fail. */
static jmp_buf out;
static char why[512];

__attribute__((noreturn, format(printf, 2, 3))) static void jump_out(int how, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(why, sizeof(why), "%s:%u: ", t.file, t.line);

	va_start(ap, fmt);
	vsnprintf(why + n, sizeof(why) - (size_t)n, fmt, ap);
	va_end(ap);
	longjmp(out, how);
}

#define DIFFERS 1	/* the stack does not do what the script says: a deviation may */
#define NONSENSE 2	/* the script cannot be read: never right */
#define fail_line(...) jump_out(DIFFERS, __VA_ARGS__)
#define bad_line(...) jump_out(NONSENSE, __VA_ARGS__)

/* Byte @i of a stream: what is delivered twice, or in wrong order, shows. */
static uint8_t stream_byte(uint32_t i)
{
	return (uint8_t)(i * 7 + (i >> 8) * 13 + 3);
}

/* ----------------------------------------------------------- application --- */

static void *on_accept(struct nomstack_conn *c, void *arg)
{
	t.accepted++;
	if (t.refuse)
		return NULL;
	t.c = c;
	return &t;
}

static void on_connected(struct nomstack_conn *c, void *arg)
{
	t.connected++;
}

static void on_recv(struct nomstack_conn *c, void *arg, const void *data, uint32_t len)
{
	const uint8_t *b = data;
	uint32_t i;

	for (i = 0; i < len; i++)
		if (b[i] != stream_byte(t.peer_read + i))
			t.wrong_at = t.peer_read + i + 1;	/* no jump out of lwIP's arms */
	t.peer_read += len;
	t.got += len;
}

static void on_closed(struct nomstack_conn *c, void *arg, int err)
{
	t.closed++;
	t.closed_err = err;
	if (err)
		t.c = NULL;
	else if (t.close_on_fin) {
		nomstack_tcp_close(c);
		t.c = NULL;
	}
}

static const struct nomstack_tcp_ops ops = {
	.accept = on_accept, .recv = on_recv, .closed = on_closed, .connected = on_connected,
};

/* --------------------------------------------------------------- options --- */

static unsigned number(const char *s, const char *what)
{
	char *end;
	unsigned long n = strtoul(s, &end, 0);

	if (end == s || (*end && !strchr(" ,:.>", *end)))
		bad_line("%s: not a number: %s", what, s);
	return (unsigned)n;
}

/* "mss 1460,sackok" as bytes, padded with end-of-list to a multiple of four. */
static unsigned options_build(char *text, uint8_t *o)
{
	unsigned n = 0;
	char *word, *save = NULL;

	for (word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		if (n > 28)
			bad_line("too many options");
		if (!strncmp(word, "mss ", 4)) {
			unsigned mss = number(word + 4, "mss");

			o[n++] = 2, o[n++] = 4, o[n++] = (uint8_t)(mss >> 8), o[n++] = (uint8_t)mss;
		} else if (!strncmp(word, "ws ", 3)) {
			o[n++] = 3, o[n++] = 3, o[n++] = (uint8_t)number(word + 3, "ws");
		} else if (!strcmp(word, "sackok")) {
			o[n++] = 4, o[n++] = 2;
		} else if (!strncmp(word, "sack ", 5)) {
			unsigned at = n;

			n += 2;
			for (word += 5; word && *word; word = strchr(word, ' ') ? strchr(word, ' ') + 1 : NULL) {
				const char *to = strchr(word, ':');

				if (!to || n > 32)
					bad_line("sack FROM:TO [FROM:TO]");
				put32(o + n, t.iss + number(word, "sack"));
				put32(o + n + 4, t.iss + number(to + 1, "sack"));
				n += 8;
			}
			o[at] = 5, o[at + 1] = (uint8_t)(n - at);
		} else if (!strcmp(word, "nop")) {
			o[n++] = 1;
		} else if (!strcmp(word, "eol")) {
			o[n++] = 0;
		} else if (!strncmp(word, "raw ", 4)) {
			for (word += 4; word[0] && word[1] && n < 40; word += 2) {
				unsigned x;

				if (sscanf(word, "%2x", &x) != 1)
					bad_line("raw HEX");
				o[n++] = (uint8_t)x;
			}
		} else {
			bad_line("unknown option %s", word);
		}
	}
	while (n % 4)
		o[n++] = 0;
	return n;
}

/* Bytes as text, without padding. */
static void options_text(const uint8_t *o, unsigned len, char *text, size_t max)
{
	unsigned i, n, k;
	size_t at = 0;

	text[0] = 0;
	for (i = 0; i < len && o[i]; i += n) {
		if (o[i] == 1) {
			n = 1;
			continue;
		}
		n = i + 1 < len ? o[i + 1] : 0;
		if (n < 2 || i + n > len)
			fail_line("the stack sent malformed options");
		if (at)
			at += (size_t)snprintf(text + at, max - at, ",");
		if (o[i] == 2 && n == 4)
			at += (size_t)snprintf(text + at, max - at, "mss %u", o[i + 2] << 8 | o[i + 3]);
		else if (o[i] == 3 && n == 3)
			at += (size_t)snprintf(text + at, max - at, "ws %u", o[i + 2]);
		else if (o[i] == 4 && n == 2)
			at += (size_t)snprintf(text + at, max - at, "sackok");
		else if (o[i] == 5)
			for (k = 2, at += (size_t)snprintf(text + at, max - at, "sack"); k + 8 <= n; k += 8)
				at += (size_t)snprintf(text + at, max - at, " %u:%u", get32(o + i + k) - PEER_ISN,
						       get32(o + i + k + 4) - PEER_ISN);
		else
			at += (size_t)snprintf(text + at, max - at, "kind %u", o[i]);
	}
}

/* -------------------------------------------------------------- segments --- */

static const char flag_letters[] = "FSRPAU";

static unsigned flags_of(const char *s)
{
	unsigned f = 0;
	const char *at;

	for (; *s; s++) {
		at = strchr(flag_letters, *s);
		if (!at)
			bad_line("flags are of %s: %s", flag_letters, s);
		f |= 1u << (at - flag_letters);
	}
	return f;
}

static void show(const struct seg *s, char *text, size_t max)
{
	char flags[8], opts[128];
	unsigned i, n = 0;

	for (i = 0; i < 6; i++)
		if (s->flags & 1u << i)
			flags[n++] = flag_letters[i];
	flags[n] = 0;
	options_text(s->opt, s->opt_len, opts, sizeof(opts));
	snprintf(text, max, "%s %u:%u ack %u win %u <%s>", flags, s->seq - t.iss, s->seq - t.iss + s->len,
		 s->flags & ACK ? s->ack - PEER_ISN : s->ack, s->window, opts);
}

/* The next segment of the stack, if there is one by now. */
static bool fetch(void)
{
	unsigned i;

	if (t.wrong_at)
		fail_line("the application got a wrong byte at %u", t.wrong_at);
	while (!t.have_seg && rig_tx_pop(&t.rig, &t.seg.frame)) {
		const uint8_t *f = t.seg.frame.data;
		const uint8_t *tcp = f + (t.six ? 54 : 34);

		/* An active open: the port is the stack's choice. */
		if (f[t.six ? 20 : 23] == 6 && tcp[13] & SYN && (tcp[2] << 8 | tcp[3]) == t.p.port)
			t.p.dport = (uint16_t)(tcp[0] << 8 | tcp[1]);
		t.have_seg = peer_parse(&t.p, &t.seg);
	}
	if (t.have_seg && t.seg.flags & SYN)
		t.iss = t.seg.seq;
	for (i = 0; t.have_seg && i < t.seg.len; i++)
		if (t.seg.data[i] != stream_byte(t.seg.seq - t.iss - 1 + i))
			fail_line("the stack sent a wrong byte at %u", t.seg.seq - t.iss + i);
	return t.have_seg;
}

static void expect_none(void)
{
	char text[256];

	if (!fetch())
		return;
	show(&t.seg, text, sizeof(text));
	fail_line("unexpected segment %s", text);
}

/* What stands behind the flags: FROM[:TO] [ack N] [win N] [<...>] and the rest. */
struct spec {
	unsigned flags;
	uint32_t from, to, ack;
	int win;			/* -1: any, or the default */
	int hlen;			/* -1: as it is */
	unsigned urg, from_ms, to_ms;
	bool has_ack, badsum, has_opts, timed;
	char opts[128];
};

static void parse_spec(char *s, struct spec *x)
{
	char *word, *save = NULL, *open = strchr(s, '<'), *shut;

	memset(x, 0, sizeof(*x));
	x->win = x->hlen = -1;
	if (open) {
		shut = strchr(open, '>');
		if (!shut)
			bad_line("no > behind the options");
		*shut = 0;
		snprintf(x->opts, sizeof(x->opts), "%s", open + 1);
		memmove(open, shut + 1, strlen(shut + 1) + 1);
		x->has_opts = true;
	}
	word = strtok_r(s, " ", &save);
	if (!word)
		bad_line("no flags");
	x->flags = flags_of(word);
	word = strtok_r(NULL, " ", &save);
	if (!word)
		bad_line("no sequence number");
	x->from = x->to = number(word, "sequence number");
	if (strchr(word, ':'))
		x->to = number(strchr(word, ':') + 1, "sequence number");
	while ((word = strtok_r(NULL, " ", &save))) {
		char *value = !strcmp(word, "badsum") ? word : strtok_r(NULL, " ", &save);

		if (!value)
			bad_line("%s what?", word);
		if (!strcmp(word, "ack"))
			x->ack = number(value, word), x->has_ack = true;
		else if (!strcmp(word, "win"))
			x->win = (int)number(value, word);
		else if (!strcmp(word, "urg"))
			x->urg = number(value, word);
		else if (!strcmp(word, "hlen"))
			x->hlen = (int)number(value, word);
		else if (!strcmp(word, "badsum"))
			x->badsum = true;
		else if (!strcmp(word, "in") && strstr(value, ".."))
			x->timed = true, x->from_ms = number(value, word),
			x->to_ms = number(strstr(value, "..") + 2, word);
		else
			bad_line("unknown word %s", word);
	}
}

static void acted(void)
{
	t.since_ns = t.rig.now_ns;
}

/* The peer's segment, whatever it says. */
static void send_segment(const struct spec *x)
{
	uint8_t f[RIG_FRAME], o[44], tcp[RIG_FRAME];
	char opts[128];
	unsigned n = 0, i, len = x->to - x->from, hdr;
	uint32_t sum, ack = x->has_ack ? t.iss + x->ack : 0, off = x->from - (x->flags & SYN ? 0 : 1);

	if (len > 1460)
		bad_line("at most 1460 bytes");
	snprintf(opts, sizeof(opts), "%s", x->opts);
	if (x->has_opts)
		n = options_build(opts, o);
	hdr = 20 + n;
	memset(tcp, 0, 20);
	tcp[0] = (uint8_t)(t.p.port >> 8), tcp[1] = (uint8_t)t.p.port;
	tcp[2] = (uint8_t)(t.p.dport >> 8), tcp[3] = (uint8_t)t.p.dport;
	put32(tcp + 4, PEER_ISN + x->from);
	put32(tcp + 8, ack);
	tcp[12] = (uint8_t)((x->hlen < 0 ? hdr / 4 : (unsigned)x->hlen) << 4);
	tcp[13] = (uint8_t)x->flags;
	i = x->win < 0 ? 65535 : (unsigned)x->win;
	tcp[14] = (uint8_t)(i >> 8), tcp[15] = (uint8_t)i;
	tcp[18] = (uint8_t)(x->urg >> 8), tcp[19] = (uint8_t)x->urg;
	memcpy(tcp + 20, o, n);
	for (i = 0; i < len; i++)
		tcp[hdr + i] = stream_byte(off + i);
	sum = (PEER_IP >> 16) + (PEER_IP & 0xffff) + (RIG_IP >> 16) + (RIG_IP & 0xffff) + 6 + hdr + len;
	{
		uint16_t c = t.six ? t_csum6(t.p.ip6, t.p.to_ip6, 6, tcp, hdr + len) : t_csum(tcp, hdr + len, sum);

		if (x->badsum)
			c ^= 0x5555;
		memcpy(tcp + 16, &c, 2);
	}
	n = t.six ? t_ip6_frame(&t.rig, f, t.p.ip6, t.p.to_ip6, 6, 64, tcp, hdr + len) :
		    t_ip_frame(&t.rig, f, PEER_IP, RIG_IP, 6, tcp, hdr + len);
	if (!rig_inject(&t.rig, f, n, t.offload && !x->badsum ? VNET_RX_CSUM_OK : 0))
		fail_line("the receive ring is full");
	acted();
	nomstack_poll(t.rig.s);
}

static void expect_segment(const struct spec *x)
{
	char text[256], opts[128];
	uint64_t ms;

	if (x->timed)
		while (!fetch() && t.rig.now_ns - t.since_ns <= (uint64_t)x->to_ms * 1000000)
			rig_run(&t.rig, 1);
	if (!fetch())
		fail_line("no segment came");
	show(&t.seg, text, sizeof(text));
	t.have_seg = false;
	ms = (t.seg.frame.when_ns - t.since_ns) / 1000000;
	if (x->timed && (ms < x->from_ms || ms > x->to_ms))
		fail_line("%s came after %llu ms", text, (unsigned long long)ms);
	if (x->timed)
		acted();
	if ((t.seg.flags & ~(x->flags & PSH ? 0u : PSH)) != x->flags)
		fail_line("flags differ: %s", text);
	if (t.seg.seq - t.iss != x->from || t.seg.len != x->to - x->from)
		fail_line("sequence numbers differ: %s", text);
	if (x->has_ack && t.seg.ack != PEER_ISN + x->ack)
		fail_line("ACK differs: %s", text);
	if (x->win >= 0 && t.seg.window != x->win)
		fail_line("window differs: %s", text);
	options_text(t.seg.opt, t.seg.opt_len, opts, sizeof(opts));
	if (x->has_opts && strcmp(opts, x->opts))
		fail_line("options differ: %s", text);
}

/* FROM:TO in full segments; what the stack answers is not looked at. */
static void stream(char *args)
{
	struct spec x = { .flags = ACK, .win = -1, .hlen = -1, .has_ack = true };
	char *colon = strchr(args, ':'), *ack = strstr(args, " ack ");
	uint32_t end;

	if (!colon || !ack)
		bad_line("stream FROM:TO ack N");
	x.ack = number(ack + 5, "ack");
	end = number(colon + 1, "TO");
	for (x.from = number(args, "FROM"); x.from != end; x.from = x.to) {
		x.to = end - x.from > 1460 ? x.from + 1460 : end;
		send_segment(&x);
		while (fetch())
			t.have_seg = false;
	}
}

/* "MSS of SEQ [port P] [badsum]": a router says that a packet which begins with SEQ is longer than such ones. */
static void narrow(char *args)
{
	uint8_t m[8 + 40 + 8] = { 0 }, f[RIG_FRAME], *ip = m + 8;
	unsigned hdr = t.six ? 40 : 20, n = 8 + hdr + 8, mtu = number(args, "MSS") + hdr + 20;
	char *of = strstr(args, " of "), *port = strstr(args, " port ");
	uint16_t sum;

	if (!of)
		bad_line("narrow MSS of SEQ");
	put16(ip + hdr, t.p.dport);
	put16(ip + hdr + 2, port ? number(port + 6, "port") : t.p.port);
	put32(ip + hdr + 4, t.iss + number(of + 4, "SEQ"));
	if (t.six) {
		m[0] = 2;
		put32(m + 4, mtu);
		t_ip6_frame(&t.rig, f, t.p.to_ip6, t.p.ip6, 6, 60, ip + hdr, 8);
		memcpy(ip, f + 14, hdr);
		put16(ip + 4, 1480);
		sum = t_csum6(t.p.ip6, t.p.to_ip6, 58, m, n);
	} else {
		m[0] = 3, m[1] = 4;
		put16(m + 6, mtu);
		t_ip_frame(&t.rig, f, RIG_IP, PEER_IP, 6, ip + hdr, 8);
		memcpy(ip, f + 14, hdr);
		put16(ip + 2, 1500);
		sum = t_csum(m, n, 0);
	}
	if (strstr(args, " badsum"))
		sum ^= 0x5555;
	memcpy(m + 2, &sum, 2);
	n = t.six ? t_ip6_frame(&t.rig, f, t.p.ip6, t.p.to_ip6, 58, 60, m, n) :
		    t_ip_frame(&t.rig, f, PEER_IP, RIG_IP, 1, m, n);
	t_assert(rig_inject(&t.rig, f, n, 0));
	acted();
	nomstack_poll(t.rig.s);
}

/* Acknowledge each segment that comes, until all up to @args "N [win W]" is; fails if they stop coming. */
static void take(char *args)
{
	struct spec x = { .flags = ACK, .from = 1, .to = 1, .win = -1, .hlen = -1, .has_ack = true };
	char *win = strstr(args, " win ");
	uint32_t until = number(args, "N"), end;
	unsigned ms = 0;

	if (win)
		x.win = (int)number(win + 5, "win");
	x.from = x.to = t.peer_read + 1;
	while ((int32_t)(until - x.ack) > 0) {
		if (!fetch()) {
			if (ms++ > 20000)
				fail_line("%u acknowledged, and no more segments", x.ack);
			rig_run(&t.rig, 1);
			continue;
		}
		end = t.seg.seq - t.iss + t.seg.len;
		t.have_seg = false;
		if ((int32_t)(end - x.ack) > 0)
			x.ack = end;
		send_segment(&x);
	}
}

/* ----------------------------------------------------------------- lines --- */

static const char *const states[] = {
	[CLOSED] = "CLOSED", [LISTEN] = "LISTEN", [SYN_SENT] = "SYN-SENT", [SYN_RCVD] = "SYN-RECEIVED",
	[ESTABLISHED] = "ESTABLISHED", [FIN_WAIT_1] = "FIN-WAIT-1", [FIN_WAIT_2] = "FIN-WAIT-2",
	[CLOSE_WAIT] = "CLOSE-WAIT", [CLOSING] = "CLOSING", [LAST_ACK] = "LAST-ACK", [TIME_WAIT] = "TIME-WAIT",
};

static const char *state_now(void)
{
	ip_addr_t peer, own;
	struct tcp_pcb *pcb;

	memset(&peer, 0, sizeof(peer));
	memset(&own, 0, sizeof(own));
	if (t.six) {
		IP_SET_TYPE_VAL(peer, IPADDR_TYPE_V6);
		IP_SET_TYPE_VAL(own, IPADDR_TYPE_V6);
		memcpy(ip_2_ip6(&peer)->addr, t.p.ip6, 16);
		memcpy(ip_2_ip6(&own)->addr, t.p.to_ip6, 16);
	} else {
		ip4_addr_set_u32(ip_2_ip4(&peer), lwip_htonl(PEER_IP));
		ip4_addr_set_u32(ip_2_ip4(&own), lwip_htonl(RIG_IP));
	}
	pcb = tcp_pcb_hash_find(&peer, t.p.port, &own, t.p.dport, NETIF_NO_INDEX);
	return pcb ? states[pcb->state] : "CLOSED";
}

/* ----------------------------------------------------------- transitions --- */

#define TABLE "Documentation/testing.rst"
#define TABLE_BEGIN ".. transitions of TCP, checked by test_stack_conform"
#define MAX_SEEN 1024

/* What was seen, in scripts that passed. */
static struct seen {
	const char *from, *to;
	char file[64];
} seen[MAX_SEEN];
static unsigned nr_seen;

static bool was_seen(const char *from, const char *to, const char *file)
{
	for (unsigned i = 0; i < nr_seen; i++)
		if (!strcmp(seen[i].from, from) && !strcmp(seen[i].to, to) && !strcmp(seen[i].file, file))
			return true;
	return false;
}

static void note(const char *from, const char *to)
{
	const char *name = strrchr(t.file, '/');
	struct seen *s = &seen[nr_seen];

	if (was_seen(from, to, name ? name + 1 : t.file))
		return;		/* on another way */
	if (nr_seen == MAX_SEEN)
		bad_line("more than %u changes of state in all scripts", MAX_SEEN);
	s->from = from;
	s->to = to;
	snprintf(s->file, sizeof(s->file), "%s", name ? name + 1 : t.file);
	nr_seen++;
}

/* A line was run: a listener stays what it is, the state is the connection's. */
static void note_state(void)
{
	const char *now = state_now();

	if (!strcmp(now, "CLOSED"))
		now = NULL;
	if (now == t.state)
		return;
	if (!t.state)
		note(t.listens ? "LISTEN" : "CLOSED", now);
	else
		note(t.state, now ? now : t.listens && !strcmp(t.state, "SYN-RECEIVED") ? "LISTEN" : "CLOSED");
	t.state = now;
}

/* Rows of three words, FROM TO SCRIPT; a script of "-" has its reason behind it. */
static void test_transitions(void **state)
{
	char line[MAX_LINE], from[32], to[32], file[64];
	unsigned rows = 0, bad = 0, rules = 0;
	FILE *f = fopen(TABLE, "r");
	bool inside = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && rules < 3) {
		if (!strncmp(line, TABLE_BEGIN, strlen(TABLE_BEGIN)))
			inside = true;
		rules += inside && !strncmp(line, "===", 3);
		if (rules != 2 || sscanf(line, "%31s %31s %63s", from, to, file) != 3 || *line == '=')
			continue;
		rows++;
		if (strcmp(file, "-") && !was_seen(from, to, file)) {
			print_error("%s to %s was not seen in %s\n", from, to, file);
			bad++;
		}
	}
	fclose(f);
	assert_int_equal(bad, 0);
	assert_int_equal(rows, 21);	/* arrows of the figure, and its note 2 */
}

static const struct {
	const char *name;
	int err;
} ends[] = {
	{ "fin", 0 }, { "reset", -ECONNRESET }, { "refused", -ECONNREFUSED }, { "timeout", -ETIMEDOUT },
	{ "aborted", -ECONNABORTED },
};

static void app_line(const char *s)
{
	unsigned i, n;

	if (!strcmp(s, "accepted") || !strcmp(s, "connected")) {
		unsigned *which = *s == 'a' ? &t.accepted : &t.connected;

		if (*which != 1)
			fail_line("%s %u times", s, *which);
		*which = 0;
	} else if (!strncmp(s, "got ", 4)) {
		n = number(s + 4, "got");
		if (t.got != n)
			fail_line("the application got %u bytes", t.got);
		t.got = 0;
	} else if (!strncmp(s, "closed ", 7)) {
		for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
			if (!strcmp(s + 7, ends[i].name))
				break;
		if (i == sizeof(ends) / sizeof(ends[0]))
			bad_line("closed fin|reset|refused|timeout|aborted");
		if (t.closed != 1 || t.closed_err != ends[i].err)
			fail_line("closed() came %u times, the last with %d", t.closed, t.closed_err);
		t.closed = 0;
	} else {
		bad_line("app accepted|connected|got N|closed HOW");
	}
}

static void send_bytes(unsigned n)
{
	static uint8_t b[STREAM_BYTES];
	unsigned i;
	int rc;

	if (!t.c || n > sizeof(b))
		bad_line("send: no connection, or too much");
	for (i = 0; i < n; i++)
		b[i] = stream_byte(t.app_sent + i);
	rc = nomstack_tcp_send(t.c, b, n, NOMSTACK_SEND_COPY);
	if (rc)
		fail_line("send: %d", rc);
	t.app_sent += n;
}

static void need_conn(void)
{
	if (!t.c)
		fail_line("the application has no connection");
}

static void run_line(char *s)
{
	struct spec x;
	char name[32];
	long long value;

	if (s[0] == '>' && s[1] == ' ') {
		expect_none();
		parse_spec(s + 2, &x);
		send_segment(&x);
	} else if (s[0] == '<' && s[1] == ' ') {
		parse_spec(s + 2, &x);
		expect_segment(&x);
	} else if (!strncmp(s, "stream ", 7)) {
		expect_none();
		stream(s + 7);
	} else if (!strncmp(s, "take ", 5)) {
		take(s + 5);
	} else if (!strncmp(s, "narrow ", 7)) {
		expect_none();
		narrow(s + 7);
	} else if (!strncmp(s, "wait ", 5)) {
		expect_none();
		value = number(s + 5, "wait");
		if (value > MAX_WAIT_MS)
			bad_line("wait: at most %u ms", MAX_WAIT_MS);
		rig_run(&t.rig, (unsigned)value);
		acted();
	} else if (!strncmp(s, "silence ", 8)) {
		for (value = number(s + 8, "silence"); value > 0; value--) {
			expect_none();
			rig_run(&t.rig, 1);
		}
		expect_none();
		acted();
	} else if (!strncmp(s, "app ", 4)) {
		app_line(s + 4);
	} else if (!strncmp(s, "state ", 6)) {
		if (strcmp(s + 6, state_now()))
			fail_line("the state is %s", state_now());
	} else if (sscanf(s, "knob %31s %lld", name, &value) == 2) {
		if (nomstack_knob_set(t.rig.s, name, value))
			bad_line("no such knob or value: %s %lld", name, value);
	} else if (!strcmp(s, "listen")) {
		if (nomstack_tcp_listen(t.rig.s, PORT, 255, &ops, &t))
			fail_line("listen");
		t.listens = true;
		note("CLOSED", "LISTEN");
	} else if (!strcmp(s, "unlisten")) {
		nomstack_tcp_unlisten(t.rig.s, PORT);
		t.listens = false;
		note("LISTEN", "CLOSED");
	} else if (!strcmp(s, "refuse")) {
		t.refuse = true;
	} else if (!strcmp(s, "close on fin")) {
		t.close_on_fin = true;
	} else if (!strcmp(s, "connect")) {
		if (nomstack_tcp_connect(t.rig.s, t.six ? PEER_IP6 : "10.0.0.1", PEER_PORT, &ops, &t, &t.c))
			fail_line("connect");
		acted();
		nomstack_poll(t.rig.s);
	} else if (!strncmp(s, "send ", 5)) {
		expect_none();
		send_bytes(number(s + 5, "send"));
		acted();
		nomstack_poll(t.rig.s);
	} else if (!strcmp(s, "close") || !strcmp(s, "abort")) {
		need_conn();
		expect_none();
		if (*s == 'c')
			nomstack_tcp_close(t.c);
		else
			nomstack_tcp_abort(t.c);
		t.c = NULL;
		acted();
		nomstack_poll(t.rig.s);
	} else if (!strcmp(s, "pause") || !strcmp(s, "resume")) {
		need_conn();
		nomstack_tcp_pause(t.c, *s == 'p');
		acted();
		nomstack_poll(t.rig.s);
	} else if (!strcmp(s, "established")) {
		char syn[] = "S 0 <mss 1460>", ack[] = "A 1 ack 1", syn_ack[] = "SA 0 ack 1";

		parse_spec(syn, &x), send_segment(&x);
		parse_spec(syn_ack, &x), expect_segment(&x);
		parse_spec(ack, &x), send_segment(&x);
		app_line("accepted");
	} else {
		bad_line("unknown line: %s", s);
	}
}

static void run_script(FILE *f, bool *deviation_out)
{
	char line[MAX_LINE], *s;
	size_t n;

	uint64_t features = t.offload ? 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM : 0;

	if (t.six) {
		rig_open6(&t.rig, features);
		t.rig.s->netif.mtu6 = 1520;	/* an MSS of 1460, which the scripts are written for */
		peer_init6(&t.p, &t.rig, PEER_PORT, PORT);
	} else {
		rig_open(&t.rig, "10.0.0.2/24", features);
		peer_init(&t.p, &t.rig, PEER_PORT, PORT);
	}
	if (!t.offload)
		t.rig.s->predict_min = UINT32_MAX;
	acted();
	while (fgets(line, sizeof(line), f)) {
		t.line++;
		s = strchr(line, '#');
		if (s)
			*s = 0;
		for (n = strlen(line); n && strchr(" \t\r\n", line[n - 1]); n--)
			line[n - 1] = 0;
		s = line + strspn(line, " \t");
		if (!strncmp(s, "deviation ", 10))
			*deviation_out = true;
		else if (*s) {
			run_line(s);
			note_state();
		}
	}
	expect_none();
	if (t.got || t.closed)
		fail_line("at the end: %u bytes and %u ends of connections that no line names", t.got, t.closed);
	rig_close(&t.rig);
}

static void test_script(void **state)
{
	static FILE *f;
	static bool deviation;
	static int failed;

	memset(&t, 0, sizeof(t));
	t.file = *state;
	t.offload = ((const char *)*state)[-1] != PLAIN;
	t.six = ((const char *)*state)[-1] == OFFLOAD6;
	deviation = false;
	f = fopen(t.file, "r");
	if (!f)
		fail_msg("%s: %s", t.file, strerror(errno));
	failed = setjmp(out);
	if (!failed)
		run_script(f, &deviation);
	fclose(f);
	if (failed == NONSENSE || (failed && !deviation))
		fail_msg("%s", why);
	if (!failed && deviation)
		fail_msg("%s passes: it is no deviation any more, say so there and in the README", t.file);
	if (failed)
		print_message("# known deviation: %s\n", why);
}

int main(int argc, char **argv)
{
	struct CMUnitTest *tests;
	glob_t found = { 0 };
	size_t i, n = (size_t)argc - 1;
	char **files = argv + 1, *runs;
	bool all;
	int rc;

	if (!n) {
		if (glob("tests/conform/*.seg", 0, NULL, &found)) {
			fprintf(stderr, "no tests/conform/*.seg: run it at the top of the tree\n");
			return 1;
		}
		n = found.gl_pathc;
		files = found.gl_pathv;
	}
	all = found.gl_pathc;		/* else nothing is said of what was not run */
	tests = calloc(NR_KINDS * n + 1, sizeof(*tests));
	runs = calloc(NR_KINDS * n, RUN_BYTES);
	if (!tests || !runs)
		return 1;
	for (i = 0; i < NR_KINDS * n; i++) {
		char *run = runs + i * RUN_BYTES;

		/* the kind of run, the file's name, and what the run is called */
		run[0] = (char)(i % NR_KINDS);
		snprintf(run + 1, RUN_BYTES / 2 - 1, "%s", files[i / NR_KINDS]);
		snprintf(run + RUN_BYTES / 2, RUN_BYTES / 2, "%s%s", files[i / NR_KINDS], kinds[i % NR_KINDS]);
		tests[i] = (struct CMUnitTest){ .name = run + RUN_BYTES / 2, .test_func = test_script,
						.initial_state = run + 1 };
	}
	tests[i] = (struct CMUnitTest)cmocka_unit_test(test_transitions);
	rc = _cmocka_run_group_tests("conform", tests, NR_KINDS * n + all, NULL, NULL);
	free(runs);
	free(tests);
	globfree(&found);
	return rc != 0;
}
