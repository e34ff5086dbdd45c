/* SPDX-License-Identifier: MIT */
/*
 * nom-fuzz: sequences of calls from a grammar, run against nom.ko and the upcalls.
 *
 *	grammar.c	the table of calls; making and changing programs; their text form
 *	values.c	what an argument may be, and what it stands for in a running program
 *	ops.c		calls that are not ioctls of nom's
 *	netlink.c	messages to the "nom" family, good and bad
 *	exec.c		one program, in a process of its own
 *	cover.c		coverage by KCOV
 *	corpus.c	programs worth keeping
 *	aftermath.c	what must be true when all is over
 *
 * Uses the uapi headers and nothing of libnomux: what breaks is the kernel's.
 */
#ifndef NOM_FUZZ_H
#define NOM_FUZZ_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <linux/nom.h>

#define FZ_CALLS	40	/* of a program */
#define FZ_ARGS		12	/* of a call */
#define FZ_THREADS	3
#define FZ_SLOTS	8	/* descriptors of a kind */
#define FZ_REGIONS	16
#define FZ_PAGE		4096UL
#define FZ_CHUNK	(2UL << 20)

struct fz_rng { uint64_t s; };

static inline uint64_t fz_rand(struct fz_rng *r)	/* splitmix64 */
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}
static inline uint64_t fz_below(struct fz_rng *r, uint64_t n) { return fz_rand(r) % n; }
static inline bool fz_percent(struct fz_rng *r, unsigned int p) { return fz_below(r, 100) < p; }

/* ------------------------------------------------------------- programs --- */

struct fz_call {
	uint8_t op;		/* row of the grammar */
	uint8_t thread;
	uint64_t arg[FZ_ARGS];
};

struct fz_program {
	uint32_t nr;		/* calls */
	uint32_t threads;
	uint32_t unprivileged;	/* runs as a member of group nom, not as root */
	struct fz_call call[FZ_CALLS];
};

/* What an argument is.  Values are chosen when a program is made (fz_value_make())
 * and given their meaning when it runs: a descriptor is a slot, an address a place
 * in a mapping, so that a program means the same in each run.
 */
enum fz_kind {
	K_NONE, K_NOM, K_CORE, K_GRANT, K_EVENTFD, K_NETLINK, K_MMIO, K_NR_FDS, K_FD = K_NR_FDS,
	K_MODE,			/* how a size-first struct is passed */
	K_FLAGS,		/* of the row's param */
	K_ANY, K_SMALL,		/* below the row's param, mostly */
	K_EVENT, K_CPU, K_HANDLE, K_NS, K_DEADLINE, K_CHUNKS, K_BDF, K_GRANT_OFFSET, K_SEED,
	K_ENTRIES,		/* struct nom_map_entry[], made of a seed; param: FZ_PIECES_* */
	K_BUFFER,		/* user pointer with room for bitmaps, or 0 */
	K_GRANT_ID,
	K_ADDR, K_LEN, K_PROT, K_UPCALL_ADDR, K_PATH,
	K_NAME,			/* char[]: of the device that fz_mmio names */
};

#define FZ_PIECES_OF_GRANT	1	/* no address, whole chunks */

struct fz_field {
	enum fz_kind kind;
	uint64_t param;
	uint16_t offset, bytes;	/* in the struct of an ioctl */
	uint64_t with;		/* means something with this bit of the row's K_FLAGS, else 0 */
};

struct fz_thread;
struct fz_op {
	const char *name;
	unsigned int weight;
	/* an ioctl: command, struct and the descriptor it is for */
	unsigned long cmd;
	uint16_t size;
	enum fz_kind on;
	/* arguments; an ioctl's begin with the descriptor and K_MODE */
	struct fz_field field[FZ_ARGS];
	/* what a successful ioctl leaves in its struct */
	struct { enum fz_kind kind; uint16_t offset; } out[2];
	/* anything else */
	long (*run)(struct fz_thread *t, const uint64_t *arg);
};

extern const struct fz_op fz_ops[];
extern const unsigned int fz_nr_ops;
unsigned int fz_op_args(const struct fz_op *op);
bool fz_op_is_ioctl(const struct fz_op *op);

void fz_program_make(struct fz_program *p, struct fz_rng *r);
void fz_program_change(struct fz_program *p, const struct fz_program *other, struct fz_rng *r);
size_t fz_program_print(const struct fz_program *p, char *text, size_t bytes);
int fz_program_parse(struct fz_program *p, FILE *in);	/* 0, 1 at the end, -EINVAL */

/* ------------------------------------------------------ a running program --- */

struct fz_region {
	void *addr;
	size_t bytes;
	enum fz_kind kind;	/* of the descriptor it is a mapping of */
	int fd;
};

struct fz_run {
	const struct fz_program *p;
	int fd[K_NR_FDS][FZ_SLOTS];
	unsigned int next_fd[K_NR_FDS];
	struct fz_region region[FZ_REGIONS];
	unsigned int next_region;
	uint64_t handle[FZ_SLOTS], grant_id;
	unsigned int next_handle, forks;
	pthread_barrier_t start;
	pid_t tid[FZ_THREADS];
	long *result;		/* of each call, shared with the parent */
};

struct fz_thread {
	struct fz_run *run;
	unsigned int index;
	volatile unsigned long recover;	/* where a fault resumes, 0: nowhere */
	struct nom_shared *volatile shared;
	volatile unsigned long upcalls;
	char *struct_buf, *hole, *read_only, *stack, *buffer;
	pthread_t pthread;
};
extern __thread struct fz_thread *fz_self;
extern volatile uint64_t fz_shared_struct[512];	/* threads change it under each other */

uint64_t fz_value_make(const struct fz_field *f, struct fz_rng *r);
extern char fz_mmio[NOM_MMIO_NAME_MAX];	/* "": there is no such device */
void fz_name_of(uint64_t v, char *out, unsigned int bytes);
uint64_t fz_value_of(struct fz_thread *t, const struct fz_field *f, uint64_t v);
void fz_keep_fd(struct fz_run *run, enum fz_kind kind, int fd);
void fz_keep_region(struct fz_run *run, void *addr, size_t bytes, enum fz_kind kind, int fd);
struct fz_region *fz_find_region(struct fz_run *run, enum fz_kind kind, unsigned int slot);
unsigned int fz_map_entries(struct fz_thread *t, uint64_t seed, uint64_t what, struct nom_map_entry *e, unsigned int max);
void fz_values_init(uint32_t bdf, unsigned int nr_cpus);
extern char fz_paths[64][128];
extern unsigned int fz_nr_paths;

/* exec.c */
struct fz_result {
	bool timed_out, stuck;
	int status;
	long ret[FZ_CALLS];	/* FZ_NOT_RUN, or what the call returned */
};
#define FZ_NOT_RUN	LONG_MIN
void fz_exec_init(uid_t uid, gid_t gid);
void fz_execute(const struct fz_program *p, unsigned int ms, struct fz_result *out);
extern char fz_upcall_entry[], fz_restart_start[], fz_restart_end[], fz_restart_abort[];

/* netlink.c */
long fz_nl_open(struct fz_thread *t, const uint64_t *arg);
long fz_nl_send(struct fz_thread *t, const uint64_t *arg);
long fz_nl_read(struct fz_thread *t, const uint64_t *arg);
int fz_nl_init(void);

/* ops.c */
#define FZ_OP(name)	long fz_##name(struct fz_thread *t, const uint64_t *arg);
#include "ops.inc"
#undef FZ_OP

/* cover.c: one slot for each thread; slots are opened by whoever forks */
int fz_cover_open(void);		/* 0, or why there is none: -errno */
void fz_cover_reset(void);
void fz_cover_thread(unsigned int index);
unsigned int fz_cover_collect(bool (*seen)(uint64_t pc));	/* how many are new */
void fz_cover_report(FILE *out, const uint64_t *pc, unsigned int nr);

/* corpus.c: shared by all workers */
int fz_corpus_init(void);
bool fz_corpus_seen(uint64_t what);	/* true the first time */
void fz_corpus_keep(const struct fz_program *p);
bool fz_corpus_pick(struct fz_rng *r, struct fz_program *out);
unsigned int fz_corpus_nr(void);
unsigned int fz_corpus_pcs(uint64_t *pc, unsigned int max);

/* aftermath.c, see also aftermath.h */
struct fz_victim;
struct fz_victim *fz_victim_start(void);
bool fz_victim_end(struct fz_victim *v);

#endif
