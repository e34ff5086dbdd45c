// SPDX-License-Identifier: MIT
/*
 * Rules of core dumps: nom's memory can be read while the process that dumps is
 * still there, and nomcore(8) puts it into the core; the core is held as long.
 * Needs root, for kernel.core_pattern, which it puts back.
 */
#include <elf.h>
#include <sys/procfs.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/user.h>

#include "rule.h"

#define PATTERN	"/proc/sys/kernel/core_pattern"
#define LIMIT	"/proc/sys/kernel/core_pipe_limit"

extern const char crash_here[];

static char dir[] = "/tmp/rule_dump.XXXXXX";
static char core_file[64];

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return good;
}

static void get(const char *path, char *text, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, text, n - 1);

	close(fd);
	text[got > 0 ? got : 0] = '\0';
}

/*
 * Two pages and a 2 MiB one of a window are mapped, with what was there before in
 * other places; then it dies.
 */
static int crashes(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct nomux_core *core = rule_hold(0);
	struct nomux_mem *mem;
	volatile uint64_t *w;
	void *va;

	setrlimit(RLIMIT_CORE, &unlimited);
	T_NEED(nomux_mem_grant(nom, 4 << 20, &mem));
	T_NEED(nomux_mem_window(mem, 8 << 20, NULL, &va));
	T_NEED(rule_map(mem, va, 4096, 4096, NOM_MAP_READ | NOM_MAP_WRITE));
	T_NEED(rule_map(mem, (char *)va + 3 * 4096, 0, 4096, NOM_MAP_READ | NOM_MAP_WRITE));
	T_NEED(rule_map(mem, (char *)va + (4 << 20), 2 << 20, 2 << 20,
			NOM_MAP_READ | NOM_MAP_WRITE | rule_huge()));
	w = va;
	w[0] = 0x1111222233334444;
	w[512 * 3 + 511] = 0x5555666677778888;
	w[(4 << 20) / 8 + 100000] = 0x9999aaaabbbbcccc;
	rule->word[0] = (uintptr_t)va;
	rule->word[1] = (uintptr_t)nomux_core_shared(core);
	rule->word[2] = nomux_core_handle(core);
	if (rule->word[3])
		ptrace(PTRACE_TRACEME, 0, 0, 0);
	rule->phase = 1;
	raise(SIGSTOP);
	__asm__ volatile("mov $0x7e57, %%r12d\n"
			 "crash_here: ud2" ::: "r12", "memory");
	return 1;
}

/* ------------------------------------------------ at the exit's stop --- */

static void test_exit_stop(void)
{
	uint64_t word = 0;
	char path[64];
	int status, fd;
	pid_t pid;

	rule_reset();
	rule->word[3] = 1;
	pid = rule_child(crashes);
	waitpid(pid, &status, 0);
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT);
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &status, 0);
	t_ok(WIFSTOPPED(status) && WSTOPSIG(status) == SIGILL, "a holder crashes under a tracer");
	ptrace(PTRACE_CONT, pid, 0, SIGILL);
	waitpid(pid, &status, 0);
	t_is(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8, "  and stops on its way out");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	t_ok(pread(fd, &word, 8, (off_t)rule->word[0]) == 8 && word == 0x1111222233334444,
	     "  where its windows can still be read");
	close(fd);
	t_is(rule_board().state, NOM_CORE_RUNNING, "  and it holds its core");
	ptrace(PTRACE_CONT, pid, 0, 0);
	t_is(rule_reap(pid), 1000 + SIGILL, "it is gone");
	t_ok(rule_core_free(), "  and the core free");
}

/* ------------------------------------------------------------- the core --- */

static Elf64_Ehdr ehdr;
static Elf64_Phdr phdr[1024];
static int core_fd;

static bool open_core(void)
{
	int patience = 5000;
	ssize_t bytes;

	/* nomcore has the file before the process is gone, and is done a little later */
	core_fd = -1;
	while ((core_fd = open(core_file, O_RDONLY | O_CLOEXEC)) < 0 && patience--)
		rule_sleep_ms(1);
	if (core_fd < 0 || pread(core_fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) ||
	    memcmp(ehdr.e_ident, ELFMAG, SELFMAG) || ehdr.e_phnum > 1024)
		return false;
	bytes = (ssize_t)(ehdr.e_phnum * sizeof(phdr[0]));
	return pread(core_fd, phdr, (size_t)bytes, (off_t)ehdr.e_phoff) == bytes;
}

/* A word of the dumped memory, as a debugger finds it. */
static bool core_word(uint64_t va, uint64_t *out)
{
	unsigned int i;

	for (i = 0; i < ehdr.e_phnum; i++) {
		const Elf64_Phdr *p = &phdr[i];

		if (p->p_type == PT_LOAD && va >= p->p_vaddr && va < p->p_vaddr + p->p_filesz)
			return pread(core_fd, out, 8, (off_t)(p->p_offset + va - p->p_vaddr)) == 8;
	}
	return false;
}

static bool core_has(uint64_t va, uint64_t want)
{
	uint64_t word = 0;

	return core_word(va, &word) && word == want;
}

/* Registers of the thread that crashed: the first note. */
static bool core_registers(struct user_regs_struct *regs)
{
	struct elf_prstatus status;
	Elf64_Nhdr note;
	unsigned int i;

	for (i = 0; i < ehdr.e_phnum; i++) {
		off_t at = (off_t)phdr[i].p_offset;

		if (phdr[i].p_type != PT_NOTE)
			continue;
		if (pread(core_fd, &note, sizeof(note), at) != sizeof(note) ||
		    note.n_type != NT_PRSTATUS)
			return false;
		at += (off_t)(sizeof(note) + ((note.n_namesz + 3) & ~3u));
		if (pread(core_fd, &status, sizeof(status), at) != sizeof(status))
			return false;
		memcpy(regs, &status.pr_reg, sizeof(*regs));
		return true;
	}
	return false;
}

static int crash(void)
{
	int status;
	pid_t pid;

	rule_reset();
	unlink(core_file);
	pid = rule_child(crashes);
	waitpid(pid, &status, WUNTRACED);
	kill(pid, SIGCONT);
	return rule_reap(pid);
}

static void test_kernel_core(void)
{
	struct user_regs_struct regs = { .rip = 0 };

	t_ok(put(PATTERN, core_file), "the kernel writes the core by itself");
	t_is(crash(), 1000 + SIGILL, "  of a holder that crashes");
	t_ok(open_core(), "  a core");
	t_ok(core_registers(&regs) && regs.rip == (uintptr_t)crash_here && regs.r12 == 0x7e57,
	     "  which has the registers");
	t_ok(!core_has(rule->word[0], 0x1111222233334444), "  but not the windows' memory");
	close(core_fd);
	t_ok(rule_core_free(), "the core is free");
}

static void test_nomcore(void)
{
	struct user_regs_struct regs = { .rip = 0 };
	char pattern[128];
	uint64_t va, word;
	unsigned int i, ok = 0;

	snprintf(pattern, sizeof(pattern), "|/usr/bin/nomcore -o %s %%P", core_file);
	t_ok(put(LIMIT, "4") && put(PATTERN, pattern), "nomcore gets the core from the kernel");
	t_is(crash(), 1000 + SIGILL, "  of a holder that crashes");
	t_ok(open_core(), "  and writes one");
	t_ok(core_registers(&regs) && regs.rip == (uintptr_t)crash_here && regs.r12 == 0x7e57,
	     "  which has the registers");
	va = rule->word[0];
	t_ok(core_has(va, 0x1111222233334444), "  a window's first page");
	t_ok(core_has(va + 4 * 4096 - 8, 0x5555666677778888), "  the end of another page");
	t_ok(core_has(va + (4 << 20) + 800000, 0x9999aaaabbbbcccc), "  and a 2 MiB page");
	t_ok(!core_word(va + 4096, &word), "  nothing where nothing was mapped");
	t_ok(core_word(rule->word[1], &word), "  the page shared with the kernel");
	for (i = 0; i < ehdr.e_phnum; i++)
		ok += phdr[i].p_type != PT_LOAD || phdr[i].p_align < 4096 ||
		      (phdr[i].p_offset - phdr[i].p_vaddr) % 4096 == 0;
	t_is(ok, ehdr.e_phnum, "  its segments are aligned as they should be");
	t_ok(core_word(regs.rsp & ~7UL, &word), "  and what else was in it still is: the stack");
	t_ok(core_has((uintptr_t)&rule, (uintptr_t)rule), "  variables");
	close(core_fd);
	t_ok(rule_core_free(), "the core is free");
}

/* What is no core, or has no process, is not lost. */
static void test_nomcore_errors(void)
{
	char command[256];

	unlink(core_file);
	snprintf(command, sizeof(command), "echo hello | nomcore -o %s 999999 2>/dev/null", core_file);
	t_is(WEXITSTATUS(system(command)), 1, "nomcore for a process that is gone fails");
	snprintf(command, sizeof(command), "[ \"$(cat %s)\" = hello ]", core_file);
	t_is(system(command), 0, "  but keeps what it was given");
	unlink(core_file);
	snprintf(command, sizeof(command), "echo hello | nomcore -o %s $$ 2>/dev/null", core_file);
	t_is(WEXITSTATUS(system(command)), 1, "nomcore for what is no core fails");
	snprintf(command, sizeof(command), "[ \"$(cat %s)\" = hello ]", core_file);
	t_is(system(command), 0, "  likewise");
	snprintf(command, sizeof(command), "nomcore -o %s 1 2>/dev/null < /dev/null", core_file);
	t_is(WEXITSTATUS(system(command)), 1, "nomcore does not write over a file");
}

int main(void)
{
	char pattern[256], limit[32];

	rule_begin(60);
	if (geteuid() || access(PATTERN, W_OK)) {
		printf("1..0 # SKIP needs root and core dumps\n");
		return T_SKIP;
	}
	T_NEED(mkdtemp(dir) ? 0 : -errno);
	snprintf(core_file, sizeof(core_file), "%s/core", dir);
	get(PATTERN, pattern, sizeof(pattern));
	get(LIMIT, limit, sizeof(limit));
	test_exit_stop();
	test_kernel_core();
	test_nomcore();
	test_nomcore_errors();
	put(PATTERN, pattern);
	put(LIMIT, limit);
	unlink(core_file);
	rmdir(dir);
	nomux_close(nom);
	return t_end();
}
