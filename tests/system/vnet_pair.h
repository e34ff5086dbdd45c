/* SPDX-License-Identifier: MIT */
/*
 * What the tests of vnet in the guest share: two devices on a hub, of which the
 * driver has the second, Linux the first, where a packet socket sends and
 * receives frames of an experimental Ethernet type.  Nothing else talks there.
 * The second may be one without PCI, of which Linux may know nothing (mmio).
 */
#ifndef VNET_PAIR_H
#define VNET_PAIR_H

#include <dirent.h>
#include <glob.h>
#include <linux/if_packet.h>
#include <linux/nom.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <nomdrv/vnet.h>
#include <nomux/clock.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/mmio.h>
#include <nomux/upcall.h>
#include <nomux/vfio.h>

#include "nomux_tap.h"

#define ETHERTYPE	0x88b5	/* IEEE: local experiments */
#define BIT(n)		(1ULL << (n))
#define PATIENCE_NS	5000000000ULL
#define FRAME		100

static char bdf[2][16];
static bool mmio;	/* the second is a platform device */
static char ifname[64], driver[64];
static uint8_t mac_linux[6], mac_vnet[6];
static int packet = -1;
static struct nomux_ctx *nom;

/* ------------------------------------------------------------- preparation --- */

static inline int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static inline bool read_line(const char *path, char *buf, size_t n)
{
	FILE *f = fopen(path, "r");
	bool good = f && fgets(buf, (int)n, f);

	if (f)
		fclose(f);
	if (good)
		buf[strcspn(buf, "\n")] = 0;
	return good;
}

/* The only virtio device without PCI, as ACPI names it. */
static inline bool find_mmio(char *name, size_t n)
{
	bool good;
	glob_t g;

	good = glob("/sys/bus/platform/devices/LNRO0005:*", 0, NULL, &g) == 0 && g.gl_pathc == 1;
	if (good)
		snprintf(name, n, "%.15s", strrchr(g.gl_pathv[0], '/') + 1);
	globfree(&g);
	return good;
}

/* The two virtio-net functions with the highest addresses. */
static inline bool find_functions(void)
{
	char all[16][16], path[128], line[32];
	struct dirent *e;
	unsigned int n = 0;
	DIR *d = opendir("/sys/bus/pci/devices");

	while (d && (e = readdir(d)) && n < 16) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.32s/device", e->d_name);
		if (!read_line(path, line, sizeof(line)) || strcmp(line, "0x1041"))
			continue;
		snprintf(all[n++], sizeof(all[0]), "%.15s", e->d_name);
	}
	if (d)
		closedir(d);
	if (n < 2 - (unsigned int)mmio)
		return false;
	qsort(all, n, sizeof(all[0]), by_name);
	if (mmio) {
		memcpy(bdf[0], all[n - 1], sizeof(bdf[0]));
		return find_mmio(bdf[1], sizeof(bdf[1]));
	}
	memcpy(bdf, all[n - 2], sizeof(bdf));
	return true;
}

static inline const char *bus_of(const char *which)
{
	return mmio && which == bdf[1] ? "platform" : "pci";
}

/* Name and address of the interface that Linux has on a device. */
static inline bool find_interface(const char *which, char *name, size_t n, uint8_t *mac)
{
	char pattern[128], line[32];
	bool good = false;
	glob_t g;

	snprintf(pattern, sizeof(pattern), "/sys/bus/%s/devices/%s/virtio*/net/*/address", bus_of(which), which);
	if (glob(pattern, 0, NULL, &g) == 0 && g.gl_pathc == 1 &&
	    read_line(g.gl_pathv[0], line, sizeof(line)) &&
	    sscanf(line, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) == 6) {
		char *end = strrchr(g.gl_pathv[0], '/');

		*end = 0;
		snprintf(name, n, "%s", strrchr(g.gl_pathv[0], '/') + 1);
		good = true;
	}
	globfree(&g);
	return good;
}

static inline void driver_of(const char *which, char *name, size_t n)
{
	char path[128], link[256];
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/bus/%s/devices/%s/driver", bus_of(which), which);
	len = readlink(path, link, sizeof(link) - 1);
	link[len < 0 ? 0 : len] = 0;
	snprintf(name, n, "%.60s", len < 0 ? "" : strrchr(link, '/') + 1);
}

static inline int set_up(const char *name, bool up)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), err = 0;
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(s, SIOCGIFFLAGS, &ifr))
		err = -errno;
	ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
	if (!err && ioctl(s, SIOCSIFFLAGS, &ifr))
		err = -errno;
	close(s);
	return err;
}

static inline int open_packet(void)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE) };
	int bytes = 8 << 20;

	packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE));
	if (packet < 0)
		return -errno;
	setsockopt(packet, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	addr.sll_ifindex = (int)if_nametoindex(ifname);
	return bind(packet, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
}

/* ------------------------------------------------------------------ frames --- */

static inline void make_frame(uint8_t *f, bool from_linux, uint32_t seq, size_t len)
{
	size_t i;

	memcpy(f, from_linux ? mac_vnet : mac_linux, 6);
	memcpy(f + 6, from_linux ? mac_linux : mac_vnet, 6);
	f[12] = ETHERTYPE >> 8;
	f[13] = ETHERTYPE & 0xff;
	memcpy(f + 14, &seq, 4);
	for (i = 18; i < len; i++)
		f[i] = (uint8_t)(seq + i);
}

static inline bool frame_is(const uint8_t *f, size_t got, bool from_linux, uint32_t seq, size_t len)
{
	uint8_t want[1600];

	make_frame(want, from_linux, seq, len);
	return got == len && !memcmp(f, want, len);
}

static inline bool linux_sends(uint32_t seq, size_t len)
{
	uint8_t f[1600];

	make_frame(f, true, seq, len);
	return send(packet, f, len, 0) == (ssize_t)len;
}

/* As above, but a full path is no reason to wait: a hub holds frames back instead of dropping them. */
static inline bool linux_sends_now(uint32_t seq, size_t len)
{
	uint8_t f[1600];

	make_frame(f, true, seq, len);
	return send(packet, f, len, MSG_DONTWAIT) == (ssize_t)len;
}

static inline bool linux_gets(uint32_t seq, size_t len)
{
	struct pollfd pfd = { .fd = packet, .events = POLLIN };
	uint8_t f[1600];
	ssize_t n;

	if (poll(&pfd, 1, 5000) != 1)
		return false;
	n = recv(packet, f, sizeof(f), MSG_DONTWAIT);
	return n > 0 && frame_is(f, (size_t)n, false, seq, len);
}

/* Poll until a frame of ours is there; others (neighbour discovery) are given back. */
static inline bool vnet_gets(struct vnet *v, uint32_t seq, size_t len)
{
	uint64_t end = nomux_now_ns() + PATIENCE_NS;
	struct vnet_rx rx;

	while (nomux_now_ns() < end) {
		bool ours, good;

		if (!vnet_rx_burst(v, &rx, 1))
			continue;
		ours = rx.len > 14 && !memcmp((uint8_t *)rx.data + 12, "\x88\xb5", 2);
		good = ours && frame_is(rx.data, rx.len, true, seq, len);
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
		if (ours)
			return good;
	}
	return false;
}

static inline bool vnet_sends(struct vnet *v, uint32_t seq, size_t len)
{
	uint8_t f[1600];
	struct vnet_seg seg = { f, (uint32_t)len };

	make_frame(f, false, seq, len);
	return vnet_tx_copy(v, &seg, 1, 0, 0) == 0;
}

/* Take and give back whatever is under way, until 50 ms are quiet. */
static inline void settle(struct vnet *v)
{
	uint64_t quiet = nomux_now_ns(), end = quiet + PATIENCE_NS;
	struct vnet_rx rx;

	while (nomux_now_ns() - quiet < 50000000 && nomux_now_ns() < end) {
		if (!vnet_rx_burst(v, &rx, 1))
			continue;
		vnet_rx_release(v, rx.id);
		vnet_rx_flush(v);
		quiet = nomux_now_ns();
	}
}

/* Until everything sent has come back from the device. */
static inline bool drain_tx(struct vnet *v, unsigned int size, vnet_tx_done_fn done, void *arg)
{
	uint64_t end = nomux_now_ns() + PATIENCE_NS;

	while (vnet_tx_room(v) < size && nomux_now_ns() < end)
		vnet_tx_reap(v, done, arg);
	return vnet_tx_room(v) == size;
}

/* Everything up to opening the second device; exits when there is something missing. */
static inline void pair_up(unsigned int deadline_s)
{
	char other[64];
	int err;

	t_start(deadline_s);
	if (!find_functions()) {
		printf("1..0 # skip: needs two virtio-net devices (1af4:1041%s)\n", mmio ? ", LNRO0005" : "");
		exit(T_SKIP);
	}
	err = nomux_open(&nom);
	if (err == -ENOENT) {
		printf("1..0 # skip: no /dev/nom\n");
		exit(T_SKIP);
	}
	T_NEED(err);
	T_NEED(nomux_clock_init());
	driver_of(bdf[1], driver, sizeof(driver));
	if (!find_interface(bdf[0], ifname, sizeof(ifname), mac_linux) ||
	    (driver[0] && !find_interface(bdf[1], other, sizeof(other), mac_vnet))) {
		printf("not ok 1 - Linux has no interface on %s or %s\n", bdf[0], bdf[1]);
		exit(1);
	}
	if (driver[0])
		T_NEED(set_up(other, false));
	T_NEED(set_up(ifname, true));
	T_NEED(open_packet());
}

#endif /* VNET_PAIR_H */
