// SPDX-License-Identifier: MIT
/*
 * kmod_limit: what a user may have of cores, bindings, memory and notifications;
 * who is charged, and that every charge comes back.  Needs root: it writes the
 * module's parameters (and sets them back) and becomes other users in children.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/kmod.h"

enum { ALICE = 1001, BOB = 65534, NOM_GROUP = 990 };

static int nom;			/* root's: exempt */

/* In a child: from here on an ordinary user, with a descriptor of its own. */
static int become(int uid)
{
	if (setgid(NOM_GROUP) || setuid(uid))
		return -errno;
	return open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC);
}

static struct nom_limits limits(int fd)
{
	struct nom_limits l;

	if (k_limits(fd, &l))
		t_bail("NOM_GET_LIMITS");
	return l;
}

static void parameters(void)
{
	struct nom_limits l;

	t_eq(k_param("user_cores", -2), -EINVAL, "user_cores: -2");
	t_eq(k_param("storm_share_pct", 0), -EINVAL, "storm_share_pct: 0");
	t_eq(k_param("storm_share_pct", 101), -EINVAL, "storm_share_pct: 101");
	t_eq(k_param("user_cores", 7), 0, "user_cores: 7");
	t_eq(k_param("user_mem_mib", 6), 0, "user_mem_mib: 6");
	t_eq(k_param("user_bindings", 5), 0, "user_bindings: 5");
	t_eq(k_param("user_notify_per_s", 100), 0, "user_notify_per_s: 100");
	l = limits(nom);
	t_eq(l.out_cores_max, 7, "NOM_GET_LIMITS: cores");
	t_eq(l.out_mem_bytes_max, 6 * MIB, "NOM_GET_LIMITS: memory");
	t_eq(l.out_bindings_max, 5, "NOM_GET_LIMITS: bindings");
	t_eq(l.out_notify_per_s_max, 100, "NOM_GET_LIMITS: notifications");
	t_eq(l.out_uid, 0, "NOM_GET_LIMITS: root");
	t_eq(l.out_exempt, 1, "NOM_GET_LIMITS: for whom they do not hold");
	t_eq(k_param("user_cores", -1), 0, "user_cores: none");
	t_ok(limits(nom).out_cores_max == NOM_UNLIMITED, "NOM_GET_LIMITS: no limit");
}

/* --- cores; what children return is the line that went wrong --- */

#define WANT(cond) do { if (!(cond)) return __LINE__ % 127 + 1; } while (0)

static int cores_none(void *unused)
{
	int fd = become(ALICE);
	struct k_lease l;

	WANT(fd >= 0);
	WANT(k_claim(fd, NOM_CPU_ANY, 0, &l) == -EDQUOT);
	WANT(limits(fd).out_cores == 0);
	return 0;
}

static int cores_one(void *unused)
{
	struct nom_core_claim c = { .size = sizeof(c), .cpu = NOM_CPU_ANY, .flags = NOM_CLAIM_WAIT };
	int fd = become(ALICE), other;
	struct k_lease l, l2;

	WANT(fd >= 0);
	other = open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	WANT(k_claim(fd, 4095, 0, &l) == -ENOENT);
	WANT(limits(fd).out_cores == 0);	/* a failed claim costs nothing */
	WANT(k_claim(fd, NOM_CPU_ANY, 0, &l) == 0);
	WANT(limits(fd).out_cores == 1);
	WANT(limits(other).out_cores == 1);	/* not the descriptor: the user */
	WANT(k_claim(fd, NOM_CPU_ANY, 0, &l2) == -EDQUOT);
	WANT(k_claim(other, NOM_CPU_ANY, 0, &l2) == -EDQUOT);
	WANT(k_claim_by(fd, &c, &l2) == -EDQUOT);	/* and does not wait for itself */
	WANT(k_enter(&l, 0) == 0 && k_leave(&l) == 0);
	WANT(limits(fd).out_cores == 0);	/* ended, though its descriptor is open */
	WANT(k_claim(fd, NOM_CPU_ANY, 0, &l2) == 0);
	k_drop(&l2);
	WANT(limits(fd).out_cores == 0);
	return 0;
}

static int hold(void *unused)
{
	int fd = become(ALICE), e = eventfd(0, EFD_CLOEXEC);
	struct k_lease l;

	WANT(fd >= 0 && k_claim(fd, NOM_CPU_ANY, 0, &l) == 0 && k_bind(&l, 1, e) == 0);
	WANT(k_grant(fd, CHUNK) >= 0 && k_enter(&l, 0) == 0);
	for (;;)
		__asm__ volatile("");
	return 0;
}

static int alice_has(void *out)
{
	int fd = become(ALICE);

	WANT(fd >= 0);
	*(struct nom_limits *)out = limits(fd);
	return 0;
}

static struct nom_limits *shared;

static bool alice_holds(void *unused)
{
	return !t_child(alice_has, shared) && shared->out_cores == 1 && shared->out_mem_bytes;
}

static bool alice_has_nothing(void *unused)
{
	return !t_child(alice_has, shared) && !shared->out_cores && !shared->out_bindings &&
	       !shared->out_mem_bytes;
}

static void cores(void)
{
	struct k_lease l;
	pid_t pid;

	k_param("user_cores", 0);
	t_eq(t_child(cores_none, NULL), 0, "a limit of no core");
	t_eq(k_claim(nom, NOM_CPU_ANY, 0, &l), 0, "does not hold for root");
	k_drop(&l);
	k_param("user_cores", 1);
	t_eq(t_child(cores_one, NULL), 0, "a limit of one core");
	pid = t_spawn(hold, NULL);
	t_ok(t_wait(alice_holds, NULL, 5000), "a user holds a core, a binding, memory");
	t_eq(shared->out_uid, ALICE, "NOM_GET_LIMITS: whose");
	t_eq(shared->out_exempt, 0, "NOM_GET_LIMITS: not exempt");
	t_eq(shared->out_bindings, 1, "NOM_GET_LIMITS: the binding");
	kill(pid, SIGKILL);
	t_eq(t_reap(pid), 128 + SIGKILL, "kill -9");
	t_ok(t_wait(alice_has_nothing, NULL, 5000), "gives all charges back");
	k_param("user_cores", -1);
}

/* --- bindings --- */

static int bindings_few(void *unused)
{
	int fd = become(ALICE), e[4], i;
	struct k_lease l;

	WANT(fd >= 0 && k_claim(fd, NOM_CPU_ANY, 0, &l) == 0);
	for (i = 0; i < 4; i++)
		e[i] = eventfd(0, EFD_CLOEXEC);
	for (i = 0; i < 3; i++)
		WANT(k_bind(&l, i, e[i]) == 0);
	WANT(limits(fd).out_bindings == 3);
	WANT(k_bind(&l, 3, e[3]) == -EDQUOT);
	WANT(k_bind(&l, 0, e[0]) == -EEXIST);
	WANT(k_unbind(&l, 1, e[1]) == 0);
	WANT(limits(fd).out_bindings == 2);
	WANT(k_bind(&l, 3, e[3]) == 0);
	WANT(k_bind(&l, 4, e[1]) == -EDQUOT);
	k_drop(&l);
	WANT(limits(fd).out_bindings == 0);
	return 0;
}

/* --- memory --- */

static int memory_little(void *unused)
{
	int fd = become(ALICE), g[4];
	void *w;

	WANT(fd >= 0);
	WANT(k_grant(fd, 8 * MIB) == -EDQUOT);
	WANT(limits(fd).out_mem_bytes == 0);
	WANT((g[0] = k_grant(fd, 4 * MIB)) >= 0);
	WANT(k_grant(fd, 4 * MIB) == -EDQUOT);
	WANT((g[1] = k_grant(fd, 2 * MIB)) >= 0);
	WANT(limits(fd).out_mem_bytes == 6 * MIB);
	WANT(k_grant(fd, 1UL << 45) == -ENOMEM);	/* more than there is at all */
	w = k_window(g[0], MIB, PROT_READ);
	close(g[0]);
	WANT(k_grant(fd, 2 * MIB) == -EDQUOT);		/* a window keeps it */
	munmap(w, MIB);
	WANT((g[0] = k_grant(fd, 4 * MIB)) >= 0);
	/* what is returned ahead of a grant's end is not paid for any longer */
	WANT(k_range(g[0], NOM_MEM_RETURN, NULL, 0, 2 * MIB, 0) == 0);
	WANT(limits(fd).out_mem_bytes == 4 * MIB);
	close(g[0]), close(g[1]);
	WANT(limits(fd).out_mem_bytes == 0);
	return 0;
}

/* --- notifications --- */

static int notify_little(void *unused)
{
	int fd = become(ALICE), good = 0, refused = 0, i, ret;
	struct k_lease l;

	WANT(fd >= 0 && k_claim(fd, NOM_CPU_ANY, ~0ULL, &l) == 0);
	for (i = 0; i < 2000; i++) {
		ret = k_notify(fd, l.handle, 5);
		good += !ret;
		refused += ret == -EAGAIN;
	}
	/* a tenth of the limit at once, and as much again each tenth of a second */
	WANT(good >= 10 && good <= 200 && good + refused == 2000);
	WANT((int)l.sh->count[5] == good);
	WANT(limits(fd).out_notify_refused >= (unsigned int)refused);
	t_sleep_ms(150);
	WANT(k_notify(fd, l.handle, 5) == 0);
	/* who may not notify at all is not told of limits */
	WANT(k_notify(fd, 1, 5) == -ENOENT);
	return 0;
}

static int notify_none(void *unused)
{
	int fd = become(ALICE), i;
	struct k_lease l;

	WANT(fd >= 0 && k_claim(fd, NOM_CPU_ANY, ~0ULL, &l) == 0);
	/* what the old limit left of its last tenth of a second */
	for (i = 0; i < 200 && !k_notify(fd, l.handle, 5); i++)
		;
	WANT(i <= 10);
	t_sleep_ms(150);
	WANT(k_notify(fd, l.handle, 5) == -EAGAIN && (int)l.sh->count[5] == i);
	return 0;
}

static void notifications(void)
{
	struct k_lease l;
	int i, good = 0;

	k_param("user_notify_per_s", 100);
	t_eq(t_child(notify_little, NULL), 0, "a limit of 100 notifications a second");
	k_param("user_notify_per_s", 0);
	t_eq(t_child(notify_none, NULL), 0, "a limit of none");
	t_eq(k_claim(nom, NOM_CPU_ANY, 1, &l), 0, "root");
	for (i = 0; i < 10000; i++)
		good += !k_notify(nom, l.handle, 0);
	t_eq(good, 10000, "notifies without limit");
	k_drop(&l);
}

/* --- who pays: the opener of the descriptor, wherever that went --- */

static int bob_with_alices(void *arg)
{
	int fd = *(int *)arg, own = become(BOB);
	struct k_lease l;

	WANT(own >= 0);
	WANT(limits(fd).out_uid == ALICE && limits(own).out_uid == BOB);
	WANT(k_claim(fd, NOM_CPU_ANY, 0, &l) == 0);
	WANT(limits(fd).out_cores == 1 && limits(own).out_cores == 0);
	return 0;
}

static int alice_opens(void *arg)
{
	int fd = become(ALICE);
	struct msghdr m = { 0 };
	char byte = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct cmsghdr *c;

	m.msg_iov = &iov, m.msg_iovlen = 1;
	m.msg_control = room, m.msg_controllen = sizeof(room);
	c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	WANT(fd >= 0 && sendmsg(*(int *)arg, &m, 0) == 1);
	return 0;
}

static void payer(void)
{
	char byte, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
			    .msg_controllen = sizeof(room) };
	int pair[2], fd = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		t_bail("socketpair");
	t_eq(t_child(alice_opens, &pair[1]), 0, "a user passes its descriptor on");
	if (recvmsg(pair[0], &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	t_eq(t_child(bob_with_alices, &fd), 0, "and pays for what is had through it");
	close(fd), close(pair[0]), close(pair[1]);
}

int main(void)
{
	nom = k_open(O_RDWR);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* the rights that a udev rule would give */
	if (chown(NOM_DEVICE_PATH, 0, NOM_GROUP) || chmod(NOM_DEVICE_PATH, 0660))
		t_bail("cannot give %s to a group", NOM_DEVICE_PATH);

	parameters();
	cores();
	k_param("user_bindings", 3);
	t_eq(t_child(bindings_few, NULL), 0, "a limit of three bindings");
	k_param("user_mem_mib", 6);
	t_eq(t_child(memory_little, NULL), 0, "a limit of 6 MiB");
	notifications();
	payer();
	t_ok(alice_has_nothing(NULL), "at the end nobody is charged for anything");
	return t_done();
}
