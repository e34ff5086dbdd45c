// SPDX-License-Identifier: MIT
/* http_date.c - dates of HTTP: IMF-fixdate out; IMF-fixdate, RFC 850 and asctime in */
#include "http_date.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LAST_S 253402300799LL	/* 9999-12-31 23:59:59 */

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static void two(char *out, int v)
{
	out[0] = '0' + v / 10;
	out[1] = '0' + v % 10;
}

void http_date_format(char *out, int64_t unix_s)
{
	time_t t = unix_s < 0 ? 0 : unix_s > LAST_S ? LAST_S : unix_s;
	struct tm tm;
	int year;

	gmtime_r(&t, &tm);
	year = tm.tm_year + 1900;
	memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", HTTP_DATE_BYTES);
	memcpy(out, days + 3 * tm.tm_wday, 3);
	two(out + 5, tm.tm_mday);
	memcpy(out + 8, months + 3 * tm.tm_mon, 3);
	two(out + 12, year / 100);
	two(out + 14, year % 100);
	two(out + 17, tm.tm_hour);
	two(out + 20, tm.tm_min);
	two(out + 23, tm.tm_sec);
}

/*
 * Compare with a pattern: 'd' takes a digit, 'D' a digit or a blank, 'a' a
 * letter, everything else itself.
 */
static bool looks_like(const char *s, const char *pattern)
{
	for (; *pattern; s++, pattern++) {
		bool digit = *s >= '0' && *s <= '9';
		bool letter = (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z');

		if (*pattern == 'd' ? !digit : *pattern == 'D' ? !digit && *s != ' ' :
		    *pattern == 'a' ? !letter : *s != *pattern)
			return false;
	}
	return true;
}

static int num(const char *s, int digits)
{
	int v = 0;

	for (; digits--; s++)
		v = v * 10 + (*s == ' ' ? 0 : *s - '0');
	return v;
}

static int month_of(const char *s)
{
	for (int m = 0; m < 12; m++)
		if (!memcmp(months + 3 * m, s, 3))
			return m;
	return -1;
}

static int compose(int year, int month, int day, const char *hms, int64_t *out)
{
	struct tm tm = {
		.tm_year = year - 1900, .tm_mon = month, .tm_mday = day,
		.tm_hour = num(hms, 2), .tm_min = num(hms + 3, 2), .tm_sec = num(hms + 6, 2),
	};

	if (year < 1970 || month < 0 || day < 1 || day > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -EINVAL;
	*out = timegm(&tm);
	return 0;
}

int http_date_parse(const char *s, uint32_t len, int64_t *unix_s_out)
{
	const char *comma;

	if (len == 29 && looks_like(s, "aaa, dd aaa dddd dd:dd:dd GMT"))
		return compose(num(s + 12, 4), month_of(s + 8), num(s + 5, 2), s + 17, unix_s_out);
	if (len == 24 && looks_like(s, "aaa aaa Dd dd:dd:dd dddd"))
		return compose(num(s + 20, 4), month_of(s + 4), num(s + 8, 2), s + 11, unix_s_out);
	/* "Sunday, 06-Nov-94 08:49:37 GMT": two digits mean 1970..2069 */
	comma = memchr(s, ',', len);
	if (comma && comma - s <= 9 && len - (comma - s) == 24 && looks_like(comma, ", dd-aaa-dd dd:dd:dd GMT")) {
		int year = num(comma + 9, 2);

		return compose(year + (year < 70 ? 2000 : 1900), month_of(comma + 5), num(comma + 2, 2), comma + 12,
			       unix_s_out);
	}
	return -EINVAL;
}
