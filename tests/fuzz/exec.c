// SPDX-License-Identifier: MIT
/*
 * nom-fuzz: one program, in a process of its own with a thread for each of its
 * threads.  Whatever it holds at its end, the kernel has to take back.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include "fuzz.h"

#define STACK		65536
#define STUCK_MS	60000
#define UPCALLS_MAX	200000
#define HANDLER __attribute__((target("general-regs-only")))

__thread struct fz_thread *fz_self;
volatile uint64_t fz_shared_struct[512];
static uid_t plain_uid;
static gid_t plain_gid;
static long *results;

void fz_exec_init(uid_t uid, gid_t gid)
{
	plain_uid = uid;
	plain_gid = gid;
	results = mmap(NULL, FZ_CALLS * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED)
		abort();
}

HANDLER static _Noreturn void leave(int status)
{
	long ret;

	for (;;)
		__asm__ volatile("syscall" : "=a"(ret) : "0"(SYS_exit_group), "D"(status) : "rcx", "r11", "memory");
}

/* Take what is pending; send a fault where the call that made it wants it. */
struct nom_shared *fz_upcall(struct nom_frame *frame);
HANDLER struct nom_shared *fz_upcall(struct nom_frame *frame)
{
	struct fz_thread *t = fz_self;
	struct nom_shared *sh = t->shared;
	uint64_t pending;
	unsigned int n;

	if (++t->upcalls > UPCALLS_MAX)
		leave(79);
	if (frame->vector != NOM_VECTOR_EVENT) {
		if (!t->recover)
			leave(78);
		frame->rip = t->recover;
		frame->rflags &= ~0x40100ULL;	/* AC, TF */
		return sh;
	}
	if (!sh)
		return NULL;
	pending = __atomic_exchange_n(&sh->pending, 0, __ATOMIC_SEQ_CST);
	for (n = 0; pending; n++, pending >>= 1)
		if (pending & 1)
			__atomic_exchange_n(&sh->count[n], 0, __ATOMIC_SEQ_CST);
	return sh;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (sig == SIGUSR1 || sig == SIGALRM)
		return;
	if (!fz_self || !fz_self->recover || info->si_code <= 0)
		_exit(77);
	uc->uc_mcontext.gregs[REG_RIP] = fz_self->recover;
	uc->uc_mcontext.gregs[REG_EFL] &= ~0x40100;	/* AC, TF */
}

/* ------------------------------------------------------------- ioctls --- */

static void put_field(char *s, const struct fz_field *f, uint64_t v)
{
	if (f->bytes)
		memcpy(s + f->offset, &v, f->bytes);
}

static long run_ioctl(struct fz_thread *t, const struct fz_op *op, const uint64_t *arg)
{
	struct nom_map_entry entries[64];
	char *p = t->struct_buf;
	uint32_t size = op->size, value;
	unsigned int i;
	long ret;

	memset(p, 0, 8192);
	for (i = 2; i < fz_op_args(op); i++) {
		uint64_t v = fz_value_of(t, &op->field[i], arg[i]);

		if (op->field[i].kind == K_NAME) {
			fz_name_of(v, p + op->field[i].offset, op->field[i].bytes);
			continue;
		}
		if (op->field[i].kind == K_ENTRIES) {
			value = fz_map_entries(t, v, op->field[i].param, entries, 64);
			memcpy(p + offsetof(struct nom_mem_map, nr), &value, sizeof(value));
			v = (uintptr_t)entries;
		}
		put_field(p, &op->field[i], v);
	}
	switch (arg[1]) {
	case 1:
		size = op->size - 1 - arg[0] % 4;
		break;
	case 2:
		size += 64;
		break;
	case 3:
		size += 64;
		p[size - 1] = 1;
		break;
	case 4:
		size = 0;
		break;
	case 5:
		size = 0xffffffff;
		break;
	case 6:
		p = NULL;
		break;
	case 7:
		p = (void *)0xffff888000000000;
		break;
	case 8:			/* ends in a hole */
		memcpy(t->hole - op->size + 4, p, op->size - 4);
		p = t->hole - op->size + 4;
		break;
	case 9:			/* what it returns cannot be written */
		mprotect(t->read_only, FZ_PAGE, PROT_READ | PROT_WRITE);
		memcpy(t->read_only, p, op->size);
		memcpy(t->read_only, &size, sizeof(size));
		mprotect(t->read_only, FZ_PAGE, PROT_READ);
		p = t->read_only;
		break;
	case 10:		/* in somebody else's mapping */
		p = fz_find_region(t->run, K_NONE, arg[0] % 3) ? fz_find_region(t->run, K_NONE, arg[0] % 3)->addr : NULL;
		break;
	case 11:		/* changing under the kernel's hands */
		memcpy((void *)fz_shared_struct, p, op->size);
		p = (void *)fz_shared_struct;
		break;
	}
	if (p == t->struct_buf || arg[1] == 11)
		memcpy(p, &size, sizeof(size));
	if (op->cmd == NOM_CORE_ENTER) {
		struct fz_region *r;
		int fd = fz_value_of(t, &op->field[0], arg[0]);

		for (r = t->run->region; r < t->run->region + FZ_REGIONS; r++)
			if (r->kind == K_CORE && r->fd == fd && !t->shared)
				t->shared = r->addr;
	}
	ret = ioctl((int)fz_value_of(t, &op->field[0], arg[0]), op->cmd, p);
	if (ret < 0)
		return -errno;
	for (i = 0; i < 2 && p; i++) {
		if (op->out[i].kind == K_HANDLE)
			memcpy(&t->run->handle[t->run->next_handle++ % FZ_SLOTS], p + op->out[i].offset, 8);
		else if (op->out[i].kind == K_GRANT_ID)
			memcpy(&t->run->grant_id, p + op->out[i].offset, 8);
		else if (op->out[i].kind != K_NONE)
			fz_keep_fd(t->run, op->out[i].kind, *(int *)(p + op->out[i].offset));
	}
	return ret;
}

/* ------------------------------------------------------------- threads --- */

static void *memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(76);
	return p;
}

static void *thread_main(void *arg)
{
	struct fz_thread *t = arg;
	const struct fz_program *p = t->run->p;
	uint64_t value[FZ_ARGS];
	stack_t alt = { .ss_size = STACK };
	unsigned int i, k;

	fz_self = t;
	t->run->tid[t->index] = gettid();
	alt.ss_sp = memory(STACK);
	sigaltstack(&alt, NULL);
	t->struct_buf = memory(8192);
	t->hole = memory(2 * FZ_PAGE);
	t->hole += FZ_PAGE;
	munmap(t->hole, FZ_PAGE);
	t->read_only = memory(FZ_PAGE);
	t->buffer = memory(65536);
	t->stack = memory(STACK);
	memset(t->stack + STACK - 4096, 0, 4096);
	fz_cover_thread(t->index);
	pthread_barrier_wait(&t->run->start);
	for (i = 0; i < p->nr; i++) {
		const struct fz_op *op = &fz_ops[p->call[i].op];

		if (p->call[i].thread != t->index)
			continue;
		if (fz_op_is_ioctl(op)) {
			t->run->result[i] = run_ioctl(t, op, p->call[i].arg);
			continue;
		}
		for (k = 0; k < FZ_ARGS; k++)
			value[k] = op->field[k].kind ? fz_value_of(t, &op->field[k], p->call[i].arg[k]) : 0;
		t->run->result[i] = op->run(t, value);
		t->recover = 0;
	}
	return NULL;
}

static void child(const struct fz_program *p)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGUSR1, SIGALRM };
	static struct fz_thread threads[FZ_THREADS];
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	struct rlimit files = { 64, 64 }, cores = { 0, 0 };
	static struct fz_run run;
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &cores);
	if (p->unprivileged && (setgroups(0, NULL) || setgid(plain_gid) || setuid(plain_uid)))
		_exit(75);
	/* setuid() makes a process undumpable, and its /proc files root's */
	prctl(PR_SET_DUMPABLE, 1);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);

	run.p = p;
	run.result = results;
	fz_keep_fd(&run, K_NOM, open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC));
	fz_keep_fd(&run, K_NOM, open(NOM_DEVICE_PATH, O_RDONLY | O_CLOEXEC));
	fz_keep_fd(&run, K_EVENTFD, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	fz_nl_open(&(struct fz_thread){ .run = &run }, (uint64_t[]){ 0 });
	pthread_barrier_init(&run.start, NULL, p->threads);
	for (i = 0; i < p->threads; i++) {
		threads[i].run = &run;
		threads[i].index = i;
		if (i && pthread_create(&threads[i].pthread, NULL, thread_main, &threads[i]))
			_exit(74);
	}
	threads[0].pthread = pthread_self();
	thread_main(&threads[0]);
	for (i = 1; i < p->threads; i++)
		pthread_join(threads[i].pthread, NULL);
	_exit(0);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/**
 * fz_execute - run a program to its end, or to the deadline
 * @p: the program
 * @ms: after so long it is killed, which is no failure
 * @out: what became of it; @stuck is one
 */
void fz_execute(const struct fz_program *p, unsigned int ms, struct fz_result *out)
{
	uint64_t began = now_ms();
	struct timespec nap = { 0, 1000000 };
	unsigned int i;
	pid_t pid;

	for (i = 0; i < FZ_CALLS; i++)
		results[i] = FZ_NOT_RUN;
	out->timed_out = out->stuck = false;
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		abort();
	if (!pid)
		child(p);
	while (waitpid(pid, &out->status, WNOHANG) != pid) {
		if (!out->timed_out && now_ms() - began > ms) {
			out->timed_out = true;
			kill(-pid, SIGKILL);
			kill(pid, SIGKILL);
		} else if (now_ms() - began > ms + STUCK_MS) {
			out->stuck = true;
			break;
		}
		nanosleep(&nap, NULL);
	}
	kill(-pid, SIGKILL);	/* its children */
	memcpy(out->ret, results, sizeof(out->ret));
}
