/* SPDX-License-Identifier: MIT */
/* kmod_nl: as much generic netlink as the module's tests need, by hand. */
#ifndef KMOD_TEST_NL_H
#define KMOD_TEST_NL_H

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdint.h>

/* A request under construction; attributes are appended. */
struct k_nl_req {
	struct nlmsghdr nlh;
	struct genlmsghdr genl;
	char attrs[2048];
};

/* What an answer held, by attribute; data points into the caller's buffer. */
struct k_nl_msg {
	uint8_t cmd;
	const struct nlattr *attr[64];
};

int k_nl_open(int *family_out, int *group_out);		/* socket, or -errno */
void k_nl_begin(struct k_nl_req *req, int family, uint8_t cmd, uint16_t flags);
void k_nl_put(struct k_nl_req *req, uint16_t type, const void *data, uint16_t bytes);
void k_nl_str(struct k_nl_req *req, uint16_t type, const char *s);
void k_nl_s64(struct k_nl_req *req, uint16_t type, int64_t v);
/* send; 0 or the kernel's -errno; each data message goes to fn */
int k_nl_talk(int sock, struct k_nl_req *req, void (*fn)(const struct k_nl_msg *, void *), void *arg);
/* one multicast message, -EAGAIN after ms */
int k_nl_next(int sock, char *buf, size_t bytes, struct k_nl_msg *msg, int ms);
int k_nl_join(int sock, int group);

uint32_t k_nl_u32(const struct k_nl_msg *m, int a);
uint64_t k_nl_u64(const struct k_nl_msg *m, int a);
const char *k_nl_string(const struct k_nl_msg *m, int a);

/* SET_PRICE; unit may be NULL */
int k_nl_price(int sock, int family, const char *name, const char *unit, int64_t ucr);
int k_nl_del_price(int sock, int family, const char *name);

#endif
