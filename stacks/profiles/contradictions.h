/* SPDX-License-Identifier: MIT */
/*
 * contradictions.h - options that do not go together end the build, with a reason
 *
 * Included last by every profile.  lwIP's own init.c looks for more of the kind;
 * here is what it cannot know: what our stack, driver and patches rely on.  Each
 * message says what to set.  tests/scripts/stack_profiles tries them all.
 */
#ifndef NOMSTACK_PROFILE_CONTRADICTIONS_H
#define NOMSTACK_PROFILE_CONTRADICTIONS_H

#if !NO_SYS
#error "NO_SYS 0: the stack runs in the thread that polls and has no operating system below: leave it 1"
#endif
#if !LWIP_SINGLE_NETIF
#error "LWIP_SINGLE_NETIF 0: a stack has one device: leave it 1"
#endif
#if IP_REASSEMBLY
#error "IP_REASSEMBLY 1: lwIP keeps the list of fragments in the frames, where a device can write pointers: leave it 0, nomstack_reass.c does it"
#endif
#if NOMSTACK_REASS_DATAGRAMS < 0 || NOMSTACK_REASS_DATAGRAMS > 64
#error "NOMSTACK_REASS_DATAGRAMS must be 0 (fragments are dropped) to 64: each fragment looks at all datagrams"
#endif
#if NOMSTACK_REASS_FRAGMENTS < 2 || NOMSTACK_REASS_FRAGMENTS > 8192
#error "NOMSTACK_REASS_FRAGMENTS must be 2 to 8192, as many as a packet has blocks of 8 bytes"
#endif
#if !LWIP_CHECKSUM_CTRL_PER_NETIF
#error "LWIP_CHECKSUM_CTRL_PER_NETIF 0: sums would be computed that the device offers to compute: leave it 1"
#endif
#if PBUF_POOL_SIZE
#error "PBUF_POOL_SIZE: frames stay in the receive ring's buffers, nobody takes from that pool: leave it 0"
#endif
#if !LWIP_TCP_PREDICTION
#error "LWIP_TCP_PREDICTION 0: nomstack_rx.c hands expected segments to the short way through TCP: leave it 1"
#endif

#if !LWIP_TCP_RTX
#error "LWIP_TCP_RTX 0: nomstack_stack.c runs TCP's retransmission timers from it: leave it 1"
#endif
#if LWIP_TCP_RACK && !LWIP_TCP_SACK_OUT
#error "LWIP_TCP_RACK finds losses by what SACK tells: set LWIP_TCP_SACK_OUT, or LWIP_TCP_RACK to 0"
#endif

/* Windows. */
#if ((TCP_SND_BUF > 0xffff) || (TCP_WND > 0xffff)) && !LWIP_WND_SCALE
#error "TCP_SND_BUF and TCP_WND above 65535 need LWIP_WND_SCALE and TCP_RCV_SCALE: set both"
#endif
#if LWIP_WND_SCALE && (((TCP_WND >> TCP_RCV_SCALE) > 0xffff) || (TCP_RCV_SCALE > 0 && (TCP_WND >> (TCP_RCV_SCALE - 1)) <= 0xffff))
#error "TCP_RCV_SCALE is not the smallest shift by which TCP_WND fits into 16 bits: windows would be coarser than they must, or wrong"
#endif
#if TCP_WND > 176 * 1460
#error "TCP_WND above 176 full segments: one sender's burst would be more than a receive ring of 256 holds, and be lost: lower it"
#endif
#if TCP_MSS > 1460
#error "TCP_MSS above 1460: copied segments of that length do not fit the heap's blocks: lower it, NOMSTACK_MTU_MAX is for larger MTUs"
#endif
#if NOMSTACK_MTU_MAX < TCP_MSS + 40 || NOMSTACK_MTU_MAX > 9216
#error "NOMSTACK_MTU_MAX must be 40 more than TCP_MSS or more, and 9216 at most: the transmit path takes no longer frame"
#endif
#if NOMSTACK_MTU_MAX > 1500 && (TCP_WND < 8 * NOMSTACK_MTU_MAX || TCP_SND_BUF < 8 * NOMSTACK_MTU_MAX)
#error "NOMSTACK_MTU_MAX above 1500 with windows of less than 8 such packets: losses would wait for timeouts: raise TCP_WND and TCP_SND_BUF or set it to 1500"
#endif

/* Pools. */
#if MEMP_NUM_PBUF < MEMP_NUM_TCP_SEG
#error "MEMP_NUM_PBUF is below MEMP_NUM_TCP_SEG: sending without a copy would run out of it first, and nomstack_tcp_room() would not know"
#endif
#if MEMP_NUM_TCP_SEG < 2 * TCP_SND_QUEUELEN
#error "MEMP_NUM_TCP_SEG is below twice TCP_SND_QUEUELEN: one connection could take nearly all segments: raise it or lower TCP_SND_QUEUELEN"
#endif
#if MEMP_NUM_TCP_PCB < 4 * TCP_DEFAULT_LISTEN_BACKLOG
#error "MEMP_NUM_TCP_PCB is below four times TCP_DEFAULT_LISTEN_BACKLOG: half-open connections of a SYN flood would have most PCBs: raise it or lower the backlog"
#endif
#if TCP_PCB_HASH_SIZE < MEMP_NUM_TCP_PCB
#error "TCP_PCB_HASH_SIZE is below MEMP_NUM_TCP_PCB: finding a connection would mean walking chains: raise it"
#endif
#if MEMP_NUM_TCP_PCB > 65536
#error "MEMP_NUM_TCP_PCB above 65536: nomctl's table of connections has 16 bits for a place in a chain: lower it"
#endif
#if NOMSTACK_HEAP_BYTES < (512 << 10) || NOMSTACK_HEAP_BYTES & (NOMSTACK_HEAP_BYTES - 1)
#error "NOMSTACK_HEAP_BYTES must be a power of two from 512 KiB: the heap is cut into slabs of 64 KiB, and halved when the arena is small"
#endif
#if NOMSTACK_HEAP_BYTES / 2048 < TCP_SND_QUEUELEN / 2
#error "NOMSTACK_HEAP_BYTES holds less than one connection may queue: raise it or lower TCP_SND_QUEUELEN"
#endif

/* Timers walk all connections. */
#if defined(TCP_TMR_INTERVAL)
#if TCP_TMR_INTERVAL < 250 && MEMP_NUM_TCP_PCB > 4096
#error "TCP_TMR_INTERVAL below 250 ms with more than 4096 PCBs: timers would walk all of them that often: choose one"
#endif
#if TCP_TMR_INTERVAL < 10 || TCP_TMR_INTERVAL > 250
#error "TCP_TMR_INTERVAL must be 10 to 250 ms: delayed ACKs may wait no longer than 500 ms (RFC 9293, 3.8.6.3)"
#endif
#endif
#if TCP_INITIAL_RTO < 1000
#error "TCP_INITIAL_RTO below 1 s: RFC 6298, 2.1 does not allow it before a round trip is known: raise it"
#endif

/* Defaults of knobs: within the ranges of nomstack_knob.c, and of one mind. */
#if NOMSTACK_BATCH_MAX < 1 || NOMSTACK_BATCH_MAX > 256
#error "NOMSTACK_BATCH_MAX must be 1 to 256 packets"
#endif
#if NOMSTACK_TSO_MAX < 1 || NOMSTACK_TSO_MAX > 44
#error "NOMSTACK_TSO_MAX must be 1 to 44 segments"
#endif
#if NOMSTACK_W_US < 0 || NOMSTACK_W_US > 100000 || NOMSTACK_ZC_MIN_BYTES < 0 || NOMSTACK_ZC_MIN_BYTES > 2048
#error "NOMSTACK_W_US must be 0 to 100000 us, NOMSTACK_ZC_MIN_BYTES 0 to 2048 bytes"
#endif
#if NOMSTACK_W_US && NOMSTACK_BATCH_MAX == 1
#error "NOMSTACK_W_US gathers a batch that NOMSTACK_BATCH_MAX 1 takes apart again, for a delay without an effect: set one of them"
#endif
#if NOMSTACK_W_US && NOMSTACK_NAGLE
#error "NOMSTACK_W_US and NOMSTACK_NAGLE both hold small segments back, Nagle's for a whole round trip: set one of them"
#endif
#if NOMSTACK_TSO_MAX > 1 && NOMSTACK_TSO_MAX > TCP_SND_QUEUELEN / 2
#error "NOMSTACK_TSO_MAX above half of TCP_SND_QUEUELEN: no connection may queue that much: lower it"
#endif
#if NOMSTACK_CC && !LWIP_TCP_CUBIC
#error "NOMSTACK_CC 1 is CUBIC: it needs LWIP_TCP_CUBIC 1"
#endif

#endif
