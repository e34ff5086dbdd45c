/* SPDX-License-Identifier: MIT */
/*
 * app.h - what the servers have in common: messages, exit statuses, where they run
 *
 * nhttpd and nomudp begin alike: options, a core, a device, a page of counters; and
 * what cannot be had is said alike, in one line that tells what failed, why, and what
 * to do about it.  Threads: any, once app_begin() was called.
 */
#ifndef NOMAPP_APP_H
#define NOMAPP_APP_H

#include <stdbool.h>
#include <stdint.h>

struct nomux_core;
struct nomux_ctx;
struct vnet;
struct vnet_opts;

/* Exit statuses, documented in nhttpd(1) and nomudp(1). */
enum app_exit {
	EXIT_OK = 0,
	EXIT_OTHER = 1,		/* memory, descriptors, threads */
	EXIT_USAGE = 2,
	EXIT_ROOT = 3,		/* root missing, unreadable or too big */
	EXIT_ADDRESS = 4,	/* port in use, address not ours, no DHCP lease */
	EXIT_DEVICE = 5,	/* device unknown, busy, unsuitable or broken */
	EXIT_NO_NOM = 6,	/* kernel without nom, or no access to /dev/nom */
	EXIT_NO_CORE = 7,
	EXIT_NO_MEMORY = 8,	/* reserved memory */
	EXIT_ECON = 9,		/* table, terms or ledger file */
};

/* app_begin - the program's name, for messages; borrowed */
void app_begin(const char *name);

/* die_message - one line on standard error, "nhttpd: ..." */
void die_message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* app_choice - which of @words, separated by '|', @word is; -1: none */
int app_choice(const char *words, const char *word);

/* app_emulated_cpu - is this QEMU's translator, where PAUSE costs microseconds? */
bool app_emulated_cpu(void);

/* app_pin - the calling thread stays on @cpu; below 0: anywhere.  Exit status. */
int app_pin(int cpu);

/* app_hosted - is @device the socket of a vhost-user back-end, or an interface of the kernel's: no lease, no nom kernel? */
bool app_hosted(const char *device);

/* app_interface - is @device an interface of the kernel's, to be used through a packet socket or an AF_XDP one? */
#define APP_PACKET "packet:"
#define APP_XDP "xdp:"
bool app_interface(const char *device);

/* app_xdp_mode - the enum vnet_xdp_mode that @word of APP_XDP_MODES names; -1: none */
#define APP_XDP_MODES "best|zero-copy|copy|generic"
int app_xdp_mode(const char *word);

/* app_interface_text - for the line that says where a server answers: how it has @vnet's frames */
const char *app_interface_text(const struct vnet *vnet);

/* app_socket_calls - system calls that @vnet, on an interface of the kernel's, has made to send, to receive and to look */
uint64_t app_socket_calls(const struct vnet *vnet);

/**
 * app_open_core - lease a core; nobody enters it yet
 * @ctx: opened when it is NULL; the caller's to close
 * @cpu: which; -1: any
 * @notify_mask: see struct nomux_core_opts
 * @which: what a message calls the core; NULL: by @cpu
 * @core_out: the lease; give back with nomux_core_release()
 *
 * Return: an exit status, its message is printed.
 */
int app_open_core(struct nomux_ctx **ctx, int cpu, uint64_t notify_mask, const char *which, struct nomux_core **core_out);

/**
 * app_open_device - take a device
 * @ctx: not used for a hosted one
 * @device: PCI function (with or without domain), mmio:NAME, unix:PATH, packet:IFNAME or xdp:IFNAME
 * @opts: for the driver
 * @optional: those of @opts->features_on to do without if the device's queues are too short for them
 * @less: how to want less memory, as the end of a sentence; NULL: it cannot be helped
 * @vnet_out: the device; give back with vnet_close()
 *
 * Return: an exit status, its message is printed.
 */
int app_open_device(struct nomux_ctx *ctx, const char *device, const struct vnet_opts *opts, uint64_t optional,
		    const char *less, struct vnet **vnet_out);

#endif
