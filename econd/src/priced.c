// SPDX-License-Identifier: MIT
/*
 * priced - publishes the prices of resources on nom's bulletin board.
 *
 * Thesis 3.8: a daemon asks the provider what resources cost now and tells all
 * applications through the board; the kernel notifies those that subscribed.
 * Here the provider is a JSON file, re-read when it changes, or a trace played
 * in time.  Prices survive this daemon: they stay on the board if it is killed.
 *
 * One thread, one loop: wait for the file, a signal or the next step; publish.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <econ/money.h>
#include <econ/options.h>

#include "priced.h"

#define NS_PER_S	1000000000ULL

/* Held while priced runs; the kernel drops it with the process.  nomctl doctor
 * looks for it in /proc/net/unix. */
#define LOCK_NAME	"nom-priced"

struct options {
	const char *check;
	bool once, dry_run, help;
	double speed, from_s;
	int64_t poll_ms;
};

#define OPT(field)	offsetof(struct options, field)
static const struct econ_option option_table[] = {
	{ "once", 'o', ECON_OPT_FLAG, OPT(once), NULL,
	  "publish a price file, or play a trace's steps once, and exit", 0, 0 },
	{ "dry-run", 'n', ECON_OPT_FLAG, OPT(dry_run), NULL,
	  "say what would be published; needs no nom and no privilege", 0, 0 },
	{ "check", 'c', ECON_OPT_STRING, OPT(check), "FILE",
	  "read FILE, say what is in it or what is wrong, and exit", 0, 0 },
	{ "speed", 's', ECON_OPT_REAL, OPT(speed), "X",
	  "play a trace X times as fast (default 1)", 0.001, 1000 },
	{ "from", 'f', ECON_OPT_REAL, OPT(from_s), "SECONDS",
	  "begin a trace so far in", 0, ECON_AT_MAX_S },
	{ "poll-ms", 'p', ECON_OPT_INT, OPT(poll_ms), "MS",
	  "look at the file every MS ms as well (default 1000)", 10, 3600000 },
	{ "help", 'h', ECON_OPT_FLAG, OPT(help), NULL, "this text", 0, 0 },
	{ NULL, 0, 0, 0, NULL, NULL, 0, 0 },
};

/* All that the loop works on. */
struct priced {
	struct options o;
	struct priced_source *source;
	struct priced_publisher *publisher;
	struct econ_prices *prices;	/* being played */
	struct econ_cursor cursor;
	uint64_t began_ns;		/* CLOCK_MONOTONIC when @prices began */
	uint64_t end_loop;		/* --once ends before this round */
	const char *path, *base;
	int signals;
};

void priced_log(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "priced: %s\n", line);
}

static void usage(FILE *out)
{
	fprintf(out, "usage: priced [options] FILE\n"
		"Publish the prices in FILE (a price file or a trace, JSON) on nom's bulletin board.\n\n");
	econ_options_help(out, option_table);
	fprintf(out, "\nSIGHUP reads FILE again.  Exit: 0 ok, 1 failed, 2 usage, 3 no nom in this kernel,\n"
		"4 not permitted, 5 FILE is missing or malformed, 6 another priced runs.\n");
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ------------------------------------------------------------- playing --- */

/* Trace time now. */
static uint64_t elapsed_ns(const struct priced *p)
{
	return (uint64_t)((double)(now_ns() - p->began_ns) * p->o.speed);
}

/* Note every step that is due; publish what is left of them. */
static int play(struct priced *p)
{
	uint64_t elapsed = elapsed_ns(p), at;

	while (econ_cursor_next(p->prices, &p->cursor, &at) && at <= elapsed) {
		char why[128];

		if (econ_prices_is_trace(p->prices))
			snprintf(why, sizeof(why), "%s, step %u at %g s", p->base,
				 p->cursor.step + 1, (double)at / 1e9);
		else
			snprintf(why, sizeof(why), "%s", p->base);
		priced_publisher_want(p->publisher, econ_prices_step(p->prices, p->cursor.step), why);
		econ_cursor_advance(p->prices, &p->cursor);
		if (p->o.once && p->cursor.loop == p->end_loop)
			break;
	}
	return priced_publisher_flush(p->publisher);
}

/* Real time until the next step, or -1: none */
static int64_t until_step_ns(const struct priced *p)
{
	uint64_t elapsed = elapsed_ns(p), at;

	if (!econ_cursor_next(p->prices, &p->cursor, &at))
		return -1;
	return at <= elapsed ? 0 : (int64_t)((double)(at - elapsed) / p->o.speed) + 1;
}

static bool finished(const struct priced *p)
{
	uint64_t at;

	return p->cursor.loop >= p->end_loop ||
	       !econ_cursor_next(p->prices, &p->cursor, &at);
}

static void begin(struct priced *p, struct econ_prices *prices, double from_s)
{
	econ_prices_destroy(p->prices);
	p->prices = prices;
	p->began_ns = now_ns() - (uint64_t)(from_s * 1e9 / p->o.speed);
	p->end_loop = econ_cursor_seek(prices, &p->cursor, (uint64_t)(from_s * 1e9)) + 1;
}

/* ---------------------------------------------------------------- loop --- */

static void reread(struct priced *p, bool force)
{
	struct econ_prices *prices;
	char err[256];
	int ret = priced_source_check(p->source, force, &prices, err, sizeof(err));

	if (ret < 0) {
		priced_log("%s; keeping the prices there are", err);
	} else if (ret) {
		priced_log("%s: read again", p->path);
		begin(p, prices, 0);
	}
}

/* Returns 0 to go on, 1 to end. */
static int take_signal(struct priced *p)
{
	struct signalfd_siginfo info;

	if (read(p->signals, &info, sizeof(info)) != sizeof(info))
		return 0;
	if (info.ssi_signo == SIGHUP) {
		reread(p, true);
		return 0;
	}
	priced_log("%s: ending; the prices stay on the board", strsignal((int)info.ssi_signo));
	return 1;
}

static void sleep_until_due(const struct priced *p, struct pollfd fds[2])
{
	int64_t wait = p->o.poll_ms * 1000000, step = until_step_ns(p);
	struct timespec t;

	if (step >= 0 && step < wait)
		wait = step;
	t = (struct timespec) { wait / (int64_t)NS_PER_S, wait % (int64_t)NS_PER_S };
	fds[0] = (struct pollfd) { p->signals, POLLIN, 0 };
	fds[1] = (struct pollfd) { priced_source_fd(p->source), POLLIN, 0 };
	if (ppoll(fds, 2, &t, NULL) <= 0)
		fds[0].revents = fds[1].revents = 0;
}

static int loop(struct priced *p)
{
	uint64_t looked_ns = now_ns();
	struct pollfd fds[2];
	int ret = play(p);

	/* These will not mend themselves; a price that was refused is logged. */
	if (ret == -ENODEV || ret == -EPERM || ret == -EACCES)
		return ret;
	while (!(p->o.once && finished(p))) {
		sleep_until_due(p, fds);
		if (fds[0].revents && take_signal(p))
			return 0;
		if (fds[1].revents || now_ns() - looked_ns >= (uint64_t)p->o.poll_ms * 1000000) {
			looked_ns = now_ns();
			reread(p, false);
		}
		ret = play(p);
	}
	return ret;
}

/* --------------------------------------------------------------- start --- */

static int take_lock(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	memcpy(a.sun_path + 1, LOCK_NAME, sizeof(LOCK_NAME) - 1);
	if (bind(fd, (struct sockaddr *)&a,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(LOCK_NAME)))) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;	/* held until exit */
}

static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int check_file(const char *path)
{
	struct econ_prices *prices;
	char err[256];

	if (econ_prices_load(path, &prices, err, sizeof(err))) {
		priced_log("%s", err);
		return ECON_EXIT_INPUT;
	}
	for (unsigned i = 0; i < econ_prices_nr_steps(prices); i++) {
		const struct econ_step *s = econ_prices_step(prices, i);

		for (unsigned k = 0; k < s->nr; k++) {
			const struct econ_price *price = &s->prices[k];
			char money[ECON_MONEY_CHARS];

			printf("%10.3f s  %-*s %s $%s%s\n", (double)s->at_ns / 1e9,
			       ECON_PRICE_NAME_MAX - 1, price->name,
			       econ_money_format(price->ucr, money, sizeof(money)),
			       *price->unit ? "/" : "", price->unit);
		}
	}
	printf("%s: a good %s, %u step%s\n", path,
	       econ_prices_is_trace(prices) ? "trace" : "price file",
	       econ_prices_nr_steps(prices), econ_prices_nr_steps(prices) == 1 ? "" : "s");
	econ_prices_destroy(prices);
	return ECON_EXIT_OK;
}

static int explain_failure(int ret)
{
	switch (ret) {
	case -ENODEV:
		priced_log("this kernel has no nom: boot the patched kernel and load nom.ko (see nomctl doctor)");
		break;
	case -EPERM:
	case -EACCES:
		priced_log("publishing prices needs CAP_NET_ADMIN: run priced as root");
		break;
	case -EADDRINUSE:
		priced_log("another priced is running: end it first");
		break;
	default:
		priced_log("cannot publish: %s", strerror(-ret));
		return ECON_EXIT_FAILED;
	}
	return econ_exit_code(ret);
}

static int run(struct priced *p)
{
	struct econ_prices *prices;
	char err[256];
	int ret;

	ret = priced_source_create(p->path, &p->source);
	if (ret)
		return explain_failure(ret);
	ret = priced_source_check(p->source, true, &prices, err, sizeof(err));
	if (ret < 0) {
		priced_log("%s", err);
		return ECON_EXIT_INPUT;
	}
	begin(p, prices, p->o.from_s);
	ret = p->o.dry_run ? 0 : take_lock();
	if (ret >= 0)
		ret = priced_publisher_create(p->o.dry_run, &p->publisher);
	if (!ret) {
		p->signals = block_signals();
		ret = loop(p);
	}
	return ret ? explain_failure(ret) : ECON_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct priced p = { .o = { .speed = 1, .poll_ms = 1000 } };
	const char *slash;
	char err[256];
	int nr, ret;

	setvbuf(stderr, NULL, _IOLBF, 0);
	nr = econ_options_parse(option_table, &p.o, argc - 1, argv + 1, 0, err, sizeof(err));
	if (nr >= 0 && p.o.help) {
		usage(stdout);
		return ECON_EXIT_OK;
	}
	if (nr >= 0 && nr != (p.o.check ? 0 : 1))
		snprintf(err, sizeof(err), p.o.check ? "--check takes no other file" :
						       "give one price file or trace");
	else if (nr >= 0)
		err[0] = '\0';
	if (err[0]) {
		priced_log("%s (priced --help)", err);
		return ECON_EXIT_USAGE;
	}
	if (p.o.check)
		return check_file(p.o.check);
	p.path = argv[1];
	slash = strrchr(p.path, '/');
	p.base = slash ? slash + 1 : p.path;
	ret = run(&p);
	econ_prices_destroy(p.prices);
	priced_publisher_destroy(p.publisher);
	priced_source_destroy(p.source);
	return ret;
}
