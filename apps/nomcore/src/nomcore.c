// SPDX-License-Identifier: MIT
/*
 * nomcore - put nom's memory into a core dump
 *
 * The kernel's core dumps leave out what VM_PFNMAP maps, windows of a grant among
 * them, since nobody can hold a reference on it.  A debugger's view of a living
 * process has it (vm_ops->access).  So this program takes the core as a pipe from
 * the kernel (core_pattern), while the process that dumps still exists, and writes
 * the same core with the missing segments filled in from /proc/PID/mem:
 *
 *	ELF header, program headers	ours: the kernel's and one for each run of pages
 *	runs of pages			from /proc/PID/mem
 *	all the rest			as it came, only further behind
 *
 * Runs come before the rest because the process may go when the pipe is drained.
 * Whatever is wrong with that, the core itself is written as it came.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE		4096UL
#define MAX_HEADERS	65534U		/* 65535 means "see the section header" */
#define MAX_RUNS	4096U
#define MAX_MAPPINGS	256U
#define SCAN_BYTES	(64UL << 30)	/* of one mapping; a page costs a system call */
#define ALIGN_UP(x, a)	(((x) + (a) - 1) & ~((a) - 1))

struct mapping {
	uint64_t start, end;
	uint32_t flags;			/* PF_* */
};

struct run {
	uint64_t va, bytes, offset;	/* offset in the output */
	uint32_t flags;
};

static struct mapping mappings[MAX_MAPPINGS];
static struct run runs[MAX_RUNS];
static unsigned int nr_mappings, nr_runs;
static char buffer[1 << 20];

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list ap;

	fputs("nomcore: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* All of it, or what there was before the end. */
static ssize_t read_all(int fd, void *to, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = read(fd, (char *)to + done, n - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static int write_at(int fd, const void *from, size_t n, uint64_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t put = pwrite(fd, (const char *)from + done, n - done,
				     (off_t)(offset + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put ? -errno : -EIO;
		done += (size_t)put;
	}
	return 0;
}

/* What of nom is in the process's address space; -errno. */
static int find_mappings(const char *pid)
{
	char path[64], line[512], perms[8], name[256];
	unsigned long start, end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f) && nr_mappings < MAX_MAPPINGS) {
		struct mapping *m = &mappings[nr_mappings];

		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &start, &end, perms, name) != 4)
			continue;
		if (strncmp(name, "anon_inode:[nom-", 16) && strcmp(name, "/dev/nom"))
			continue;
		m->start = start;
		m->end = end;
		m->flags = (perms[0] == 'r' ? PF_R : 0) | (perms[1] == 'w' ? PF_W : 0) |
			   (perms[2] == 'x' ? PF_X : 0);
		nr_mappings++;
	}
	fclose(f);
	return 0;
}

/* A piece of memory that was read and written to the output at @offset. */
static void note_run(const struct mapping *m, uint64_t va, uint64_t bytes, uint64_t offset)
{
	struct run *last = nr_runs ? &runs[nr_runs - 1] : NULL;

	if (last && last->va + last->bytes == va && last->offset + last->bytes == offset &&
	    va != m->start) {
		last->bytes += bytes;
		return;
	}
	runs[nr_runs++] = (struct run){
		.va = va, .bytes = bytes, .offset = offset, .flags = m->flags,
	};
}

/*
 * Copy what is mapped of @m to the output, from *@at on.  /proc/PID/mem reads up
 * to the first page that is not there, which is then skipped.
 */
static int copy_mapping(int mem, int out, const struct mapping *m, uint64_t *at)
{
	uint64_t va = m->start;
	uint64_t end = m->end - va > SCAN_BYTES ? va + SCAN_BYTES : m->end;

	while (va < end) {
		size_t want = end - va < sizeof(buffer) ? (size_t)(end - va) : sizeof(buffer);
		ssize_t got = pread(mem, buffer, want, (off_t)va);
		uint64_t bytes = got > 0 ? (uint64_t)got & ~(PAGE - 1) : 0;
		int err;

		if (!bytes) {
			va += PAGE;
			continue;
		}
		if (nr_runs == MAX_RUNS) {
			say("more than %u pieces of memory: the rest is left out", MAX_RUNS);
			return 0;
		}
		err = write_at(out, buffer, bytes, *at);
		if (err)
			return err;
		note_run(m, va, bytes, *at);
		*at += bytes;
		va += bytes;
	}
	if (end < m->end)
		say("only the first %lu GiB of the mapping at %#lx were looked through",
		    SCAN_BYTES >> 30, (unsigned long)m->start);
	return 0;
}

static bool replaced(const Elf64_Phdr *p)
{
	unsigned int i;

	if (p->p_type != PT_LOAD || p->p_filesz)
		return false;
	for (i = 0; i < nr_mappings; i++)
		if (p->p_vaddr >= mappings[i].start && p->p_vaddr < mappings[i].end)
			return true;
	return false;
}

/* The table of the new core: what came, moved by @shift, and the runs. */
static unsigned int make_headers(Elf64_Phdr *to, const Elf64_Phdr *from, unsigned int nr,
				 uint64_t shift)
{
	unsigned int i, n = 0;

	for (i = 0; i < nr; i++) {
		if (replaced(&from[i]))
			continue;
		to[n] = from[i];
		to[n++].p_offset += shift;
	}
	for (i = 0; i < nr_runs; i++)
		to[n++] = (Elf64_Phdr){
			.p_type = PT_LOAD, .p_flags = runs[i].flags, .p_offset = runs[i].offset,
			.p_vaddr = runs[i].va, .p_filesz = runs[i].bytes,
			.p_memsz = runs[i].bytes, .p_align = PAGE,
		};
	return n;
}

/* stdin's rest to @at */
static int copy_rest(int out, uint64_t at)
{
	ssize_t n;

	while ((n = read_all(STDIN_FILENO, buffer, sizeof(buffer))) > 0) {
		int err = write_at(out, buffer, (size_t)n, at);

		if (err)
			return err;
		at += (uint64_t)n;
	}
	return (int)n;
}

/* Not a core we know how to change, or no process to ask: as it came. */
static int copy_unchanged(int out, const void *begin, size_t n)
{
	int err = write_at(out, begin, n, 0);

	return err ? err : copy_rest(out, n);
}

static bool plain_core(const Elf64_Ehdr *e, ssize_t n)
{
	return n == (ssize_t)sizeof(*e) && !memcmp(e->e_ident, ELFMAG, SELFMAG) &&
	       e->e_ident[EI_CLASS] == ELFCLASS64 && e->e_type == ET_CORE &&
	       e->e_phoff == sizeof(*e) && e->e_phentsize == sizeof(Elf64_Phdr) &&
	       e->e_phnum && e->e_phnum <= MAX_HEADERS - MAX_RUNS;
}

static int extend(int out, int mem)
{
	static struct {
		Elf64_Ehdr e;
		Elf64_Phdr p[MAX_HEADERS];
	} in, head;
	uint64_t room, at, old_end, shift;
	unsigned int i, n;
	ssize_t got;
	int err;

	got = read_all(STDIN_FILENO, &in.e, sizeof(in.e));
	if (got < 0)
		return (int)got;
	if (!plain_core(&in.e, got)) {
		say("stdin is not a 64-bit core with its program headers first: copied as it is");
		err = copy_unchanged(out, &in.e, (size_t)got);
		return err ? err : -ENOEXEC;
	}
	n = in.e.e_phnum;
	got = read_all(STDIN_FILENO, in.p, n * sizeof(in.p[0]));
	if (got != (ssize_t)(n * sizeof(in.p[0])))
		return got < 0 ? (int)got : -EIO;

	old_end = sizeof(in.e) + n * sizeof(in.p[0]);
	room = ALIGN_UP(sizeof(head.e) + (n + MAX_RUNS) * sizeof(head.p[0]), PAGE);
	at = room;
	for (i = 0; i < nr_mappings; i++) {
		err = copy_mapping(mem, out, &mappings[i], &at);
		if (err)
			return err;
	}
	/* offsets and addresses of segments stay equal modulo the page size */
	shift = at;		/* whole pages, like all that was added to it */
	head.e = in.e;
	/* gdb's cores have section headers, which say the same again */
	head.e.e_shoff = head.e.e_shnum = head.e.e_shstrndx = 0;
	head.e.e_phnum = (Elf64_Half)make_headers(head.p, in.p, n, shift);
	err = write_at(out, &head, sizeof(head.e) + head.e.e_phnum * sizeof(head.p[0]), 0);
	return err ? err : copy_rest(out, old_end + shift);
}

int main(int argc, char **argv)
{
	const char *name = NULL;
	char path[64];
	int out, mem, err, opt;

	while ((opt = getopt(argc, argv, "o:")) == 'o')
		name = optarg;
	if (opt != -1 || !name || optind != argc - 1 ||
	    strspn(argv[optind], "0123456789") != strlen(argv[optind])) {
		fputs("usage: nomcore -o FILE PID < CORE\n", stderr);
		return 2;
	}
	out = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0) {
		say("cannot create %s: %s", name, strerror(errno));
		return 1;
	}
	snprintf(path, sizeof(path), "/proc/%s/mem", argv[optind]);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	err = mem < 0 ? -errno : find_mappings(argv[optind]);
	if (err) {
		say("cannot read the memory of process %s: %s; the core is written as it came",
		    argv[optind], strerror(-err));
		copy_unchanged(out, NULL, 0);
		return 1;
	}
	err = extend(out, mem);
	if (err) {
		say("%s is not complete: %s", name, strerror(-err));
		return 1;
	}
	if (close(out)) {
		say("%s is not complete: %s", name, strerror(errno));
		return 1;
	}
	return 0;
}
