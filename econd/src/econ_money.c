// SPDX-License-Identifier: MIT
/* Amounts of money as text; exact, in integers. */
#include <econ/money.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Append a decimal digit; magnitudes stay below 2^63. */
static int push_digit(uint64_t *value, unsigned digit)
{
	if (*value > ((uint64_t)INT64_MAX - digit) / 10)
		return -ERANGE;
	*value = *value * 10 + digit;
	return 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int econ_money_parse(const char *text, int64_t *ucr_out)
{
	uint64_t value = 0;
	unsigned digits = 0, decimals = 0;
	bool negative = false, point = false, ucr;
	const char *p = text;
	int ret = 0;

	if (!text)
		return -EINVAL;
	if (*p == '-' || *p == '+')
		negative = *p++ == '-';
	if (*p == '$')
		p++;
	for (; is_digit(*p) || (*p == '.' && !point); p++) {
		if (*p == '.') {
			point = true;
			continue;
		}
		if (point && ++decimals > 6)
			return -EINVAL;
		digits++;
		/* Read on after an overflow: "not an amount" is the worse fault. */
		if (!ret)
			ret = push_digit(&value, (unsigned)(*p - '0'));
	}
	ucr = !strcmp(p, "ucr");
	if (!digits || (*p && !ucr) || (ucr && (point || strchr(text, '$'))))
		return -EINVAL;
	while (!ret && !ucr && decimals++ < 6)
		ret = push_digit(&value, 0);
	if (ret)
		return ret;
	*ucr_out = negative ? -(int64_t)value : (int64_t)value;
	return 0;
}

int econ_money_from_usd(double usd, int64_t *ucr_out)
{
	double ucr = usd * (double)ECON_UCR_PER_USD;

	if (!isfinite(usd))
		return -EINVAL;
	if (!(fabs(ucr) < 0x1p62))
		return -ERANGE;
	*ucr_out = llround(ucr);
	return 0;
}

const char *econ_money_format(int64_t ucr, char *buf, size_t n)
{
	uint64_t magnitude = ucr < 0 ? -(uint64_t)ucr : (uint64_t)ucr;
	unsigned fraction = (unsigned)(magnitude % ECON_UCR_PER_USD);
	int decimals = 6;

	while (decimals > 2 && fraction % 10 == 0) {
		fraction /= 10;
		decimals--;
	}
	snprintf(buf, n, "%s%" PRIu64 ".%0*u", ucr < 0 ? "-" : "",
		 magnitude / (uint64_t)ECON_UCR_PER_USD, decimals, fraction);
	return buf;
}

int econ_price_check(int64_t ucr)
{
	return ucr < 0 || ucr > ECON_PRICE_MAX_UCR ? -ERANGE : 0;
}
