/* SPDX-License-Identifier: BSD-3-Clause */
/* connect(2): blocking and not, refused, timed out, interrupted; against a zvsockd that lies. */
#include "dropin_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static short polls(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};

	return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

static int so_error(int fd)
{
	int v = -1;
	socklen_t len = sizeof(v);

	assert_int_equal(di_getsockopt(&di, fd, SOL_SOCKET, SO_ERROR, &v, &len), 0);
	return v;
}

static void goes_both_ways(int fd, int far)
{
	char c = 0;

	assert_int_equal(write(fd, "a", 1), 1);
	assert_int_equal(read(far, &c, 1), 1);
	assert_int_equal(c, 'a');
	assert_int_equal(write(far, "b", 1), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(c, 'b');
}

static void blocking(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = new_socket(types[i]), far;
		struct sockaddr_vm l;

		errno = 77;
		assert_int_equal(di_shutdown(&di, fd, SHUT_RD), -ENOTCONN);
		assert_int_equal(connect_to(fd, FAKE_GUEST, 80, false), 0);
		far = fake_took();
		assert_int_equal(di_names(&di, fd, &l, NULL), 0);
		assert_names(fd, VMADDR_CID_HOST, l.svm_port, FAKE_GUEST, 80);
		assert_int_equal(di_shutdown(&di, fd, SHUT_RDWR + 1), -EINVAL);
		assert_int_equal(di_connect_state(&di, fd), 0);
		assert_int_equal(connect_to(fd, FAKE_GUEST, 80, false), -EISCONN);
		assert_int_equal(connect_to(fd, FAKE_GUEST, 80, true), -EISCONN);
		assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1), -EINVAL);
		assert_int_equal(errno, 77);
		goes_both_ways(fd, far);
		close(fd);
		close(far);
	}
}

static void receives_no_more(int fd, int far, char view)
{
	char label[100] = "", c;
	unsigned before = fake_shutdowns(label);

	assert_int_equal(di_shutdown(&di, fd, SHUT_RD), 0);
	assert_int_equal(fake_shutdowns(label), before + (view != 0));
	assert_true(!view || label[7] == view);
	assert_int_equal(send(far, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(write(fd, "b", 1), 1);
	assert_int_equal(read(far, &c, 1), 1);
	assert_int_equal(di_shutdown(&di, fd, SHUT_WR), 0);
	assert_int_equal(read(far, &c, 1), 0);
	assert_int_equal(fake_shutdowns(label), before + (view != 0));
	close(fd);
	close(far);
}

/* zvsockd is asked to look at the connections that it carries, by their label. */
static void shutdown_of_receiving(void **state)
{
	int fd = new_socket(SOCK_STREAM), listener = new_socket(SOCK_STREAM), far;

	(void)state;
	assert_int_equal(connect_to(fd, FAKE_GUEST, 80, false), 0);
	receives_no_more(fd, fake_took(), 'P');
	assert_int_equal(bind_to(listener, VMADDR_CID_ANY, 4000), 0);
	assert_int_equal(listen(listener, 2), 0);
	far = fake_guest_connects(4000, 7);
	fd = accept(listener, NULL, NULL);
	assert_int_equal(di_accepted(&di, listener, fd), 0);
	receives_no_more(fd, far, 'Z');
	fd = new_socket(SOCK_STREAM); /* this one the kernel carries alone */
	assert_int_equal(connect_to(fd, VMADDR_CID_LOCAL, 4000, false), 0);
	receives_no_more(fd, accept(listener, NULL, NULL), 0);
	close(listener);
}

/* The socket keeps the name it was bound to, and zvsockd knows the rest. */
static void bound_before(void **state)
{
	int fd = new_socket(SOCK_STREAM), far;

	(void)state;
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 4000), 0);
	assert_int_equal(connect_to(fd, FAKE_GUEST, 80, false), 0);
	far = fake_took();
	assert_names(fd, VMADDR_CID_HOST, 4000, FAKE_GUEST, 80);
	goes_both_ways(fd, far);
	close(fd);
	close(far);
}

static void refused(void **state)
{
	static const int errs[] = {ECONNRESET, ENODEV,		ENETUNREACH, ETIMEDOUT,
				   EACCES,     ESOCKTNOSUPPORT, EADDRINUSE,  EADDRNOTAVAIL};
	int fd = new_socket(SOCK_STREAM), far;

	(void)state;
	for (unsigned i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		said[0] = 0;
		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_REFUSES(errs[i]), false),
				 -errs[i]);
		assert_string_equal(said, "AF_VSOCK: connect: the port says so");
	}
	assert_int_equal(connect_to(fd, 99, 1, false), -ENODEV);
	assert_int_equal(connect_to(fd, VMADDR_CID_HYPERVISOR, 1, false), -ENETUNREACH);
	assert_int_equal(connect_to(fd, 99, 1, true), -ENODEV);
	/* it is as it was */
	assert_int_equal(connect_to(fd, FAKE_GUEST, 80, false), 0);
	far = fake_took();
	goes_both_ways(fd, far);
	close(fd);
	close(far);
}

static void a_zvsockd_that_lies(void **state)
{
	int fd = new_socket(SOCK_STREAM), far;

	(void)state;
	for (unsigned port = FAKE_ENDS; port <= FAKE_POSITIVE; port++) {
		said[0] = 0;
		assert_int_equal(connect_to(fd, FAKE_GUEST, port, false), -ENODEV);
		assert_string_not_equal(said, "");
	}
	/* A descriptor that comes along is not kept: its number is free. */
	assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_PASSES, false), 0);
	far = fake_took();
	goes_both_ways(fd, far);
	close(fd);
	close(far);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nobody_answers(void **state)
{
	int fd = new_socket(SOCK_STREAM);
	struct sockaddr_vm a = vm(FAKE_GUEST, FAKE_SILENT);
	int64_t before = now_ms();

	(void)state;
	assert_int_equal(di_connect(&di, fd, &a, false, 50), -ETIMEDOUT);
	assert_true(now_ms() - before >= 50);
	close(fd);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void *interrupt(void *target)
{
	while (!fake_connects())
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	/* Until it is: the call may not be asleep yet. */
	for (int i = 0; i < 10000 && !fake_withdrawn(); i++) {
		pthread_kill(*(pthread_t *)target, SIGUSR1);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return NULL;
}

/* As the kernel's: even a handler with SA_RESTART ends it. */
static void interrupted(void **state)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct sockaddr_vm a = vm(FAKE_GUEST, FAKE_SILENT);
	int fd = new_socket(SOCK_STREAM), far;
	pthread_t self = pthread_self(), other;

	(void)state;
	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&other, NULL, interrupt, &self);
	assert_int_equal(di_connect(&di, fd, &a, false, 60000), -EINTR);
	pthread_join(other, NULL);
	assert_int_equal(fake_withdrawn(), 1);
	assert_int_equal(connect_to(fd, FAKE_GUEST, 80, false), 0);
	far = fake_took();
	goes_both_ways(fd, far);
	close(fd);
	close(far);
}

static void pending_then_accepted(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = new_socket(types[i] | SOCK_NONBLOCK), far;
		struct sockaddr_vm l, r;

		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_LATER, true), -EINPROGRESS);
		assert_int_equal(polls(fd), 0);
		assert_int_equal(di_connect_state(&di, fd), -EINPROGRESS);
		assert_int_equal(so_error(fd), 0);
		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_LATER, true), -EALREADY);
		assert_int_equal(di_names(&di, fd, &l, NULL), 0);
		assert_int_equal(di_names(&di, fd, NULL, &r), -ENOTCONN);
		assert_int_equal(write(fd, "x", 1), -1);
		fake_decide(0);
		far = fake_took();
		while (!polls(fd))
			;
		assert_int_equal(polls(fd), POLLOUT);
		assert_int_equal(so_error(fd), 0);
		assert_names(fd, VMADDR_CID_HOST, l.svm_port, FAKE_GUEST, FAKE_LATER);
		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_LATER, true), -EISCONN);
		fcntl(fd, F_SETFL, 0);
		goes_both_ways(fd, far);
		close(fd);
		close(far);
	}
}

static void pending_then_refused(void **state)
{
	static const int errs[] = {ECONNRESET, ETIMEDOUT, ENODEV};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		int fd = new_socket(SOCK_STREAM | SOCK_NONBLOCK), again;

		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_LATER, true), -EINPROGRESS);
		assert_int_equal(di_renew(fd), -EALREADY);
		fake_decide(errs[i]);
		while (!polls(fd))
			;
		assert_int_equal(polls(fd) & (POLLERR | POLLHUP), POLLERR | POLLHUP);
		if (i == 2) /* the other way to learn it */
			assert_int_equal(connect_to(fd, FAKE_GUEST, 1, true), -errs[i]);
		assert_int_equal(so_error(fd), errs[i]);
		assert_int_equal(so_error(fd), 0);
		assert_int_equal(di_connect_state(&di, fd), -errs[i]);
		again = di_renew(fd);
		assert_int_equal(fcntl(again, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
		assert_int_equal(connect_to(again, FAKE_GUEST, FAKE_LATER, true), -EINPROGRESS);
		close(again);
		close(fd);
	}
}

static void *decide_later(void *arg)
{
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	fake_decide(*(int *)arg);
	return NULL;
}

static void second_connect_waits(void **state)
{
	int decision[] = {0, ECONNRESET};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = new_socket(SOCK_STREAM);
		pthread_t other;

		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_LATER, true), -EINPROGRESS);
		pthread_create(&other, NULL, decide_later, &decision[i]);
		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_LATER, false), -decision[i]);
		pthread_join(other, NULL);
		if (!decision[i])
			close(fake_took());
		close(fd);
	}
}

/* A program that has filled its socket is not one that is not connected yet. */
static void a_full_socket_is_connected(void **state)
{
	int fd = new_socket(SOCK_STREAM | SOCK_NONBLOCK), far;
	struct sockaddr_vm r;
	char some[4096] = "";

	(void)state;
	assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_LATER, true), -EINPROGRESS);
	fake_decide(0);
	far = fake_took();
	while (write(fd, some, sizeof(some)) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(di_names(&di, fd, NULL, &r), 0);
	assert_int_equal(r.svm_port, FAKE_LATER);
	close(fd);
	close(far);
}

/* CID 1: straight to the other program. */
static void local(void **state)
{
	int to = new_socket(SOCK_STREAM), fd, got;

	(void)state;
	assert_int_equal(bind_to(to, VMADDR_CID_ANY, 1234), 0);
	assert_int_equal(listen(to, 4), 0);
	for (int bound = 0; bound < 2; bound++) {
		fd = new_socket(SOCK_STREAM);
		if (bound)
			assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 4000), 0);
		assert_int_equal(connect_to(fd, VMADDR_CID_LOCAL, 1234, bound), 0);
		got = accept(to, NULL, NULL);
		assert_int_equal(di_accepted(&di, fd, got), 0);
		if (bound) {
			assert_names(fd, VMADDR_CID_LOCAL, 4000, VMADDR_CID_LOCAL, 1234);
			assert_names(got, VMADDR_CID_LOCAL, 1234, VMADDR_CID_LOCAL, 4000);
		} else {
			struct sockaddr_vm l;

			assert_int_equal(di_names(&di, fd, &l, NULL), 0);
			assert_names(fd, VMADDR_CID_LOCAL, l.svm_port, VMADDR_CID_LOCAL, 1234);
			assert_names(got, VMADDR_CID_LOCAL, 1234, VMADDR_CID_LOCAL, l.svm_port);
		}
		goes_both_ways(fd, got);
		close(fd);
		close(got);
	}
	fd = new_socket(SOCK_STREAM);
	assert_int_equal(connect_to(fd, VMADDR_CID_LOCAL, 99, false), -ECONNRESET);
	close(to); /* zvsockd has not noticed yet */
	assert_int_equal(connect_to(fd, VMADDR_CID_LOCAL, 1234, false), -ECONNRESET);
	close(fd);
}

/* When a program has closed its socket, another user's can have the name. */
static void not_to_a_stranger(void **state)
{
	int to = new_socket(SOCK_STREAM), fd, other;
	struct sockaddr_un un;
	socklen_t len = sizeof(un);

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: a stranger cannot be another user\n");
		close(to);
		skip();
	}
	assert_int_equal(bind_to(to, VMADDR_CID_ANY, 1234), 0);
	assert_int_equal(getsockname(to, (struct sockaddr *)&un, &len), 0);
	close(to);
	other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(other, (struct sockaddr *)&un, len), 0);
	assert_int_equal(syscall(SYS_setresuid, -1, 65534, -1), 0);
	assert_int_equal(listen(other, 4), 0);
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	fd = new_socket(SOCK_STREAM);
	assert_int_equal(connect_to(fd, VMADDR_CID_LOCAL, 1234, false), -ECONNRESET);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	to = di_renew(fd); /* the next one can be made */
	assert_true(to >= 0);
	close(to);
	close(fd);
	close(other);
}

/* In a child that shares this memory: nothing of it changes but the child's own descriptors. */
static void in_a_vfork_child(void **state)
{
#ifdef __SANITIZE_THREAD__
	(void)state;
	print_message("ThreadSanitizer makes vfork(2) a fork(2)\n");
	skip();
#else
	volatile int rc = 1;
	int fd = new_socket(SOCK_STREAM), status, far;
	pid_t pid = vfork();

	(void)state;
	if (!pid) {
		rc = connect_to(fd, FAKE_GUEST, 80, false);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(rc, 0);
	far = fake_took();
	goes_both_ways(fd, far); /* one socket, two descriptors */
	close(fd);
	close(far);
	fd = new_socket(SOCK_STREAM);
	assert_int_equal(connect_to(fd, FAKE_GUEST, 80, false), 0);
	close(fake_took());
	close(fd);
#endif
}

static void *connects(void *arg)
{
	for (int i = 0; i < 50; i++) {
		int fd = di_socket(&di, SOCK_STREAM, 0);

		if (fd < 0 || connect_to(fd, FAKE_GUEST, i % 2 ? 80 : FAKE_REFUSES(ECONNRESET),
					 false) != (i % 2 ? 0 : -ECONNRESET))
			return arg;
		close(fd);
	}
	return NULL;
}

static void many_threads(void **state)
{
	pthread_t t[8];
	void *failed;

	(void)state;
	di.report = NULL; /* the test's is for one thread */
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, connects, &di);
	for (int i = 0; i < 8 * 25; i++)
		close(fake_took());
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &failed);
		assert_null(failed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blocking, setup, teardown),
		cmocka_unit_test_setup_teardown(shutdown_of_receiving, setup, teardown),
		cmocka_unit_test_setup_teardown(bound_before, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_zvsockd_that_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupted, setup, teardown),
		cmocka_unit_test_setup_teardown(pending_then_accepted, setup, teardown),
		cmocka_unit_test_setup_teardown(pending_then_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(second_connect_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_socket_is_connected, setup, teardown),
		cmocka_unit_test_setup_teardown(local, setup, teardown),
		cmocka_unit_test_setup_teardown(not_to_a_stranger, setup, teardown),
		cmocka_unit_test_setup_teardown(in_a_vfork_child, setup, teardown),
		cmocka_unit_test_setup_teardown(many_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
