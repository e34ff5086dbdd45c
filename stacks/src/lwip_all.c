// SPDX-License-Identifier: MIT
/*
 * lwip_all.c - lwIP as one translation unit
 *
 * A packet passes through some forty functions of lwIP in a dozen files, most
 * of them a few instructions long.  Seen together, the compiler inlines them:
 * a fifth fewer instructions per request (profile.rst has the figures).  The
 * sources themselves stay separate files, patched in the usual way.
 */
#include "core/def.c"
#include "core/inet_chksum.c"
#include "core/init.c"
#include "core/ip.c"
#include "core/mem.c"
#include "core/memp.c"
#include "core/netif.c"
#include "core/pbuf.c"
#include "core/stats.c"
#include "core/tcp.c"
#include "core/tcp_cubic.c"
#include "core/tcp_in.c"
#include "core/tcp_out.c"
#include "core/tcp_pmtu.c"
#include "core/tcp_rack.c"
#include "core/tcp_rtx.c"
#include "core/timeouts.c"
#include "core/udp.c"
#include "core/ipv4/dhcp.c"
#include "core/ipv4/etharp.c"
#include "core/ipv4/icmp.c"
#include "core/ipv4/ip4.c"
#include "core/ipv4/ip4_addr.c"
#if LWIP_IPV6
#include "core/ipv6/ethip6.c"
#include "core/ipv6/icmp6.c"
#include "core/ipv6/ip6.c"
#include "core/ipv6/ip6_addr.c"
#include "core/ipv6/mld6.c"
#include "core/ipv6/nd6.c"
#endif
#include "netif/ethernet.c"

#if !TCP_PCB_HASH_SIZE
#error "nomstack_look_conns.c reads connections by bucket: set TCP_PCB_HASH_SIZE"
#endif
struct tcp_pcb *nomstack__hash_chain(unsigned bucket);
struct tcp_pcb *nomstack__hash_chain(unsigned bucket)
{
	return tcp_pcb_hash[bucket];
}
