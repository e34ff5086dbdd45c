/* SPDX-License-Identifier: MIT */
/* Shared by the sources of userdrivers and their unit tests, by nobody else. */
#ifndef NOMDRV_INTERNAL_H
#define NOMDRV_INTERNAL_H

/* Our own bug: say where, what and the value, then abort. */
void nomdrv__bug(const char *where, const char *what, long value) __attribute__((noreturn, cold));

#endif /* NOMDRV_INTERNAL_H */
