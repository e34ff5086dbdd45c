// SPDX-License-Identifier: MIT
/*
 * What disturbed a core: reading the kernel's tables and trace, and comparing two
 * looks.  That the tables are complete is for tests/system/kmod_quiet.c to show.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../apps/nomctl/src/quiet_internal.h"

static void test_columns(void **state)
{
	int columns;

	assert_int_equal(quiet_column("           CPU0       CPU1       \n", 0, &columns), 0);
	assert_int_equal(quiet_column("           CPU0       CPU1       \n", 1, &columns), 1);
	assert_int_equal(columns, 2);
	assert_int_equal(quiet_column("           CPU0       CPU1       \n", 2, &columns), -1);
	/* cores that are offline have none */
	assert_int_equal(quiet_column("      CPU0  CPU2  CPU10", 10, &columns), 2);
	assert_int_equal(quiet_column("      CPU0  CPU2  CPU10", 1, &columns), -1);
	assert_int_equal(columns, 3);
	assert_int_equal(quiet_column("", 0, &columns), -1);
}

static bool row(const char *text, int column, int columns, struct quiet_row *out)
{
	char line[200];

	memset(out, 0, sizeof(*out));
	snprintf(line, sizeof(line), "%s", text);
	return quiet_row(line, column, columns, out);
}

static void test_rows(void **state)
{
	struct quiet_row r;

	assert_true(row("LOC:     123456         42   Local timer interrupts", 1, 2, &r));
	assert_string_equal(r.name, "LOC");
	assert_string_equal(r.text, "Local timer interrupts");
	assert_int_equal(r.count, 42);
	/* a chip's name may begin with a digit, and its number is not a column */
	assert_true(row("  8:  1  7  2-chip   8-edge      rtc0", 1, 2, &r));
	assert_string_equal(r.name, "8");
	assert_int_equal(r.count, 7);
	assert_true(row(" 24:  4294967295  18446744073709551615  PCI-MSI 1-edge x", 1, 2, &r));
	assert_true(r.count == UINT64_MAX);
	assert_true(row("      TIMER:          5          0", 0, 2, &r));
	assert_string_equal(r.name, "TIMER");
	assert_string_equal(r.text, "");
	/* of the machine as a whole, and no rows at all */
	assert_false(row("ERR:          3", 1, 2, &r));
	assert_false(row("ERR:          3", 0, 2, &r));
	assert_false(row("no colon 1 2", 0, 2, &r));
	assert_false(row("", 0, 2, &r));
}

static struct quiet *watch(void)
{
	struct quiet *q;

	assert_int_equal(quiet_open(1, 100, &q), 0);
	return q;
}

static void put_row(struct quiet_sample *s, enum quiet_kind kind, const char *name, const char *text,
		    uint64_t count)
{
	struct quiet_row *r = quiet_grow((void **)&s->rows, &s->nr_rows, sizeof(*r));

	r->kind = kind;
	snprintf(r->name, sizeof(r->name), "%s", name);
	snprintf(r->text, sizeof(r->text), "%s", text);
	r->count = count;
}

static void put_task(struct quiet_sample *s, pid_t tgid, const char *comm, unsigned int cpu,
		     uint64_t voluntary, uint64_t forced)
{
	struct quiet_task *t = quiet_grow((void **)&s->tasks, &s->nr_tasks, sizeof(*t));

	*t = (struct quiet_task){ .tid = tgid, .tgid = tgid, .cpu = cpu, .voluntary = voluntary,
				  .forced = forced };
	snprintf(t->comm, sizeof(t->comm), "%s", comm);
}

/* quiet_end() on samples of our own */
static int compare(struct quiet *q, uint64_t kicks, uint64_t timers)
{
	q->looked = true;
	return quiet_end(q, kicks, timers);
}

static void test_nothing_happened(void **state)
{
	struct quiet *q = watch();
	char text[100];

	for (int i = 0; i < 2; i++) {
		struct quiet_sample *s = i ? &q->after : &q->before;

		put_row(s, QUIET_INTERRUPT, "LOC", "Local timer interrupts", 7);
		put_row(s, QUIET_SOFTIRQ, "RCU", "", 7);
		put_task(s, 100, "holder", 1, 5, 5);
		put_task(s, 7, "busy", 0, i * 100, i * 100);
		put_task(s, 8, "kworker/1:0", 1, 3, 3);	/* sleeps since before */
	}
	assert_int_equal(compare(q, 0, 0), 0);
	assert_null(quiet_noise(q, 0));
	assert_string_equal(quiet_text(q, text, sizeof(text)), "");
	quiet_close(q);
}

static void test_everything_happened(void **state)
{
	struct quiet *q = watch();
	char text[400], cut[20];

	put_row(&q->before, QUIET_INTERRUPT, "RES", "Rescheduling interrupts", 10);
	put_row(&q->before, QUIET_INTERRUPT, "LOC", "Local timer interrupts", 10);
	put_row(&q->before, QUIET_SOFTIRQ, "HI", "", 1);
	put_task(&q->before, 100, "holder", 1, 1, 1);

	put_row(&q->after, QUIET_INTERRUPT, "RES", "Rescheduling interrupts", 15);
	put_row(&q->after, QUIET_INTERRUPT, "LOC", "Local timer interrupts", 13);
	put_row(&q->after, QUIET_INTERRUPT, "24", "PCI-MSI vfio-msix[0](0000:00:10.0)", 4);
	put_row(&q->after, QUIET_INTERRUPT, "25", "PCI-MSI virtio1", 2);
	put_row(&q->after, QUIET_SOFTIRQ, "HI", "", 2);
	put_task(&q->after, 100, "holder", 1, 3, 4);
	put_task(&q->after, 8, "kworker/1:0", 1, 2, 0);	/* new */

	/* 4 kicks and 3 timers are the lease's own; so are its device's, and its naps */
	assert_int_equal(compare(q, 4, 3), 5);
	assert_string_equal(quiet_text(q, text, sizeof(text)),
			    "1 RES Rescheduling interrupts, 2 25 PCI-MSI virtio1, 1 softirq HI, "
			    "3 forced switches of holder-100, 2 turns of task kworker/1:0-8");
	quiet_text(q, cut, sizeof(cut));
	assert_int_equal(strlen(cut), sizeof(cut) - 1);
	assert_int_equal(compare(q, 0, 0), 6);
	assert_int_equal(compare(q, 4, 1), 5);	/* a post's timer, and one for each of two naps */
	quiet_close(q);
}

/* The same number is not the same task when it began later. */
static void test_reused_pid(void **state)
{
	struct quiet *q = watch();

	put_task(&q->before, 8, "kworker/1:0", 1, 50, 0);
	put_task(&q->after, 8, "kworker/1:1", 1, 50, 0);
	q->after.tasks[0].started = 99;
	assert_int_equal(compare(q, 0, 0), 1);
	assert_int_equal(quiet_noise(q, 0)->count, 50);
	quiet_close(q);
}

static void test_trace_lines(void **state)
{
	static const char *const lines[] = {
		"# tracer: nop\n",
		"           <...>-81      [000] d..2.     5.123456: ipi_send_cpumask: cpumask=1 callsite=smp_text_poke+0x5a/0x100 callback=do_sync_core+0x0/0x30\n",
		"           <...>-81      [000] d..2.     5.123457: ipi_send_cpumask: cpumask=1 callsite=smp_text_poke+0x5a/0x100 callback=do_sync_core+0x0/0x30\n",
		"          holder-100     [001] d..2.     5.2: sched_switch: prev_comm=holder prev_pid=100 prev_prio=120 prev_state=R ==> next_comm=CPU 0/TCG next_pid=8 next_prio=120\n",
		"            bash-7       [000] d..2.     5.2: csd_queue_cpu: cpu=1 callsite=on_each_cpu_cond_mask+0x25/0x40 func=do_sync_core csd=00000000\n",
		"            bash-7       [000] d..2.     5.2: ipi_send_cpu: cpu=1 callsite=update_curr+0x1/0x2 callback=0x0\n",
		"    kworker/1:0-8        [001] .....     5.2: workqueue_execute_start: work struct 000000001234: function vmstat_update\n",
		"          holder-100     [001] d.h..     5.3: hrtimer_expire_entry: hrtimer=00000000 function=tick_nohz_handler now=1234\n",
		"          holder-100     [001] ..s..     5.3: softirq_entry: vec=1 [action=TIMER]\n",
		"          holder-100     [001] d.h..     5.3: irq_handler_entry: irq=24 name=virtio1\n",
		"          holder-100     [001] d....     5.3: tick_stop: success=0 dependency=SCHED\n",
		"nonsense\n", "", "[", ": : :", "a [b: c\n",
	};
	static const char *const want[] = {
		"interrupt sent by <...>-81: smp_text_poke do_sync_core",
		"switch to CPU 0/TCG-8",
		"call of do_sync_core by bash-7: on_each_cpu_cond_mask",
		"interrupt sent by bash-7: update_curr",
		"work vmstat_update in kworker/1:0-8",
		"hrtimer tick_nohz_handler",
		"softirq TIMER",
		"handler of interrupt irq=24 name=virtio1",
		"tick: success=0 dependency=SCHED",
	};
	struct quiet *q = watch();
	char line[400];
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		snprintf(line, sizeof(line), "%s", lines[i]);
		assert_int_equal(quiet_trace_line(q, line), 0);
	}
	for (i = 0; i < sizeof(want) / sizeof(*want); i++) {
		assert_non_null(quiet_origin(q, (unsigned int)i));
		assert_string_equal(quiet_origin(q, (unsigned int)i)->text, want[i]);
	}
	assert_int_equal(quiet_origin(q, 0)->count, 2);
	assert_null(quiet_origin(q, (unsigned int)i));
	/* so many kinds, and no more */
	for (i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "x-%zu [001] d.h..  5.3: hrtimer_expire_entry: function=f%zu", i, i);
		assert_int_equal(quiet_trace_line(q, line), 0);
	}
	assert_non_null(quiet_origin(q, 63));
	assert_null(quiet_origin(q, 64));
	quiet_close(q);
}

/* This machine's own files: whatever it is, it can be read and compared. */
static void test_this_machine(void **state)
{
	struct quiet *q;
	unsigned int i;

	assert_int_equal(quiet_open(0, getpid(), &q), 0);
	assert_int_equal(quiet_begin(q), 0);
	assert_true(q->before.nr_rows > 5);
	assert_true(q->before.nr_tasks > 0);
	usleep(20000);
	assert_true(quiet_end(q, 0, 0) >= 0);
	for (i = 0; quiet_noise(q, i); i++)
		assert_true(quiet_noise(q, i)->count > 0);
	quiet_close(q);
	assert_int_equal(quiet_open(100000, 0, &q), 0);
	assert_int_equal(quiet_begin(q), -ENOENT);
	quiet_close(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_nothing_happened),
		cmocka_unit_test(test_everything_happened),
		cmocka_unit_test(test_reused_pid),
		cmocka_unit_test(test_trace_lines),
		cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
