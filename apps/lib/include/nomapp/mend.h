/* SPDX-License-Identifier: MIT */
/*
 * mend.h - a device that failed: try to bring it up again, for a while
 *
 * A back-end that is started anew, by hand or by its supervisor, takes a second or
 * two; the application waits for it with all its connections rather than end.  Not
 * for ever: a peer gives up as well, and who watches the server shall hear of it.
 */
#ifndef NOMAPP_MEND_H
#define NOMAPP_MEND_H

#include <stdbool.h>
#include <stdint.h>

struct vnet;

/**
 * struct app_mend - whose device, and how to wait for it
 * @device: as --device names it
 * @quiet: another core's thread tells of it
 * @restart: one try; 0, or -errno: -ECANCELED is final, another may be followed by the next
 * @stopping: whether the application was asked to end
 * @nap: sleep for that long at most, and no longer than until @stopping changes
 * @arg: for all three
 */
struct app_mend {
	const char *device;
	bool quiet;
	int (*restart)(void *arg);
	bool (*stopping)(void *arg);
	void (*nap)(void *arg, uint64_t ns);
	void *arg;
};

/**
 * app_mend - bring a device that failed up again
 * @m: how
 * @v: the device, vnet_error() has the reason
 *
 * The first try is at once, the next come after pauses of 0.1 s, twice that and so on,
 * 2 s at most, for 10 s in all.  Sleeps in between.  Logs one line when it begins and
 * one when the device is back: after how long, and how many frames it had that may be
 * lost.
 *
 * Return: 0, or -ECANCELED (@stopping), or the last try's error: the message is printed.
 */
int app_mend(const struct app_mend *m, struct vnet *v);

#endif
