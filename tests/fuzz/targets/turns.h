/* SPDX-License-Identifier: MIT */
/*
 * turns.h - for targets that play the device below a transport: time, the rings
 * as such a device sees them, and the steps of an application
 *
 * The application is test_vnet_fuzz.c's.  Time is turns.c's: it passes when the
 * driver looks at it or sleeps, and not otherwise.
 */
#ifndef TESTS_FUZZ_TURNS_H
#define TESTS_FUZZ_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nomdrv/vnet.h"

#define TURNS_PAIRS	4
#define TURNS_STEP	4	/* bytes of a step, of a patch, and of a lie */

/* A ring, and how far the device is; @va finds what descriptors point to, NULL: nothing. */
struct turns_ring {
	void *desc, *avail, *used;
	unsigned int size;
	unsigned int *at;
	bool packed;
	void *(*va)(void *arg, uint64_t dma, size_t bytes);
	void *arg;
};

/* The device uses what is next, with @len bytes if it is to be written to; false: nothing is there. */
bool turns_use(const struct turns_ring *r, unsigned int len);
/* The command that waits is answered with @answer, by another head than its own if @wrong. */
bool turns_answer(const struct turns_ring *r, uint8_t answer, bool wrong);
/* A byte of what the device writes in a ring. */
void turns_scribble(const struct turns_ring *r, const uint8_t *s);

/*
 * The application on @v, one for each pair.  turns_step(): false, the step is not one
 * of the application's.  turns_end() closes @v, and all that it was given is back.
 */
void turns_begin(struct vnet *v);
bool turns_step(const uint8_t *s);
/* As the application would after a stop: 0, or why not. */
int turns_restart(void);
void turns_end(void);

/* Of the clock, in ns: a tenth of a second from one look at it to the next. */
extern int64_t turns_now;

/* The options of an input, from its first byte but one. */
void turns_opts(const uint8_t *s, struct vnet_opts *o);
/* All that can be asked for with features_on. */
uint64_t turns_features(void);

/* Before an input. */
void turns_fresh(void);

/* Whether an error was logged since the last call. */
bool turns_said_why(void);

/* Which descriptors are open, of the first 64: the same before and after an input. */
uint64_t turns_fds(void);

#endif /* TESTS_FUZZ_TURNS_H */
