// SPDX-License-Identifier: MIT
/* JSON reading shared by the file formats of econd. */
#include "econ_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int econ_err_set(const struct econ_err *err, int ret, const char *fmt, ...)
{
	va_list ap;
	int len;

	if (!err->buf || !err->n)
		return ret;
	len = snprintf(err->buf, err->n, "%s: ", err->name);
	if (len < 0 || (size_t)len >= err->n)
		return ret;
	va_start(ap, fmt);
	vsnprintf(err->buf + len, err->n - (size_t)len, fmt, ap);
	va_end(ap);
	/* A message may quote the file, and ends up on somebody's terminal. */
	for (char *c = err->buf; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return ret;
}

int econ_json_parse(const char *text, size_t len, const struct econ_err *err, json_t **out)
{
	json_error_t je;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);

	if (!root)
		return econ_err_set(err, -EINVAL, "line %d, column %d: %s", je.line,
				    je.column, je.text);
	*out = root;
	return 0;
}

const char *econ_json_unknown(json_t *object, const char *const *keys)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value) {
		const char *const *k;

		for (k = keys; *k && strcmp(*k, key); k++)
			;
		if (!*k)
			return key;
	}
	return NULL;
}
