/* SPDX-License-Identifier: MIT */
/* doctor.h - a check of nomctl doctor, and what it finds */
#ifndef NOMCTL_DOCTOR_H
#define NOMCTL_DOCTOR_H

#include "nomctl.h"

#include <econ/nl.h>

enum level { OK, WARN, FAIL, SKIPPED };

struct finding {
	enum level level;
	char found[800];
	char advice[1200];
};

/* What several checks look at, gathered once. */
struct machine {
	struct econ_nl *nl;		/* NULL: no family */
	int nl_error;
	struct econ_nl_record info;
	unsigned nr_prices;
};

struct doctor_check {
	const char *name;
	void (*run)(struct machine *m, struct finding *f);
};

/* Without a name behind the last: of a host that is to run the guest, of a machine that runs nom. */
extern const struct doctor_check doctor_host[], doctor_nom[];

/* One line of what was found, and unless ok one of what to do. */
void doctor_find(struct finding *f, enum level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void doctor_advise(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
