/* SPDX-License-Identifier: MIT */
/*
 * What every public header of libnomux shares: symbol visibility, and the
 * rules that hold for all calls.
 *
 * Errors: a function that can fail returns int, 0 or a count when it worked
 * and -errno when not; a constructor hands its object out through its last
 * argument and leaves that untouched when it fails.  After a failed call
 * nothing has changed.  The error codes mean what <linux/nom.h> says.
 *
 * Options: a struct with a field `sz` grows at its end.  Set sz to the sizeof
 * you compiled with; fields you do not know of keep their defaults.  NULL
 * means all defaults.
 *
 * The library never exits, prints or installs a signal handler behind the
 * caller's back; what it has to say goes through <nomux/log.h>.
 */
#ifndef NOMUX_API_H
#define NOMUX_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOMUX_API __attribute__((visibility("default")))

#endif /* NOMUX_API_H */
