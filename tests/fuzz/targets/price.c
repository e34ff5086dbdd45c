// SPDX-License-Identifier: MIT
/*
 * price.c - libFuzzer target: price files and traces into priced's reader
 *
 * What must hold: a refusal has one line of reason; what is taken obeys the
 * limits of <econ/price.h>, and playing it goes forward in time and ends if it
 * says so.
 */
#include <econ/money.h>
#include <econ/price.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)
#define PLAY_MAX 2000

static void check_step(const struct econ_step *step)
{
	CHECK(step->nr <= ECON_PRICES_MAX);
	CHECK(step->at_ns <= (uint64_t)(ECON_AT_MAX_S * 1e9));
	for (unsigned i = 0; i < step->nr; i++) {
		CHECK(!econ_price_name_check(step->prices[i].name));
		CHECK(!step->prices[i].unit[0] || !econ_price_unit_check(step->prices[i].unit));
		CHECK(step->prices[i].ucr >= 0 && step->prices[i].ucr <= ECON_PRICE_MAX_UCR);
	}
}

static void play(const struct econ_prices *prices)
{
	struct econ_cursor cursor = { 0 }, sought = { 0 };
	uint64_t last = 0, at, round;

	for (unsigned n = 0; n < PLAY_MAX && econ_cursor_next(prices, &cursor, &at); n++) {
		CHECK(at >= last);
		CHECK(cursor.step < econ_prices_nr_steps(prices));
		last = at;
		econ_cursor_advance(prices, &cursor);
	}
	round = econ_cursor_seek(prices, &sought, last);
	CHECK(sought.loop <= round);
	CHECK(sought.step < econ_prices_nr_steps(prices));
}

/* ------------------------------------------------------------ mutation --- */

/*
 * Bytes changed at random make text that is hardly ever JSON.  So two of three
 * mutations are of tokens: one becomes another, goes, or is repeated with all
 * that is in its brackets.
 */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const char *const words[] = {
	"\"prices\"", "\"steps\"", "\"name\"", "\"unit\"", "\"usd\"", "\"ucr\"", "\"at_s\"", "\"period_s\"",
	"\"loops\"", "\"comment\"", "\"a\"", "\"b\"", "\"Gbit\"", "\"\"", "\"abcdefghijklmnopqrstuvw\"",
	"\"abcdefghijklmnopqrstuvwx\"", "\"A\"", "\"\\u0001\"", "0", "1", "2", "-1", "0.5", "1e-7", "1e9", "1e300", "31536000",
	"31536001", "9223372036854775807", "-9223372036854775808", "null", "true", "{}", "[]", "{", "}", "[", "]", ",", ":",
};

/* Bytes of the token at @p. */
static size_t token(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *q = p + 1;

	if (*p == '"') {
		while (q < end && *q != '"')
			q++;
		return (size_t)(q - p) + (q < end);
	}
	if (strchr("{}[],:", *p))
		return 1;
	while (q < end && (!*q || !strchr("{}[],:\"", *q)))
		q++;
	return (size_t)(q - p);
}

/* Bytes from an opening bracket to the one that closes it. */
static size_t bracket(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *q = p;
	int depth = 0;

	while (q < end) {
		depth += (*q == '{' || *q == '[') - (*q == '}' || *q == ']');
		q += token(q, end);
		if (depth <= 0)
			break;
	}
	return (size_t)(q - p);
}

static size_t replace(uint8_t *data, size_t size, size_t max, size_t at, size_t old, const void *with, size_t bytes)
{
	if (size - old + bytes > max)
		return size;
	memmove(data + at + bytes, data + at + old, size - at - old);
	memcpy(data + at, with, bytes);
	return size - old + bytes;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	static size_t starts[8192];
	static uint8_t copy[65536];
	unsigned nr = 0, rng = seed * 2654435761u + 1;
	const uint8_t *end = data + size;
	const char *word;
	size_t at, other, bytes;

	for (size_t i = 0; i < size && nr < 8192; i += token(data + i, end))
		starts[nr++] = i;
	if (!nr || seed % 3 == 0 || max > sizeof(copy))
		return LLVMFuzzerMutate(data, size, max);
	at = starts[(rng >> 8) % nr];
	other = starts[(rng >> 16) % nr];
	word = words[(rng >> 12) % (sizeof(words) / sizeof(words[0]))];
	switch (seed / 3 % 4) {
	case 0:
		return replace(data, size, max, at, token(data + at, end), word, strlen(word));
	case 1:
		bytes = seed & 64 ? bracket(data + at, end) : token(data + at, end);
		return replace(data, size, max, at, bytes, "", 0);
	case 2:		/* once more, behind itself */
		bytes = bracket(data + at, end);
		copy[0] = ',';
		memcpy(copy + 1, data + at, bytes < sizeof(copy) ? bytes : 0);
		return replace(data, size, max, at + bytes, 0, copy, bytes + 1);
	default:
		bytes = token(data + other, end);
		memcpy(copy, data + other, bytes);
		return replace(data, size, max, at, token(data + at, end), copy, bytes);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct econ_prices *prices = NULL;
	char err[160] = "", *text = malloc(size ? size : 1);
	int ret;

	if (size)
		memcpy(text, data, size);	/* no NUL behind it */
	ret = econ_prices_parse(text, size, "file", &prices, err, sizeof(err));
	free(text);
	if (ret) {
		CHECK(ret == -EINVAL || ret == -ERANGE || ret == -E2BIG);
		CHECK(!prices && *err && memchr(err, 0, sizeof(err)) && !strchr(err, '\n'));
		return 0;
	}
	CHECK(econ_prices_nr_steps(prices) >= 1 && econ_prices_nr_steps(prices) <= ECON_STEPS_MAX);
	for (unsigned i = 0; i < econ_prices_nr_steps(prices); i++)
		check_step(econ_prices_step(prices, i));
	play(prices);
	econ_prices_destroy(prices);
	return 0;
}
