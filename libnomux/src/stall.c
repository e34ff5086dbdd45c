// SPDX-License-Identifier: MIT
/*
 * The watcher: a kernel thread that looks at each scheduler's count of switches.
 *
 * It reads what others write, without a lock: numbers may be a moment old, and a
 * name that of a thread which has just gone.  That the memory is still there is
 * what memory_lock is for: threads' stacks are unmapped, and schedulers come and
 * go, under it.
 */
#include <nomux/guard.h>

#include <errno.h>
#include <pthread.h>
#include <syslog.h>

#include <nomux/clock.h>
#include <nomux/log.h>

#include "kthread.h"
#include "thread_internal.h"

#define WATCH_MIN_NS	1000000ULL
#define WATCH_MAX_NS	3600000000000ULL
#define WATCHER_STACK	(64UL << 10)

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sched *scheds;

/* The watcher's own; changed only while there is none. */
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t watch_cond = PTHREAD_COND_INITIALIZER;
static bool watching, stopping;
static uint64_t watch_ns;
static void (*watch_fn)(const struct nomux_stall *, void *);
static void *watch_arg;

void nomux__stall_memory_lock(void)
{
	pthread_mutex_lock(&memory_lock);
}

void nomux__stall_memory_unlock(void)
{
	pthread_mutex_unlock(&memory_lock);
}

void nomux__stall_register(struct sched *s)
{
	pthread_mutex_lock(&memory_lock);
	s->next_sched = scheds;
	scheds = s;
	pthread_mutex_unlock(&memory_lock);
}

void nomux__stall_unregister(struct sched *s)
{
	struct sched **p;

	pthread_mutex_lock(&memory_lock);
	for (p = &scheds; *p && *p != s; p = &(*p)->next_sched)
		;
	if (*p)
		*p = s->next_sched;
	pthread_mutex_unlock(&memory_lock);
}

/* Idle, or nobody is there to be kept waiting. */
static bool at_ease(const struct sched *s)
{
	if (__atomic_load_n(&s->asleep, __ATOMIC_RELAXED) != AWAKE)
		return true;
	if (__atomic_load_n(&s->group, __ATOMIC_RELAXED))
		return __atomic_load_n(&s->current, __ATOMIC_RELAXED) == &s->main;
	return !__atomic_load_n(&s->nr_threads, __ATOMIC_RELAXED);
}

#if defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("thread")))
#endif
static void look_at(struct sched *s, uint64_t now, struct nomux_stall *stall)
{
	uint64_t switches = __atomic_load_n(&s->switches, __ATOMIC_RELAXED);
	const struct nomux_thread *t;
	unsigned int i;

	if (switches != s->stall_switches || at_ease(s)) {
		s->stall_switches = switches;
		s->stall_since_ns = now;
		s->stall_told = false;
		return;
	}
	if (s->stall_told || now - s->stall_since_ns < watch_ns)
		return;
	s->stall_told = true;
	t = __atomic_load_n(&s->current, __ATOMIC_RELAXED);
	for (i = 0; i < sizeof(stall->name) - 1; i++)
		stall->name[i] = t->name[i];
	stall->tid = s->tid;
	stall->ns = now - s->stall_since_ns;
}

static void tell(const struct nomux_stall *stall)
{
	if (watch_fn)
		watch_fn(stall, watch_arg);
	else
		nomux_log(LOG_WARNING, "nomux: user thread keeps its core, thread=%s tid=%d: "
			  "no switch for %llu ms", stall->name, stall->tid,
			  (unsigned long long)(stall->ns / 1000000));
}

/* Tell without the lock: the receiver may use threads. */
static void look_around(void)
{
	struct nomux_stall found[8];
	unsigned int nr = 0, i;
	struct sched *s;
	uint64_t now = nomux_now_ns();

	pthread_mutex_lock(&memory_lock);
	for (s = scheds; s && nr < ARRAY_SIZE(found); s = s->next_sched) {
		found[nr] = (struct nomux_stall){ 0 };
		look_at(s, now, &found[nr]);
		nr += found[nr].ns != 0;
	}
	pthread_mutex_unlock(&memory_lock);
	for (i = 0; i < nr; i++)
		tell(&found[i]);
}

static void *watcher(void *arg)
{
	uint64_t nap = watch_ns / 4;
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	pthread_mutex_lock(&watch_lock);
	while (!stopping) {
		at.tv_sec += (time_t)(nap / 1000000000ULL);
		at.tv_nsec += (long)(nap % 1000000000ULL);
		if (at.tv_nsec >= 1000000000L) {
			at.tv_nsec -= 1000000000L;
			at.tv_sec++;
		}
		if (pthread_cond_timedwait(&watch_cond, &watch_lock, &at) != ETIMEDOUT) {
			clock_gettime(CLOCK_REALTIME, &at);
			continue;
		}
		pthread_mutex_unlock(&watch_lock);
		look_around();
		pthread_mutex_lock(&watch_lock);
	}
	watching = false;
	pthread_cond_broadcast(&watch_cond);
	pthread_mutex_unlock(&watch_lock);
	return NULL;
}

int nomux_stall_watch(uint64_t ns, void (*fn)(const struct nomux_stall *, void *), void *arg)
{
	pthread_t thread;
	int err = 0;

	if (ns && (ns < WATCH_MIN_NS || ns > WATCH_MAX_NS))
		return -EINVAL;
	nomux_clock_init();
	pthread_mutex_lock(&watch_lock);
	stopping = true;
	pthread_cond_broadcast(&watch_cond);
	while (watching)
		pthread_cond_wait(&watch_cond, &watch_lock);
	stopping = false;
	watch_ns = ns;
	watch_fn = fn;
	watch_arg = arg;
	if (ns) {
		err = nomux__kthread_create(&thread, watcher, NULL, WATCHER_STACK);
		watching = !err;
	}
	pthread_mutex_unlock(&watch_lock);
	return err;
}
