// SPDX-License-Identifier: MIT
/* What nomctl prints: messages, JSON, aligned tables, numbers for people. */
#include "nomctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <linux/nom.h>

int nomctl_fail(int code, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* It may quote a file or a page, and ends up on somebody's terminal. */
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	fflush(stdout);
	fprintf(stderr, "nomctl: %s\n", line);
	return code;
}

int nomctl_fail_errno(int err, const char *doing)
{
	int code = econ_exit_code(err);

	switch (code) {
	case ECON_EXIT_NO_NOM:
		return nomctl_fail(code, "%s: this kernel has no nom: boot the patched kernel and load nom.ko (nomctl doctor says what is missing)",
				   doing);
	case ECON_EXIT_PERMISSION:
		return nomctl_fail(code, "%s: not permitted: run as root, or join the group of /dev/nom",
				   doing);
	default:
		return nomctl_fail(code, "%s: %s", doing, strerror(-err));
	}
}

int nomctl_print_json(json_t *value)
{
	int ret = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));

	json_decref(value);
	putchar('\n');
	return ret ? nomctl_fail(ECON_EXIT_FAILED, "cannot write JSON") : ECON_EXIT_OK;
}

/* -------------------------------------------------------------- tables --- */

#define COLUMNS_MAX	16

struct nomctl_table {
	unsigned columns;
	bool right[COLUMNS_MAX];
	size_t nr, room;
	char **rows;		/* cells separated by NUL, COLUMNS of them */
	size_t width[COLUMNS_MAX];
};

/* Characters, not bytes, of UTF-8. */
static size_t text_width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

/* Take over @line; missing cells are empty, surplus ones stay in the last. */
static void add_line(struct nomctl_table *t, char *line)
{
	char *row = calloc(1, strlen(line) + COLUMNS_MAX + 1), *out = row, *cell = line;

	if (!row || (t->nr == t->room &&
		     !(t->rows = reallocarray(t->rows, t->room = t->room * 2 + 16, sizeof(*t->rows)))))
		abort();
	for (unsigned c = 0; c < t->columns; c++) {
		char *bar = c + 1 < t->columns ? strchr(cell, '\t') : NULL;

		if (bar)
			*bar = '\0';
		strcpy(out, cell);
		if (text_width(out) > t->width[c])
			t->width[c] = text_width(out);
		out += strlen(out) + 1;
		cell = bar ? bar + 1 : cell + strlen(cell);
	}
	t->rows[t->nr++] = row;
	free(line);
}

struct nomctl_table *nomctl_table_create(const char *heads)
{
	struct nomctl_table *t = calloc(1, sizeof(*t));
	char *line = strdup(heads), *to = line;

	if (!t || !line)
		abort();
	t->columns = 1;
	for (const char *p = heads; *p; p++) {
		if (*p == '>' && (p == heads || p[-1] == '\t')) {
			t->right[t->columns - 1] = true;
			continue;
		}
		if (*p == '\t' && t->columns < COLUMNS_MAX)
			t->columns++;
		*to++ = *p;
	}
	*to = '\0';
	add_line(t, line);
	return t;
}

void nomctl_table_row(struct nomctl_table *t, const char *fmt, ...)
{
	va_list ap;
	char *line;

	va_start(ap, fmt);
	if (vasprintf(&line, fmt, ap) < 0)
		abort();
	va_end(ap);
	add_line(t, line);
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last)
{
	size_t pad = width - text_width(text);

	if (right)
		fprintf(out, "%*s%s", (int)pad, "", text);
	else
		fprintf(out, "%s%*s", text, last ? 0 : (int)pad, "");
	fputs(last ? "\n" : "  ", out);
}

void nomctl_table_print(struct nomctl_table *t, FILE *out)
{
	for (size_t r = 0; r < t->nr; r++) {
		const char *cell = t->rows[r];

		for (unsigned c = 0; out && c < t->columns; c++) {
			print_cell(out, cell, t->width[c], t->right[c], c + 1 == t->columns);
			cell += strlen(cell) + 1;
		}
		free(t->rows[r]);
	}
	free(t->rows);
	free(t);
}

/* ------------------------------------------------------------- numbers --- */

const char *nomctl_bytes(uint64_t bytes, char *buf, size_t n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1024 && u < 4) {
		v /= 1024;
		u++;
	}
	snprintf(buf, n, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

const char *nomctl_bdf(uint32_t bdf, char *buf, size_t n)
{
	snprintf(buf, n, "%04x:%02x:%02x.%x", bdf >> 16, bdf >> 8 & 0xff, bdf >> 3 & 0x1f, bdf & 7);
	return buf;
}

const char *nomctl_age(uint64_t ns, char *buf, size_t n)
{
	double s = (double)ns / 1e9;

	if (s < 100)
		snprintf(buf, n, "%.1f s", s);
	else if (s < 100 * 60)
		snprintf(buf, n, "%.0f min", s / 60);
	else
		snprintf(buf, n, "%.1f h", s / 3600);
	return buf;
}

const char *nomctl_core_state(uint32_t state)
{
	switch (state) {
	case NOM_CORE_FREE:
		return "free";
	case NOM_CORE_LEASED:
		return "leased";
	case NOM_CORE_RUNNING:
		return "running";
	case NOM_CORE_OFFLINE:
		return "offline";
	default:
		return "unknown";
	}
}
