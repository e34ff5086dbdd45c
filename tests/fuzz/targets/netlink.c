// SPDX-License-Identifier: MIT
/*
 * netlink.c - libFuzzer target: what comes from a netlink socket, into the client of
 * the nom family
 *
 * The socket is real, what is read from it is the input: libnl's calls of the C
 * library end here.  An input is
 *
 *	byte	which call of <econ/nl.h>
 *	byte	what is put right: FAMILY, NUMBERS
 *	then datagrams: 16 bits of length, little-endian, and so many bytes
 *
 * What must hold: each call ends when there is nothing more to read, with 0 or a
 * negative error; texts are terminated; a record says no more than it has.
 */
#include <econ/nl.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/genetlink.h>
#include <linux/netlink.h>

#define CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

#define FAMILY	1	/* the family is found: without it, only who answers that is tested */
#define NUMBERS	2	/* lengths, sequence numbers and ports are what libnl expects */
#define RECORDS_MAX 1000

static const uint8_t *input, *input_end;
static uint8_t datagram[65536];
static size_t datagram_bytes;
static bool put_right, waiting;
static unsigned greet;		/* answers about the family, still to come */
static struct nlmsghdr sent;	/* the last request */

/* ----------------------------------------------------- the C library's --- */

static size_t put(size_t at, const void *data, size_t bytes)
{
	memcpy(datagram + at, data, bytes);
	return at + NLMSG_ALIGN(bytes);
}

static size_t put_attr(size_t at, uint16_t type, const void *data, size_t bytes)
{
	struct nlattr a = { .nla_len = (uint16_t)(NLA_HDRLEN + bytes), .nla_type = type };

	return put(put(at, &a, sizeof(a)), data, bytes);
}

/* "nom" is family 32 and has one group; then the acknowledgment. */
static void greeting(void)
{
	struct genlmsghdr g = { .cmd = CTRL_CMD_NEWFAMILY, .version = 2 };
	struct nlmsghdr h = { .nlmsg_type = GENL_ID_CTRL, .nlmsg_seq = sent.nlmsg_seq, .nlmsg_pid = sent.nlmsg_pid };
	struct nlmsgerr ack = { .msg = sent };
	uint16_t family = 32, groups, group;
	uint32_t id = 5;
	size_t at = sizeof(h);

	memset(datagram, 0, 256);
	if (greet == 2) {
		at = put(at, &g, sizeof(g));
		at = put_attr(at, CTRL_ATTR_FAMILY_ID, &family, sizeof(family));
		at = put_attr(at, CTRL_ATTR_FAMILY_NAME, NOM_GENL_NAME, sizeof(NOM_GENL_NAME));
		groups = (uint16_t)at;
		at = put_attr(at, CTRL_ATTR_MCAST_GROUPS, "", 0);
		group = (uint16_t)at;
		at = put_attr(at, 1, "", 0);
		at = put_attr(at, CTRL_ATTR_MCAST_GRP_NAME, NOM_GENL_MCGRP_CHANGES, sizeof(NOM_GENL_MCGRP_CHANGES));
		at = put_attr(at, CTRL_ATTR_MCAST_GRP_ID, &id, sizeof(id));
		((struct nlattr *)(datagram + groups))->nla_len = (uint16_t)(at - groups);
		((struct nlattr *)(datagram + group))->nla_len = (uint16_t)(at - group);
	} else {
		h.nlmsg_type = NLMSG_ERROR;
		at = put(at, &ack, sizeof(ack));
	}
	h.nlmsg_len = (uint32_t)at;
	put(0, &h, sizeof(h));
	datagram_bytes = at;
	greet--;
}

/* Headers of all messages in the datagram that have room for one. */
static void make_right(void)
{
	size_t at = 0, left;
	struct nlmsghdr h;

	for (; at + sizeof(h) <= datagram_bytes; at += NLMSG_ALIGN(h.nlmsg_len)) {
		left = datagram_bytes - at;
		memcpy(&h, datagram + at, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > left)
			h.nlmsg_len = (uint32_t)left;
		h.nlmsg_seq = sent.nlmsg_seq;
		h.nlmsg_pid = sent.nlmsg_pid;
		memcpy(datagram + at, &h, sizeof(h));
	}
}

static bool next_datagram(void)
{
	size_t n;

	if (greet) {
		greeting();
		return true;
	}
	if (input_end - input < 2)
		return false;
	n = (size_t)(input[0] | input[1] << 8);
	input += 2;
	if (n > (size_t)(input_end - input))
		n = (size_t)(input_end - input);
	memcpy(datagram, input, n);
	input += n;
	datagram_bytes = n;
	if (put_right)
		make_right();
	return true;
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	size_t n;

	if (!waiting && !next_datagram()) {
		errno = ECONNRESET;
		return -1;
	}
	waiting = flags & MSG_PEEK;
	n = datagram_bytes < m->msg_iov[0].iov_len ? datagram_bytes : m->msg_iov[0].iov_len;
	if (n)
		memcpy(m->msg_iov[0].iov_base, datagram, n);
	m->msg_flags = n < datagram_bytes ? MSG_TRUNC : 0;
	if (m->msg_name && m->msg_namelen >= sizeof(kernel))
		memcpy(m->msg_name, &kernel, sizeof(kernel));
	m->msg_namelen = sizeof(kernel);
	m->msg_controllen = 0;
	return (ssize_t)(flags & MSG_TRUNC ? datagram_bytes : n);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	CHECK(m->msg_iov[0].iov_len >= sizeof(sent));
	memcpy(&sent, m->msg_iov[0].iov_base, sizeof(sent));
	return (ssize_t)m->msg_iov[0].iov_len;
}

int poll(struct pollfd *p, nfds_t nr, int timeout_ms)
{
	p[0].revents = POLLIN;
	return waiting || input_end - input >= 2;
}

/* Of groups that only the input knows. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	return 0;
}

/* -------------------------------------------------------------- checks --- */

static unsigned records;

static int on_record(const struct econ_nl_record *r, void *arg)
{
	CHECK(arg == &records);
	CHECK(memchr(r->comm, 0, sizeof(r->comm)));
	CHECK(memchr(r->price_name, 0, sizeof(r->price_name)));
	CHECK(memchr(r->price_unit, 0, sizeof(r->price_unit)));
	CHECK((r->present >> NOM_GENL_A_PRICE_NAME & 1) || !r->price_name[0]);
	CHECK((r->present >> NOM_GENL_A_HANDLE & 1) || !r->handle);
	CHECK((r->present >> NOM_GENL_A_VENDOR & 1) || !r->vendor);
	return ++records >= RECORDS_MAX ? 7 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct econ_nl *nl = NULL;
	uint8_t call;
	int ret;

	if (size < 2)
		return 0;
	call = data[0];
	put_right = data[1] & NUMBERS;
	greet = data[1] & FAMILY ? 2 : 0;
	input = data + 2;
	input_end = data + size;
	waiting = false;
	records = 0;
	ret = econ_nl_open(&nl);
	if (ret) {
		CHECK(ret < 0 && !nl);
		return 0;
	}
	switch (call % 8) {
	case 0:
		ret = econ_nl_set_price(nl, "a", "b", 1);
		break;
	case 1:
		ret = econ_nl_del_price(nl, "a");
		break;
	case 2:
		ret = econ_nl_reclaim(nl, 1, 2 << 20, 10);
		break;
	case 3:
		greet = data[1] & FAMILY ? 2 : 0;
		ret = econ_nl_watch(nl, on_record, &records, 0);
		break;
	default:
		ret = econ_nl_get(nl, call & 8 ? NOM_GENL_CMD_GET_INFO : NOM_GENL_CMD_GET_CORES, on_record, &records);
	}
	CHECK(ret <= 0 || ret == 7);
	CHECK(strlen(econ_nl_why(nl)) < 1000);
	econ_nl_close(nl);
	return 0;
}
