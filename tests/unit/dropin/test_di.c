/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets that stand for AF_VSOCK ones: made, bound, accepted, their names and options. */
#include "dropin_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* Linux 5.1; glibc's header may be older. */
#define TIMEOUT_OLD 6
#define TIMEOUT_NEW 8

#define FLOOD 20

static void sockets(void **state)
{
	uint32_t cid = 0;
	int fd, other = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	errno = 77;
	assert_int_equal(di_local_cid(&di, &cid), 0);
	assert_int_equal(cid, VMADDR_CID_HOST);
	fd = new_socket(SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(di_is(fd), 1);
	assert_int_equal(di_is(other), 0);
	assert_int_equal(di_is(STDIN_FILENO), 0);
	close(fd);
	assert_int_equal(di_is(fd), -EBADF);
	assert_int_equal(di_is(-1), -EBADF);
	assert_int_equal(di_socket(&di, SOCK_STREAM, AF_UNIX), -EPROTONOSUPPORT);
	assert_int_equal(di_socket(&di, SOCK_RAW, 0), -ESOCKTNOSUPPORT);
	assert_int_equal(di_socket(&di, SOCK_DGRAM, 0), -EOPNOTSUPP);
	fd = di_socket(&di, SOCK_SEQPACKET, AF_VSOCK);
	assert_int_equal(di_is(fd), 1);
	close(fd);
	close(other);
	assert_int_equal(errno, 77);
}

static void no_zvsockd(void **state)
{
	struct di none;
	uint32_t cid;
	char longest[98];
	struct sockaddr_vm a = vm(FAKE_GUEST, 1);
	int fd = new_socket(SOCK_STREAM);

	(void)state;
	di_init(&none, "/nonexistent");
	none.report = hear;
	errno = 77;
	assert_int_equal(di_socket(&none, SOCK_STREAM, 0), -EAFNOSUPPORT);
	assert_non_null(strstr(said, "/nonexistent/ask: no zvsockd listens there"));
	assert_int_equal(di_local_cid(&none, &cid), -ENODEV);
	assert_int_equal(di_connect(&none, fd, &a, false, 0), -ENODEV);
	assert_int_equal(di_connect(&none, fd, &a, true, 0), -ENODEV);
	assert_int_equal(di_bind(&none, fd, &a), -ENODEV);
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[97] = 0;
	di_init(&none, longest);
	none.report = hear;
	assert_int_equal(di_socket(&none, SOCK_STREAM, 0), -EAFNOSUPPORT);
	assert_non_null(strstr(said, "longer than the 96 bytes"));
	longest[96] = 0; /* it fits */
	di_init(&none, longest);
	assert_int_equal(di_socket(&none, SOCK_STREAM, 0), -EAFNOSUPPORT);
	di_init(&none, NULL);
	assert_string_equal(none.dir, DI_DIR);
	assert_int_equal(errno, 77);
	close(fd);
}

static void addresses(void **state)
{
	struct sockaddr_vm a = vm(1, 2), out;

	(void)state;
	assert_int_equal(di_address(&a, sizeof(a), &out), 0);
	assert_int_equal(di_address(&a, sizeof(a) - 1, &out), -EFAULT);
	assert_int_equal(di_address(NULL, sizeof(a), &out), -EFAULT);
	a.svm_flags = VMADDR_FLAG_TO_HOST;
	assert_int_equal(di_address(&a, sizeof(a), &out), 0);
	a.svm_flags = 2;
	assert_int_equal(di_address(&a, sizeof(a), &out), -EINVAL);
	a = vm(1, 2);
	a.svm_family = AF_UNIX;
	assert_int_equal(di_address(&a, sizeof(a), &out), -EAFNOSUPPORT);
}

static void binding(void **state)
{
	int fd = new_socket(SOCK_STREAM), again = new_socket(SOCK_STREAM);
	struct sockaddr_vm l;

	(void)state;
	assert_int_equal(listen(fd, 1), -1); /* as the kernel's vsock: not bound */
	assert_int_equal(errno, EINVAL);
	assert_int_equal(di_names(&di, fd, &l, NULL), 0);
	assert_address(l, VMADDR_CID_ANY, VMADDR_PORT_ANY);
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, FAKE_REFUSES(EACCES)), -EACCES);
	assert_string_equal(said, "AF_VSOCK: bind: the port says so");
	assert_int_equal(bind_to(fd, 77, FAKE_REFUSES(EADDRNOTAVAIL)), -EADDRNOTAVAIL);
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1234), 0);
	assert_int_equal(di_names(&di, fd, &l, NULL), 0);
	assert_address(l, VMADDR_CID_ANY, 1234);
	assert_int_equal(di_names(&di, fd, NULL, &l), -ENOTCONN);
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1235), -EINVAL);
	assert_int_equal(bind_to(again, VMADDR_CID_ANY, 1234), -EADDRINUSE);
	assert_int_equal(bind_to(again, VMADDR_CID_HOST, VMADDR_PORT_ANY), 0);
	assert_int_equal(di_names(&di, again, &l, NULL), 0);
	assert_int_equal(l.svm_cid, VMADDR_CID_HOST);
	assert_true(l.svm_port >= 1024);
	assert_int_equal(bind_to(-1, VMADDR_CID_ANY, 1), -EBADF);
	close(fd);
	close(again);
}

static void accepting(void **state)
{
	int fd = new_socket(SOCK_STREAM), guest, got, type = 0;
	struct sockaddr_vm r;
	socklen_t len = sizeof(type);

	(void)state;
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1234), 0);
	assert_int_equal(listen(fd, 8), 0);
	guest = fake_guest_connects(1234, 5000);
	assert_true(guest >= 0);
	got = accept(fd, NULL, NULL);
	assert_int_equal(di_accepted(&di, fd, got), 0);
	assert_int_equal(di_is(got), 1);
	assert_names(got, VMADDR_CID_HOST, 1234, FAKE_GUEST, 5000);
	assert_int_equal(di_names(&di, fd, NULL, &r), -ENOTCONN);
	assert_int_equal(connect_to(fd, FAKE_GUEST, 1, false), -EINVAL); /* it listens */
	assert_int_equal(di_getsockopt(&di, got, SOL_SOCKET, SO_DOMAIN, &type, &len), 0);
	assert_int_equal(type, AF_VSOCK);
	close(got);
	close(guest);
	close(fd);
}

/* As the kernel's vsock does it for what it accepts. */
static void accepted_sockets_inherit_options(void **state)
{
	static const int names[] = {SO_VM_SOCKETS_BUFFER_MAX_SIZE, SO_VM_SOCKETS_BUFFER_SIZE,
				    SO_VM_SOCKETS_BUFFER_MIN_SIZE};
	static const uint64_t defaults[] = {256 << 10, 256 << 10, 128};
	const struct timeval seven = {.tv_sec = 7};
	struct timeval tv;
	uint64_t v;

	(void)state;
	for (unsigned set = 0; set < 2; set++) {
		int fd = new_socket(SOCK_STREAM), guest, got;
		socklen_t len = sizeof(tv);

		for (uint64_t i = 0; set && i < 3; i++) {
			v = (1 << 20) - i * 1000;
			assert_int_equal(di_setsockopt(&di, fd, AF_VSOCK, names[i], &v, sizeof(v)),
					 0);
		}
		if (set)
			assert_int_equal(di_setsockopt(&di, fd, AF_VSOCK,
						       SO_VM_SOCKETS_CONNECT_TIMEOUT, &seven,
						       sizeof(seven)),
					 0);
		assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1234 + set), 0);
		assert_int_equal(listen(fd, 8), 0);
		guest = fake_guest_connects(1234 + set, 5000);
		got = accept(fd, NULL, NULL);
		assert_int_equal(di_accepted(&di, fd, got), 0);
		for (uint64_t i = 0; i < 3; i++) {
			socklen_t size = sizeof(v);

			assert_int_equal(di_getsockopt(&di, got, AF_VSOCK, names[i], &v, &size), 0);
			assert_int_equal(v, set ? (1 << 20) - i * 1000 : defaults[i]);
		}
		assert_int_equal(
			di_getsockopt(&di, got, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv, &len),
			0);
		assert_int_equal(tv.tv_sec, set ? 7 : 2);
		close(got);
		close(guest);
		close(fd);
	}
}

/* zvsockd is started between its answer and bind(2): it may give the port to somebody else. */
static void a_port_that_is_forgotten(void **state)
{
	int fd, rc = 0;

	(void)state;
	for (int tries = 0; !rc; tries++) { /* the old one may end too late */
		assert_true(tries < FLOOD);
		fd = new_socket(SOCK_STREAM);
		rc = bind_to(fd, VMADDR_CID_ANY, FAKE_FORGETS);
		close(fd);
	}
	assert_int_equal(rc, -ENODEV);
}

/* A socket is what it is wherever its descriptor goes. */
static void found_again_after_dup_and_fork(void **state)
{
	int fd = new_socket(SOCK_STREAM), high, status;
	struct sockaddr_vm l;
	pid_t pid;

	(void)state;
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1234), 0);
	high = fcntl(fd, F_DUPFD, 200);
	close(fd);
	assert_int_equal(di_is(high), 1);
	assert_int_equal(di_names(&di, high, &l, NULL), 0);
	assert_address(l, VMADDR_CID_ANY, 1234);
	pid = fork();
	if (!pid) {
		int own;

		for (int i = 3; i < 200; i++) /* what closefrom(3) leaves of us */
			close(i);
		own = di_socket(&di, SOCK_STREAM, 0);
		_exit(own < 0					     ? 1
		      : connect_to(own, FAKE_GUEST, 80, false)	     ? 2
		      : di_names(&di, high, &l, NULL)		     ? 3
		      : l.svm_port != 1234			     ? 4
		      : connect_to(high, FAKE_GUEST, 80, false) != 0 ? 5
								     : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(high);
}

static int descriptors(void)
{
	int n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static void nothing_stays_open(void **state)
{
	int before = descriptors(), fd;

	(void)state;
	for (int i = 0; i < 3; i++) {
		fd = new_socket(SOCK_STREAM);
		assert_int_equal(bind_to(fd, VMADDR_CID_ANY, FAKE_REFUSES(EACCES)), -EACCES);
		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_GARBAGE, false), -ENODEV);
		assert_int_equal(connect_to(fd, FAKE_GUEST, FAKE_REFUSES(ECONNRESET), true),
				 -ECONNRESET);
		close(fd);
	}
	for (int i = 0; i < 5000 && descriptors() != before;
	     i++) /* zvsockd's are in this process */
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(descriptors(), before);
}

#define GET(fd, name, v)                                                                           \
	({                                                                                         \
		socklen_t len_ = sizeof(v);                                                        \
		int rc_ = di_getsockopt(&di, fd, AF_VSOCK, name, &(v), &len_);                     \
		assert_true(rc_ || len_ == sizeof(v));                                             \
		rc_;                                                                               \
	})
#define SET(fd, name, v) di_setsockopt(&di, fd, AF_VSOCK, name, &(v), sizeof(v))

static void buffer_sizes(void **state)
{
	int fd = new_socket(SOCK_STREAM), other = new_socket(SOCK_STREAM), same, few = 1;
	uint64_t v = 0;

	(void)state;
	assert_int_equal(GET(fd, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	assert_int_equal(v, 262144);
	assert_int_equal(GET(fd, SO_VM_SOCKETS_BUFFER_MIN_SIZE, v), 0);
	assert_int_equal(v, 128);
	assert_int_equal(GET(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, v), 0);
	assert_int_equal(v, 262144);
	v = 1 << 20; /* above MAX */
	assert_int_equal(SET(fd, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	assert_int_equal(GET(fd, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	assert_int_equal(v, 262144);
	v = UINT64_C(1) << 33;
	assert_int_equal(SET(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, v), 0);
	assert_int_equal(SET(fd, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	v = 0;
	same = dup(fd);
	assert_int_equal(GET(same, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	assert_true(v == UINT64_C(1) << 33);
	v = 4096; /* MAX draws SIZE with it, MIN lifts it */
	assert_int_equal(SET(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, v), 0);
	assert_int_equal(GET(fd, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	assert_int_equal(v, 4096);
	v = 5000;
	assert_int_equal(SET(fd, SO_VM_SOCKETS_BUFFER_MIN_SIZE, v), 0);
	assert_int_equal(GET(fd, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	assert_int_equal(v, 5000);
	assert_int_equal(GET(other, SO_VM_SOCKETS_BUFFER_SIZE, v), 0);
	assert_int_equal(v, 262144);
	assert_int_equal(SET(fd, SO_VM_SOCKETS_BUFFER_SIZE, few), -EINVAL);
	assert_int_equal(GET(fd, SO_VM_SOCKETS_BUFFER_SIZE, few), -EINVAL);
	assert_int_equal(SET(fd, SO_VM_SOCKETS_PEER_HOST_VM_ID, v), -ENOPROTOOPT);
	assert_int_equal(GET(fd, SO_VM_SOCKETS_TRUSTED, v), -ENOPROTOOPT);
	close(fd);
	close(same);
	close(other);
}

static void connect_timeouts(void **state)
{
	int fd = new_socket(SOCK_STREAM), unix_fd = socket(AF_UNIX, SOCK_STREAM, 0), status;
	struct timeval tv = {0};
	uint64_t rate = 1000;
	pid_t pid;

	(void)state;
	assert_int_equal(GET(fd, TIMEOUT_OLD, tv), 0);
	assert_int_equal(tv.tv_sec, 2);
	tv = (struct timeval){.tv_sec = 7, .tv_usec = 5001};
	assert_int_equal(SET(fd, TIMEOUT_NEW, tv), 0);
	pid = fork(); /* it is the socket's */
	if (!pid) {
		memset(&tv, 0, sizeof(tv));
		_exit(GET(fd, TIMEOUT_OLD, tv) || tv.tv_sec != 7 || tv.tv_usec != 6000);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* nor does the program's own use of the option harm it */
	assert_int_equal(di_setsockopt(&di, fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, 8), 0);
	assert_int_equal(di_is(fd), 1);
	assert_int_equal(di_setsockopt(&di, unix_fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, 8), 1);
	assert_int_equal(di_setsockopt(&di, unix_fd, AF_VSOCK, TIMEOUT_OLD, &tv, sizeof(tv)), 1);
	assert_int_equal(di_setsockopt(&di, fd, SOL_SOCKET, SO_SNDBUF, &rate, 4), 1);
	tv = (struct timeval){0};
	assert_int_equal(SET(fd, TIMEOUT_OLD, tv), 0);
	assert_int_equal(GET(fd, TIMEOUT_OLD, tv), 0);
	assert_int_equal(tv.tv_sec, 2);
	tv.tv_usec = 1000000;
	assert_int_equal(SET(fd, TIMEOUT_OLD, tv), -ERANGE);
	tv = (struct timeval){.tv_sec = -1};
	assert_int_equal(SET(fd, TIMEOUT_OLD, tv), -ERANGE);
	assert_int_equal(di_setsockopt(&di, fd, AF_VSOCK, TIMEOUT_OLD, &tv, 8), -EINVAL);
	close(fd);
	close(unix_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sockets, setup, teardown),
		cmocka_unit_test_setup_teardown(no_zvsockd, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(binding, setup, teardown),
		cmocka_unit_test_setup_teardown(accepting, setup, teardown),
		cmocka_unit_test_setup_teardown(accepted_sockets_inherit_options, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_that_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(found_again_after_dup_and_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_stays_open, setup, teardown),
		cmocka_unit_test_setup_teardown(buffer_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(connect_timeouts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
