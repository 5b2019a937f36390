/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsock_peer: the VM tests' conversations over sockets of the kernel; statically linked, so that it
 * runs in a guest. A path instead of a CID means a hybrid socket: "CONNECT PORT" and an answer "OK
 * PORT" on PATH to reach the guest, PATH_PORT to be reached by it.
 *
 *	vsock_peer serve [PATH]     serves echo, seq and xfer until it is killed
 *	vsock_peer late|trickle ... late.c
 *	vsock_peer VERB WHERE ...   one job (peer.h); prints one line; exit code 0: all went well
 *
 * SEQPACKET is sent by blocking calls: an AF_VSOCK socket that does not block may send the first
 * part of a message that its credit has no room for, and then say EAGAIN, so that the message can
 * neither be sent nor taken back. SEQ_WINDOW keeps such a call from waiting for ever.
 */
#include "late.h"
#include "peer.h"

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#define FLOWS_MAX 8192u

static struct flow *flows[FLOWS_MAX];
static struct pollfd fds[FLOWS_MAX];
static unsigned n_flows;
static int exit_code = -1;

static const struct {
	unsigned port;
	int type;
	enum flow_kind kind;
} services[] = {
	{PORT_ECHO, SOCK_STREAM, ECHO_SERVER},
	{PORT_SEQ, SOCK_SEQPACKET, SEQ_SERVER},
	{PORT_XFER, SOCK_STREAM, XFER_SERVER},
};
#define SERVICES (sizeof(services) / sizeof(services[0]))

/* f->conn: the descriptor + 1, so that 0 is none. */
static int fd_of(const struct flow *f)
{
	return (int)((intptr_t)f->conn - 1);
}

static bool connecting(const struct flow *f)
{
	return f->job && (fcntl(fd_of(f), F_GETFL) & O_NONBLOCK);
}

static bool flow_add(struct flow *f, int fd)
{
	if (n_flows == FLOWS_MAX)
		return false;
	f->conn = (void *)(intptr_t)(fd + 1);
	flows[n_flows++] = f;
	return true;
}

union address {
	struct sockaddr sa;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
};

/* A CID's address, or that of a hybrid socket: @served, the one that the guest reaches. */
static socklen_t address(union address *a, const char *where, uint32_t port, bool served)
{
	memset(a, 0, sizeof(*a));
	if (where[0] != '/') {
		a->vm.svm_family = AF_VSOCK;
		a->vm.svm_cid = (unsigned)strtoul(where, NULL, 10);
		a->vm.svm_port = port;
		return sizeof(a->vm);
	}
	a->un.sun_family = AF_UNIX;
	if (served)
		snprintf(a->un.sun_path, sizeof(a->un.sun_path), "%.90s_%u", where, port);
	else
		snprintf(a->un.sun_path, sizeof(a->un.sun_path), "%.107s", where);
	return sizeof(a->un);
}

/* An AF_UNIX connect() that may not block fails when the backlog is full: it blocks. */
static int posix_connect(struct flow *f, const char *where, uint32_t port)
{
	union address a;
	socklen_t len = address(&a, where, port, false);
	bool hybrid = a.sa.sa_family == AF_UNIX;
	int type = f->kind == SEQ_CLIENT ? SOCK_SEQPACKET : SOCK_STREAM;
	int fd = socket(a.sa.sa_family, type | SOCK_CLOEXEC | (hybrid ? 0 : SOCK_NONBLOCK), 0);
	/* The kernel's 2 s are little where many programs want the CPUs. */
	const struct timeval patience = {.tv_sec = 60};
	char line[32];

	if (fd < 0)
		return -errno;
	if (!flow_add(f, fd)) {
		close(fd);
		return -EMFILE;
	}
	if (a.sa.sa_family == AF_VSOCK)
		(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience,
				 sizeof(patience));
	if (connect(fd, &a.sa, len) < 0 && errno != EINPROGRESS)
		return -errno;
	f->want = WANT_OUT;
	if (hybrid) {
		snprintf(line, sizeof(line), "CONNECT %u\n", port);
		if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
			return -errno;
		fcntl(fd, F_SETFL, O_NONBLOCK);
		f->want = WANT_IN;
	}
	return 0;
}

static ssize_t posix_recv(struct flow *f, void *buf, size_t len, bool *eor)
{
	struct iovec iov = {buf, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = recvmsg(fd_of(f), &msg, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	if (eor)
		*eor = msg.msg_flags & MSG_EOR;
	return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

static ssize_t posix_send(struct flow *f, const void *buf, size_t len, bool eor)
{
	bool messages = f->kind == SEQ_CLIENT || f->kind == SEQ_SERVER;
	ssize_t n = send(fd_of(f), buf, len,
			 MSG_NOSIGNAL | (messages ? 0 : MSG_DONTWAIT) | (eor ? MSG_EOR : 0));

	if (n >= 0 && messages && (size_t)n != len)
		return -EMSGSIZE;
	return n < 0 ? -errno : n;
}

static int posix_shutdown(struct flow *f)
{
	return shutdown(fd_of(f), SHUT_WR) < 0 ? -errno : 0;
}

static void posix_close(struct flow *f)
{
	for (unsigned i = 0; i < n_flows; i++)
		if (flows[i] == f)
			flows[i] = NULL; /* the loop squeezes the holes out */
	close(fd_of(f));
}

static void posix_want(struct flow *f, unsigned what)
{
	f->want = what;
}

const struct peer_ops peer_ops = {posix_connect,  posix_recv,  posix_send,
				  posix_shutdown, posix_close, posix_want};

void job_said(void *user, const char *result, bool ok)
{
	(void)user;
	printf("%s %s\n", ok ? "ok" : "FAILED", result);
	exit_code = !ok;
}

void server_broke(const struct flow *f, const char *why)
{
	printf("server: kind %d: %s\n", (int)f->kind, why);
}

static int listen_all(int *listeners, const char *where)
{
	for (unsigned i = 0; i < SERVICES; i++) {
		union address a;
		socklen_t len = address(&a, where, services[i].port, true);

		listeners[i] =
			socket(a.sa.sa_family, services[i].type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (a.sa.sa_family == AF_UNIX)
			unlink(a.un.sun_path); /* of one that was killed */
		if (listeners[i] < 0 || bind(listeners[i], &a.sa, len) < 0 ||
		    listen(listeners[i], 4096) < 0)
			return -errno;
	}
	return 0;
}

/* One per call: where nothing waits, Linux' accept of AF_VSOCK sleeps for a tick, even with
 * O_NONBLOCK. */
static void accept_one(int listener, enum flow_kind kind)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct flow *f;

	if (fd < 0)
		return;
	f = flow_new(kind, NULL);
	if (!f || !flow_add(f, fd)) {
		close(fd);
		if (f)
			flow_free(f);
		return;
	}
	f->want = WANT_IN;
}

/* Takes the answer to CONNECT, and not one byte more. -EAGAIN: there is more to come. */
static int hybrid_answer(int fd)
{
	char c;
	ssize_t n;

	do {
		n = recv(fd, &c, 1, 0);
		if (n <= 0)
			return n ? -errno : -ECONNREFUSED;
	} while (c != '\n');
	return 0;
}

/* An event of a client's socket that is not connected yet. */
static void connecting_event(struct flow *f)
{
	int fd = fd_of(f), err = 0;
	socklen_t len = sizeof(err);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (!err && f->job->where[0] == '/') {
		err = -hybrid_answer(fd);
		if (err == EAGAIN)
			return;
	}
	fcntl(fd, F_SETFL, 0);
	flow_connected(f, -err);
}

static void run_ready(unsigned polled)
{
	for (unsigned i = 0; i < polled; i++) {
		if (!flows[i] || !fds[i].revents)
			continue;
		if (connecting(flows[i]))
			connecting_event(flows[i]);
		else
			flow_run(flows[i]);
	}
}

static void loop(const int *listeners, unsigned n_listeners)
{
	while (exit_code < 0) {
		unsigned n = 0;

		for (unsigned i = 0; i < n_flows; i++)
			if (flows[i])
				flows[n++] = flows[i];
		n_flows = n;
		for (unsigned i = 0; i < n; i++)
			fds[i] = (struct pollfd){
				.fd = flows[i]->want ? fd_of(flows[i]) : -1,
				.events = (short)((flows[i]->want & WANT_IN ? POLLIN : 0) |
						  (flows[i]->want & WANT_OUT ? POLLOUT : 0))};
		for (unsigned i = 0; i < n_listeners; i++)
			fds[n + i] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
		if (poll(fds, n + n_listeners, -1) < 0)
			continue;
		run_ready(n);
		for (unsigned i = 0; i < n_listeners; i++)
			if (fds[n + i].revents)
				accept_one(listeners[i], services[i].kind);
	}
}

int main(int argc, char **argv)
{
	int listeners[SERVICES], err;
	struct rlimit files;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if (argc >= 2 && strcmp(argv[1], "late") == 0)
		return late_reader(argc - 2, argv + 2);
	if (argc >= 2 && strcmp(argv[1], "trickle") == 0)
		return trickle(argc - 2, argv + 2);
	if (argc >= 2 && argc <= 3 && strcmp(argv[1], "serve") == 0) {
		err = listen_all(listeners, argc == 3 ? argv[2] : "4294967295");
		if (err) {
			fprintf(stderr, "vsock_peer: listen: %s\n", strerror(-err));
			return 1;
		}
		puts("serving");
		loop(listeners, SERVICES);
	} else if (argc > 1 && job_start(argc - 1, argv + 1, NULL) == 0) {
		loop(NULL, 0);
	} else {
		fprintf(stderr, "usage: vsock_peer serve [PATH] | VERB WHERE PORT NUMBER...\n");
		return 2;
	}
	return exit_code;
}
