/* SPDX-License-Identifier: MIT */
/* JSON reading shared by the file formats of econd: bounded, with one-line errors. */
#ifndef ECON_JSON_H
#define ECON_JSON_H

#include <stdarg.h>
#include <stddef.h>

#include <jansson.h>

/* Where an error message goes, and what it starts with. */
struct econ_err {
	const char *name;	/* file name */
	char *buf;
	size_t n;
};

/* "NAME: message" into err->buf; returns @ret. */
int econ_err_set(const struct econ_err *err, int ret, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Parse strictly (duplicate keys refused); syntax errors name line and column. */
int econ_json_parse(const char *text, size_t len, const struct econ_err *err, json_t **out);

/* A key of @object that is not in the NULL-ended list, or NULL. */
const char *econ_json_unknown(json_t *object, const char *const *keys);

#define ECON_FILE_MAX_BYTES	(8UL << 20)

/* A whole file, NUL-terminated; free(*text_out).  -EFBIG past the bound. */
int econ_file_read(const char *path, char **text_out, size_t *len_out, char *err, size_t n);

#endif
