// SPDX-License-Identifier: MIT
/* nom-fuzz: messages to the "nom" family, most of them nearly right. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include "../system/lib/kmod_nl.h"
#include "fuzz.h"

static int family, group;

int fz_nl_init(void)
{
	int sock = k_nl_open(&family, &group);

	if (sock < 0)
		return sock;
	close(sock);
	return 0;
}

/* arg: 0 quiet, 1 hears changes, 2 with a buffer that is soon full, 3 strict checks */
long fz_nl_open(struct fz_thread *t, const uint64_t *a)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_GENERIC), one = 1, small = 2048;

	if (sock < 0)
		return -errno;
	if (a[0] == 1 || a[0] == 2)
		setsockopt(sock, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group));
	if (a[0] == 2)
		setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (a[0] == 3)
		setsockopt(sock, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	fz_keep_fd(t->run, K_NETLINK, sock);
	return 0;
}

static const char *const names[] = {
	"bandwidth", "core", "memory", "a.b", "x", "fuzz_1", "fuzz_2", "", "NOT ok", "no\tunit",
	"this-is-a-name-that-is-too-long", "core-hour", "Gbit",
};

static size_t attribute(char *p, size_t room, struct fz_rng *r)
{
	struct nlattr *a = (struct nlattr *)p;
	size_t bytes = 0, told;
	char *data = p + NLA_HDRLEN;
	unsigned int k;
	uint64_t v;

	a->nla_type = fz_percent(r, 70) ? NOM_GENL_A_PRICE_NAME + fz_below(r, 3) : fz_below(r, NOM_GENL_A_MAX + 4);
	if (a->nla_type == NOM_GENL_A_PRICE_NAME || a->nla_type == NOM_GENL_A_PRICE_UNIT) {
		k = fz_below(r, sizeof(names) / sizeof(names[0]));
		bytes = strlen(names[k]) + !fz_percent(r, 5);
		memcpy(data, names[k], bytes);
	} else {
		v = fz_percent(r, 80) ? fz_below(r, 1000000) : fz_rand(r);
		bytes = fz_percent(r, 90) ? 8 : fz_below(r, 12);
		memcpy(data, &v, 8);
		memset(data + 8, 0x5a, 8);
	}
	told = NLA_HDRLEN + bytes;
	if (fz_percent(r, 3))
		told = fz_below(r, 70000);
	a->nla_len = told;
	if (fz_percent(r, 3))
		a->nla_type |= fz_percent(r, 50) ? NLA_F_NESTED : NLA_F_NET_BYTEORDER;
	return NLA_ALIGN(NLA_HDRLEN + bytes);
}

#ifdef NOM_RECLAIM_MAX_MS
/* Memory is asked back of a grant of this process, or of somebody's. */
static size_t reclaim(struct fz_thread *t, struct nlmsghdr *h, struct genlmsghdr *g, char *buf, size_t n, struct fz_rng *r)
{
	uint64_t value[3] = {
		fz_percent(r, 80) ? t->run->grant_id : fz_below(r, 4096),
		FZ_CHUNK * (1 + fz_below(r, 3)) + (fz_percent(r, 90) ? 0 : 1),
		fz_percent(r, 90) ? fz_below(r, 30) : fz_rand(r),
	};
	static const struct { int type; unsigned int bytes; } a[3] = {
		{ NOM_GENL_A_HANDLE, 8 }, { NOM_GENL_A_MEM_WANTED, 8 }, { NOM_GENL_A_DEADLINE_MS, 4 },
	};
	unsigned int k;

	g->cmd = NOM_GENL_CMD_RECLAIM;
	h->nlmsg_flags &= 0xffff ^ NLM_F_DUMP;
	for (k = 0; k < 3; k++) {
		struct nlattr *x = (struct nlattr *)(buf + n);

		x->nla_type = a[k].type;
		x->nla_len = NLA_HDRLEN + a[k].bytes;
		memcpy(x + 1, &value[k], a[k].bytes);
		n += NLA_ALIGN(x->nla_len);
	}
	return n;
}
#endif

/* arg: socket, command, seed of all the rest */
long fz_nl_send(struct fz_thread *t, const uint64_t *a)
{
	struct fz_rng r = { a[2] };
	char buf[8192] = { 0 };
	struct nlmsghdr *h = (struct nlmsghdr *)buf;
	struct genlmsghdr *g = (struct genlmsghdr *)(buf + NLMSG_HDRLEN);
	size_t n = NLMSG_HDRLEN + GENL_HDRLEN, sent;
	unsigned int nr = fz_percent(&r, 85) ? fz_below(&r, 5) : fz_below(&r, 60);
	long ret;

	h->nlmsg_type = fz_percent(&r, 96) ? family : (int)fz_below(&r, 64);
	h->nlmsg_flags = NLM_F_REQUEST | (fz_percent(&r, 60) ? NLM_F_ACK : 0) |
			 (fz_percent(&r, 50) ? NLM_F_DUMP : 0) | (fz_percent(&r, 3) ? (uint16_t)fz_rand(&r) : 0);
	h->nlmsg_seq = fz_rand(&r);
	g->cmd = fz_percent(&r, 30) ? NOM_GENL_CMD_SET_PRICE : a[1];
	if (g->cmd == NOM_GENL_CMD_SET_PRICE || g->cmd == NOM_GENL_CMD_GET_INFO ||
	    g->cmd == NOM_GENL_CMD_DEL_PRICE)
		h->nlmsg_flags &= fz_percent(&r, 90) ? 0xffff ^ NLM_F_DUMP : 0xffff;
	g->version = fz_percent(&r, 95) ? NOM_GENL_VERSION : (uint8_t)fz_rand(&r);
	g->reserved = fz_percent(&r, 97) ? 0 : (uint16_t)fz_rand(&r);
	if (g->cmd == NOM_GENL_CMD_SET_PRICE && fz_percent(&r, 70)) {	/* a good one */
		static const int type[] = { NOM_GENL_A_PRICE_NAME, NOM_GENL_A_PRICE_UNIT, NOM_GENL_A_PRICE_UCR };
		const char *text[] = { names[fz_below(&r, 7)], "Gbit", NULL };
		int64_t ucr = fz_below(&r, 1000);
		unsigned int k;

		for (k = 0; k < 3; k++) {
			struct nlattr *x = (struct nlattr *)(buf + n);

			x->nla_type = type[k];
			x->nla_len = NLA_HDRLEN + (text[k] ? strlen(text[k]) + 1 : 8);
			memcpy(x + 1, text[k] ? (const void *)text[k] : &ucr, x->nla_len - NLA_HDRLEN);
			n += NLA_ALIGN(x->nla_len);
		}
		nr = fz_percent(&r, 90) ? 0 : nr;
	}
	if (g->cmd == NOM_GENL_CMD_DEL_PRICE && fz_percent(&r, 70)) {
		struct nlattr *x = (struct nlattr *)(buf + n);
		const char *name = names[fz_below(&r, 7)];

		x->nla_type = NOM_GENL_A_PRICE_NAME;
		x->nla_len = NLA_HDRLEN + strlen(name) + 1;
		memcpy(x + 1, name, strlen(name) + 1);
		n += NLA_ALIGN(x->nla_len);
		nr = fz_percent(&r, 90) ? 0 : nr;
	}
#ifdef NOM_RECLAIM_MAX_MS
	if (fz_percent(&r, 15))
		n = reclaim(t, h, g, buf, n, &r);
#endif
	while (nr-- && n < sizeof(buf) - 64)
		n += attribute(buf + n, sizeof(buf) - n, &r);
	h->nlmsg_len = n;
	sent = n;
	if (fz_percent(&r, 4))
		h->nlmsg_len = fz_below(&r, 20000);
	if (fz_percent(&r, 4))
		sent = fz_below(&r, n + 1);
	if (fz_percent(&r, 2))
		sent = sizeof(buf);
	ret = send(a[0], buf, sent, MSG_DONTWAIT);
	return ret < 0 ? -errno : 0;
}

/* arg: socket, how many messages; what is left over dies with the socket */
long fz_nl_read(struct fz_thread *t, const uint64_t *a)
{
	static char buf[32768];
	unsigned int n;
	long ret = 0;

	for (n = 0; n < a[1] % 16 && ret >= 0; n++)
		ret = recv(a[0], buf, n & 1 ? 200 : sizeof(buf), MSG_DONTWAIT);
	return ret < 0 ? -errno : ret;
}
