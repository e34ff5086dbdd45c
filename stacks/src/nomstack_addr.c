// SPDX-License-Identifier: MIT
/*
 * nomstack_addr.c - addresses of IPv4 and IPv6: between text, bytes and lwIP's type
 */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int nomstack_addr_parse(const char *text, struct nomstack_addr *out)
{
	struct nomstack_addr a = { 0 };

	if (!text)
		return -EINVAL;
	if (inet_pton(AF_INET, text, a.bytes) == 1)
		a.family = 4;
	else if (inet_pton(AF_INET6, text, a.bytes) == 1)
		a.family = 6;
	else
		return -EINVAL;
	*out = a;
	return 0;
}

char *nomstack_addr_text(const struct nomstack_addr *a, char *buf, size_t n)
{
	char text[NOMSTACK_ADDR_TEXT] = "?";

	if (a->family == 4)
		inet_ntop(AF_INET, a->bytes, text, sizeof(text));
	else if (a->family == 6)
		inet_ntop(AF_INET6, a->bytes, text, sizeof(text));
	if (n)
		snprintf(buf, n, "%s", text);
	return buf;
}

void nomstack__addr_from_lwip(const ip_addr_t *ip, struct nomstack_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (IP_IS_V6_VAL(*ip)) {
		out->family = 6;
		memcpy(out->bytes, ip_2_ip6(ip)->addr, sizeof(out->bytes));
	} else {
		out->family = 4;
		memcpy(out->bytes, &ip_2_ip4(ip)->addr, 4);
	}
}

/* Return: 0, -EINVAL: of no family. */
int nomstack__addr_to_lwip(const struct nomstack_addr *a, ip_addr_t *out)
{
	ip_addr_t ip;

	memset(&ip, 0, sizeof(ip));
	if (a->family == 6) {
		IP_SET_TYPE_VAL(ip, IPADDR_TYPE_V6);
		memcpy(ip_2_ip6(&ip)->addr, a->bytes, sizeof(a->bytes));
	} else if (a->family == 4) {
		IP_SET_TYPE_VAL(ip, IPADDR_TYPE_V4);
		memcpy(&ip_2_ip4(&ip)->addr, a->bytes, 4);
	} else {
		return -EINVAL;
	}
	*out = ip;
	return 0;
}
