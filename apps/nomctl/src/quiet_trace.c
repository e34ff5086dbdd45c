// SPDX-License-Identifier: MIT
/*
 * quiet: who it was, from the kernel's trace events, in an instance of our own that
 * nobody else's tracing notices.  Events of the core itself are filtered by where
 * they happen, interrupts between cores by where they go: those are recorded by
 * their sender, with the place in the kernel that sent them.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quiet_internal.h"

#define TRACEFS		"/sys/kernel/tracing"
#define ORIGINS_MAX	64

static const struct {
	const char *event;
	const char *filter;	/* of the core's number */
} events[] = {
	{ "ipi/ipi_send_cpu", "cpu == %u" },
	{ "ipi/ipi_send_cpumask", "cpumask & CPUS{%u}" },
	{ "csd/csd_queue_cpu", "cpu == %u" },
	{ "sched/sched_switch", "common_cpu == %u" },
	{ "irq/irq_handler_entry", "common_cpu == %u" },
	{ "irq/softirq_entry", "common_cpu == %u" },
	{ "timer/timer_expire_entry", "common_cpu == %u" },
	{ "timer/hrtimer_expire_entry", "common_cpu == %u" },
	{ "timer/tick_stop", "common_cpu == %u" },
	{ "workqueue/workqueue_execute_start", "common_cpu == %u" },
};

static int put(const struct quiet *q, const char *file, const char *text)
{
	char path[256];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%s/%s", q->trace, file);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int enable(const struct quiet *q)
{
	char file[96], text[64];
	int ret = 0, nr = 0;

	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++) {
		snprintf(file, sizeof(file), "events/%s/filter", events[i].event);
		snprintf(text, sizeof(text), events[i].filter, q->cpu);
		ret = put(q, file, text);
		if (ret == -ENOENT)
			continue;	/* not in this kernel */
		if (ret)
			return ret;
		snprintf(file, sizeof(file), "events/%s/enable", events[i].event);
		ret = put(q, file, "1");
		if (ret)
			return ret;
		nr++;
	}
	return nr ? 0 : -EOPNOTSUPP;
}

int quiet_trace(struct quiet *q)
{
	int ret;

	q->nr_origins = 0;
	snprintf(q->trace, sizeof(q->trace), TRACEFS "/instances/nom-quiet-%d-%u", (int)getpid(), q->cpu);
	if (mkdir(q->trace, 0700)) {
		ret = errno == ENOENT ? -EOPNOTSUPP : -errno;
		q->trace[0] = '\0';
		return ret;
	}
	ret = enable(q);
	if (!ret)
		ret = put(q, "trace", "\n");	/* what enabling them has sent is ours */
	if (ret) {
		rmdir(q->trace);
		q->trace[0] = '\0';
	}
	return ret;
}

static int add_origin(struct quiet *q, const char *text)
{
	struct quiet_origin *o;

	for (size_t i = 0; i < q->nr_origins; i++) {
		if (!strcmp(q->origins[i].text, text)) {
			q->origins[i].count++;
			return 0;
		}
	}
	if (q->nr_origins == ORIGINS_MAX)
		return 0;	/* what comes in so many kinds is named well enough */
	o = quiet_grow((void **)&q->origins, &q->nr_origins, sizeof(*o));
	if (!o)
		return -ENOMEM;
	snprintf(o->text, sizeof(o->text), "%s", text);
	o->count = 1;
	return 0;
}

/* What is between key and end, or the end of the line, into out. */
static const char *between(const char *text, const char *key, const char *end, char *out, size_t n)
{
	const char *at = strstr(text, key), *stop;

	out[0] = '\0';
	if (!at)
		return out;
	at += strlen(key);
	stop = strstr(at, end);
	snprintf(out, n, "%.*s", stop ? (int)(stop - at) : (int)strlen(at), at);
	return out;
}

/* A symbol after key, without its "+0x1/0x2"; "" for none, which is 0x0 */
static const char *symbol(const char *text, const char *key, char *out, size_t n)
{
	between(text, key, " ", out, n);
	out[strcspn(out, "+")] = '\0';
	if (!strcmp(out, "0x0"))
		out[0] = '\0';
	return out;
}

/* "  insmod-81      [000] d..1.    12.345678: ipi_send_cpu: cpu=1 callsite=..." */
int quiet_trace_line(struct quiet *q, char *line)
{
	char who[64], a[96], b[96], out[sizeof(q->origins->text)];
	char *cpu, *event, *args;

	line += strspn(line, " ");
	cpu = strchr(line, '[');
	if (*line == '#' || !cpu)
		return 0;
	snprintf(who, sizeof(who), "%.*s", (int)(cpu - line), line);
	for (size_t n = strlen(who); n && who[n - 1] == ' ';)
		who[--n] = '\0';
	event = strstr(cpu, ": ");
	args = event ? strstr(event + 2, ": ") : NULL;
	if (!args)
		return 0;
	*args = '\0';
	args += 2;
	event += 2;
	args[strcspn(args, "\n")] = '\0';

	if (!strncmp(event, "ipi_send_", 9))
		snprintf(out, sizeof(out), "interrupt sent by %s: %s%s%s", who,
			 symbol(args, "callsite=", a, sizeof(a)),
			 *symbol(args, "callback=", b, sizeof(b)) ? " " : "", b);
	else if (!strcmp(event, "csd_queue_cpu"))
		snprintf(out, sizeof(out), "call of %s by %s: %s", symbol(args, "func=", b, sizeof(b)),
			 who, symbol(args, "callsite=", a, sizeof(a)));
	else if (!strcmp(event, "sched_switch"))
		snprintf(out, sizeof(out), "switch to %s-%s",
			 between(args, "next_comm=", " next_pid=", a, sizeof(a)),
			 between(args, "next_pid=", " ", b, sizeof(b)));
	else if (!strcmp(event, "irq_handler_entry"))
		snprintf(out, sizeof(out), "handler of interrupt %s", args);
	else if (!strcmp(event, "softirq_entry"))
		snprintf(out, sizeof(out), "softirq %s", between(args, "action=", "]", a, sizeof(a)));
	else if (!strcmp(event, "tick_stop"))
		snprintf(out, sizeof(out), "tick: %s", args);
	else if (!strcmp(event, "workqueue_execute_start"))
		snprintf(out, sizeof(out), "work %s in %s", symbol(args, "function ", a, sizeof(a)), who);
	else
		snprintf(out, sizeof(out), "%s %s", !strncmp(event, "hrtimer", 7) ? "hrtimer" : "timer",
			 symbol(args, "function=", a, sizeof(a)));
	return add_origin(q, out);
}

int quiet_trace_end(struct quiet *q)
{
	char path[256], *line = NULL;
	size_t room = 0;
	int ret = 0;
	FILE *f;

	if (!*q->trace)
		return 0;
	put(q, "tracing_on", "0");
	put(q, "events/enable", "0");
	snprintf(path, sizeof(path), "%s/trace", q->trace);
	f = fopen(path, "re");
	while (f && !ret && getline(&line, &room, f) > 0)
		ret = quiet_trace_line(q, line);
	if (f)
		fclose(f);
	free(line);
	rmdir(q->trace);
	q->trace[0] = '\0';
	return ret;
}
