// SPDX-License-Identifier: MIT
/*
 * agent.c - process 1 of the guest: runs the commands the host sends.
 *
 * One virtio-serial port (or a second UART where the kernel has no
 * virtio-console) carries frames both ways.  The agent sleeps in poll(2)
 * whenever nothing arrives: it has no timer, so a guest that is being measured
 * carries no load of ours.  It is C and not shell because output, errors and
 * exit status of several commands at once must stay apart and binary-safe
 * (files travel as tar streams through the same frames), and because a
 * command's whole session must be signalled by number.
 *
 * Frame: struct head, then head.bytes of payload.  Little endian, as all the
 * machines we run on.  The other side is scripts/lib/guest.py.
 *
 *   host  'R' run      struct run, argc strings, then environment strings
 *         'I' input    bytes for the command's stdin; none: end of file
 *         'K' signal   u32: signal number for the command's whole session
 *         'Q' quit     power off
 *   guest 'H' hello    text written by init, the port is ready
 *         'O' 'E'      bytes of stdout, stderr
 *         'X' exit     u32: wait status
 *         'F' failed   text: why the command did not start
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define JOBS_MAX	64
#define FRAME_MAX	(64u << 20)	/* a stream is cut in smaller frames; this only bounds a broken host */
#define CHUNK		65536u
#define RUN_F_LOG	1u		/* output goes to the file named by argv[0], not to the host */
#define RUN_F_STDIN	2u		/* 'I' frames follow */

struct head {
	uint32_t bytes;
	uint16_t job;
	uint8_t type, zero;
};

struct run {
	uint32_t flags, uid, gid, argc;
};

struct job {
	pid_t pid;			/* 0: slot is free */
	uint16_t id;
	int in, out, err;		/* our ends of its pipes, -1: none */
	char *input;			/* bytes that did not fit into its stdin yet */
	size_t input_bytes;
	int input_eof;
};

static struct job jobs[JOBS_MAX];
static int port = -1;

static void die(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	sync();
	reboot(RB_AUTOBOOT);		/* QEMU runs with -no-reboot */
	_exit(1);
}

static void write_all(int fd, const void *buf, size_t bytes)
{
	const char *p = buf;

	while (bytes) {
		ssize_t n = write(fd, p, bytes);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			die("write to the host");
		p += n;
		bytes -= n;
	}
}

static void read_all(int fd, void *buf, size_t bytes)
{
	char *p = buf;

	while (bytes) {
		ssize_t n = read(fd, p, bytes);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)		/* the host closed the port: nobody needs this guest */
			die("read from the host");
		p += n;
		bytes -= n;
	}
}

static void send_frame(char type, uint16_t id, const void *buf, size_t bytes)
{
	struct head h = { .bytes = bytes, .job = id, .type = type };

	write_all(port, &h, sizeof(h));
	write_all(port, buf, bytes);
}

static void send_text(char type, uint16_t id, const char *what, int err)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(err));
	send_frame(type, id, text, strlen(text));
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static struct job *job_find(uint16_t id)
{
	for (unsigned int i = 0; i < JOBS_MAX; i++)
		if (jobs[i].pid && jobs[i].id == id)
			return &jobs[i];
	return NULL;
}

/* In the child: does not return. */
static void child_exec(const struct run *r, char **argv, char **envp, int in, int out, int err, int status)
{
	sigset_t none;
	int e;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		goto fail;
	if (r->uid && (setgroups(r->gid != r->uid, &r->gid) || setgid(r->uid) || setuid(r->uid)))
		goto fail;
	environ = envp;
	execvp(argv[0], argv);
fail:
	e = errno;
	write_all(status, &e, sizeof(e));
	_exit(127);
}

/* Returns 0, or an errno; *what then names the step that failed. */
static int job_start(uint16_t id, const struct run *r, char **argv, char **envp, const char **what)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 }, status[2] = { -1, -1 };
	struct job *j = NULL;
	int e = 0;
	pid_t pid;

	*what = "too many commands at once";
	for (unsigned int i = 0; i < JOBS_MAX && !j; i++)
		if (!jobs[i].pid)
			j = &jobs[i];
	if (!j)
		return EAGAIN;

	*what = "pipe";
	if (pipe2(status, O_CLOEXEC))
		goto fail;
	if (r->flags & RUN_F_STDIN) {
		if (pipe2(in, O_CLOEXEC) || fcntl(in[1], F_SETFL, O_NONBLOCK))
			goto fail;
	} else {
		in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	if (r->flags & RUN_F_LOG) {
		*what = *argv++;
		out[1] = open(*what, O_WRONLY | O_CREAT | O_APPEND | O_TRUNC | O_CLOEXEC, 0644);
		if (out[1] < 0)
			goto fail;
		err[1] = fcntl(out[1], F_DUPFD_CLOEXEC, 3);
	} else if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) ||
		   fcntl(out[0], F_SETFL, O_NONBLOCK) || fcntl(err[0], F_SETFL, O_NONBLOCK)) {
		goto fail;
	}
	*what = argv[0];
	pid = fork();
	if (pid < 0)
		goto fail;
	if (!pid)
		child_exec(r, argv, envp, in[0], out[1], err[1], status[1]);
	close_fd(&status[1]);
	close_fd(&in[0]);
	close_fd(&out[1]);
	close_fd(&err[1]);
	if (read(status[0], &e, sizeof(e)) == sizeof(e)) {
		waitpid(pid, NULL, 0);
		errno = e;
		goto fail;
	}
	close(status[0]);
	*j = (struct job){ .pid = pid, .id = id, .in = in[1], .out = out[0], .err = err[0] };
	return 0;
fail:
	e = errno;
	for (int i = 0; i < 2; i++) {
		close_fd(&in[i]);
		close_fd(&out[i]);
		close_fd(&err[i]);
		close_fd(&status[i]);
	}
	return e;
}

static void frame_run(uint16_t id, char *buf, size_t bytes)
{
	char *argv[256], *envp[64];
	unsigned int argc = 0, envc = 0;
	const char *what = "malformed request";
	struct run r;
	int e = EINVAL;

	if (bytes < sizeof(r) || buf[bytes - 1] || job_find(id))
		goto out;
	memcpy(&r, buf, sizeof(r));
	for (char *s = buf + sizeof(r); s < buf + bytes; s += strlen(s) + 1) {
		if (argc < r.argc && argc < 255)
			argv[argc++] = s;
		else if (envc < 63)
			envp[envc++] = s;
		else
			goto out;
	}
	if (argc != r.argc || argc < ((r.flags & RUN_F_LOG) ? 2 : 1))
		goto out;
	argv[argc] = NULL;
	envp[envc] = NULL;
	e = job_start(id, &r, argv, envp, &what);
out:
	if (e)
		send_text('F', id, what, e);
}

/* Hands waiting input on; a command that closed its stdin just loses it. */
static void job_input(struct job *j)
{
	while (j->in >= 0 && j->input_bytes) {
		ssize_t n = write(j->in, j->input, j->input_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			j->input_bytes = 0;
			j->input_eof = 1;
			break;
		}
		memmove(j->input, j->input + n, j->input_bytes - n);
		j->input_bytes -= n;
	}
	if (j->input_eof)
		close_fd(&j->in);
}

static void frame_input(struct job *j, const char *buf, size_t bytes)
{
	if (!j || j->in < 0)
		return;
	if (bytes) {
		char *p = realloc(j->input, j->input_bytes + bytes);

		if (!p)
			die("memory for input");
		memcpy(p + j->input_bytes, buf, bytes);
		j->input = p;
		j->input_bytes += bytes;
	} else {
		j->input_eof = 1;
	}
	job_input(j);
}

static void frame_read(void)
{
	struct head h;
	char *buf;
	uint32_t sig;

	read_all(port, &h, sizeof(h));
	if (h.bytes > FRAME_MAX) {
		errno = EPROTO;
		die("frame from the host");
	}
	buf = malloc(h.bytes + 1);
	if (!buf)
		die("memory for a frame");
	read_all(port, buf, h.bytes);
	switch (h.type) {
	case 'R':
		frame_run(h.job, buf, h.bytes);
		break;
	case 'I':
		frame_input(job_find(h.job), buf, h.bytes);
		break;
	case 'K':
		if (h.bytes == sizeof(sig) && job_find(h.job)) {
			memcpy(&sig, buf, sizeof(sig));
			kill(-job_find(h.job)->pid, sig);
		}
		break;
	case 'Q':
		sync();
		reboot(RB_AUTOBOOT);
		break;
	}
	free(buf);
}

/* One read of a command's output; 0 when there is no more (now). */
static int job_output(struct job *j, int *fd, char type)
{
	static char buf[CHUNK];
	ssize_t n;

	if (*fd < 0)
		return 0;
	n = read(*fd, buf, sizeof(buf));
	if (n > 0) {
		send_frame(type, j->id, buf, n);
		return 1;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_fd(fd);
	return 0;
}

/*
 * A command is over when its first process is: a daemon it left behind may
 * hold the pipes for ever.  What it had written by then is delivered first.
 */
static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned int i = 0; i < JOBS_MAX; i++) {
			struct job *j = &jobs[i];
			uint32_t st = status;

			if (j->pid != pid)
				continue;
			while (job_output(j, &j->out, 'O'))
				;
			while (job_output(j, &j->err, 'E'))
				;
			close_fd(&j->in);
			close_fd(&j->out);
			close_fd(&j->err);
			free(j->input);
			send_frame('X', j->id, &st, sizeof(st));
			*j = (struct job){ .pid = 0 };
		}
	}
}

static void port_open(const char *path)
{
	struct termios t;

	port = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (port < 0)
		die(path);
	if (isatty(port)) {
		if (tcgetattr(port, &t))
			die(path);
		cfmakeraw(&t);
		t.c_cflag |= CLOCAL;
		if (tcsetattr(port, TCSAFLUSH, &t))
			die(path);
	}
}

static void loop(int sigs)
{
	struct pollfd p[2 + 3 * JOBS_MAX];
	struct { struct job *j; char type; } who[2 + 3 * JOBS_MAX];
	struct signalfd_siginfo si;

	for (;;) {
		unsigned int n = 2;

		p[0] = (struct pollfd){ .fd = port, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = sigs, .events = POLLIN };
		for (unsigned int i = 0; i < JOBS_MAX; i++) {
			struct job *j = &jobs[i];

			if (!j->pid)
				continue;
			if (j->out >= 0) {
				p[n] = (struct pollfd){ .fd = j->out, .events = POLLIN };
				who[n].j = j;
				who[n++].type = 'O';
			}
			if (j->err >= 0) {
				p[n] = (struct pollfd){ .fd = j->err, .events = POLLIN };
				who[n].j = j;
				who[n++].type = 'E';
			}
			if (j->in >= 0 && j->input_bytes) {
				p[n] = (struct pollfd){ .fd = j->in, .events = POLLOUT };
				who[n].j = j;
				who[n++].type = 'I';
			}
		}
		if (poll(p, n, -1) < 0 && errno != EINTR)
			die("poll");
		for (unsigned int i = 2; i < n; i++) {
			struct job *j = who[i].j;

			if (!p[i].revents)
				continue;
			if (who[i].type == 'I')
				job_input(j);
			else
				job_output(j, who[i].type == 'O' ? &j->out : &j->err, who[i].type);
		}
		if (p[1].revents && read(sigs, &si, sizeof(si)) == sizeof(si))
			reap();
		if (p[0].revents & (POLLIN | POLLHUP | POLLERR))
			frame_read();
	}
}

/* agent PORT HELLO-FILE */
int main(int argc, char **argv)
{
	char hello[1024] = "";
	sigset_t set;
	int fd, sigs;

	if (argc != 3) {
		errno = EINVAL;
		die("usage: agent PORT HELLO-FILE");
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigs = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sigs < 0)
		die("signalfd");
	port_open(argv[1]);
	fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, hello, sizeof(hello) - 1) < 0)
		hello[0] = '\0';
	close(fd);
	send_frame('H', 0, hello, strlen(hello));
	loop(sigs);
}
