// SPDX-License-Identifier: GPL-2.0
/*
 * nom: the "nom" generic netlink family - resources, owners and prices for tools,
 * prices in from a privileged daemon.  What is sent without being asked for is
 * nom_message.c's.
 *
 * Everything here is read from the board, the leases and the pool; nothing is
 * kept here.  Dumps resume by record number (cores, devices, prices) or by id
 * (grants), so what comes or goes during a dump is missed or shown, never
 * shown twice by a shift of a list.
 */
#define pr_fmt(fmt) "nom: " fmt

#include <linux/ctype.h>
#include <linux/string.h>
#include "nom_message.h"

static const struct genl_multicast_group nom_genl_groups[] = {
	[NOM_GENL_GRP_CHANGES] = { .name = NOM_GENL_MCGRP_CHANGES },
};

/* ------------------------------------------------------------- queries --- */

static int nom_genl_get_info(struct sk_buff *req, struct genl_info *info)
{
	struct nom_board_memory memory;
	struct sk_buff *skb;
	void *hdr;
	int ret;

	skb = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	hdr = genlmsg_put_reply(skb, info, &nom_genl_family, 0, info->genlhdr->cmd);
	if (!hdr) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	nom_board_get_memory(&memory);
	ret = nla_put_u32(skb, NOM_GENL_A_VERSION, NOM_ABI_VERSION) ?:
	      nom_put_u64(skb, NOM_GENL_A_FEATURES, nom_features()) ?:
	      nla_put_u32(skb, NOM_GENL_A_NR_CORES, nom_lease_nr_cores()) ?:
	      nom_fill_memory(skb, &memory);
	if (ret) {
		nlmsg_free(skb);
		return ret;
	}
	genlmsg_end(skb, hdr);
	return genlmsg_reply(skb, info);
}

static int nom_fill_core_full(struct sk_buff *skb, unsigned int index)
{
	struct nom_core_stats stats;
	struct nom_board_core core;
	struct nom_owner owner;
	int ret;

	ret = nom_board_get_core(index, &core);
	if (ret)
		return ret;
	ret = nom_fill_core(skb, &core);
	if (ret || nom_lease_describe(index, &owner, &stats))
		return ret;
	/* the board's pid and uid are there already */
	return nla_put_string(skb, NOM_GENL_A_COMM, owner.comm) ?:
	       nom_fill_stats(skb, &stats);
}

static int nom_fill_device_at(struct sk_buff *skb, unsigned int index)
{
	struct nom_board_device device;

	return nom_board_get_device(index, &device) ?: nom_fill_device(skb, &device, true);
}

static int nom_fill_price_at(struct sk_buff *skb, unsigned int index)
{
	struct nom_board_price price;

	return nom_board_get_price(index, &price) ?: nom_fill_price(skb, &price);
}

/* One message per record; fill says -ENOENT past the end, -EMSGSIZE when full. */
static int nom_genl_dump(struct sk_buff *skb, struct netlink_callback *cb,
			 int (*fill)(struct sk_buff *skb, unsigned int index))
{
	unsigned int index = cb->args[0];
	void *hdr;
	int ret;

	for (;;) {
		hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				  &nom_genl_family, NLM_F_MULTI,
				  genl_info_dump(cb)->genlhdr->cmd);
		if (!hdr)
			break;
		ret = fill(skb, index);
		if (ret) {
			genlmsg_cancel(skb, hdr);
			if (ret == -ENOENT || ret == -EMSGSIZE)
				break;
			return ret;
		}
		genlmsg_end(skb, hdr);
		index++;
	}
	cb->args[0] = index;
	return skb->len;
}

static int nom_genl_dump_cores(struct sk_buff *skb, struct netlink_callback *cb)
{
	return nom_genl_dump(skb, cb, nom_fill_core_full);
}

static int nom_genl_dump_devices(struct sk_buff *skb, struct netlink_callback *cb)
{
	return nom_genl_dump(skb, cb, nom_fill_device_at);
}

static int nom_genl_dump_prices(struct sk_buff *skb, struct netlink_callback *cb)
{
	return nom_genl_dump(skb, cb, nom_fill_price_at);
}

static int nom_genl_dump_grants(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct nom_grant_info grant;
	u64 id = cb->args[0];
	void *hdr;

	while (!nom_extent_describe(id, &grant)) {
		hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				  &nom_genl_family, NLM_F_MULTI, NOM_GENL_CMD_GET_GRANTS);
		if (!hdr)
			break;
		if (nom_fill_grant(skb, &grant)) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		id = grant.id;
	}
	cb->args[0] = id;
	return skb->len;
}

static int nom_genl_dump_nodes(struct sk_buff *skb, struct netlink_callback *cb)
{
	u64 total_bytes, free_bytes;
	int node, next;
	void *hdr;

	while ((next = nom_pool_node(cb->args[0], &node, &total_bytes, &free_bytes)) > 0) {
		hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				  &nom_genl_family, NLM_F_MULTI, NOM_GENL_CMD_GET_NODES);
		if (!hdr)
			break;
		if (nla_put_u32(skb, NOM_GENL_A_NODE, node) ||
		    nom_put_u64(skb, NOM_GENL_A_MEM_TOTAL, total_bytes) ||
		    nom_put_u64(skb, NOM_GENL_A_MEM_FREE, free_bytes)) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		cb->args[0] = next;
	}
	return skb->len;
}

static int nom_fill_quarantined(struct sk_buff *skb, u64 id, u64 bytes,
				const struct nom_owner *owner, const struct nom_held *held)
{
	int ret;

	ret = nom_put_u64(skb, NOM_GENL_A_HANDLE, id) ?:
	      nom_fill_owner(skb, owner) ?:
	      nom_put_u64(skb, NOM_GENL_A_MEM_QUARANTINED, bytes);
	if (!ret && held->told && !held->mmio)
		ret = nla_put_u32(skb, NOM_GENL_A_BDF, held->bdf);
	return ret;
}

/* What grants have left behind, after those that are; args[1] is the last one's id. */
static int nom_genl_dump_memory(struct sk_buff *skb, struct netlink_callback *cb)
{
	u64 id = cb->args[1], next, bytes;
	struct nom_owner owner;
	struct nom_held held;
	void *hdr;

	nom_genl_dump_grants(skb, cb);
	while (!nom_quarantine_describe(id, &next, &bytes, &owner, &held)) {
		hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				  &nom_genl_family, NLM_F_MULTI, NOM_GENL_CMD_GET_GRANTS);
		if (!hdr)
			break;
		if (nom_fill_quarantined(skb, next, bytes, &owner, &held)) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		id = next;
	}
	cb->args[1] = id;
	return skb->len;
}

static int nom_fill_binding(struct sk_buff *skb, const struct nom_board_core *core,
			    const struct nom_core_binding *b)
{
	return nla_put_u32(skb, NOM_GENL_A_CPU, core->cpu) ?:
	       nom_put_u64(skb, NOM_GENL_A_HANDLE, core->handle) ?:
	       nla_put_u32(skb, NOM_GENL_A_EVENT, b->out_event) ?:
	       nla_put_u32(skb, NOM_GENL_A_IRQ, b->out_irq) ?:
	       nla_put_u32(skb, NOM_GENL_A_FLAGS, b->out_flags) ?:
	       nom_put_u64(skb, NOM_GENL_A_SIGNALS, b->out_signals) ?:
	       nom_put_u64(skb, NOM_GENL_A_EVENTS, b->out_events) ?:
	       nom_put_u64(skb, NOM_GENL_A_PAUSES, b->out_pauses);
}

static int nom_fill_user(struct sk_buff *skb, unsigned int nth)
{
	struct nom_limits l;
	int ret;

	ret = nom_limit_describe_nth(nth, &l);
	if (ret)
		return ret;
	if (l.out_exempt) {
		ret = nla_put_flag(skb, NOM_GENL_A_EXEMPT);
		if (ret)
			return ret;
	}
	return nla_put_u32(skb, NOM_GENL_A_UID, l.out_uid) ?:
	       nla_put_u32(skb, NOM_GENL_A_NR_CORES, l.out_cores) ?:
	       nom_put_u64(skb, NOM_GENL_A_CORES_MAX, l.out_cores_max) ?:
	       nom_put_u64(skb, NOM_GENL_A_MEM_GRANTED, l.out_mem_bytes) ?:
	       nom_put_u64(skb, NOM_GENL_A_MEM_MAX, l.out_mem_bytes_max) ?:
	       nla_put_u32(skb, NOM_GENL_A_NR_BINDINGS, l.out_bindings) ?:
	       nom_put_u64(skb, NOM_GENL_A_BINDINGS_MAX, l.out_bindings_max) ?:
	       nom_put_u64(skb, NOM_GENL_A_NOTIFY_REFUSED, l.out_notify_refused) ?:
	       nom_put_u64(skb, NOM_GENL_A_NOTIFY_MAX, l.out_notify_per_s_max);
}

/* Who comes or goes meanwhile may shift the others: missed, or told twice. */
static int nom_genl_dump_users(struct sk_buff *skb, struct netlink_callback *cb)
{
	return nom_genl_dump(skb, cb, nom_fill_user);
}

/* args: the core's record, and how many of its bindings were told */
static int nom_genl_dump_bindings(struct sk_buff *skb, struct netlink_callback *cb)
{
	unsigned int index = cb->args[0], nth = cb->args[1];
	struct nom_core_binding b;
	struct nom_board_core core;
	void *hdr;

	for (; !nom_board_get_core(index, &core); index++, nth = 0) {
		while (core.handle && !nom_lease_describe_binding(index, nth, &b)) {
			hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
					  &nom_genl_family, NLM_F_MULTI,
					  NOM_GENL_CMD_GET_BINDINGS);
			if (!hdr)
				goto full;
			if (nom_fill_binding(skb, &core, &b)) {
				genlmsg_cancel(skb, hdr);
				goto full;
			}
			genlmsg_end(skb, hdr);
			nth++;
		}
	}
full:
	cb->args[0] = index;
	cb->args[1] = nth;
	return skb->len;
}

/* -------------------------------------------------------------- prices --- */

static bool nom_price_name_ok(const char *name)
{
	const char *c;

	for (c = name; *c; c++)
		if (!islower(*c) && !isdigit(*c) && !strchr("_.-", *c))
			return false;
	return c != name;
}

static bool nom_price_unit_ok(const char *unit)
{
	const char *c;

	for (c = unit; *c; c++)
		if (!isascii(*c) || !isgraph(*c))
			return false;
	return c != unit;
}

static int nom_genl_set_price(struct sk_buff *req, struct genl_info *info)
{
	struct nlattr *name = info->attrs[NOM_GENL_A_PRICE_NAME];
	struct nlattr *unit = info->attrs[NOM_GENL_A_PRICE_UNIT];
	struct nlattr *ucr = info->attrs[NOM_GENL_A_PRICE_UCR];
	int ret;

	if (GENL_REQ_ATTR_CHECK(info, NOM_GENL_A_PRICE_NAME) ||
	    GENL_REQ_ATTR_CHECK(info, NOM_GENL_A_PRICE_UCR))
		return -EINVAL;
	if (!nom_price_name_ok(nla_data(name))) {
		NL_SET_ERR_MSG_ATTR(info->extack, name, "a price's name is of [a-z0-9_.-]");
		return -EINVAL;
	}
	if (unit && !nom_price_unit_ok(nla_data(unit))) {
		NL_SET_ERR_MSG_ATTR(info->extack, unit,
				    "a price's unit is of printable ASCII without blanks");
		return -EINVAL;
	}

	ret = nom_board_price_set(nla_data(name), unit ? nla_data(unit) : NULL, nla_get_s64(ucr));
	if (ret == -ENOENT)
		NL_SET_ERR_MSG_ATTR(info->extack, name, "a new price needs its unit");
	else if (ret == -EINVAL)
		NL_SET_ERR_MSG_ATTR(info->extack, unit, "the price is per another unit");
	else if (ret == -ENOSPC)
		NL_SET_ERR_MSG_ATTR(info->extack, name, "the board has no room for another price");
	return ret;
}

static int nom_genl_del_price(struct sk_buff *req, struct genl_info *info)
{
	struct nlattr *name = info->attrs[NOM_GENL_A_PRICE_NAME];
	int ret;

	if (GENL_REQ_ATTR_CHECK(info, NOM_GENL_A_PRICE_NAME))
		return -EINVAL;
	ret = nom_board_price_del(nla_data(name));
	if (ret)
		NL_SET_ERR_MSG_ATTR(info->extack, name, "no such price on the board");
	return ret;
}

static const struct netlink_range_validation_signed nom_price_range = {
	.min = 0,
	.max = NOM_PRICE_MAX_UCR,
};

static const struct nla_policy nom_genl_price_policy[] = {
	[NOM_GENL_A_PRICE_NAME] = { .type = NLA_NUL_STRING, .len = NOM_PRICE_NAME_MAX - 1 },
	[NOM_GENL_A_PRICE_UNIT] = { .type = NLA_NUL_STRING, .len = NOM_PRICE_NAME_MAX - 1 },
	[NOM_GENL_A_PRICE_UCR] = NLA_POLICY_FULL_RANGE_SIGNED(NLA_S64, &nom_price_range),
};

static const struct nla_policy nom_genl_price_name_policy[] = {
	[NOM_GENL_A_PRICE_NAME] = { .type = NLA_NUL_STRING, .len = NOM_PRICE_NAME_MAX - 1 },
};

/* -------------------------------------------------------------- memory --- */

static int nom_genl_reclaim(struct sk_buff *req, struct genl_info *info)
{
	struct nlattr *grant = info->attrs[NOM_GENL_A_HANDLE];
	struct nlattr *wanted = info->attrs[NOM_GENL_A_MEM_WANTED];
	struct nlattr *ms = info->attrs[NOM_GENL_A_DEADLINE_MS];
	int ret;

	if (!netlink_capable(req, CAP_SYS_ADMIN))
		return -EPERM;
	if (GENL_REQ_ATTR_CHECK(info, NOM_GENL_A_HANDLE) ||
	    GENL_REQ_ATTR_CHECK(info, NOM_GENL_A_MEM_WANTED) ||
	    GENL_REQ_ATTR_CHECK(info, NOM_GENL_A_DEADLINE_MS))
		return -EINVAL;
	ret = nom_reclaim_ask(nla_get_u64(grant), nla_get_u64(wanted), nla_get_u32(ms));
	if (ret == -ENOENT)
		NL_SET_ERR_MSG_ATTR(info->extack, grant, "no such grant");
	else if (ret == -EBUSY)
		NL_SET_ERR_MSG_ATTR(info->extack, grant, "a notice to this grant stands already");
	else if (ret == -EINVAL)
		NL_SET_ERR_MSG_ATTR(info->extack, wanted,
				    "a multiple of 2 MiB, and not more than the grant has");
	else if (ret == -ENOSPC)
		NL_SET_ERR_MSG_ATTR(info->extack, grant, "the board has no room for another notice");
	return ret;
}

static const struct netlink_range_validation nom_deadline_range = {
	.max = NOM_RECLAIM_MAX_MS,
};

static const struct nla_policy nom_genl_reclaim_policy[] = {
	[NOM_GENL_A_HANDLE] = { .type = NLA_U64 },
	[NOM_GENL_A_MEM_WANTED] = { .type = NLA_U64 },
	[NOM_GENL_A_DEADLINE_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &nom_deadline_range),
};

/* ---------------------------------------------------------- the family --- */

/* by ascending number: the core insists */
static const struct genl_split_ops nom_genl_ops[] = {
	{
		.cmd	= NOM_GENL_CMD_GET_INFO,
		.flags	= GENL_CMD_CAP_DO,
		.doit	= nom_genl_get_info,
	}, {
		.cmd	= NOM_GENL_CMD_GET_CORES,
		.flags	= GENL_CMD_CAP_DUMP,
		.dumpit	= nom_genl_dump_cores,
	}, {
		.cmd	= NOM_GENL_CMD_GET_GRANTS,
		.flags	= GENL_CMD_CAP_DUMP,
		.dumpit	= nom_genl_dump_memory,
	}, {
		.cmd	= NOM_GENL_CMD_GET_DEVICES,
		.flags	= GENL_CMD_CAP_DUMP,
		.dumpit	= nom_genl_dump_devices,
	}, {
		.cmd	= NOM_GENL_CMD_GET_PRICES,
		.flags	= GENL_CMD_CAP_DUMP,
		.dumpit	= nom_genl_dump_prices,
	}, {
		.cmd	= NOM_GENL_CMD_SET_PRICE,
		.flags	= GENL_CMD_CAP_DO | GENL_ADMIN_PERM,
		.doit	= nom_genl_set_price,
		.policy	= nom_genl_price_policy,
		.maxattr = ARRAY_SIZE(nom_genl_price_policy) - 1,
	}, {
		.cmd	= NOM_GENL_CMD_RECLAIM,
		.flags	= GENL_CMD_CAP_DO,
		.doit	= nom_genl_reclaim,
		.policy	= nom_genl_reclaim_policy,
		.maxattr = ARRAY_SIZE(nom_genl_reclaim_policy) - 1,
	}, {
		.cmd	= NOM_GENL_CMD_GET_NODES,
		.flags	= GENL_CMD_CAP_DUMP,
		.dumpit	= nom_genl_dump_nodes,
	}, {
		.cmd	= NOM_GENL_CMD_DEL_PRICE,
		.flags	= GENL_CMD_CAP_DO | GENL_ADMIN_PERM,
		.doit	= nom_genl_del_price,
		.policy	= nom_genl_price_name_policy,
		.maxattr = ARRAY_SIZE(nom_genl_price_name_policy) - 1,
	}, {
		.cmd	= NOM_GENL_CMD_GET_BINDINGS,
		.flags	= GENL_CMD_CAP_DUMP,
		.dumpit	= nom_genl_dump_bindings,
	}, {
		.cmd	= NOM_GENL_CMD_GET_USERS,
		.flags	= GENL_CMD_CAP_DUMP,
		.dumpit	= nom_genl_dump_users,
	},
};

struct genl_family nom_genl_family = {
	.name		= NOM_GENL_NAME,
	.version	= NOM_GENL_VERSION,
	.module		= THIS_MODULE,
	.parallel_ops	= true,
	.split_ops	= nom_genl_ops,
	.n_split_ops	= ARRAY_SIZE(nom_genl_ops),
	.mcgrps		= nom_genl_groups,
	.n_mcgrps	= ARRAY_SIZE(nom_genl_groups),
};

int __init nom_netlink_init(void)
{
	return genl_register_family(&nom_genl_family);
}

void nom_netlink_exit(void)
{
	genl_unregister_family(&nom_genl_family);
}
