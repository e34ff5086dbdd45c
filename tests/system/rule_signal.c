// SPDX-License-Identifier: MIT
/*
 * Rules of signals: they and upcalls nest either way, events interrupt a system
 * call as a signal with SA_RESTART does, and a stopped holder loses nothing.
 */
#include <poll.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <linux/futex.h>

#include "rule.h"

static struct nomux_core *core;
static volatile sig_atomic_t signals, masked_in_signal, unmasked_in_signal;
static sigjmp_buf back;

static void on_signal(int sig, void (*fn)(int), int flags)
{
	struct sigaction action = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &action, NULL);
}

static void note_mask(int sig)
{
	signals++;
	masked_in_signal += nomux_masked(core);
	unmasked_in_signal += !nomux_masked(core);
}

static void signal_self(unsigned int event, uint64_t count, void *arg)
{
	rule->got += count;
	raise(SIGUSR1);
	t_clobber_registers();
}

/* ------------------------------------------------- signals in upcalls --- */

static void test_signal_in_upcall(void)
{
	unsigned int i;

	rule_reset();
	core = rule_hold(0);
	on_signal(SIGUSR1, note_mask, SA_RESTART);
	T_NEED(nomux_on_event(core, RULE_EVENT, signal_self, NULL));
	for (i = 0; i < 500; i++)
		rule_post(1);
	t_is((long)rule->got, 500, "500 events, each handler signals its own thread");
	t_is(signals, 500, "  each signal's handler runs, inside the upcall");
	t_is(masked_in_signal, 500, "  and finds events masked");
	t_ok(!nomux_masked(core), "  which they are not afterwards");
	raise(SIGUSR1);
	t_is(unmasked_in_signal, 1, "a signal over ordinary code finds events as that had them");
	T_NEED(nomux_core_release(core));
}

/* --------------------------------------------- upcalls in a signal handler --- */

static void post_here(int sig)
{
	uint64_t before = rule->got;

	rule_post(1);
	signals += rule->got == before + 1;
}

static void test_upcall_in_signal(void)
{
	unsigned int i;

	rule_reset();
	signals = 0;
	core = rule_hold(0);
	on_signal(SIGUSR1, post_here, SA_RESTART);
	for (i = 0; i < 500; i++)
		raise(SIGUSR1);
	t_is(signals, 500, "an event inside a signal handler is an upcall inside it");
	t_is((long)rule->got, 500, "  sigreturn goes back to where the signal came");
	T_NEED(nomux_core_release(core));
}

/* --------------------------------------------------------------- longjmp --- */

static void jump_back(int sig)
{
	siglongjmp(back, 1);
}

static void jumping_event(unsigned int event, uint64_t count, void *arg)
{
	rule->got += count;
	if (rule->word[0]--)
		raise(SIGUSR1);		/* does not return */
}

static void test_longjmp(void)
{
	volatile unsigned int i, masked = 0;

	rule_reset();
	core = rule_hold(0);
	on_signal(SIGUSR1, jump_back, 0);
	T_NEED(nomux_on_event(core, RULE_EVENT, jumping_event, NULL));
	/* far more often than frames would fit on the upcall stack */
	for (i = 0; i < 2000; i++) {
		rule->word[0] = 1;
		if (!sigsetjmp(back, 1))
			rule_post(1);
		masked += nomux_masked(core);
		rule->word[0] = 0;
		rule_post(1);
		nomux_unmask(core);
	}
	t_is((long)masked, 2000, "who jumps out of an upcall finds events masked");
	t_is((long)rule->got, 4000, "  unmasks them, and has missed none");
	T_NEED(nomux_core_release(core));
}

/* ---------------------------------------------------------- system calls --- */

static int pipe_fd[2];

/* Another process, so that only the event and not a wake-up ends the call. */
static int storm_then_write(void)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		rule_sleep_ms(5);
		rule_post(1);
	}
	return write(pipe_fd[1], "x", 1) == 1 ? 0 : 1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int call_read(void)
{
	char c;

	return read(pipe_fd[0], &c, 1) == 1 ? 0 : -errno;
}

static int call_nanosleep(void)
{
	struct timespec ts = { .tv_nsec = 300000000 };

	return nanosleep(&ts, NULL) ? -errno : 0;
}

static int call_poll(void)
{
	return poll(NULL, 0, 300) ? -errno : 0;
}

static int call_futex(void)
{
	struct timespec ts = { .tv_nsec = 300000000 };
	static int word;

	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts) && errno != ETIMEDOUT ? -errno : 0;
}

static int call_pause(void)
{
	alarm(1);
	pause();
	return signals ? 0 : -EINTR;
}

static int call_epoll_wait(void)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC), err;

	err = epoll_wait(fd, &event, 1, 300) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static void count_signal(int sig)
{
	signals++;
}

/* A call during which 20 events arrive, one at a time. */
static void during_events(int (*call)(void), int want, unsigned int at_least_ms, const char *what)
{
	uint64_t start;
	pid_t pid;
	int err;
	char c;

	rule_reset();
	signals = 0;
	pid = rule_child(storm_then_write);
	start = now_ms();
	err = call();
	t_is(err, want, what);
	t_ok(now_ms() - start >= at_least_ms, "  not before its time");
	rule_reap(pid);
	t_is((long)rule->got, 20, "  the 20 events are handled");
	if (call != call_read && read(pipe_fd[0], &c, 1) != 1)
		abort();
}

static void test_system_calls(void)
{
	T_NEED(pipe(pipe_fd) ? -errno : 0);
	on_signal(SIGALRM, count_signal, 0);
	core = rule_hold(0);
	during_events(call_read, 0, 100, "read(2) is restarted after each event");
	during_events(call_nanosleep, 0, 300, "nanosleep(2) sleeps on");
	during_events(call_poll, 0, 300, "poll(2) waits on");
	during_events(call_futex, 0, 300, "FUTEX_WAIT waits on");
	during_events(call_pause, 0, 900, "pause(2) ends with a signal, not with an event");
	during_events(call_epoll_wait, -EINTR, 0,
		      "epoll_wait(2), which is never restarted: EINTR");
	T_NEED(nomux_core_release(core));
	on_signal(SIGALRM, SIG_DFL, 0);
	alarm(60);		/* the deadline, which call_pause() used */
}

/* ------------------------------------------------------- stop, continue --- */

static void test_stop(void)
{
	uint64_t stopped_at;
	int status;
	pid_t pid;

	rule_reset();
	pid = rule_child(rule_spinning_holder);
	t_ok(rule_wait_phase(1), "a holder spins");
	rule_storm(500);
	rule_wait(&rule->got, 500);
	kill(pid, SIGSTOP);
	t_ok(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "it is stopped");
	stopped_at = rule->got;
	rule_storm(1000);
	rule_sleep_ms(50);
	t_is((long)(rule->got - stopped_at), 0, "  no upcall while it is");
	t_is(rule_board().state, NOM_CORE_RUNNING, "  the core stays leased");
	kill(pid, SIGCONT);
	t_ok(rule_wait(&rule->got, 1500), "continued, it handles all of them");
	rule->stop = 1;
	t_is(rule_reap(pid), 0, "  its registers are as they were");
	t_is((long)rule->got, 1500, "  and none was counted twice");
}

int main(void)
{
	rule_begin(60);
	test_signal_in_upcall();
	test_upcall_in_signal();
	test_longjmp();
	test_system_calls();
	test_stop();
	nomux_close(nom);
	return t_end();
}
