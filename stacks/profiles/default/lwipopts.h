/* SPDX-License-Identifier: MIT */
/*
 * lwipopts.h - profile "default": a server of many short requests
 *
 * Differences from lwIP's own defaults only.  For whom, at what cost and with
 * what effect: profile.rst beside this file.
 *
 * Another profile's lwipopts.h defines its name and what is different there, then
 * includes this file, which defines the rest.  What stands between #ifndef and
 * #endif may differ; to change anything else is a redefinition, an error.
 */
#ifndef NOMSTACK_PROFILE_LWIPOPTS_H
#define NOMSTACK_PROFILE_LWIPOPTS_H

#ifndef NOMSTACK_PROFILE_NAME
#define NOMSTACK_PROFILE_NAME		"default"
#endif

/* One thread, run to completion, no operating system below. */
#ifndef NO_SYS
#define NO_SYS				1
#endif
#define SYS_LIGHTWEIGHT_PROT		0
#define LWIP_NETCONN			0
#define LWIP_SOCKET			0
#define LWIP_RAW			0
#define LWIP_HOOK_FILENAME		"lwip_hooks.h"

/* Link and network layer. */
#define LWIP_DHCP			1
#define DHCP_DOES_ARP_CHECK		0	/* 2.1 */
#define LWIP_DHCP_DOES_ACD_CHECK	0	/* 2.2 */
#define LWIP_ACD			0
#define LWIP_NETIF_HOSTNAME		1
#ifndef LWIP_SINGLE_NETIF
#define LWIP_SINGLE_NETIF		1
#endif
#define LWIP_NETIF_HWADDRHINT		1	/* ARP entry remembered per connection */
#ifndef ARP_TABLE_SIZE
#define ARP_TABLE_SIZE			64
#endif
#ifndef IP_REASSEMBLY
#define IP_REASSEMBLY			0	/* lwIP's; ours is nomstack_reass.c */
#endif
#define IP_FRAG				0	/* nomstack_frag.c */
#ifndef LWIP_CHECKSUM_CTRL_PER_NETIF
#define LWIP_CHECKSUM_CTRL_PER_NETIF	1	/* offload is the device's to offer */
#endif

/* IPv6.  One interface: zones of addresses would say nothing. */
#define LWIP_IPV6			1
#define LWIP_IPV6_SCOPES		0
#define LWIP_IPV6_STRICT		1	/* bounds for strangers, and RFC 4861 to the letter */
#define LWIP_IPV6_NUM_ADDRESSES		4	/* link-local, a static one, two by router advertisements */
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS	1	/* RFC 4862, DupAddrDetectTransmits */
#define LWIP_IPV6_REASS			0	/* as IP_REASSEMBLY */
#define LWIP_IPV6_FRAG			0
#define LWIP_ND6_NUM_NEIGHBORS		64
#define LWIP_ND6_NUM_DESTINATIONS	256
#define LWIP_ND6_NUM_PREFIXES		4
#define LWIP_ND6_NUM_ROUTERS		2
#define LWIP_ND6_QUEUEING		0	/* one packet for each neighbor */
#define LWIP_ND6_RDNSS_MAX_DNS_SERVERS	0
#define LWIP_ND6_TCP_REACHABILITY_HINTS	0	/* two packets in 35 s cost less than a look with each ACK */
#define MEMP_NUM_MLD6_GROUP		(LWIP_IPV6_NUM_ADDRESSES + 1)

/* Memory.  PBUF_RAM comes from our heap, in DMA memory. */
#define MEM_ALIGNMENT			8
#if __has_include("lwip/acd.h")			/* 2.2 */
#define MEM_CUSTOM_ALLOCATOR		1
#define MEM_CUSTOM_MALLOC		nomstack__heap_alloc
#define MEM_CUSTOM_CALLOC		nomstack__heap_zalloc
#define MEM_CUSTOM_FREE			nomstack__heap_free
#else						/* 2.1, with the names of arch/cc.h */
#define MEM_LIBC_MALLOC			1
#endif
#ifndef MEMP_NUM_PBUF
#define MEMP_NUM_PBUF			8192	/* as segments: one each for what is sent without a copy */
#endif
#ifndef PBUF_POOL_SIZE
#define PBUF_POOL_SIZE			0	/* receive uses the ring's own buffers */
#endif
#define LWIP_SUPPORT_CUSTOM_PBUF	1

/* TCP. */
#ifndef MEMP_NUM_TCP_PCB
#define MEMP_NUM_TCP_PCB		2048
#endif
#define MEMP_NUM_TCP_PCB_LISTEN		8
#define MEMP_NUM_UDP_PCB		(8 + 1)	/* NOMSTACK_MAX_UDP and DHCP */
#ifndef MEMP_NUM_TCP_SEG
#define MEMP_NUM_TCP_SEG		8192
#endif
#ifndef TCP_PCB_HASH_SIZE
#define TCP_PCB_HASH_SIZE		4096
#endif
#ifndef LWIP_TCP_PREDICTION
#define LWIP_TCP_PREDICTION		1	/* nomstack_rx.c looks for such segments */
#endif
#ifndef LWIP_TCP_TSO
#define LWIP_TCP_TSO			1	/* where the device has HOST_TSO4 or _TSO6 */
#endif
#define LWIP_TCP_PMTU			1	/* RFC 1191, 8201; what is too long is cut as for TSO */
#ifndef TCP_PMTU_SETS
#define TCP_PMTU_SETS			16	/* of four peers */
#endif
#ifndef TCP_MSS
#define TCP_MSS				1460
#endif
#ifndef NOMSTACK_MTU_MAX
#define NOMSTACK_MTU_MAX		9216	/* of the interface, if the device says so much */
#endif
#define TCP_MSS_MAX			(NOMSTACK_MTU_MAX - 40)
#define TCP_MIN_SND_MSS			88	/* a peer cannot have answers cut into crumbs */
#ifndef LWIP_WND_SCALE
#define LWIP_WND_SCALE			1	/* RFC 7323 */
#endif
#ifndef TCP_RCV_SCALE
#define TCP_RCV_SCALE			2
#endif
#ifndef TCP_WND
#define TCP_WND				(176 * TCP_MSS)	/* data waits in no buffer of ours, see profile.rst */
#endif
#ifndef TCP_SND_BUF
#define TCP_SND_BUF			(176 * TCP_MSS)	/* most; nomstack_tcp_room() shares what there is */
#endif
#ifndef TCP_SND_QUEUELEN
#define TCP_SND_QUEUELEN		512
#endif
#ifndef TCP_SNDLOWAT
#define TCP_SNDLOWAT			(16 * TCP_MSS)	/* of sockets, which there are none of; must fit 16 bits */
#endif
#define TCP_OVERSIZE			512	/* room after a piece sent with NOMSTACK_SEND_MORE */
#define TCP_TMR_SLICE			128	/* connections that timers look at between two polls */
#define LWIP_TCP_RTT			1	/* for nomctl stat, and what follows */
#define LWIP_TCP_RTX			1	/* retransmission timers of milliseconds */
#define TCP_LISTEN_BACKLOG		1
#ifndef TCP_DEFAULT_LISTEN_BACKLOG
#define TCP_DEFAULT_LISTEN_BACKLOG	255
#endif
#ifndef TCP_TIME_WAIT_TIMEOUT
#define TCP_TIME_WAIT_TIMEOUT		4000	/* ms */
#endif
#ifndef TCP_INITIAL_RTO
#define TCP_INITIAL_RTO			1000	/* ms (RFC 6298) */
#endif
#define TCP_KEEPINTVL_DEFAULT		10000UL	/* ms; knob keepalive_s */
#define TCP_KEEPCNT_DEFAULT		6U
#ifndef LWIP_TCP_CUBIC
#define LWIP_TCP_CUBIC			1	/* knob cc */
#endif
#ifndef LWIP_TCP_RACK
#define LWIP_TCP_RACK			1	/* losses found by time, where the peer sends SACK */
#endif
#ifndef LWIP_TCP_SACK_OUT
#define LWIP_TCP_SACK_OUT		1	/* receive and, with our patch, send */
#endif
#ifndef TCP_MAXRTX
#define TCP_MAXRTX			9	/* a vanished peer is given up after some minutes */
#endif
#ifndef TCP_SYNMAXRTX
#define TCP_SYNMAXRTX			7	/* three minutes at least (RFC 9293, 3.8.3) */
#endif
#define SO_REUSE			1	/* listen again while old connections end */

/* Counters: 32 bits; pools are counted in the sanitized build, for leak tests. */
#define LWIP_STATS			1
#define LWIP_STATS_LARGE		1
#define MEM_STATS			0
#define SYS_STATS			0
#ifdef __SANITIZE_ADDRESS__
#define MEMP_STATS			1
#else
#define MEMP_STATS			0
#endif

/* Fragments (nomstack_reass.c): datagrams at a time, 66 KiB each; pieces of one. */
#ifndef NOMSTACK_REASS_DATAGRAMS
#define NOMSTACK_REASS_DATAGRAMS	8
#endif
#ifndef NOMSTACK_REASS_FRAGMENTS
#define NOMSTACK_REASS_FRAGMENTS	64
#endif
#define MEMP_NUM_SYS_TIMEOUT		(LWIP_NUM_SYS_TIMEOUT_INTERNAL + 1)	/* and their time */

/* Live knobs: their values after nomstack_open(). */
#ifndef NOMSTACK_W_US
#define NOMSTACK_W_US			0
#endif
#ifndef NOMSTACK_BATCH_MAX
#define NOMSTACK_BATCH_MAX		64
#endif
#ifndef NOMSTACK_ZC_MIN_BYTES
#define NOMSTACK_ZC_MIN_BYTES		1024
#endif
#ifndef NOMSTACK_TSO_MAX
#define NOMSTACK_TSO_MAX		44
#endif
#ifndef NOMSTACK_NAGLE
#define NOMSTACK_NAGLE			0
#endif
#ifndef NOMSTACK_KEEPALIVE_S
#define NOMSTACK_KEEPALIVE_S		0
#endif
#ifndef NOMSTACK_CC
#define NOMSTACK_CC			0	/* NewReno */
#endif

/* What is queued to be sent lies here: bytes of the device's DMA arena, at most. */
#ifndef NOMSTACK_HEAP_BYTES
#define NOMSTACK_HEAP_BYTES		(8 << 20)
#endif

#include "../contradictions.h"

#endif
