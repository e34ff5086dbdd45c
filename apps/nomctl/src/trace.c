// SPDX-License-Identifier: MIT
/* nomctl trace: frames of an application's stacks into a capture file. */
#include "nomctl.h"
#include "look.h"
#include "merge.h"
#include "pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <nomux/peek.h>

static struct {
	bool json;
	const char *pcap;
	int64_t count, snaplen, timeout_ms;
	double seconds;
} values = { .snaplen = NOMSTACK_LK_SNAP_MAX, .timeout_ms = 2000 };

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "pcap", 'p', ECON_OPT_STRING, OPT(pcap), "FILE", "write there, \"-\": to standard output (required)", 0, 0 },
	{ "count", 'c', ECON_OPT_INT, OPT(count), "N", "end after so many frames; 0 until interrupted (0)", 0, 1e15 },
	{ "seconds", 's', ECON_OPT_REAL, OPT(seconds), "SECONDS", "end after this long; 0 until interrupted (0)", 0, 1e6 },
	{ "snaplen", 'l', ECON_OPT_INT, OPT(snaplen), "BYTES", "keep so much of each frame (all)", 14, NOMSTACK_LK_SNAP_MAX },
	{ "json", 'j', ECON_OPT_FLAG, OPT(json), NULL, "for programs: what was written, in the end", 0, 0 },
	{ "timeout-ms", 't', ECON_OPT_INT, OPT(timeout_ms), "MS", "wait so long for the application to begin (2000)", 1, 600000 },
	NOMCTL_OPTIONS_END,
};

#define ASK_AGAIN_NS	(NOMSTACK_LK_TAP_NS / 4)
#define NAP_NS		2000000
/* A stack puts a frame into its ring within a poll of seeing it; its core may be late by that. */
#define SLACK_NS	50000000

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

/* CLOCK_REALTIME - CLOCK_MONOTONIC */
static uint64_t wall_offset_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec - nomctl_now_ns();
}

struct writing {
	struct pcap pcap;
	struct merge merge;
	uint64_t offset_ns;
	int err;		/* of the file */
};

#define ENOUGH 1

static int write_frame(const struct nomstack_lk_frame *f, uint8_t *data, void *arg)
{
	struct writing *w = arg;

	if (f->flags & NOMSTACK_LK_FRAME_CSUM && f->bytes == f->wire_bytes)
		pcap_fill_csum(data, f->bytes);
	w->err = pcap_frame(&w->pcap, f->when_ns + w->offset_ns, data, f->bytes, f->wire_bytes);
	if (w->err)
		return ENOUGH;
	return values.count && w->pcap.frames == (uint64_t)values.count ? ENOUGH : 0;
}

/* Let it begin or go on, or (0 bytes) end: 0 or -errno of the first that fails. */
static int ask_all(const struct nomctl_looks *looks, int64_t snap_bytes, int64_t timeout_ms)
{
	int ret = 0;

	for (unsigned i = 0; i < looks->nr; i++) {
		int err = nomctl_look_ask(looks->of[i], NOMSTACK_ASK_TRACE, (uint64_t)snap_bytes, (unsigned)timeout_ms);

		ret = ret ? ret : err;
	}
	return ret;
}

/* What is in the rings, into the file; of several stacks in the order of time, all of it with @last. */
static int take(const struct nomctl_looks *looks, struct writing *w, bool last)
{
	uint64_t until_ns = last ? UINT64_MAX : nomctl_now_ns() - SLACK_NS;
	int ret = 0;

	if (looks->nr == 1)
		return nomctl_look_frames(looks->of[0], write_frame, w);
	for (unsigned i = 0; !ret && i < looks->nr; i++)
		ret = nomctl_look_frames(looks->of[i], merge_add, &w->merge);
	return ret ? ret : merge_take(&w->merge, until_ns, write_frame, w);
}

/* Until the count, the time, a signal, the application's end or an error: 0, ENOUGH or -errno. */
static int follow(const struct nomctl_looks *looks, struct writing *w)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	uint64_t began_ns = nomctl_now_ns(), asked_ns = began_ns, now_ns;
	int ret;

	for (;;) {
		bool alive = nomctl_look_alive(looks->of[0]), over, last;

		now_ns = nomctl_now_ns();
		over = values.seconds && (double)(now_ns - began_ns) >= values.seconds * 1e9;
		last = interrupted || !alive || over;
		ret = take(looks, w, last);
		if (ret)
			return ret;
		if (last)
			return alive || interrupted ? 0 : -ENOENT;
		if (now_ns - asked_ns >= ASK_AGAIN_NS) {
			asked_ns = now_ns;
			ret = ask_all(looks, values.snaplen, values.timeout_ms);
			/* Late or crowded out: what is missing shows in the end. */
			if (ret && ret != -ETIMEDOUT && ret != -EBUSY && ret != -ENOENT)
				return ret;
		}
		nanosleep(&nap, NULL);
	}
}

static uint64_t lost(const struct nomctl_looks *looks)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < looks->nr; i++)
		n += nomctl_look_lost(looks->of[i]);
	return n;
}

static int open_file(int *fd_out)
{
	int fd;

	if (!strcmp(values.pcap, "-")) {
		if (isatty(STDOUT_FILENO))
			return nomctl_fail(ECON_EXIT_USAGE, "--pcap -: standard output is a terminal: redirect it");
		*fd_out = STDOUT_FILENO;
		return ECON_EXIT_OK;
	}
	/* Others' traffic: not for everybody. */
	fd = open(values.pcap, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return nomctl_fail(errno == EACCES || errno == EPERM || errno == EROFS ? ECON_EXIT_PERMISSION : ECON_EXIT_FAILED,
				   "--pcap %s: cannot be written: %s", values.pcap, strerror(errno));
	*fd_out = fd;
	return ECON_EXIT_OK;
}

static void report(const struct writing *w, uint64_t nr_lost)
{
	FILE *out = w->pcap.fd == STDOUT_FILENO ? stderr : stdout;

	if (values.json)
		fprintf(out, "{\"frames\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"lost\": %" PRIu64 "}\n", w->pcap.frames,
			w->pcap.bytes, nr_lost);
	else
		fprintf(out, "%" PRIu64 " frames, %" PRIu64 " lost\n", w->pcap.frames, nr_lost);
}

static int trace_into(const struct nomctl_looks *looks, const char *app, int fd)
{
	struct writing w = { .offset_ns = wall_offset_ns() };
	int ret = ask_all(looks, values.snaplen, values.timeout_ms);

	if (ret)
		return nomctl_look_fail(ret, app);
	/* So who finds something in the file knows that the trace has begun. */
	ret = pcap_begin(&w.pcap, fd, (uint32_t)values.snaplen);
	w.err = ret;
	if (!ret)
		ret = follow(looks, &w);
	merge_free(&w.merge);
	/* It ends by itself soon, if this is not heard. */
	if (ret != -ENOENT)
		ask_all(looks, 0, 200);
	report(&w, lost(looks));
	if (w.err == -EPIPE)
		return ECON_EXIT_OK;	/* who reads has had enough */
	if (w.err)
		return nomctl_fail(ECON_EXIT_FAILED, "--pcap %s: %s: it holds the %" PRIu64 " frames before that",
				   values.pcap, strerror(-w.err), w.pcap.frames);
	if (ret == -ENOENT)
		return nomctl_fail(ECON_EXIT_NOT_FOUND, "%s ended: the capture holds what came before", app);
	return ret < 0 ? nomctl_look_fail(ret, app) : ECON_EXIT_OK;
}

static int run_trace(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN };
	struct nomctl_looks looks;
	pid_t pid;
	int ret, fd = -1;

	if (!values.pcap)
		return nomctl_fail(ECON_EXIT_USAGE, "trace: say where to write: --pcap FILE");
	ret = nomctl_app_look(argv[0], &looks, &pid);
	if (ret)
		return ret;
	for (unsigned i = 0; !ret && i < looks.nr; i++)
		ret = nomctl_look_trace_begin(looks.of[i]);
	if (ret) {
		ret = nomctl_fail(ECON_EXIT_BUSY, "%s: somebody else traces it", argv[0]);
		goto close_look;
	}
	ret = open_file(&fd);
	if (ret)
		goto close_look;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	ret = trace_into(&looks, argv[0], fd);
	if (fd != STDOUT_FILENO && close(fd) && !ret)
		ret = nomctl_fail(ECON_EXIT_FAILED, "--pcap %s: %s", values.pcap, strerror(errno));
close_look:
	nomctl_looks_close(&looks);
	return ret;
}

static const struct nomctl_action actions[] = {
	{ NULL, "APP", "Frames of a running application's stack, by name or process id, into a file for wireshark.", 1, 1, run_trace },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_trace = {
	"trace", "an application's frames into a capture file", actions, options, &values, 0,
};
