// SPDX-License-Identifier: MIT
/* The file side of econd's formats: whole bounded reads, writes by rename. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <econ/price.h>
#include <econ/table.h>
#include <econ/valuation.h>

#include "econ_json.h"
#include "econ_table.h"

static int read_all(int fd, char *buf, size_t n, size_t *len_out)
{
	size_t len = 0;

	while (len < n) {
		ssize_t got = read(fd, buf + len, n - len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		len += (size_t)got;
	}
	*len_out = len;
	return 0;
}

int econ_file_read(const char *path, char **text_out, size_t *len_out, char *err, size_t n)
{
	struct econ_err e = { path, err, n };
	char *text = NULL;
	size_t len = 0, room;
	struct stat st;
	int fd, ret;

	/* O_NONBLOCK: opening a FIFO must not hang the daemon */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return econ_err_set(&e, -errno, "%s", strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		ret = econ_err_set(&e, -EINVAL, "not a regular file");
		goto out_close;
	}
	room = ECON_FILE_MAX_BYTES + 1;
	if ((uintmax_t)st.st_size > ECON_FILE_MAX_BYTES)
		ret = -EFBIG;
	else
		ret = (text = malloc(room + 1)) ? read_all(fd, text, room, &len) : -ENOMEM;
	if (!ret && len == room)
		ret = -EFBIG;	/* it grew */
	if (ret) {
		econ_err_set(&e, ret, "%s", strerror(-ret));
		free(text);
		goto out_close;
	}
	text[len] = '\0';
	*text_out = text;
	*len_out = len;
out_close:
	close(fd);
	return ret;
}

int econ_terms_load(const char *path, struct econ_terms *terms_out, enum econ_form *form_out,
		    char *err, size_t n)
{
	char *text;
	size_t len;
	int ret = econ_file_read(path, &text, &len, err, n);

	if (ret)
		return ret;
	ret = econ_terms_parse(text, len, path, terms_out, form_out, err, n);
	free(text);
	return ret;
}

int econ_table_load(const char *path, struct econ_table **table_out, char *err, size_t n)
{
	char *text;
	size_t len;
	int ret = econ_file_read(path, &text, &len, err, n);

	if (ret)
		return ret;
	ret = econ_table_parse(text, len, path, table_out, err, n);
	free(text);
	return ret;
}

int econ_prices_load(const char *path, struct econ_prices **prices_out, char *err, size_t n)
{
	char *text;
	size_t len;
	int ret = econ_file_read(path, &text, &len, err, n);

	if (ret)
		return ret;
	ret = econ_prices_parse(text, len, path, prices_out, err, n);
	free(text);
	return ret;
}

static int write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	int ret = 0;

	if (!f)
		return -errno;
	errno = 0;
	if (fputs(text, f) < 0 || fputc('\n', f) == EOF || fflush(f))
		ret = errno ? -errno : -EIO;
	if (fclose(f) && !ret)
		ret = -errno;
	return ret;
}

int econ_table_save(const struct econ_table *table, const char *path, char *err, size_t n)
{
	struct econ_err e = { path, err, n };
	char *text = econ__table_dump(table), *temp = NULL;
	int ret = -ENOMEM;

	if (!text || asprintf(&temp, "%s.new.%d", path, (int)getpid()) < 0)
		goto out;
	ret = write_file(temp, text);
	if (!ret && rename(temp, path))
		ret = -errno;
	if (ret)
		unlink(temp);
	free(temp);
out:
	free(text);
	return ret ? econ_err_set(&e, ret, "%s", strerror(-ret)) : 0;
}
