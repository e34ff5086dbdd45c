/* SPDX-License-Identifier: MIT */
/*
 * nom_open.h - core, device and stack of the private network, one after the other
 *
 * Each returns an exit status and has printed its message when that is not
 * EXIT_OK; the caller gives back what was opened before.
 */
#ifndef NHTTPD_NOM_OPEN_H
#define NHTTPD_NOM_OPEN_H

#include <stddef.h>

struct nomstack;
struct nomux_core;
struct server;
struct vnet;

/* nom_open_core - open /dev/nom (server.nomux) and lease a core; nobody enters it yet */
int nom_open_core(struct server *srv, struct nomux_core **core_out);

/* nom_open_device - take the device of --device, with memory for stack and site */
int nom_open_device(struct server *srv, struct vnet **vnet_out);

/* nom_open_stack - bring up TCP/IP; with DHCP, wait for an address */
int nom_open_stack(struct server *srv, struct vnet *vnet, struct nomstack **stack_out);

/* nom_large_text - "large receive on", or "... off (why)": @buf, of @n bytes, 96 are enough */
const char *nom_large_text(const struct server *srv, const struct vnet *vnet, char *buf, size_t n);

#endif
