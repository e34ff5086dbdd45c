// SPDX-License-Identifier: MIT
/*
 * word-count - count the words of standard input, in another process
 *
 *	scripts/run-guest --stdin -- word-count < README.md
 *	build/bin/examples/word-count < README.md		(without nom)
 *
 * The two processes share memory and nothing else.  Requests and responses go
 * through it without a system call; a process that finds nothing to do sleeps, and
 * only then the other one rings.  The counting process sleeps on a leased core if
 * there is one, and is woken by a notification; otherwise in a futex.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/ipc.h>
#include <nomux/upcall.h>

#define EVENT_BELL	0
#define LINE_BYTES	4096
#define UNDER_WAY	32		/* requests at a time */

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "word-count: %s: %s\n", what, strerror(-err));
	exit(1);
}

static uint32_t count_words(const char *text, size_t bytes)
{
	uint32_t words = 0;
	size_t i;

	for (i = 0; i < bytes; i++)
		words += text[i] > ' ' && (i + 1 == bytes || text[i + 1] <= ' ');
	return words;
}

/* ------------------------------------------------- the counting process --- */

/* A leased core to sleep on, if this machine has nom and one is free. */
static void lease(struct nomux_ipc_opts *opts)
{
	struct nomux_core_opts core = {
		.sz = sizeof(core), .cpu = NOMUX_CPU_ANY, .notify_mask = 1ULL << EVENT_BELL,
	};

	if (nomux_open(&opts->ctx)) {
		printf("no nom here: counting on an ordinary core\n");
		return;
	}
	check(nomux_core_claim(opts->ctx, &core, &opts->core), "claim a core");
	check(nomux_core_enter(opts->core), "enter the core");
	nomux_unmask(opts->core);
	opts->event = EVENT_BELL;
	printf("counting on core %d, ours alone\n", nomux_core_cpu(opts->core));
}

static void serve(int sock)
{
	struct nomux_ipc_opts opts = { .sz = sizeof(opts) };
	struct nomux_ipc_msg msg;
	struct nomux_ipc *ipc;
	uint32_t words;

	lease(&opts);
	fflush(stdout);
	check(nomux_ipc_accept(sock, &opts, &ipc), "accept the channel");
	while (nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX) >= 0) {
		while (!nomux_ipc_peek(ipc, &msg)) {
			words = count_words(msg.data, msg.bytes);	/* where it lies */
			check(nomux_ipc_reply(ipc, msg.tag, &words, sizeof(words)), "reply");
			nomux_ipc_consume(ipc);
		}
	}
	nomux_ipc_destroy(ipc);
	nomux_core_release(opts.core);
	if (opts.ctx)
		nomux_close(opts.ctx);
}

/* -------------------------------------------------- the reading process --- */

static uint32_t collect(struct nomux_ipc *ipc, const uint64_t *tag, const uint32_t *answer,
			unsigned int nr)
{
	uint32_t words = 0;
	unsigned int i;
	int n;

	for (i = 0; i < nr; i++) {
		while ((n = nomux_ipc_call_result(ipc, tag[i])) == -EAGAIN)
			check(nomux_ipc_wait(ipc, NOMUX_IPC_MSG, UINT64_MAX), "wait for an answer");
		check(n, "an answer");
		words += answer[i];
	}
	return words;
}

static void ask(int sock)
{
	struct nomux_ipc_opts opts = { .sz = sizeof(opts), .nr_slots = 64, .slot_bytes = LINE_BYTES };
	unsigned long lines = 0, words = 0;
	uint32_t answer[UNDER_WAY];
	uint64_t tag[UNDER_WAY];
	struct nomux_ipc_stats stats;
	struct nomux_ipc *ipc;
	char line[LINE_BYTES];
	unsigned int nr = 0;

	nomux_open(&opts.ctx);		/* to ring a leased core; without nom there is none */
	check(nomux_ipc_create(sock, &opts, &ipc), "create a channel");
	while (fgets(line, sizeof(line), stdin)) {
		check(nomux_ipc_call_start(ipc, line, strlen(line), &answer[nr], sizeof(answer[nr]),
					   &tag[nr]), "ask");
		lines++;
		if (++nr == UNDER_WAY) {
			words += collect(ipc, tag, answer, nr);
			nr = 0;
		}
	}
	words += collect(ipc, tag, answer, nr);
	nomux_ipc_stats(ipc, &stats);
	printf("%lu lines, %lu words; %s\n", lines, words,
	       stats.doorbells < lines ? "not each line rang a bell" : "each line rang a bell");
	nomux_ipc_destroy(ipc);
	if (opts.ctx)
		nomux_close(opts.ctx);
}

int main(void)
{
	int sock[2], status;
	pid_t child;

	check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) ? -errno : 0, "socketpair");
	child = fork();
	check(child < 0 ? -errno : 0, "fork");
	if (!child) {
		close(sock[0]);
		serve(sock[1]);
		return 0;
	}
	close(sock[1]);
	ask(sock[0]);
	waitpid(child, &status, 0);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}
