/* SPDX-License-Identifier: MIT */
/*
 * lwipopts.h - profile "tiny": little memory, up to 64 connections
 *
 * Differences from profile "default" only; profile.rst says what they do.
 */
#define NOMSTACK_PROFILE_NAME	"tiny"

#define MEMP_NUM_TCP_PCB	64
#define TCP_PCB_HASH_SIZE	64
#define TCP_DEFAULT_LISTEN_BACKLOG 16
#define MEMP_NUM_TCP_SEG	256
#define MEMP_NUM_PBUF		256
#define NOMSTACK_MTU_MAX	1500
#define LWIP_WND_SCALE		0
#define TCP_RCV_SCALE		0
#define TCP_WND			(16 * 1460)
#define TCP_SND_BUF		(32 * 1460)
#define TCP_SND_QUEUELEN	128
#define TCP_SNDLOWAT		(8 * 1460)
#define ARP_TABLE_SIZE		16
#define TCP_PMTU_SETS		2
#define NOMSTACK_HEAP_BYTES	(512 << 10)
#define NOMSTACK_TSO_MAX	16
#define NOMSTACK_REASS_DATAGRAMS 0

#include "../default/lwipopts.h"
