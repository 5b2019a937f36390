/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A static AF_VSOCK program that makes its system calls by number: what no preloaded library sees.
 * dropin_static.py says what each command is for.
 *
 * usage: raw COMMAND ARGS
 */
#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <linux/vm_sockets.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNS_MAX 1000

static const char *self;

__attribute__((format(printf, 1, 2))) _Noreturn static void die(const char *format, ...)
{
	int e = errno;
	va_list args;

	va_start(args, format);
	vfprintf(stdout, format, args);
	va_end(args);
	printf(": %s\n", strerror(e));
	fflush(stdout);
	_exit(1);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stdout, format, args);
	va_end(args);
	fputc('\n', stdout);
	fflush(stdout);
}

static int check(long r, const char *what)
{
	if (r < 0)
		die("%s", what);
	return (int)r;
}

static struct sockaddr_vm address(unsigned cid, unsigned port)
{
	return (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
}

static int vsock(int type)
{
	return check(syscall(SYS_socket, AF_VSOCK, type, 0), "socket");
}

static long try_connect(int fd, unsigned cid, unsigned port)
{
	struct sockaddr_vm a = address(cid, port);

	return syscall(SYS_connect, fd, &a, sizeof(a));
}

static int dial(int type, unsigned cid, unsigned port)
{
	int fd = vsock(type);

	check(try_connect(fd, cid, port), "connect");
	return fd;
}

static int serve(int type, unsigned port)
{
	int fd = vsock(type);
	struct sockaddr_vm a = address(VMADDR_CID_ANY, port);

	check(syscall(SYS_bind, fd, &a, sizeof(a)), "bind");
	check(syscall(SYS_listen, fd, 100), "listen");
	return fd;
}

static struct sockaddr_vm name_of(int fd, long call, const char *what)
{
	struct sockaddr_vm a = {0};
	socklen_t len = sizeof(a);

	check(syscall(call, fd, &a, &len), what);
	if (len != sizeof(a) || a.svm_family != AF_VSOCK)
		die("%s: family %u, %u bytes", what, a.svm_family, len);
	return a;
}

/* Sends a text and reads it again. */
static void talk(int fd, unsigned number)
{
	char text[64], back[64] = {0};
	int len = snprintf(text, sizeof(text), "this is %u", number), got = 0, n;

	if (write(fd, text, (size_t)len) != len)
		die("write");
	while (got < len) {
		n = check(read(fd, back + got, sizeof(back) - (size_t)got), "read");
		if (!n)
			die("read: the end after %d bytes", got);
		got += n;
	}
	if (got != len || memcmp(text, back, (size_t)len) != 0)
		die("other bytes came back");
}

static int type_of(const char *text)
{
	return text && !strcmp(text, "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM;
}

/* ---- commands ------------------------------------------------------------------------------- */

/* client CID PORT N [TYPE]: N at the same time. */
static void client(char **argv)
{
	unsigned cid = (unsigned)atol(argv[0]), port = (unsigned)atol(argv[1]);
	int fd[CONNS_MAX], n = atoi(argv[2]), type = type_of(argv[3]);

	for (int i = 0; i < n; i++) {
		struct sockaddr_vm far;

		fd[i] = dial(type, cid, port);
		far = name_of(fd[i], SYS_getpeername, "getpeername");
		if (far.svm_cid != cid || far.svm_port != port)
			die("getpeername: %u:%u", far.svm_cid, far.svm_port);
		if (name_of(fd[i], SYS_getsockname, "getsockname").svm_port == VMADDR_PORT_ANY)
			die("getsockname: no port");
	}
	for (int i = 0; i < n; i++)
		talk(fd[i], (unsigned)i);
	say("%d ok", n);
}

/* server PORT N [TYPE]: echo, one after the other. */
static void server(char **argv)
{
	unsigned port = (unsigned)atol(argv[0]);
	int n = atoi(argv[1]), type = type_of(argv[2]), l = serve(type, port);

	say("listening");
	for (int i = 0; i < n; i++) {
		struct sockaddr_vm far;
		socklen_t len = sizeof(far);
		char buf[4096];
		ssize_t got;
		int fd = check(syscall(SYS_accept, l, &far, &len), "accept");

		if (far.svm_family != AF_VSOCK || len != sizeof(far))
			die("accept: family %u", far.svm_family);
		if (name_of(fd, SYS_getsockname, "getsockname").svm_port != port)
			die("getsockname of what was accepted");
		say("peer %u", far.svm_cid);
		while ((got = read(fd, buf, sizeof(buf))) > 0)
			if (write(fd, buf, (size_t)got) != got)
				die("write");
		check(got, "read");
		close(fd);
	}
}

/* exec CID PORT: made here, connected by a child, used by a program that it executes. */
static void fork_exec(char **argv)
{
	int fd = vsock(SOCK_STREAM), other = dup(fd), status;
	char number[16];

	snprintf(number, sizeof(number), "%d", other);
	if (fork() == 0) {
		check(try_connect(fd, (unsigned)atol(argv[0]), (unsigned)atol(argv[1])), "connect");
		execl(self, self, "use", number, argv[0], argv[1], NULL);
		die("execl");
	}
	check(wait(&status), "wait");
	if (status)
		exit(1);
	if (name_of(fd, SYS_getpeername, "getpeername").svm_cid != (unsigned)atol(argv[0]))
		die("getpeername in the parent");
	talk(fd, 2);
	say("ok");
}

static void use(char **argv)
{
	int fd = atoi(argv[0]);
	struct sockaddr_vm far = name_of(fd, SYS_getpeername, "getpeername");

	if (far.svm_cid != (unsigned)atol(argv[1]) || far.svm_port != (unsigned)atol(argv[2]))
		die("getpeername: %u:%u", far.svm_cid, far.svm_port);
	talk(fd, 1);
}

/* epoll CID PORT: registered before it is connected, as Go does. */
static void with_epoll(char **argv)
{
	int fd = vsock(SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC), e = epoll_create1(0), said;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	socklen_t len = sizeof(said);

	if (fcntl(fd, F_GETFD) != FD_CLOEXEC || !(fcntl(fd, F_GETFL) & O_NONBLOCK))
		die("flags of the socket");
	check(epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev), "epoll_ctl");
	epoll_wait(e, &ev, 1, 0); /* what an unconnected socket reports */
	if (try_connect(fd, (unsigned)atol(argv[0]), (unsigned)atol(argv[1])) != -1 ||
	    errno != EINPROGRESS)
		die("connect");
	do {
		if (epoll_wait(e, &ev, 1, 60000) != 1)
			die("epoll_wait");
		check(getsockopt(fd, SOL_SOCKET, SO_ERROR, &said, &len), "getsockopt");
	} while (!said && !(ev.events & EPOLLOUT));
	if (said) {
		say("SO_ERROR %s", strerror(said));
		return;
	}
	fcntl(fd, F_SETFL, 0);
	talk(fd, 1);
	say("ok");
}

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

/* accept PORT restart|interrupt: until SIGALRM has come, or a connection. */
static void accept_signal(char **argv)
{
	struct sigaction a = {.sa_handler = on_signal,
			      .sa_flags = strcmp(argv[1], "restart") ? 0 : SA_RESTART};
	const struct itimerval soon = {.it_value = {.tv_usec = 200000}};
	int l = serve(SOCK_STREAM, (unsigned)atol(argv[0]));
	struct sockaddr_vm far;
	socklen_t len = sizeof(far);
	long fd;

	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	say("listening");
	fd = syscall(SYS_accept, l, &far, &len);
	say("%s after %d", fd < 0 ? strerror(errno) : "accepted", (int)signals);
}

/* connect CID PORT: until SIGALRM has come; then again, which is to succeed. */
static void connect_signal(char **argv)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	const struct itimerval soon = {.it_value = {.tv_usec = 200000}};
	const struct timeval long_enough = {.tv_sec = 60};
	unsigned cid = (unsigned)atol(argv[0]), port = (unsigned)atol(argv[1]);
	int fd = vsock(SOCK_STREAM);
	char line[8];
	long r;

	check(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &long_enough,
			 sizeof(long_enough)),
	      "setsockopt");
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	say("connecting");
	r = try_connect(fd, cid, port);
	say("%s after %d", r < 0 ? strerror(errno) : "connected", (int)signals);
	if (!fgets(line, sizeof(line), stdin))
		return;
	check(try_connect(fd, cid, port), "connect again");
	talk(fd, 1);
	say("ok");
}

static void *wait_for_one(void *arg)
{
	struct sockaddr_vm far;
	socklen_t len = sizeof(far);
	int fd = check(syscall(SYS_accept4, (int)(intptr_t)arg, &far, &len, SOCK_CLOEXEC),
		       "accept4");
	char c;

	if (fcntl(fd, F_GETFD) != FD_CLOEXEC)
		die("accept4: flags");
	if (read(fd, &c, 1) != 1 || write(fd, &c, 1) != 1)
		die("read and write");
	return NULL;
}

/* threads PORT N: N threads block in accept(2), of which each is then connected to. */
static void many_threads(char **argv)
{
	unsigned port = (unsigned)atol(argv[0]);
	int n = atoi(argv[1]);
	pthread_t t[CONNS_MAX];

	for (int i = 0; i < n; i++) {
		int l = serve(SOCK_STREAM, port + (unsigned)i);

		if (pthread_create(&t[i], NULL, wait_for_one, (void *)(intptr_t)l))
			die("pthread_create");
	}
	for (int i = n; i-- > 0;) {
		int fd = dial(SOCK_STREAM, VMADDR_CID_LOCAL, port + (unsigned)i);
		char c = 'x';

		if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1 || c != 'x')
			die("write and read");
		close(fd);
	}
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	say("ok");
}

/* orphan CID PORT: the supervisor is killed when a line has been read. */
static void without_supervisor(char **argv)
{
	int fd = dial(SOCK_STREAM, (unsigned)atol(argv[0]), (unsigned)atol(argv[1]));
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
	char line[8];
	int un;

	say("connected");
	if (!fgets(line, sizeof(line), stdin))
		return;
	say("socket: %s", syscall(SYS_socket, AF_VSOCK, SOCK_STREAM, 0) < 0 ? strerror(errno) : "");
	un = check(syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0), "socket of AF_UNIX");
	say("connect: %s", syscall(SYS_connect, un, &a, sizeof(a)) < 0 ? strerror(errno) : "");
	talk(fd, 1);
	say("ok");
}

/* others: sockets of other families are what they are without us. */
static void others(char **argv)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX}, b;
	int pair[2], fd = socket(AF_UNIX, SOCK_STREAM, 0), domain;
	socklen_t len = sizeof(domain);
	uint32_t cid;

	(void)argv;
	check(bind(fd, (struct sockaddr *)&a, sizeof(a.sun_family)), "bind"); /* autobind */
	check(listen(fd, 1), "listen");
	check(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len), "getsockopt");
	if (domain != AF_UNIX)
		die("SO_DOMAIN is %d", domain);
	len = sizeof(a);
	check(getsockname(fd, (struct sockaddr *)&a, &len), "getsockname");
	if (a.sun_family != AF_UNIX)
		die("getsockname: family %u", a.sun_family);
	pair[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	check(connect(pair[0], (struct sockaddr *)&a, len), "connect");
	len = sizeof(b);
	pair[1] = check(accept(fd, (struct sockaddr *)&b, &len), "accept");
	if (b.sun_family != AF_UNIX)
		die("accept: family %u", b.sun_family);
	talk(dup2(pair[0], pair[1]) == pair[1] ? fd = dial(SOCK_STREAM, 3, 7) : -1, 1);
	if (ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) == 0)
		die("the ioctl of a socket");
	fd = open("/dev/vsock", O_RDONLY);
	check(fd, "/dev/vsock");
	check(ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid), "ioctl");
	if (waitpid(-1, NULL, 0) != -1 || errno != ECHILD)
		die("there is a child");
	say("cid %u", cid);
}

/* errno PORT: of what goes wrong. */
static void errors(char **argv)
{
	struct sockaddr_vm a = address(VMADDR_CID_ANY, (unsigned)atol(argv[0]));
	int fd = vsock(SOCK_STREAM), other = vsock(SOCK_STREAM);
	long r;

	r = syscall(SYS_connect, fd, &a, 4);
	say("short address: %s", r < 0 ? strerror(errno) : "");
	r = syscall(SYS_bind, fd, NULL, sizeof(a));
	say("bad address: %s", r < 0 ? strerror(errno) : "");
	r = syscall(SYS_bind, 99, &a, sizeof(a));
	say("no descriptor: %s", r < 0 ? strerror(errno) : "");
	check(syscall(SYS_bind, fd, &a, sizeof(a)), "bind");
	r = syscall(SYS_bind, other, &a, sizeof(a));
	say("taken: %s", r < 0 ? strerror(errno) : "");
	r = syscall(SYS_accept, fd, NULL, NULL);
	say("not listening: %s", r < 0 ? strerror(errno) : "");
	r = syscall(SYS_socket, AF_VSOCK, SOCK_RAW, 0);
	say("raw: %s", r < 0 ? strerror(errno) : "");
	r = try_connect(other, 77, 1);
	say("no guest: %s", r < 0 ? strerror(errno) : "");
	a = address(VMADDR_CID_ANY, 80);
	r = syscall(SYS_bind, other, &a, sizeof(a));
	say("low port: %s", r < 0 ? strerror(errno) : "");
}

/* drop PORT: rights that were given up are not the supervisor's to lend. */
static void drop(char **argv)
{
	(void)argv;
	check(setresgid(65534, 65534, 65534), "setresgid");
	check(setresuid(65534, 65534, 65534), "setresuid");
	errors(argv);
}

/* full PORT: accept(2) without a descriptor left; the connection is there for the next one. */
static void full(char **argv)
{
	int l = serve(SOCK_STREAM, (unsigned)atol(argv[0])), spare = dup(0), fd;
	struct sockaddr_vm far;
	socklen_t len = sizeof(far);

	say("listening");
	check(poll(&(struct pollfd){.fd = l, .events = POLLIN}, 1, 60000), "poll");
	while (dup(0) >= 0)
		;
	if (syscall(SYS_accept, l, &far, &len) != -1)
		die("accept");
	say("%s", strerror(errno));
	close(spare);
	fd = check(syscall(SYS_accept, l, &far, &len), "accept");
	if (write(fd, "late", 4) != 4)
		die("write");
	say("ok");
}

/* again PORT N: a listener for each connection, always on the same port. */
static void again(char **argv)
{
	for (int n = atoi(argv[1]); n; n--) {
		struct sockaddr_vm far;
		socklen_t len = sizeof(far);
		int l = serve(SOCK_STREAM, (unsigned)atol(argv[0]));

		say("listening");
		check(syscall(SYS_accept, l, &far, &len), "accept");
		close(l);
	}
	say("ok");
}

/* Sockets that bind one port after the other, as quickly as it can. */
static void rebind(char **argv)
{
	for (int n = atoi(argv[1]); n; n--)
		close(serve(SOCK_STREAM, (unsigned)atol(argv[0])));
	say("ok");
}

static const struct {
	const char *name;
	void (*run)(char **argv);
} commands[] = {
	{"client", client},
	{"server", server},
	{"exec", fork_exec},
	{"use", use},
	{"epoll", with_epoll},
	{"accept", accept_signal},
	{"connect", connect_signal},
	{"threads", many_threads},
	{"orphan", without_supervisor},
	{"others", others},
	{"errno", errors},
	{"drop", drop},
	{"full", full},
	{"again", again},
	{"rebind", rebind},
};

int main(int argc, char **argv)
{
	self = argv[0];
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name)) {
			commands[i].run(argv + 2);
			return 0;
		}
	return 2;
}
