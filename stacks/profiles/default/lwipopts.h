/* SPDX-License-Identifier: MIT */
/*
 * lwipopts.h - profile "default": a server of many short requests
 *
 * Differences from lwIP's own defaults only.  For whom, at what cost and with
 * what effect: profile.rst beside this file.
 */
#ifndef NOMSTACK_PROFILE_LWIPOPTS_H
#define NOMSTACK_PROFILE_LWIPOPTS_H

/* One thread, run to completion, no operating system below. */
#define NO_SYS				1
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
#define LWIP_SINGLE_NETIF		1
#define LWIP_NETIF_HWADDRHINT		1	/* ARP entry remembered per connection */
#define ARP_TABLE_SIZE			64
#define IP_REASSEMBLY			0	/* fragments are dropped: bounded work, no held buffers */
#define IP_FRAG				0
#define LWIP_CHECKSUM_CTRL_PER_NETIF	1	/* offload is the device's to offer */

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
#define MEMP_NUM_PBUF			8192	/* as segments: one each for what is sent without a copy */
#define PBUF_POOL_SIZE			0	/* receive uses the ring's own buffers */
#define LWIP_SUPPORT_CUSTOM_PBUF	1

/* TCP. */
#define MEMP_NUM_TCP_PCB		2048
#define MEMP_NUM_TCP_PCB_LISTEN		8
#define MEMP_NUM_UDP_PCB		(8 + 1)	/* NOMSTACK_MAX_UDP and DHCP */
#define MEMP_NUM_TCP_SEG		8192
#define TCP_PCB_HASH_SIZE		4096
#define LWIP_TCP_PREDICTION		1	/* nomstack_rx.c looks for such segments */
#define LWIP_TCP_TSO			1	/* where the device has HOST_TSO4 */
#define TCP_MSS				1460
#define TCP_MIN_SND_MSS			88	/* a peer cannot have answers cut into crumbs */
#define LWIP_WND_SCALE			1	/* RFC 7323 */
#define TCP_RCV_SCALE			2
#define TCP_WND				(176 * TCP_MSS)	/* data waits in no buffer of ours, see profile.rst */
#define TCP_SND_BUF			(176 * TCP_MSS)	/* most; nomstack_tcp_room() shares what there is */
#define TCP_SND_QUEUELEN		512
#define TCP_SNDLOWAT			(16 * TCP_MSS)	/* of sockets, which there are none of; must fit 16 bits */
#define TCP_OVERSIZE			512	/* room after a piece sent with NOMSTACK_SEND_MORE */
#define TCP_LISTEN_BACKLOG		1
#define TCP_DEFAULT_LISTEN_BACKLOG	255
#define TCP_TIME_WAIT_TIMEOUT		4000	/* ms */
#define TCP_INITIAL_RTO			1500	/* ms: 3 ticks, so 1 to 1.5 s (RFC 6298) */
#define TCP_KEEPINTVL_DEFAULT		10000UL	/* ms; knob keepalive_s */
#define TCP_KEEPCNT_DEFAULT		6U
#define LWIP_TCP_CUBIC			1	/* knob cc */
#define LWIP_TCP_SACK_OUT		1	/* receive and, with our patch, send */
#define TCP_MAXRTX			8	/* a vanished peer is given up after some minutes */
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

#if ((TCP_SND_BUF > 0xffff) || (TCP_WND > 0xffff)) && !LWIP_WND_SCALE
#error "TCP_SND_BUF and TCP_WND above 65535 need LWIP_WND_SCALE and TCP_RCV_SCALE: set both"
#endif
#if LWIP_WND_SCALE && (((TCP_WND >> TCP_RCV_SCALE) > 0xffff) || (TCP_RCV_SCALE > 0 && (TCP_WND >> (TCP_RCV_SCALE - 1)) <= 0xffff))
#error "TCP_RCV_SCALE is not the smallest shift by which TCP_WND fits into 16 bits: windows would be coarser than they must, or wrong"
#endif
#if MEMP_NUM_PBUF < MEMP_NUM_TCP_SEG
#error "MEMP_NUM_PBUF is below MEMP_NUM_TCP_SEG: sending without a copy would run out of it first, and nomstack_tcp_room() would not know"
#endif

#endif
