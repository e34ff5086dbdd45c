// SPDX-License-Identifier: MIT
/*
 * ack-time HOST PORT TIMES - how long it takes a server to acknowledge data
 *
 * Each time on a connection of its own: two full segments without PSH, the start of
 * a request that does not end.  Two are acknowledged at once (RFC 9293, 3.8.6.3),
 * and the missing PSH leaves a stack that batches waiting for more, so what passes
 * is the batching delay of receiving them, that of sending the ACK, and the way.
 * Prints the least, the median, the third quartile and the longest in microseconds, of this machine's
 * clock; ends with 1 when a server does not answer within five seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIMES_MAX	1000
#define LONGEST_US	5000000u
#define SEGMENT		1460	/* bytes, at most */

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* us, or -errno */
static int64_t once(const struct sockaddr_in *to)
{
	static const char start[] = "GET / HTTP/1.1\r\nX: ";
	struct timeval limit = { .tv_sec = LONGEST_US / 1000000u };
	struct linger reset = { .l_onoff = 1 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), mss = SEGMENT, unacked = 1;
	socklen_t n = sizeof(mss);
	char data[2 * SEGMENT];
	int64_t ret = -errno;
	uint64_t t;

	if (fd < 0)
		return ret;
	memset(data, 'x', sizeof(data));
	memcpy(data, start, sizeof(start) - 1);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss));
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) ||
	    getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &n)) {
		ret = -errno;
		goto out;
	}
	ret = -EMSGSIZE;
	if (mss <= 0 || 2u * (unsigned)mss > sizeof(data))
		goto out;
	t = now_us();
	ret = -EIO;
	/* One by one: Linux marks what it sends as one long frame with PSH. */
	for (int i = 0; i < 2; i++)
		if (send(fd, data + i * mss, (size_t)mss, MSG_MORE | MSG_NOSIGNAL) != mss)
			goto out;
	do {
		ret = -ETIMEDOUT;
		if (now_us() - t > LONGEST_US || ioctl(fd, SIOCOUTQ, &unacked))
			goto out;
		sched_yield();
	} while (unacked);
	ret = (int64_t)(now_us() - t);
out:
	close(fd);
	return ret;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int64_t us[TIMES_MAX];
	int times;

	if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || atoi(argv[2]) <= 0 ||
	    atoi(argv[2]) > 65535 || (times = atoi(argv[3])) < 1 || times > TIMES_MAX) {
		fprintf(stderr, "usage: ack-time HOST PORT TIMES (an IPv4 address; 1 to %d times)\n", TIMES_MAX);
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	for (int i = 0; i < times; i++) {
		us[i] = once(&to);
		if (us[i] < 0) {
			fprintf(stderr, "ack-time: %s:%s, time %d: %s\n", argv[1], argv[2], i + 1, strerror((int)-us[i]));
			return 1;
		}
	}
	qsort(us, (size_t)times, sizeof(us[0]), by_value);
	printf("%lld %lld %lld %lld\n", (long long)us[0], (long long)us[times / 2], (long long)us[times * 3 / 4],
	       (long long)us[times - 1]);
	return 0;
}
