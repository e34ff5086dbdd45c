// SPDX-License-Identifier: GPL-2.0
/*
 * nom: messages of the netlink family - how things look in them, and those that are
 * sent to whoever listens because something has changed.
 */
#define pr_fmt(fmt) "nom: " fmt

#include "nom_message.h"

int nom_put_u64(struct sk_buff *skb, int attr, u64 value)
{
	return nla_put_u64_64bit(skb, attr, value, NOM_GENL_A_PAD);
}

int nom_fill_owner(struct sk_buff *skb, const struct nom_owner *owner)
{
	return nla_put_u32(skb, NOM_GENL_A_PID, owner->pid) ?:
	       nla_put_u32(skb, NOM_GENL_A_UID,
			   from_kuid_munged(&init_user_ns, owner->uid)) ?:
	       nla_put_string(skb, NOM_GENL_A_COMM, owner->comm);
}

int nom_fill_core(struct sk_buff *skb, const struct nom_board_core *core)
{
	int ret;

	ret = nla_put_u32(skb, NOM_GENL_A_CPU, core->cpu) ?:
	      nla_put_u32(skb, NOM_GENL_A_STATE, core->state);
	if (ret || !core->handle)
		return ret;
	return nom_put_u64(skb, NOM_GENL_A_HANDLE, core->handle) ?:
	       nla_put_u32(skb, NOM_GENL_A_PID, core->pid) ?:
	       nla_put_u32(skb, NOM_GENL_A_UID, core->uid);
}

int nom_fill_stats(struct sk_buff *skb, const struct nom_core_stats *stats)
{
	return nom_put_u64(skb, NOM_GENL_A_EVENTS, stats->out_events) ?:
	       nom_put_u64(skb, NOM_GENL_A_TRAPS, stats->out_traps) ?:
	       nom_put_u64(skb, NOM_GENL_A_POSTS, stats->out_posts) ?:
	       nom_put_u64(skb, NOM_GENL_A_RESTARTS, stats->out_restarts) ?:
	       nom_put_u64(skb, NOM_GENL_A_KICKS, stats->out_kicks) ?:
	       nom_put_u64(skb, NOM_GENL_A_FAILED, stats->out_failed);
}

int nom_fill_memory(struct sk_buff *skb, const struct nom_board_memory *memory)
{
	return nom_put_u64(skb, NOM_GENL_A_MEM_TOTAL, memory->total_bytes) ?:
	       nom_put_u64(skb, NOM_GENL_A_MEM_FREE, memory->free_bytes) ?:
	       nom_put_u64(skb, NOM_GENL_A_MEM_GRANTED, memory->granted_bytes) ?:
	       nom_put_u64(skb, NOM_GENL_A_MEM_QUARANTINED, memory->quarantined_bytes);
}

/* STATE is 0 for a function that went, 1 for one that is there, 2 when it is leaving. */
int nom_fill_device(struct sk_buff *skb, const struct nom_board_device *device,
		       bool there)
{
	return nla_put_u32(skb, NOM_GENL_A_BDF, device->bdf) ?:
	       nla_put_u16(skb, NOM_GENL_A_VENDOR, device->vendor) ?:
	       nla_put_u16(skb, NOM_GENL_A_DEVICE, device->device) ?:
	       nla_put_u32(skb, NOM_GENL_A_CLASS, device->class_code) ?:
	       nla_put_u32(skb, NOM_GENL_A_STATE, there ? 1 + device->state : 0);
}

int nom_fill_price(struct sk_buff *skb, const struct nom_board_price *price)
{
	return nla_put_string(skb, NOM_GENL_A_PRICE_NAME, price->name) ?:
	       nla_put_string(skb, NOM_GENL_A_PRICE_UNIT, price->unit) ?:
	       nla_put_s64(skb, NOM_GENL_A_PRICE_UCR, price->price_ucr, NOM_GENL_A_PAD) ?:
	       nom_put_u64(skb, NOM_GENL_A_PRICE_SINCE_NS, price->since_ns);
}

int nom_fill_grant(struct sk_buff *skb, const struct nom_grant_info *grant)
{
	int ret;

	ret = nom_put_u64(skb, NOM_GENL_A_HANDLE, grant->id) ?:
	      nom_fill_owner(skb, &grant->owner) ?:
	      nom_put_u64(skb, NOM_GENL_A_MEM_GRANTED, grant->bytes) ?:
	      nom_put_u64(skb, NOM_GENL_A_MEM_MAPPED, grant->mapped_bytes);
	if (ret || !grant->wanted_bytes)
		return ret;
	return nom_put_u64(skb, NOM_GENL_A_MEM_WANTED, grant->wanted_bytes) ?:
	       nom_put_u64(skb, NOM_GENL_A_DEADLINE_NS, grant->deadline_ns);
}

static int nom_fill_reclaim(struct sk_buff *skb, const struct nom_board_reclaim *reclaim,
			    enum nom_reclaim_state state)
{
	return nom_put_u64(skb, NOM_GENL_A_HANDLE, reclaim->grant) ?:
	       nom_put_u64(skb, NOM_GENL_A_MEM_WANTED, reclaim->bytes) ?:
	       nom_put_u64(skb, NOM_GENL_A_DEADLINE_NS, reclaim->deadline_ns) ?:
	       nla_put_u32(skb, NOM_GENL_A_PID, reclaim->pid) ?:
	       nla_put_u32(skb, NOM_GENL_A_UID, reclaim->uid) ?:
	       nla_put_u32(skb, NOM_GENL_A_STATE, state);
}

/* ------------------------------------------------------- notifications --- */

static bool nom_netlink_heard(void)
{
	return genl_has_listeners(&nom_genl_family, &init_net, NOM_GENL_GRP_CHANGES);
}

/* Who listens reads ENOBUFS, as if its own buffer had run over, and looks at the board. */
static void nom_ntf_lost(struct sk_buff *skb)
{
	nlmsg_free(skb);
	genl_set_err(&nom_genl_family, &init_net, 0, NOM_GENL_GRP_CHANGES, -ENOBUFS);
}

static struct sk_buff *nom_ntf_begin(u8 cmd, void **hdr_out)
{
	struct sk_buff *skb = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);

	*hdr_out = skb ? genlmsg_put(skb, 0, 0, &nom_genl_family, 0, cmd) : NULL;
	if (!*hdr_out) {
		nom_ntf_lost(skb);
		return NULL;
	}
	return skb;
}

static void nom_ntf_end(struct sk_buff *skb, void *hdr, int ret)
{
	if (ret) {
		nom_ntf_lost(skb);
		return;
	}
	genlmsg_end(skb, hdr);
	genlmsg_multicast(&nom_genl_family, skb, 0, NOM_GENL_GRP_CHANGES, GFP_KERNEL);
}

void nom_netlink_ntf_core(const struct nom_board_core *core)
{
	struct sk_buff *skb;
	void *hdr;

	if (!nom_netlink_heard())
		return;
	skb = nom_ntf_begin(NOM_GENL_CMD_CORE_NTF, &hdr);
	if (skb)
		nom_ntf_end(skb, hdr, nom_fill_core(skb, core));
}

void nom_netlink_ntf_memory(const struct nom_board_memory *memory)
{
	struct sk_buff *skb;
	void *hdr;

	if (!nom_netlink_heard())
		return;
	skb = nom_ntf_begin(NOM_GENL_CMD_MEM_NTF, &hdr);
	if (skb)
		nom_ntf_end(skb, hdr, nom_fill_memory(skb, memory));
}

void nom_netlink_ntf_device(const struct nom_board_device *device, bool there)
{
	struct sk_buff *skb;
	void *hdr;

	if (!nom_netlink_heard())
		return;
	skb = nom_ntf_begin(NOM_GENL_CMD_DEVICE_NTF, &hdr);
	if (skb)
		nom_ntf_end(skb, hdr, nom_fill_device(skb, device, there));
}

void nom_netlink_ntf_price(const struct nom_board_price *price, bool there)
{
	struct sk_buff *skb;
	void *hdr;

	if (!nom_netlink_heard())
		return;
	skb = nom_ntf_begin(there ? NOM_GENL_CMD_PRICE_NTF : NOM_GENL_CMD_PRICE_DEL_NTF, &hdr);
	if (skb)
		nom_ntf_end(skb, hdr, nom_fill_price(skb, price));
}

void nom_netlink_ntf_reclaim(const struct nom_board_reclaim *reclaim,
			     enum nom_reclaim_state state)
{
	struct sk_buff *skb;
	void *hdr;

	if (!nom_netlink_heard())
		return;
	skb = nom_ntf_begin(NOM_GENL_CMD_RECLAIM_NTF, &hdr);
	if (skb)
		nom_ntf_end(skb, hdr, nom_fill_reclaim(skb, reclaim, state));
}
