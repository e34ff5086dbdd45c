/* SPDX-License-Identifier: MIT */
/*
 * nom_open.h - core and device, and what to say when one cannot be had
 *
 * Each returns an exit status and has printed its message when that is not EXIT_OK;
 * the caller gives back what was opened before.
 */
#ifndef NOMUDP_NOM_OPEN_H
#define NOMUDP_NOM_OPEN_H

struct nomux_core;
struct server;
struct vnet;

/* nom_open_core - open /dev/nom (server.nomux) and lease a core; nobody enters it yet */
int nom_open_core(struct server *srv, struct nomux_core **core_out);

/* nom_open_device - take the device of --device */
int nom_open_device(struct server *srv, struct vnet **vnet_out);

#endif
