/* SPDX-License-Identifier: MIT */
/*
 * net_nom.h - what the parts of the nom stack's data thread share
 *
 * net_nom.c has connections and the loop, nom_knobs.c knobs and counters,
 * nom_idle.c sleep and what ends it, nom_link.c the device's health and its link,
 * nom_share.c what several cores have in common, nom_open.c how core, device and stack
 * are had.  All of it is one thread's.
 */
#ifndef NHTTPD_NET_NOM_H
#define NHTTPD_NET_NOM_H

#include <nomapp/idle.h>
#include <nomapp/link.h>

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct nomstack;
struct nomux_core;
struct server;
struct vnet;

/**
 * struct nom_net - the data thread's
 * @core: leased; NULL: hosted
 * @doomed: slots to be freed after this poll
 * @idle: what sleeps and what ends that; @link: the device's
 * @price_event: of the core; @price_posts, @price_seen: notices of prices, an upcall adds
 * @pause: PAUSE in the poll loop; @broken: the device cannot be brought up again
 * @w_said: that the stack refuses W; @looked_at: somebody looks at the stack
 * @gap_ns: how far turns of the loop lie apart, decaying maximum
 * @idle_us: longest time to poll without work
 * @config_gen: of the addresses that the first core has told; @joined: the other cores count on this one
 */
struct nom_net {
	struct nomux_core *core;
	struct vnet *vnet;
	struct nomstack *stack;
	struct conn *doomed;
	struct app_idle idle;
	struct app_link link;
	int price_event;
	volatile uint64_t price_posts;
	uint64_t price_seen;
	bool pause, broken, w_said, looked_at;
	uint64_t w_us;
	uint64_t gap_ns;
	uint64_t idle_us;
	uint64_t next_tick_ns, next_stats_ns, next_config_ns;
	uint32_t config_gen;
	bool joined;
};

extern struct nom_net nom;

/* nom_knobs.c: offer the stack's knobs and ours, apply what was asked for, show counters. */
int nom_offer_knobs(struct server *srv);
void nom_take_knobs(struct server *srv);
void nom_set_w(struct server *srv, int64_t w_us);
void nom_show_stats(struct server *srv);

/* nom_idle.c: what ends a sleep, before the core is entered; then binding it.  Exit status. */
int nom_idle_open(struct server *srv);
int nom_enter_core(struct server *srv);
/* Called by the house thread, through server.wake. */
void nom_wake(struct server *srv);
/*
 * A turn without work: whether to sleep, by what the last sleeps taught (vnet_auto()),
 * and for @max_ns at most.  Return: it slept, or tried to.
 */
bool nom_idle(struct server *srv, uint64_t now_ns, uint64_t max_ns);
/* Sleep without the device for @ns at most, or until nom_wake(). */
void nom_nap(struct server *srv, uint64_t ns);

/* nom_share.c, of several cores: pass frames on; take what others passed on, tell or hear of addresses. */
void nom_share_open(struct server *srv);
void nom_share_tick(struct server *srv, uint64_t now_ns);

/* nom_link.c: hear of the link and of requests to announce; before the first tick. */
void nom_link_open(struct server *srv);
/*
 * Look at the device when it has signalled a change, and once a second; when it has failed try
 * for some seconds to bring it up again (nomapp/mend.h).  False: it stays broken.
 */
bool nom_link_tick(struct server *srv, uint64_t now_ns);

#endif
