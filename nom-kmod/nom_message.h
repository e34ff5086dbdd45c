/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nom: netlink from inside.
 *
 *	nom_netlink	the family: requests and dumps
 *	nom_message	attributes of what there is; notifications
 */
#ifndef _NOM_KMOD_MESSAGE_H
#define _NOM_KMOD_MESSAGE_H

#include <net/genetlink.h>
#include "nom.h"

extern struct genl_family nom_genl_family;

enum { NOM_GENL_GRP_CHANGES };

/* 0 or -EMSGSIZE */
int nom_put_u64(struct sk_buff *skb, int attr, u64 value);
int nom_fill_owner(struct sk_buff *skb, const struct nom_owner *owner);
int nom_fill_core(struct sk_buff *skb, const struct nom_board_core *core);
int nom_fill_stats(struct sk_buff *skb, const struct nom_core_stats *stats);
int nom_fill_memory(struct sk_buff *skb, const struct nom_board_memory *memory);
int nom_fill_device(struct sk_buff *skb, const struct nom_board_device *device,
		       bool there);
int nom_fill_price(struct sk_buff *skb, const struct nom_board_price *price);
int nom_fill_grant(struct sk_buff *skb, const struct nom_grant_info *grant);

#endif /* _NOM_KMOD_MESSAGE_H */
