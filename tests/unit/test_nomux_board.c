// SPDX-License-Identifier: MIT
/*
 * The bulletin board's readers, against a board of our own: consistent under a
 * writer that never rests, bounded when it never finishes, safe against any
 * content.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <nomux/board.h>

#include "../../libnomux/src/internal.h"

#define NR_PRICES	8
#define BOARD_BYTES	4096

static union {
	struct nom_board board;
	char bytes[BOARD_BYTES];
	uint64_t words[BOARD_BYTES / 8];
} page __attribute__((aligned(64)));
static uint64_t copy[BOARD_BYTES / 8];

static struct nom_board_price *price_at(unsigned int i)
{
	const struct nom_board_section *s = &page.board.section[NOM_BOARD_PRICES];

	return (struct nom_board_price *)(void *)(page.bytes + s->offset + i * s->stride);
}

static int setup(void **state)
{
	unsigned int i;

	memset(&page, 0, sizeof(page));
	page.board.magic = NOM_BOARD_MAGIC;
	page.board.version = NOM_BOARD_VERSION;
	page.board.bytes = BOARD_BYTES;
	page.board.nr_classes = NOM_BOARD_NR_CLASSES;
	page.board.section[NOM_BOARD_PRICES] = (struct nom_board_section){
		.offset = 1024, .stride = sizeof(struct nom_board_price) + 8,
		.nr = NR_PRICES, .max = 16,
	};
	for (i = 0; i < NR_PRICES; i++) {
		snprintf(price_at(i)->name, NOM_PRICE_NAME_MAX, "price-%u", i);
		strcpy(price_at(i)->unit, "Gbit");
	}
	return 0;
}

/* The kernel's side: every field of every record carries the same number. */
static void write_all(uint64_t v)
{
	unsigned int i;

	__atomic_store_n(&page.board.seq, page.board.seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (i = 0; i < NR_PRICES; i++) {
		struct nom_board_price *p = price_at(i);

		__atomic_store_n(&p->price_ucr, (int64_t)v, __ATOMIC_RELAXED);
		__atomic_store_n(&p->since_ns, v, __ATOMIC_RELAXED);
		__atomic_store_n(&p->changes, v, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&page.board.section[NOM_BOARD_PRICES].changes, v, __ATOMIC_RELAXED);
	__atomic_store_n(&page.board.updated_ns, v, __ATOMIC_RELAXED);
	__atomic_store_n(&page.board.seq, page.board.seq + 1, __ATOMIC_RELEASE);
}

static volatile int stop;

static void *writer(void *arg)
{
	volatile unsigned int n;
	uint64_t v = 0;

	while (!stop) {
		write_all(++v);
		for (n = v % 4096; n; n--)	/* a reader gets its chance, and sometimes none */
			;
	}
	return NULL;
}

static void test_snapshots_under_a_storm(void **state)
{
	unsigned int i, nr = 0, moved = 0;
	struct nom_board_price price;
	time_t until = time(NULL) + 60;
	uint64_t last = 0;
	pthread_t thread;
	int err;

	stop = 0;
	assert_int_equal(pthread_create(&thread, NULL, writer, NULL), 0);
	/* A busy machine may keep the writer from running, or stop it half-way. */
	while ((nr < 20000 || moved < 100) && time(NULL) < until) {
		const struct nom_board *b = (const struct nom_board *)(const void *)copy;

		err = nomux__board_snapshot(&page.board, BOARD_BYTES, copy, sizeof(copy));
		if (err) {
			assert_int_equal(err, -EAGAIN);
			continue;
		}
		nr++;
		assert_int_equal(b->seq & 1, 0);
		for (i = 0; i < NR_PRICES; i++) {
			const struct nom_board_price *p =
				nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, i, sizeof(*p));

			assert_non_null(p);
			assert_int_equal(p->price_ucr, b->updated_ns);
			assert_int_equal(p->since_ns, b->updated_ns);
			assert_int_equal(p->changes, b->updated_ns);
		}
		moved += b->updated_ns != last;
		last = b->updated_ns;
		err = nomux__board_price(&page.board, BOARD_BYTES, "price-5", &price);
		if (!err) {
			assert_int_equal(price.price_ucr, price.since_ns);
			assert_int_equal(price.price_ucr, price.changes);
			assert_string_equal(price.name, "price-5");
		}
	}
	stop = 1;
	pthread_join(thread, NULL);
	assert_true(nr >= 20000);
	assert_true(moved >= 100);
}

static void test_writer_that_never_ends(void **state)
{
	struct nom_board_price price;

	page.board.seq = 7;
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES, copy, sizeof(copy)), -EAGAIN);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-1", &price), -EAGAIN);
}

static void test_price_by_name(void **state)
{
	struct nom_board_price price = { .price_ucr = -1 };

	write_all(10000000);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-7", &price), 0);
	assert_int_equal(price.price_ucr, 10000000);
	price.price_ucr = -1;
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-8", &price), -ENOENT);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price", &price), -ENOENT);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "", &price), -EINVAL);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, NULL, &price), -EINVAL);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-7", NULL), -EINVAL);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES,
					    "a-name-that-is-longer-than-any", &price), -EINVAL);
	assert_int_equal(price.price_ucr, -1);
}

static void test_reclaim_by_grant(void **state)
{
	struct nom_board_section *s = &page.board.section[NOM_BOARD_RECLAIM];
	struct nom_board_reclaim *r = (struct nom_board_reclaim *)(void *)(page.bytes + 3000);
	struct nom_board_reclaim out = { .bytes = 7 };

	assert_int_equal(nomux__board_reclaim(&page.board, BOARD_BYTES, 17, &out), -ENOENT);
	*s = (struct nom_board_section){ .offset = 3000, .stride = sizeof(*r), .nr = 2, .max = 4 };
	r[0] = (struct nom_board_reclaim){ .grant = 5, .bytes = 1 };
	r[1] = (struct nom_board_reclaim){ .grant = 17, .bytes = 2 << 20, .deadline_ns = 99 };
	r[2] = (struct nom_board_reclaim){ .grant = 18, .bytes = 3 };
	assert_int_equal(nomux__board_reclaim(&page.board, BOARD_BYTES, 18, &out), -ENOENT);
	assert_int_equal(out.bytes, 7);
	assert_int_equal(nomux__board_reclaim(&page.board, BOARD_BYTES, 17, &out), 0);
	assert_true(out.bytes == 2 << 20 && out.deadline_ns == 99);
	assert_int_equal(nomux__board_reclaim(&page.board, BOARD_BYTES, 17, NULL), -EINVAL);
	s->nr = 1000;			/* records end with the board, whatever it says */
	assert_int_equal(nomux__board_reclaim(&page.board, BOARD_BYTES, 19, &out), -ENOENT);
	page.board.seq = 7;
	assert_int_equal(nomux__board_reclaim(&page.board, BOARD_BYTES, 17, &out), -EAGAIN);
}

static void test_bad_buffers(void **state)
{
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES, copy, 100), -EINVAL);
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES, NULL, BOARD_BYTES), -EINVAL);
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES - 8, (char *)copy + 1,
					       BOARD_BYTES - 1), -EINVAL);
	page.board.magic = 0;
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES, copy, sizeof(copy)), -EPROTO);
}

/* Sections that point anywhere: records end, nothing beyond the board is read. */
static void test_junk_sections(void **state)
{
	struct nom_board_section *s = &page.board.section[NOM_BOARD_PRICES];
	char *exact = malloc(BOARD_BYTES);
	const struct nom_board *b = (const struct nom_board *)(const void *)exact;
	uint64_t seed = 1181783497276652981ULL;
	struct nom_board_price price;
	unsigned int i, round;

	assert_non_null(exact);
	for (round = 0; round < 20000; round++) {
		uint32_t *words = (uint32_t *)(void *)s;

		for (i = 0; i < 4; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			words[i] = (uint32_t)(seed >> (seed & 31));
			if (round & 1)
				words[i] = (words[i] % 5000) & ~7U;
		}
		memcpy(exact, &page, BOARD_BYTES);	/* the sanitizer watches its end */
		nomux__board_price(b, BOARD_BYTES, "nothing", &price);
		for (i = 0; i < 20; i++) {
			const struct nom_board_price *p =
				nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, i, sizeof(*p));

			if (p)
				memcpy(&price, p, sizeof(price));
		}
	}
	assert_null(nomux_board_record(b, BOARD_BYTES, NOM_BOARD_MAX_CLASSES, 0, 8));
	assert_null(nomux_board_record(b, BOARD_BYTES, (enum nom_board_class)-1, 0, 8));
	assert_null(nomux_board_record(b, 16, NOM_BOARD_PRICES, 0, 8));
	free(exact);
}

static void test_short_stride(void **state)
{
	page.board.section[NOM_BOARD_PRICES].stride = 8;	/* an older, shorter record */
	assert_null(nomux_board_record(&page.board, BOARD_BYTES, NOM_BOARD_PRICES, 0,
				       sizeof(struct nom_board_price)));
	assert_non_null(nomux_board_record(&page.board, BOARD_BYTES, NOM_BOARD_PRICES, 0, 8));
	assert_null(nomux_board_record(&page.board, BOARD_BYTES, NOM_BOARD_PRICES, NR_PRICES, 8));
}

/*
 * A board of another age: its header is longer, records are longer, there are more
 * classes, and sections lie elsewhere, in another order.
 */
static void make_newer(void)
{
	unsigned int c, i;

	memset(&page, 0, sizeof(page));
	page.board.magic = NOM_BOARD_MAGIC;
	page.board.version = NOM_BOARD_VERSION;
	page.board.bytes = BOARD_BYTES;
	page.board.nr_classes = NOM_BOARD_MAX_CLASSES;
	for (c = 0; c < NOM_BOARD_MAX_CLASSES; c++)
		page.board.section[c] = (struct nom_board_section){
			.offset = 3584 - c * 400, .stride = c == NOM_BOARD_PRICES ? 104 : 64,
			.nr = c == NOM_BOARD_PRICES ? 3 : 2, .max = 3, .changes = 1000 + c,
		};
	for (i = 0; i < 3; i++) {
		struct nom_board_price *p = price_at(i);

		memset(p, 0xee, 104);		/* what a newer record has at its end */
		*p = (struct nom_board_price){ .price_ucr = (int64_t)i, .changes = 1 };
		snprintf(p->name, NOM_PRICE_NAME_MAX, "price-%u", i);
	}
}

static void test_newer_board(void **state)
{
	const struct nom_board *b = (const struct nom_board *)(const void *)copy;
	struct nom_board_price price;
	unsigned int i;

	make_newer();
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES, copy, sizeof(copy)), 0);
	for (i = 0; i < 3; i++) {
		const struct nom_board_price *p =
			nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, i, sizeof(*p));

		assert_non_null(p);
		assert_int_equal(p->price_ucr, i);
	}
	assert_null(nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, 3, sizeof(price)));
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-2", &price), 0);
	assert_int_equal(price.price_ucr, 2);
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-3", &price), -ENOENT);
	/* classes it has and we do not know can be walked over, and are not in the way */
	assert_non_null(nomux_board_record(b, BOARD_BYTES, NOM_BOARD_MAX_CLASSES - 1, 1, 64));
	assert_null(nomux_board_record(b, BOARD_BYTES, NOM_BOARD_MAX_CLASSES, 0, 8));
}

/* A board that is older than its reader: fewer classes, shorter records. */
static void test_older_board(void **state)
{
	const struct nom_board *b = (const struct nom_board *)(const void *)copy;
	struct nom_board_price price;

	page.board.nr_classes = NOM_BOARD_PRICES;	/* none of prices */
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES, copy, sizeof(copy)), 0);
	assert_null(nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, 0, sizeof(price)));
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-1", &price), -ENOENT);
	page.board.nr_classes = NOM_BOARD_NR_CLASSES;
	page.board.section[NOM_BOARD_PRICES].stride = 64;	/* no count of changes yet */
	assert_int_equal(nomux__board_snapshot(&page.board, BOARD_BYTES, copy, sizeof(copy)), 0);
	assert_null(nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, 0, sizeof(price)));
	assert_non_null(nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, 0, 64));
	assert_int_equal(nomux__board_price(&page.board, BOARD_BYTES, "price-1", &price), -ENOENT);
}

/* One record of a class that comes and goes, so that another one moves: the kernel's way. */
static void *mover(void *arg)
{
	struct nom_board_section *s = &page.board.section[NOM_BOARD_PRICES];
	struct nom_board_price keep, comes;
	unsigned int i;
	uint64_t v;

	memset(&keep, 0, sizeof(keep));
	memset(&comes, 0, sizeof(comes));
	strcpy(keep.name, "keep");
	strcpy(comes.name, "comes");
	for (v = 1; !stop; v++) {
		keep.changes = comes.changes = v;
		__atomic_store_n(&page.board.seq, page.board.seq + 1, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		for (i = 0; i < 2; i++) {
			const uint64_t *from = (const void *)(i == (v & 1) ? &keep : &comes);
			uint64_t *to = (void *)price_at(i);
			unsigned int w;

			for (w = 0; w < sizeof(keep) / 8; w++)
				__atomic_store_n(&to[w], from[w], __ATOMIC_RELAXED);
		}
		/* by turns both, in either order, and keep alone */
		__atomic_store_n(&s->nr, v & 1 ? 2 : 1, __ATOMIC_RELAXED);
		__atomic_store_n(&s->changes, v, __ATOMIC_RELAXED);
		__atomic_store_n(&page.board.seq, page.board.seq + 1, __ATOMIC_RELEASE);
		for (volatile unsigned int n = v % 1024; n; n--)
			;
	}
	return NULL;
}

static void test_records_that_move(void **state)
{
	unsigned int i, nr = 0, moved = 0, keeps;
	struct nom_board_price price;
	time_t until = time(NULL) + 60;
	uint64_t last = 0;
	pthread_t thread;
	int err;

	stop = 0;
	page.board.section[NOM_BOARD_PRICES].nr = 1;
	memset(price_at(0), 0, sizeof(struct nom_board_price));
	strcpy(price_at(0)->name, "keep");
	assert_int_equal(pthread_create(&thread, NULL, mover, NULL), 0);
	while ((nr < 20000 || moved < 100) && time(NULL) < until) {
		const struct nom_board *b = (const struct nom_board *)(const void *)copy;
		const struct nom_board_price *p;

		/* whatever there is, "keep" is, at every moment and once */
		err = nomux__board_price(&page.board, BOARD_BYTES, "keep", &price);
		assert_true(!err || err == -EAGAIN);
		if (!err)
			assert_string_equal(price.name, "keep");
		if (nomux__board_snapshot(&page.board, BOARD_BYTES, copy, sizeof(copy)))
			continue;
		keeps = 0;
		for (i = 0; (p = nomux_board_record(b, BOARD_BYTES, NOM_BOARD_PRICES, i, sizeof(*p))); i++) {
			keeps += !strcmp(p->name, "keep");
			assert_int_equal(p->changes, b->section[NOM_BOARD_PRICES].changes);
		}
		assert_int_equal(keeps, 1);
		assert_true(b->section[NOM_BOARD_PRICES].changes >= last);
		moved += b->section[NOM_BOARD_PRICES].changes != last;
		last = b->section[NOM_BOARD_PRICES].changes;
		nr++;
	}
	stop = 1;
	pthread_join(thread, NULL);
	assert_true(nr >= 20000);
	assert_true(moved >= 100);
}

/* A remembered place is read for as long as the price stands there, and no longer. */
static void test_a_price_s_place_may_change_hands(void **state)
{
	struct nomux_price p = { 0 };
	uint64_t changes;
	int64_t ucr;

	assert_int_equal(nomux__price_find(&page.board, BOARD_BYTES, "price-3", &p), 0);
	assert_ptr_equal(p.record, price_at(3));
	price_at(3)->price_ucr = 77;
	price_at(3)->changes = 5;
	assert_int_equal(nomux_price_read(&p, &ucr, &changes), 0);
	assert_int_equal(ucr, 77);
	assert_int_equal(changes, 5);
	page.board.seq++;		/* an update is going on */
	assert_int_equal(nomux_price_read(&p, &ucr, &changes), -EAGAIN);
	*price_at(3) = *price_at(7);	/* it was taken off, the last took its place */
	page.board.seq++;
	assert_int_equal(nomux_price_read(&p, &ucr, &changes), -ENOENT);
	assert_int_equal(nomux__price_find(&page.board, BOARD_BYTES, "price-7", &p), 0);
	memset(price_at(3), 0, sizeof(*price_at(3)));	/* that was the last */
	assert_int_equal(nomux_price_read(&p, &ucr, &changes), -ENOENT);
	assert_int_equal(nomux__price_find(&page.board, BOARD_BYTES, "no-such", &p), -ENOENT);
	assert_int_equal(nomux__price_find(&page.board, BOARD_BYTES, "", &p), -EINVAL);
	assert_int_equal(nomux__price_find(&page.board, BOARD_BYTES, NULL, &p), -EINVAL);
	assert_int_equal(nomux__price_find(&page.board, BOARD_BYTES, "price-3", NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_snapshots_under_a_storm, setup),
		cmocka_unit_test_setup(test_writer_that_never_ends, setup),
		cmocka_unit_test_setup(test_price_by_name, setup),
		cmocka_unit_test_setup(test_reclaim_by_grant, setup),
		cmocka_unit_test_setup(test_bad_buffers, setup),
		cmocka_unit_test_setup(test_junk_sections, setup),
		cmocka_unit_test_setup(test_short_stride, setup),
		cmocka_unit_test_setup(test_newer_board, setup),
		cmocka_unit_test_setup(test_older_board, setup),
		cmocka_unit_test_setup(test_records_that_move, setup),
		cmocka_unit_test_setup(test_a_price_s_place_may_change_hands, setup),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
