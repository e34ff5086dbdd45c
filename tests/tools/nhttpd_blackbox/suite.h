/* SPDX-License-Identifier: MIT */
/* suite.h - the tests of nhttpd-blackbox */
#ifndef BLACKBOX_SUITE_H
#define BLACKBOX_SUITE_H

#include <stddef.h>

struct test {
	const char *name;
	const char *(*run)(void);	/* NULL: passed; else what went wrong */
};

/* The files the suite asks for.  Return: exit status. */
int make_root(const char *dir);

/* Content of a generated file: byte @i */
static inline char file_byte(size_t i)
{
	return (char)(i * 2654435761u >> 13);
}

#define SMALL_BYTES 175
#define BIG_BYTES (1u << 20)

const char *why(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The parts of the suite; each ends with name NULL. */
extern const struct test suite_basic[], suite_refused[], suite_hostile[];

#endif
