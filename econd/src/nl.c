// SPDX-License-Identifier: MIT
/*
 * Client of the "nom" generic netlink family, on libnl.
 *
 * libnl turns the kernel's errno into codes of its own, several to one; so the
 * error callback here takes the number from the message itself, and the text of
 * the extended acknowledgement with it.
 */
#include <econ/nl.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

struct econ_nl {
	struct nl_sock *sock;
	struct nl_sock *group;		/* member of "changes", or NULL */
	int family;
	char why[160];
};

/* State of one request while its answers come in. */
struct request {
	struct econ_nl *nl;
	econ_nl_fn fn;
	void *arg;
	int ret;
	bool done;
};

/* ------------------------------------------------------------ decoding --- */

#define FLAG	255		/* it is there, and has no value */
#define U16	2
#define U32	4
#define U64	8
#define TEXT	0

static const struct field {
	uint8_t attr;
	uint8_t width;
	uint16_t room;		/* of a text */
	size_t offset;
} fields[] = {
#define NUMBER(a, w, f)	{ NOM_GENL_A_##a, w, 0, offsetof(struct econ_nl_record, f) }
#define STRING(a, f)	{ NOM_GENL_A_##a, TEXT, sizeof(((struct econ_nl_record *)0)->f), \
			  offsetof(struct econ_nl_record, f) }
	NUMBER(VERSION, U32, version),
	NUMBER(FEATURES, U64, features),
	NUMBER(NR_CORES, U32, nr_cores),
	NUMBER(CPU, U32, cpu),
	NUMBER(STATE, U32, state),
	NUMBER(HANDLE, U64, handle),
	NUMBER(PID, U32, pid),
	NUMBER(UID, U32, uid),
	STRING(COMM, comm),
	NUMBER(MEM_TOTAL, U64, mem_total_bytes),
	NUMBER(MEM_FREE, U64, mem_free_bytes),
	NUMBER(MEM_GRANTED, U64, mem_granted_bytes),
	NUMBER(MEM_QUARANTINED, U64, mem_quarantined_bytes),
	NUMBER(MEM_MAPPED, U64, mem_mapped_bytes),
	NUMBER(BDF, U32, bdf),
	NUMBER(VENDOR, U16, vendor),
	NUMBER(DEVICE, U16, device),
	NUMBER(CLASS, U32, class_code),
	STRING(PRICE_NAME, price_name),
	STRING(PRICE_UNIT, price_unit),
	NUMBER(PRICE_UCR, U64, price_ucr),
	NUMBER(PRICE_SINCE_NS, U64, price_since_ns),
	NUMBER(EVENTS, U64, events),
	NUMBER(TRAPS, U64, traps),
	NUMBER(POSTS, U64, posts),
	NUMBER(RESTARTS, U64, restarts),
	NUMBER(KICKS, U64, kicks),
	NUMBER(FAILED, U64, failed),
	NUMBER(MEM_WANTED, U64, mem_wanted_bytes),
	NUMBER(DEADLINE_NS, U64, deadline_ns),
	NUMBER(NODE, U32, node),
	NUMBER(EVENT, U32, event),
	NUMBER(IRQ, U32, irq),
	NUMBER(FLAGS, U32, flags),
	NUMBER(SIGNALS, U64, signals),
	NUMBER(PAUSES, U64, pauses),
	NUMBER(EXEMPT, FLAG, present),
	NUMBER(CORES_MAX, U64, cores_max),
	NUMBER(MEM_MAX, U64, mem_max),
	NUMBER(NR_BINDINGS, U32, nr_bindings),
	NUMBER(BINDINGS_MAX, U64, bindings_max),
	NUMBER(NOTIFY_REFUSED, U64, notify_refused),
	NUMBER(NOTIFY_MAX, U64, notify_max),
};

static void decode_field(const struct field *f, struct nlattr *a, struct econ_nl_record *r)
{
	char *at = (char *)r + f->offset;
	int len = nla_len(a);

	if (f->width == TEXT) {
		size_t n = strnlen(nla_data(a), (size_t)len);

		if (n >= f->room)
			n = f->room - 1u;
		memcpy(at, nla_data(a), n);
		at[n] = '\0';
	} else if (f->width == FLAG) {
		;
	} else if (len != f->width) {
		return;		/* not the type we know: as if absent */
	} else {
		memcpy(at, nla_data(a), f->width);
	}
	r->present |= 1ULL << f->attr;
}

static int decode(struct nlmsghdr *nlh, struct econ_nl_record *r)
{
	struct nlattr *attrs[NOM_GENL_A_MAX + 1];
	struct genlmsghdr *g = nlmsg_data(nlh);

	if (!genlmsg_valid_hdr(nlh, 0) ||
	    genlmsg_parse(nlh, 0, attrs, NOM_GENL_A_MAX, NULL) < 0)
		return -EPROTO;
	memset(r, 0, sizeof(*r));
	r->cmd = g->cmd;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (attrs[fields[i].attr])
			decode_field(&fields[i], attrs[fields[i].attr], r);
	return 0;
}

/* ------------------------------------------------------------ requests --- */

static int on_valid(struct nl_msg *msg, void *arg)
{
	struct econ_nl_record record;
	struct request *q = arg;

	if (q->ret)
		return NL_OK;		/* draining after an early end */
	q->ret = decode(nlmsg_hdr(msg), &record);
	if (!q->ret && q->fn)
		q->ret = q->fn(&record, q->arg);
	return NL_OK;
}

#define MAX_ERRNO	4095	/* the kernel's own bound */

/* An error as a message says it: a number of any size. */
static int from_message(int error)
{
	return error <= 0 && error >= -MAX_ERRNO ? error : -EPROTO;
}

static int on_finish(struct nl_msg *msg, void *arg)
{
	struct request *q = arg;
	struct nlmsghdr *nlh = nlmsg_hdr(msg);

	/* A dump may end with an error of its own. */
	if (!q->ret && nlmsg_datalen(nlh) >= (int)sizeof(int))
		q->ret = from_message(*(int *)nlmsg_data(nlh));
	q->done = true;
	return NL_STOP;
}

static int on_ack(struct nl_msg *msg, void *arg)
{
	struct request *q = arg;

	q->done = true;
	return NL_STOP;
}

/* The kernel's own words, which follow the (possibly cut) copy of our request. */
static void keep_words(struct econ_nl *nl, struct nlmsghdr *nlh, struct nlmsgerr *e)
{
	size_t used = sizeof(*e), len = (size_t)nlmsg_datalen(nlh);
	struct nlattr *a;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED) && e->msg.nlmsg_len > sizeof(e->msg))
		used += NLMSG_ALIGN(e->msg.nlmsg_len - sizeof(e->msg));
	if (used >= len)
		return;
	a = nla_find((struct nlattr *)((char *)e + used), (int)(len - used), NLMSGERR_ATTR_MSG);
	if (a)
		nla_strlcpy(nl->why, a, sizeof(nl->why));
}

static int on_error(struct sockaddr_nl *who, struct nlmsgerr *e, void *arg)
{
	struct request *q = arg;
	struct nlmsghdr *nlh = (struct nlmsghdr *)((char *)e - NLMSG_HDRLEN);

	keep_words(q->nl, nlh, e);
	q->ret = e->error ? from_message(e->error) : -EPROTO;
	/* The family's number is not known any more: the module is gone. */
	if (q->ret == -ENOENT && !q->nl->why[0])
		q->ret = -ENODEV;
	q->done = true;
	return NL_STOP;
}

/* libnl's own failures, those that can happen here. */
static int from_libnl(int nle)
{
	switch (-nle) {
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_PERM:
		return -EPERM;
	case NLE_NOACCESS:
		return -EACCES;
	case NLE_OBJ_NOTFOUND:
		return -ENODEV;
	case NLE_INTR:
		return -EINTR;
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_DUMP_INTR:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

static struct nl_cb *make_cb(struct request *q)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);

	if (!cb)
		return NULL;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, q);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_finish, q);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_ack, q);
	nl_cb_err(cb, NL_CB_CUSTOM, on_error, q);
	return cb;
}

/* What the socket has.  A datagram without a byte libnl leaves there: it would be read for ever. */
static int receive(struct nl_sock *sock, struct nl_cb *cb)
{
	int got = nl_recvmsgs_report(sock, cb);

	if (got < 0)
		return from_libnl(got);
	return got ? 0 : -EPROTO;
}

static int transact(struct econ_nl *nl, struct nl_msg *msg, struct request *q)
{
	struct nl_cb *cb = make_cb(q);
	int ret = 0;

	if (!cb)
		return -ENOMEM;
	nl->why[0] = '\0';
	ret = nl_send_auto(nl->sock, msg);
	ret = ret < 0 ? from_libnl(ret) : 0;
	while (!ret && !q->done) {
		ret = receive(nl->sock, cb);
		if (q->done)
			ret = 0;
	}
	nl_cb_put(cb);
	return ret ? ret : q->ret;
}

static struct nl_msg *make_msg(struct econ_nl *nl, enum nom_genl_cmd cmd, int flags)
{
	struct nl_msg *msg = nlmsg_alloc();

	if (msg && !genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, nl->family, 0, flags,
				(uint8_t)cmd, NOM_GENL_VERSION)) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

int econ_nl_open(struct econ_nl **nl_out)
{
	struct econ_nl *nl = calloc(1, sizeof(*nl));
	int one = 1, ret;

	if (!nl)
		return -ENOMEM;
	nl->sock = nl_socket_alloc();
	if (!nl->sock) {
		free(nl);
		return -ENOMEM;
	}
	ret = genl_connect(nl->sock);
	if (!ret)
		ret = nl->family = genl_ctrl_resolve(nl->sock, NOM_GENL_NAME);
	if (ret < 0) {
		ret = from_libnl(ret);
		econ_nl_close(nl);
		return ret;
	}
	/* Words are a convenience: an old kernel without them is fine. */
	setsockopt(nl_socket_get_fd(nl->sock), SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	*nl_out = nl;
	return 0;
}

void econ_nl_close(struct econ_nl *nl)
{
	if (!nl)
		return;
	if (nl->group)
		nl_socket_free(nl->group);
	nl_socket_free(nl->sock);
	free(nl);
}

const char *econ_nl_why(const struct econ_nl *nl)
{
	return nl->why;
}

int econ_nl_get(struct econ_nl *nl, enum nom_genl_cmd cmd, econ_nl_fn fn, void *arg)
{
	bool single = cmd == NOM_GENL_CMD_GET_INFO;
	struct request q = { .nl = nl, .fn = fn, .arg = arg };
	struct nl_msg *msg = make_msg(nl, cmd, single ? 0 : NLM_F_DUMP);
	int ret;

	if (!msg)
		return -ENOMEM;
	/* nl_send_auto() asks for an acknowledgement, which ends a single request. */
	ret = transact(nl, msg, &q);
	nlmsg_free(msg);
	return ret;
}

int econ_nl_set_price(struct econ_nl *nl, const char *name, const char *unit, int64_t ucr)
{
	struct request q = { .nl = nl };
	struct nl_msg *msg = make_msg(nl, NOM_GENL_CMD_SET_PRICE, 0);
	int ret;

	if (!msg)
		return -ENOMEM;
	ret = nla_put_string(msg, NOM_GENL_A_PRICE_NAME, name);
	if (!ret && unit && *unit)
		ret = nla_put_string(msg, NOM_GENL_A_PRICE_UNIT, unit);
	if (!ret)
		ret = nla_put_s64(msg, NOM_GENL_A_PRICE_UCR, ucr);
	ret = ret ? -EMSGSIZE : transact(nl, msg, &q);
	nlmsg_free(msg);
	return ret;
}

int econ_nl_reclaim(struct econ_nl *nl, uint64_t grant, uint64_t bytes, uint32_t deadline_ms)
{
	struct request q = { .nl = nl };
	struct nl_msg *msg = make_msg(nl, NOM_GENL_CMD_RECLAIM, 0);
	int ret;

	if (!msg)
		return -ENOMEM;
	ret = nla_put_u64(msg, NOM_GENL_A_HANDLE, grant);
	if (!ret)
		ret = nla_put_u64(msg, NOM_GENL_A_MEM_WANTED, bytes);
	if (!ret)
		ret = nla_put_u32(msg, NOM_GENL_A_DEADLINE_MS, deadline_ms);
	ret = ret ? -EMSGSIZE : transact(nl, msg, &q);
	nlmsg_free(msg);
	return ret;
}

int econ_nl_del_price(struct econ_nl *nl, const char *name)
{
	struct request q = { .nl = nl };
	struct nl_msg *msg = make_msg(nl, NOM_GENL_CMD_DEL_PRICE, 0);
	int ret;

	if (!msg)
		return -ENOMEM;
	ret = nla_put_string(msg, NOM_GENL_A_PRICE_NAME, name) ? -EMSGSIZE : transact(nl, msg, &q);
	nlmsg_free(msg);
	return ret;
}

/* ------------------------------------------------------- notifications --- */

static int no_seq_check(struct nl_msg *msg, void *arg)
{
	return NL_OK;
}

static int join(struct econ_nl *nl)
{
	struct nl_sock *s = nl_socket_alloc();
	int ret, group = 0;

	if (!s)
		return -ENOMEM;
	nl_socket_disable_seq_check(s);
	ret = genl_connect(s);
	if (!ret)
		ret = group = genl_ctrl_resolve_grp(s, NOM_GENL_NAME, NOM_GENL_MCGRP_CHANGES);
	if (ret >= 0)
		ret = nl_socket_add_memberships(s, group, 0);
	if (!ret)
		ret = nl_socket_set_nonblocking(s);
	if (ret < 0) {
		nl_socket_free(s);
		return from_libnl(ret);
	}
	nl->group = s;
	return 0;
}

int econ_nl_watch(struct econ_nl *nl, econ_nl_fn fn, void *arg, int timeout_ms)
{
	struct request q = { .nl = nl, .fn = fn, .arg = arg };
	struct nl_cb *cb;
	int ret = nl->group ? 0 : join(nl);

	if (ret)
		return ret;
	cb = make_cb(&q);
	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, no_seq_check, NULL);
	while (!ret && !q.ret) {
		struct pollfd p = { nl_socket_get_fd(nl->group), POLLIN, 0 };
		int got = poll(&p, 1, timeout_ms);

		if (got < 0)
			ret = -errno;
		if (got <= 0)
			break;
		ret = receive(nl->group, cb);
		if (ret == -EAGAIN)
			ret = 0;
	}
	nl_cb_put(cb);
	return ret ? ret : q.ret;
}
