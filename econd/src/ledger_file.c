// SPDX-License-Identifier: MIT
/* The ledger's file: append-only, a line a write, no retries. */
#include <econ/ledger.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct econ_ledger {
	int fd;
	bool torn;		/* the last write left part of a line */
	struct econ_terms terms;
	enum econ_form form;
};

int econ_ledger_open(const char *path, const struct econ_terms *terms, enum econ_form form,
		     struct econ_ledger **ledger_out)
{
	struct econ_ledger *l;

	if (!econ_form_name(form) || econ_terms_check(terms, NULL, 0))
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->terms = *terms;
	l->form = form;
	if (!strcmp(path, "-"))
		l->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		l->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (l->fd < 0) {
		int ret = -errno;

		free(l);
		return ret;
	}
	*ledger_out = l;
	return 0;
}

int econ_ledger_write(struct econ_ledger *l, const struct econ_ledger_line *line)
{
	char buf[ECON_LEDGER_CHARS + 1];
	ssize_t done;
	int len;

	buf[0] = '\n';
	len = econ_ledger_format(line, &l->terms, l->form, buf + 1, ECON_LEDGER_CHARS);
	if (len < 0)
		return len;
	do {
		done = l->torn ? write(l->fd, buf, (size_t)len + 1) :
				 write(l->fd, buf + 1, (size_t)len);
	} while (done < 0 && errno == EINTR);
	if (done < 0)
		return -errno;
	len += l->torn;
	if (done < len) {
		/* If only the line break got out, the next line needs none. */
		if (done > 0)
			l->torn = !(l->torn && done == 1);
		return -ENOSPC;
	}
	l->torn = false;
	return 0;
}

void econ_ledger_close(struct econ_ledger *ledger)
{
	if (!ledger)
		return;
	close(ledger->fd);
	free(ledger);
}
