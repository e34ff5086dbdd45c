// SPDX-License-Identifier: MIT
/* kmod_nl: see kmod_nl.h. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/nom.h>
#include "kmod_nl.h"

#define BODY(nlh)	((char *)(nlh) + NLMSG_HDRLEN)

void k_nl_begin(struct k_nl_req *req, int family, uint8_t cmd, uint16_t flags)
{
	memset(req, 0, sizeof(*req));
	req->nlh.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	req->nlh.nlmsg_type = family;
	req->nlh.nlmsg_flags = NLM_F_REQUEST | flags;
	req->nlh.nlmsg_seq = 1;
	req->genl.cmd = cmd;
	req->genl.version = 1;
}

void k_nl_put(struct k_nl_req *req, uint16_t type, const void *data, uint16_t bytes)
{
	struct nlattr *a = (void *)((char *)req + NLMSG_ALIGN(req->nlh.nlmsg_len));

	if ((char *)a + NLA_HDRLEN + NLA_ALIGN(bytes) > (char *)(req + 1))
		abort();
	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + bytes;
	if (bytes)
		memcpy((char *)a + NLA_HDRLEN, data, bytes);
	req->nlh.nlmsg_len = NLMSG_ALIGN(req->nlh.nlmsg_len) + NLA_ALIGN(a->nla_len);
}

void k_nl_str(struct k_nl_req *req, uint16_t type, const char *s)
{
	k_nl_put(req, type, s, strlen(s) + 1);
}

void k_nl_s64(struct k_nl_req *req, uint16_t type, int64_t v)
{
	k_nl_put(req, type, &v, sizeof(v));
}

static void parse(const struct nlattr *a, long left, const struct nlattr **attr, int max)
{
	memset(attr, 0, max * sizeof(*attr));
	while (left >= NLA_HDRLEN && a->nla_len >= NLA_HDRLEN && a->nla_len <= left) {
		if ((a->nla_type & NLA_TYPE_MASK) < max)
			attr[a->nla_type & NLA_TYPE_MASK] = a;
		left -= NLA_ALIGN(a->nla_len);
		a = (const void *)((const char *)a + NLA_ALIGN(a->nla_len));
	}
}

static void parse_msg(const struct nlmsghdr *nlh, struct k_nl_msg *msg)
{
	const struct genlmsghdr *genl = (const void *)BODY(nlh);

	msg->cmd = genl->cmd;
	parse((const void *)((const char *)genl + GENL_HDRLEN),
	      (long)nlh->nlmsg_len - NLMSG_HDRLEN - GENL_HDRLEN, msg->attr, 64);
}

int k_nl_talk(int sock, struct k_nl_req *req, void (*fn)(const struct k_nl_msg *, void *), void *arg)
{
	static char buf[65536] __attribute__((aligned(8)));
	struct k_nl_msg msg;
	struct nlmsghdr *nlh;
	ssize_t n;

	if (!(req->nlh.nlmsg_flags & NLM_F_DUMP))
		req->nlh.nlmsg_flags |= NLM_F_ACK;
	if (send(sock, req, req->nlh.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		n = recv(sock, buf, sizeof(buf), 0);
		if (n < 0)
			return -errno;
		for (nlh = (void *)buf; NLMSG_OK(nlh, n); nlh = NLMSG_NEXT(nlh, n)) {
			if (nlh->nlmsg_seq != req->nlh.nlmsg_seq)
				continue;	/* a notification */
			if (nlh->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)BODY(nlh))->error;
			if (nlh->nlmsg_type == NLMSG_DONE)
				return *(int *)BODY(nlh);
			parse_msg(nlh, &msg);
			if (fn)
				fn(&msg, arg);
		}
	}
}

int k_nl_next(int sock, char *buf, size_t bytes, struct k_nl_msg *msg, int ms)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct nlmsghdr *nlh = (void *)buf;
	ssize_t n;

	if (poll(&p, 1, ms) != 1)
		return -EAGAIN;
	n = recv(sock, buf, bytes, 0);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(nlh, n))
		return -EBADMSG;
	parse_msg(nlh, msg);
	return 0;
}

struct ids {
	int family, group;
};

static void take_ids(const struct k_nl_msg *m, void *arg)
{
	const struct nlattr *group, *one[CTRL_ATTR_MCAST_GRP_MAX + 1];
	struct ids *ids = arg;
	long left;

	if (m->attr[CTRL_ATTR_FAMILY_ID])
		ids->family = *(const uint16_t *)((const char *)m->attr[CTRL_ATTR_FAMILY_ID] + NLA_HDRLEN);
	if (!m->attr[CTRL_ATTR_MCAST_GROUPS])
		return;
	group = (const void *)((const char *)m->attr[CTRL_ATTR_MCAST_GROUPS] + NLA_HDRLEN);
	left = m->attr[CTRL_ATTR_MCAST_GROUPS]->nla_len - NLA_HDRLEN;
	while (left >= NLA_HDRLEN) {
		parse((const void *)((const char *)group + NLA_HDRLEN), group->nla_len - NLA_HDRLEN,
		      one, CTRL_ATTR_MCAST_GRP_MAX + 1);
		if (one[CTRL_ATTR_MCAST_GRP_NAME] && one[CTRL_ATTR_MCAST_GRP_ID] &&
		    !strcmp((const char *)one[CTRL_ATTR_MCAST_GRP_NAME] + NLA_HDRLEN, NOM_GENL_MCGRP_CHANGES))
			ids->group = *(const uint32_t *)((const char *)one[CTRL_ATTR_MCAST_GRP_ID] + NLA_HDRLEN);
		left -= NLA_ALIGN(group->nla_len);
		group = (const void *)((const char *)group + NLA_ALIGN(group->nla_len));
	}
}

int k_nl_open(int *family_out, int *group_out)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), ret;
	struct ids ids = { -1, -1 };
	struct k_nl_req req;

	if (sock < 0)
		return -errno;
	k_nl_begin(&req, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
	k_nl_str(&req, CTRL_ATTR_FAMILY_NAME, NOM_GENL_NAME);
	ret = k_nl_talk(sock, &req, take_ids, &ids);
	if (ret || ids.family < 0) {
		close(sock);
		return ret ? ret : -ENOENT;
	}
	*family_out = ids.family;
	*group_out = ids.group;
	return sock;
}

int k_nl_join(int sock, int group)
{
	return setsockopt(sock, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) ? -errno : 0;
}

static const void *payload(const struct k_nl_msg *m, int a, size_t bytes)
{
	if (!m->attr[a] || m->attr[a]->nla_len < NLA_HDRLEN + bytes)
		return NULL;
	return (const char *)m->attr[a] + NLA_HDRLEN;
}

uint32_t k_nl_u32(const struct k_nl_msg *m, int a)
{
	const uint32_t *p = payload(m, a, sizeof(*p));

	return p ? *p : ~0U;
}

uint64_t k_nl_u64(const struct k_nl_msg *m, int a)
{
	const void *p = payload(m, a, sizeof(uint64_t));
	uint64_t v = ~0ULL;

	if (p)
		memcpy(&v, p, sizeof(v));
	return v;
}

const char *k_nl_string(const struct k_nl_msg *m, int a)
{
	const char *p = payload(m, a, 1);

	return p ? p : "(none)";
}

int k_nl_price(int sock, int family, const char *name, const char *unit, int64_t ucr)
{
	struct k_nl_req req;

	k_nl_begin(&req, family, NOM_GENL_CMD_SET_PRICE, 0);
	if (name)
		k_nl_str(&req, NOM_GENL_A_PRICE_NAME, name);
	if (unit)
		k_nl_str(&req, NOM_GENL_A_PRICE_UNIT, unit);
	k_nl_s64(&req, NOM_GENL_A_PRICE_UCR, ucr);
	return k_nl_talk(sock, &req, NULL, NULL);
}

int k_nl_del_price(int sock, int family, const char *name)
{
	struct k_nl_req req;

	k_nl_begin(&req, family, NOM_GENL_CMD_DEL_PRICE, 0);
	if (name)
		k_nl_str(&req, NOM_GENL_A_PRICE_NAME, name);
	return k_nl_talk(sock, &req, NULL, NULL);
}
