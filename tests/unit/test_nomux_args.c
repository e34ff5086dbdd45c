// SPDX-License-Identifier: MIT
/*
 * Arguments are checked before anything is done; and the event dispatcher,
 * which needs a shared page but no kernel.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <nomux/board.h>
#include <nomux/colour.h>
#include <nomux/core.h>
#include <nomux/ctx.h>
#include <nomux/log.h>
#include <nomux/mem.h>
#include <nomux/notify.h>
#include <nomux/timer.h>
#include <nomux/upcall.h>
#include <nomux/mmio.h>
#include <nomux/vfio.h>

#include "../../libnomux/src/internal.h"

static struct nomux_ctx ctx = { .fd = -1, .info.out_traps = NOM_TRAPS_SUPPORTED };
static struct nomux_core *core;

static void drop(int level, const char *msg, void *arg) { }

/* A core of which the kernel knows nothing: region and shared page. */
static int setup(void **state)
{
	char *p = mmap(NULL, 2 * NOMUX_REGION_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	core = (struct nomux_core *)(void *)(char *)ALIGN_UP((uintptr_t)p, NOMUX_REGION_BYTES);
	core->ctx = &ctx;
	core->fd = -1;
	core->magic = NOMUX_CORE_MAGIC;
	nomux_set_log_fn(drop, NULL);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	nomux_set_log_fn(NULL, NULL);
	return munmap(*state, 2 * NOMUX_REGION_BYTES);
}

static int trap(struct nom_frame *frame, void *arg)
{
	return *(int *)arg;
}

struct log_of_events {
	unsigned int nr;
	uint64_t count[NOM_NR_EVENTS];
	unsigned int order[8];
	bool post_again;
};

static void note(unsigned int event, uint64_t count, void *arg)
{
	struct log_of_events *l = arg;

	if (l->nr < 8)
		l->order[l->nr] = event;
	l->nr++;
	l->count[event] += count;
	if (l->post_again) {		/* what the kernel does, while the handler runs */
		l->post_again = false;
		nomux_core_shared(core)->count[event]++;
		nomux_core_shared(core)->pending |= 1ULL << event;
	}
}

static void post(unsigned int event, uint64_t n)
{
	nomux_core_shared(core)->count[event] += n;
	nomux_core_shared(core)->pending |= 1ULL << event;
}

static void test_dispatch(void **state)
{
	struct log_of_events l = { .nr = 0 };
	struct nom_frame frame = { .vector = NOM_VECTOR_EVENT };

	assert_int_equal(nomux_on_event(core, 0, note, &l), 0);
	assert_int_equal(nomux_on_event(core, 63, note, &l), 0);
	post(63, 5);
	post(0, 1);
	post(7, 3);			/* no handler */
	nomux_core_shared(core)->pending |= 1ULL << 8;	/* a bit without a count */
	assert_int_equal(nomux__upcall(&frame, core), 0);
	assert_int_equal(l.nr, 2);
	assert_int_equal(l.order[0], 0);
	assert_int_equal(l.count[0], 1);
	assert_int_equal(l.count[63], 5);
	assert_int_equal(nomux_event_dropped(core), 3);
	assert_int_equal(nomux_core_shared(core)->pending, 0);
	assert_int_equal(nomux__upcall(&frame, core), 0);	/* nothing there: nothing happens */
	assert_int_equal(l.nr, 2);
}

static void test_unmask_takes_what_comes_meanwhile(void **state)
{
	struct log_of_events l = { .post_again = true };

	nomux_on_event(core, 9, note, &l);
	nomux_mask(core);
	assert_true(nomux_masked(core));
	post(9, 2);
	nomux_unmask(core);
	assert_int_equal(l.count[9], 3);
	assert_int_equal(nomux_core_shared(core)->pending, 0);
	assert_false(nomux_masked(core));
}

static void test_trap_dispatch(void **state)
{
	struct nom_frame frame = { .vector = 6 };
	int ret = 0;

	assert_true(nomux__upcall(&frame, core) < 0);		/* no handler */
	assert_int_equal(nomux_on_trap(core, 6, trap, &ret), 0);
	assert_int_equal(nomux__upcall(&frame, core), 0);
	ret = -1;
	assert_true(nomux__upcall(&frame, core) < 0);
	frame.vector = 38;		/* no such trap: bounded, whatever the frame says */
	nomux__upcall(&frame, core);
}

static void test_event_numbers(void **state)
{
	struct log_of_events l = { .nr = 0 };
	int i, event;

	assert_int_equal(nomux_on_event(core, 60, note, &l), 0);
	for (i = 63; i >= 0; i--) {
		if (i == 60)
			continue;
		event = nomux_event_alloc(core);
		assert_int_equal(event, i);
	}
	assert_int_equal(nomux_event_alloc(core), -ENOSPC);
	nomux_event_free(core, 17);
	assert_int_equal(nomux_event_alloc(core), 17);
	nomux_event_free(core, 64);
	nomux_event_free(NULL, 1);
}

static void test_event_arguments(void **state)
{
	assert_int_equal(nomux_on_event(NULL, 0, note, NULL), -EINVAL);
	assert_int_equal(nomux_on_event(core, 64, note, NULL), -EINVAL);
	assert_int_equal(nomux_on_trap(NULL, 0, trap, NULL), -EINVAL);
	assert_int_equal(nomux_on_trap(core, 32, trap, NULL), -EINVAL);
	assert_int_equal(nomux_on_trap(core, 2, trap, NULL), -EOPNOTSUPP);	/* the NMI is nobody's */
	core->holder = 1;
	assert_int_equal(nomux_on_trap(core, 0, trap, NULL), -EBUSY);
	core->holder = 0;
	assert_int_equal(nomux_event_alloc(NULL), -EINVAL);
	assert_int_equal(nomux_event_bind(NULL, 0, 0), -EINVAL);
	assert_int_equal(nomux_event_bind(core, 64, 0), -EINVAL);
	assert_int_equal(nomux_event_unbind(core, 64, 0), -EINVAL);
	assert_int_equal(nomux_subscribe(core, 64, 0), -EINVAL);
	assert_int_equal(nomux_subscribe(NULL, 0, 0), -EINVAL);
	assert_int_equal(nomux_timer_arm(NULL, 0, 1, 0), -EINVAL);
	assert_int_equal(nomux_timer_arm(core, 64, 1, 0), -EINVAL);
	assert_int_equal(nomux_notify(NULL, 1, 0), -EINVAL);
	assert_int_equal(nomux_notify(&ctx, 1, 64), -EINVAL);
	/* What the kernel would be asked with: its error comes back as it is. */
	errno = 0;
	assert_int_equal(nomux_timer_arm(core, 0, 1, 0), -EBADF);
	assert_int_equal(nomux_notify(&ctx, 1, 0), -EBADF);
	assert_int_equal(errno, 0);
	assert_int_equal(nomux_event_bind(core, 0, 0), -EBADF);
}

static void test_core_arguments(void **state)
{
	struct nomux_core_opts opts = { .sz = 1 };
	struct nomux_core *out = (void *)1;

	assert_int_equal(nomux_core_claim(NULL, NULL, &out), -EINVAL);
	assert_int_equal(nomux_core_claim(&ctx, NULL, NULL), -EINVAL);
	assert_int_equal(nomux_core_claim(&ctx, &opts, &out), -EINVAL);
	opts.sz = sizeof(opts);
	opts.cpu = -2;
	assert_int_equal(nomux_core_claim(&ctx, &opts, &out), -EINVAL);
	opts.cpu = 0;
	opts.trap_mask = 1ULL << 40;
	assert_int_equal(nomux_core_claim(&ctx, &opts, &out), -EOPNOTSUPP);
	opts.trap_mask = 0;
	opts.stack_bytes = 4096;
	assert_int_equal(nomux_core_claim(&ctx, &opts, &out), -EINVAL);
	opts.stack_bytes = NOMUX_STACK_MAX + 1;
	assert_int_equal(nomux_core_claim(&ctx, &opts, &out), -EINVAL);
	opts.stack_bytes = 0;
	opts.flags = 1U << 31;
	assert_int_equal(nomux_core_claim(&ctx, &opts, &out), -EOPNOTSUPP);
	opts.flags = 0;
	assert_int_equal(nomux_core_claim(&ctx, &opts, &out), -EBADF);
	assert_ptr_equal(out, (void *)1);
	assert_int_equal(nomux_core_enter(NULL), -EINVAL);
	assert_int_equal(nomux_core_enter(core), -EBADF);	/* and nothing stays entered */
	assert_null(nomux_core_current());
	assert_int_equal(core->holder, 0);
	assert_int_equal(nomux_core_release(NULL), 0);
	core->magic = 0;
	assert_int_equal(nomux_core_enter(core), -EINVAL);
	assert_int_equal(nomux_core_release(core), -EINVAL);
	assert_int_equal(nomux_core_stats(core, NULL), -EINVAL);
}

static unsigned int lines;
static char line[200];

static void keep(int level, const char *msg, void *arg)
{
	lines++;
	strncpy(line, msg, sizeof(line) - 1);
}

static void test_wait_tells_once_that_it_has_no_call_of_its_own(void **state)
{
	nomux_set_log_fn(keep, NULL);
	core->cpu = 7;
	nomux_wait(core, 1000);
	assert_int_equal(lines, 1);
	assert_string_equal(line, "nomux: no NOM_CORE_WAIT, sleeps are by ppoll(2) and cost more, cpu=7: Bad file descriptor");
	nomux_wait(core, 1000);
	assert_int_equal(lines, 1);
}

static void test_mem_arguments(void **state)
{
	struct nomux_mem *mem = (void *)1;
	struct nomux_mem_bits bits = { .nr_dirty = 0 };
	struct nom_mem_info info = { .flags = 0 };
	struct nom_map_entry e = { 0 };
	uint64_t phys;
	void *va;

	assert_int_equal(nomux_mem_grant(NULL, 1, &mem), -EINVAL);
	assert_int_equal(nomux_mem_grant(&ctx, 0, &mem), -EINVAL);
	assert_int_equal(nomux_mem_grant(&ctx, SIZE_MAX, &mem), -EINVAL);
	assert_int_equal(nomux_mem_grant(&ctx, 1, NULL), -EINVAL);
	assert_int_equal(nomux_mem_grant(&ctx, 1, &mem), -EBADF);
	assert_int_equal(nomux_mem_grant_node(NULL, 1, 0, &mem), -EINVAL);
	assert_int_equal(nomux_mem_grant_node(&ctx, 0, 0, &mem), -EINVAL);
	assert_int_equal(nomux_mem_grant_node(&ctx, 1, 0, &mem), -EBADF);
	assert_ptr_equal(mem, (void *)1);
	assert_int_equal(nomux_mem_window(NULL, 1, NULL, &va), -EINVAL);
	assert_int_equal(nomux_mem_map(NULL, &e, 1), -EINVAL);
	assert_int_equal(nomux_mem_unmap(NULL, &e, 1), -EINVAL);
	assert_int_equal(nomux_mem_phys(NULL, 0, 0, &phys), -EINVAL);
	assert_int_equal(nomux_mem_protect(NULL, &e, 1), -EINVAL);
	assert_int_equal(nomux_mem_promote(NULL, &e, 1), -EINVAL);
	assert_int_equal(nomux_mem_demote(NULL, &e, 1), -EINVAL);
	assert_int_equal(nomux_mem_return(NULL, &e, 1), -EINVAL);
	assert_int_equal(nomux_mem_info(NULL, &info), -EINVAL);
	assert_int_equal(nomux_mem_query(NULL, NULL, 4096, 0, &bits), -EINVAL);
	nomux_mem_put(NULL);
}

static void test_colours(void **state)
{
	struct nomux_mem *mem = (void *)1;	/* never looked at */
	struct nomux_colours c;
	uint64_t offset = 0;
	unsigned int i;
	int nr;

	assert_int_equal(nomux_colours_only(NULL, 16, 0, 1), -EINVAL);
	assert_int_equal(nomux_colours_only(&c, 0, 0, 1), -EINVAL);
	assert_int_equal(nomux_colours_only(&c, 12, 0, 1), -EINVAL);
	assert_int_equal(nomux_colours_only(&c, 1024, 0, 1), -EINVAL);
	assert_int_equal(nomux_colours_only(&c, 16, 16, 1), -EINVAL);
	assert_int_equal(nomux_colours_only(&c, 16, 0, 0), -EINVAL);
	assert_int_equal(nomux_colours_only(&c, 16, 9, 8), -EINVAL);
	assert_int_equal(nomux_colours_only(&c, 512, 62, 4), 0);
	assert_true(c.mask[0] == 3ULL << 62 && c.mask[1] == 3 && !c.mask[2] && !c.mask[7]);
	assert_int_equal(nomux_colours_only(&c, 1, 0, 1), 0);
	assert_int_equal(nomux_colour(0, 16), 0);
	assert_int_equal(nomux_colour(15 << 12, 16), 15);
	assert_int_equal(nomux_colour((2ULL << 20) + (17 << 12), 16), 1);

	assert_int_equal(nomux_mem_map_colours(NULL, NULL, 4096, &offset, &c, 1), -EINVAL);
	assert_int_equal(nomux_mem_map_colours(mem, NULL, 4096, NULL, &c, 1), -EINVAL);
	assert_int_equal(nomux_mem_map_colours(mem, NULL, 4096, &offset, NULL, 1), -EINVAL);
	assert_int_equal(nomux_mem_map_colours(mem, NULL, 0, &offset, &c, 1), -EINVAL);
	assert_int_equal(nomux_mem_map_colours(mem, NULL, 100, &offset, &c, 1), -EINVAL);
	assert_int_equal(nomux_mem_map_colours(mem, (void *)7, 4096, &offset, &c, 1), -EINVAL);
	assert_int_equal(nomux_mem_map_colours(mem, NULL, 4096, &offset, &c, NOM_MAP_HUGE), -EINVAL);
	offset = 1;
	assert_int_equal(nomux_mem_map_colours(mem, NULL, 4096, &offset, &c, 1), -EINVAL);
	c.nr = 3;
	assert_int_equal(nomux_mem_map_colours(mem, NULL, 4096, &offset, &c, 1), -EINVAL);

	assert_int_equal(nomux_colours_of_cache(0), -EINVAL);
	assert_int_equal(nomux_colours_of_cache(4), -EINVAL);
	for (i = 1; i <= 3; i++) {	/* whatever this machine has, if it tells */
		nr = nomux_colours_of_cache(i);
		assert_true(nr == -ENOENT || nr == -ERANGE ||
			    (nr >= 1 && nr <= NOMUX_COLOURS_MAX && !(nr & (nr - 1))));
	}
}

static void test_pci_addresses(void **state)
{
	static const char *const bad[] = {
		"", "0000:00:03", "00:03.0", "0000:00:03.8", "0000:00:20.0", "0000:00:03.0x",
		"0000:00:3.0", "0000:00:0g.0", "../../../etc", "0000:00:03.0/..", " 0000:00:03.0",
		"0000:AB:03.0", "-001:00:03.0", "00000:00:03.0",
	};
	struct nomux_vfio *dev = NULL;
	uint32_t bdf = 0;
	unsigned int i;

	assert_int_equal(nomux__pci_parse("0000:00:03.0", &bdf), 0);
	assert_int_equal(bdf, 3 << 3);
	assert_int_equal(nomux__pci_parse("0001:ab:1f.7", &bdf), 0);
	assert_int_equal(bdf, 0x1abff);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(nomux__pci_parse(bad[i], &bdf), -EINVAL);
		assert_int_equal(nomux_vfio_open(&ctx, bad[i], &dev), -EINVAL);
		assert_int_equal(nomux_vfio_restore(bad[i]), -EINVAL);
	}
	assert_int_equal(nomux_vfio_open(&ctx, NULL, &dev), -EINVAL);
	assert_int_equal(nomux_vfio_open(NULL, "0000:00:03.0", &dev), -EINVAL);
	assert_int_equal(nomux_vfio_open(&ctx, "0000:00:03.0", NULL), -EINVAL);
	assert_int_equal(nomux_vfio_open(&ctx, "fffe:fe:1e.6", &dev), -ENODEV);
	assert_int_equal(nomux_vfio_restore("fffe:fe:1e.6"), -ENODEV);
	assert_null(dev);
	nomux_vfio_close(NULL);
	nomux_vfio_dma_free(NULL, NULL);
}

static void test_mmio_names(void **state)
{
	static const char *const bad[] = { "", ".", "..", "../pci", "a/b", "/LNRO0005:00" };
	struct nomux_mmio *dev = NULL;
	char longest[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(nomux_mmio_open(&ctx, bad[i], &dev), -EINVAL);
		assert_int_equal(nomux_mmio_restore(&ctx, bad[i]), -EINVAL);
	}
	assert_int_equal(nomux_mmio_open(&ctx, NULL, &dev), -EINVAL);
	assert_int_equal(nomux_mmio_open(NULL, "LNRO0005:00", &dev), -EINVAL);
	assert_int_equal(nomux_mmio_restore(NULL, "LNRO0005:00"), -EINVAL);
	assert_int_equal(nomux_mmio_open(&ctx, "LNRO0005:00", NULL), -EINVAL);
	assert_int_equal(nomux_mmio_open(&ctx, "nobody.77", &dev), -ENODEV);
	assert_int_equal(nomux_mmio_restore(&ctx, "nobody.77"), -ENODEV);
	memset(longest, 'x', sizeof(longest));
	longest[48] = 0;
	assert_int_equal(nomux_mmio_open(&ctx, longest, &dev), -ENAMETOOLONG);
	longest[47] = 0;
	assert_int_equal(nomux_mmio_open(&ctx, longest, &dev), -ENODEV);
	assert_null(dev);
	nomux_mmio_close(NULL);
	nomux_mmio_dma_free(NULL, NULL);
	assert_int_equal(nomux_mmio_irq(NULL, -1, -1), -EINVAL);
}

static void test_open_arguments(void **state)
{
	struct nom_info info;
	struct nomux_ctx *none = NULL;

	assert_int_equal(nomux_open(NULL), -EINVAL);
	if (access(NOM_DEVICE_PATH, F_OK)) {
		assert_int_equal(nomux_open(&none), -ENOENT);
		assert_null(none);
	}
	assert_int_equal(nomux_info(NULL, &info), -EINVAL);
	assert_int_equal(nomux_info(&ctx, NULL), -EINVAL);
	assert_int_equal(nomux_info(&ctx, &info), -EBADF);
	assert_int_equal(nomux_board_snapshot(NULL, &info, sizeof(info)), -EINVAL);
	nomux_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dispatch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unmask_takes_what_comes_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trap_dispatch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_event_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_event_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_core_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_tells_once_that_it_has_no_call_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mem_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_colours, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pci_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mmio_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_arguments, setup, teardown),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
