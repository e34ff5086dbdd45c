/* SPDX-License-Identifier: MIT */
/*
 * answer.h - where an HTTP/1.1 answer ends, and what it said
 *
 * Only what measuring needs: status, length of the body, whether the connection
 * stays.  The body is skipped, not kept.  Answers without a Content-Length have
 * no end that a kept-alive connection could tell, and are refused.
 */
#ifndef NOMLOAD_ANSWER_H
#define NOMLOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ANSWER_HEAD_BYTES	8192

struct answer {
	char head[ANSWER_HEAD_BYTES];
	size_t head_bytes;
	uint64_t body_left, bytes;
	int status;		/* 0 until the head is whole */
	bool complete, close;
};

/**
 * answer_feed - take bytes up to the end of one answer
 * @a: zeroed before the first answer; begins anew after a complete one
 * @data: what came
 * @n: how much
 *
 * Return: how many bytes belonged to this answer (@a->complete tells whether it
 * ends there), or -EPROTO (not HTTP/1.x, or malformed), -EMSGSIZE (head too
 * long), -EOPNOTSUPP (no Content-Length).
 */
ssize_t answer_feed(struct answer *a, const char *data, size_t n);

#endif
