/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest may be called on, and that no call holds its caller up. */
#include "pair/vhost_call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "passed.h"
#include "watch_fix.h"

#define MANY	1000000u
#define WAIT_MS 60000

struct pair {
	int guest, given; /* the end that the guest reads; what the frontend hands over */
	struct vhost_call call;
};

static struct wake_limit wakes;

static void end(struct vhost_call *c)
{
	(void)close(vhost_call_end(c));
}

static int setup(void **state)
{
	static struct pair p;
	int ends[2];

	/* As User-mode Linux makes them. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	p = (struct pair){.guest = ends[0], .given = ends[1]};
	assert_int_equal(vhost_call_dup(p.given, &wakes, &p.call), 0);
	assert_true(p.call.fd >= 0 && p.call.fd != p.given);
	assert_true(fcntl(p.call.fd, F_GETFD) & FD_CLOEXEC);
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	end(&p->call);
	assert_int_equal(p->call.fd, -1);
	(void)close(p->guest);
	(void)close(p->given);
	return 0;
}

static int queued(int fd)
{
	int n = -1;

	assert_int_equal(ioctl(fd, SIOCOUTQ, &n), 0);
	return n;
}

/* ---- what is taken ---- */

static void a_call_is_one_word_of_8_bytes(void **state)
{
	struct pair *p = *state;
	uint64_t word[2] = {0};

	for (unsigned i = 0; i < 3; i++)
		assert_true(vhost_call_send(&p->call));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(read(p->guest, word, sizeof(word[0])), sizeof(word[0]));
	assert_int_equal(word[0], 1);
	assert_int_equal(read(p->guest, word, sizeof(word[0])), -1);
	assert_int_equal(errno, EAGAIN);
}

static void refuse(int fd)
{
	struct vhost_call c = {.fd = 77};

	assert_true(fd >= 0);
	assert_int_equal(vhost_call_dup(fd, &wakes, &c), -EINVAL);
	assert_int_equal(c.fd, -1);
	assert_false(vhost_call_send(&c));
	(void)close(fd);
}

static int one_of_pair(int type, int *other)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, ends), 0);
	*other = ends[0];
	return ends[1];
}

static void a_socket_that_no_guest_reads_is_refused(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr name = {.sa_family = AF_UNIX};
	socklen_t len = sizeof(in);
	int fd, other, accepted;

	(void)state;
	refuse(one_of_pair(SOCK_DGRAM, &other));
	(void)close(other);
	refuse(one_of_pair(SOCK_SEQPACKET, &other));
	(void)close(other);
	refuse(socket(AF_UNIX, SOCK_STREAM, 0)); /* not connected */

	fd = socket(AF_UNIX, SOCK_STREAM, 0); /* listens, under a name that the kernel chooses */
	assert_int_equal(bind(fd, &name, sizeof(name.sa_family)), 0);
	assert_int_equal(listen(fd, 1), 0);
	refuse(fd);

	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	other = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(other, (struct sockaddr *)&in, sizeof(in)), 0);
	accepted = accept(fd, NULL, NULL);
	refuse(accepted);
	refuse(other);
	refuse(fd);
	refuse(socket(AF_INET, SOCK_DGRAM, 0));
	refuse(socket(AF_NETLINK, SOCK_RAW, 0));
}

static void a_socket_that_cannot_be_written_to_is_refused(void **state)
{
	int fd, other;

	(void)state;
	fd = one_of_pair(SOCK_STREAM, &other);
	(void)close(other);
	refuse(fd);
	fd = one_of_pair(SOCK_STREAM, &other);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	refuse(fd);
	(void)close(other);
	fd = one_of_pair(SOCK_STREAM, &other);
	assert_int_equal(shutdown(other, SHUT_RD), 0);
	refuse(fd);
	(void)close(other);
}

/* A stream in which a descriptor is queued that SIOCINQ does not count. *end: what it is an end of;
 * *other: of the stream. -1: the kernel has closed it. */
static int hides_a_descriptor(int *end, int *other)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} ctl = {.align = {.cmsg_len = CMSG_LEN(sizeof(int)),
			   .cmsg_level = SOL_SOCKET,
			   .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {(void *)(uintptr_t) "o", 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = sizeof(ctl.buf)};
	int fd = one_of_pair(SOCK_STREAM, other), ends[2];
	struct pollfd p = {.events = POLLIN};
	char byte;

	assert_int_equal(pipe(ends), 0);
	memcpy(CMSG_DATA(&ctl.align), &ends[1], sizeof(int));
	assert_int_equal(sendmsg(*other, &m, MSG_OOB), 1);
	(void)close(ends[1]);
	assert_int_equal(recv(fd, &byte, 1, MSG_OOB), 1);
	*end = p.fd = ends[0];
	if (poll(&p, 1, 0) == 0)
		return fd;
	(void)close(fd);
	(void)close(*end);
	(void)close(*other);
	return -1;
}

/* Whoever closes such a socket last closes them. */
static void a_socket_in_which_descriptors_are_hidden_is_refused(void **state)
{
	int fd, end, other;

	(void)state;
	fd = hides_a_descriptor(&end, &other);
	if (fd < 0)
		skip();
	refuse(fd);
	(void)close(end);
	(void)close(other);
	fd = hides_a_descriptor(&end, &other);
	assert_true(passed_waits(fd, false));
	(void)close(fd);
	(void)close(end);
	(void)close(other);
}

/* Descriptors in its queue would be closed with it. */
static void nothing_can_be_put_into_a_socket_that_is_taken(void **state)
{
	struct pair *p = *state;
	int fd, other;

	fd = one_of_pair(SOCK_STREAM, &other);
	assert_int_equal(write(other, "x", 1), 1);
	refuse(fd);
	(void)close(other);
	assert_int_equal(send(p->guest, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
}

/* ---- no call holds its caller up ---- */

static void many_calls(struct pair *p)
{
	for (unsigned i = 0; i < MANY; i++)
		assert_true(vhost_call_send(&p->call));
	/* the word that was let in last, and what the kernel keeps beside it, may be beyond */
	assert_in_range(queued(p->given), 1, VHOST_CALL_QUEUED + 4096);
}

static void a_guest_that_never_reads_costs_nothing(void **state)
{
	struct pair *p = *state;

	/* The description is shared: the frontend can make it block again. */
	assert_int_equal(fcntl(p->given, F_SETFL, 0), 0);
	many_calls(p);
}

static void a_huge_buffer_is_not_filled(void **state)
{
	struct pair *p = *state;
	int size = INT_MAX / 2;

	if (setsockopt(p->given, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0) {
		print_message("not root: SO_SNDBUF at most net.core.wmem_max\n");
		assert_int_equal(setsockopt(p->given, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)),
				 0);
	}
	many_calls(p);
}

static void a_small_buffer_that_is_full_does_not_block(void **state)
{
	struct pair *p = *state;
	int size = 1;

	assert_int_equal(setsockopt(p->given, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_int_equal(fcntl(p->given, F_SETFL, 0), 0);
	many_calls(p);
}

static void a_guest_that_goes_raises_no_signal(void **state)
{
	struct pair *p = *state;

	assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	(void)close(p->guest);
	p->guest = -1;
	assert_true(vhost_call_send(&p->call));
	assert_true(vhost_call_send(&p->call));
}

static void a_socket_shut_down_later_raises_no_signal(void **state)
{
	struct pair *p = *state;

	assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	assert_int_equal(shutdown(p->given, SHUT_RDWR), 0);
	assert_true(vhost_call_send(&p->call));
	assert_true(vhost_call_send(&p->call));
}

/* ---- no call is lost ---- */

static _Atomic uint32_t ring;

/* What a guest does: takes words, and looks at the ring after each. NULL, or what went wrong. */
static void *guest(void *arg)
{
	struct pollfd p = {.fd = *(const int *)arg, .events = POLLIN};
	uint64_t word;

	while (atomic_load(&ring) < MANY) {
		if (poll(&p, 1, WAIT_MS) != 1)
			return (void *)"a call was lost";
		while (read(p.fd, &word, sizeof(word)) == sizeof(word))
			if (atomic_load(&ring) == MANY)
				return NULL;
	}
	return NULL;
}

static void a_guest_that_is_late_hears_of_the_last_change(void **state)
{
	struct pair *p = *state;
	void *why = (void *)"";
	pthread_t thread;

	atomic_store(&ring, 0);
	assert_int_equal(pthread_create(&thread, NULL, guest, &p->guest), 0);
	for (unsigned i = 1; i <= MANY; i++) {
		atomic_store(&ring, i);
		(void)vhost_call_send(&p->call);
	}
	assert_int_equal(pthread_join(thread, &why), 0);
	if (why)
		fail_msg("%s", (const char *)why);
}

static void an_eventfd_stays_one(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct vhost_call c;
	eventfd_t n;

	(void)state;
	assert_int_equal(vhost_call_dup(fd, &wakes, &c), 0);
	assert_true(vhost_call_send(&c) && vhost_call_send(&c));
	assert_int_equal(eventfd_read(fd, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
	assert_true(vhost_call_send(&c)); /* full, and does not block */
	end(&c);
	(void)close(fd);
}

/* ---- a frontend that makes an eventfd block ---- */

static void *call_once(void *arg)
{
	return (void *)(uintptr_t)vhost_call_send(arg);
}

static _Atomic bool refilling;

static void *refill(void *arg)
{
	const int fd = *(const int *)arg;
	uint64_t full = UINT64_MAX - 1;

	while (atomic_load(&refilling))
		(void)!write(fd, &full, sizeof(full));
	return NULL;
}

static void a_call_that_blocks_is_let_go(int flags, bool again)
{
	int fd = eventfd(0, EFD_CLOEXEC | flags), other = eventfd(0, EFD_CLOEXEC);
	/* The frontend's other threads must not wait: they would be let go as well. */
	struct vhost_call c, good;
	struct timespec until;
	pthread_t thread, filler;
	void *called;

	assert_int_equal(vhost_call_dup(fd, &wakes, &c), 0);
	assert_int_equal(vhost_call_dup(other, &wakes, &good), 0);
	assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	atomic_store(&refilling, again);
	if (again)
		assert_int_equal(pthread_create(&filler, NULL, refill, &fd), 0);
	assert_int_equal(pthread_create(&thread, NULL, call_once, &c), 0);
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_MS / 1000;
	assert_int_equal(pthread_timedjoin_np(thread, &called, &until), 0);
	assert_false(called);
	assert_true(vhost_call_blocks(&c));
	assert_false(vhost_call_send(&c)); /* at once */
	assert_false(vhost_call_blocks(&good));
	assert_true(vhost_call_send(&good));
	if (again) {
		eventfd_t n;

		atomic_store(&refilling, false);
		assert_int_equal(eventfd_read(fd, &n), 0);
		assert_int_equal(pthread_join(filler, NULL), 0);
	}
	end(&c);
	end(&good);
	(void)close(fd);
	(void)close(other);
}

/* ---- a frontend that lets very many wait ---- */

#define CALLS 10000u

/* @given is what the frontend gives, @woken the file that those who wait for calls have. */
static void slow_calls_are_put_off(int given, int woken)
{
	int other = eventfd(0, EFD_CLOEXEC);
	struct wake_limit limit = {0};
	struct vhost_call c, good;
	unsigned calls = 0;
	uint64_t word;

	assert_int_equal(vhost_call_dup(given, &limit, &c), 0);
	assert_int_equal(vhost_call_dup(other, &limit, &good), 0);
	for (unsigned i = 0; i < WAKE_MEASURED; i++)
		assert_true(vhost_call_send(&good)); /* from now on, one slow call is no matter */
	watch_often(woken);
	while (vhost_call_send(&c)) {
		/* As it looks to a guest that takes each call. */
		assert_int_equal(read(woken, &word, sizeof(word)), sizeof(uint64_t));
		assert_true(vhost_call_send(&good));
		assert_true(++calls < CALLS);
	}
	assert_true(c.rests);
	while (poll(&(struct pollfd){.fd = woken, .events = POLLIN}, 1, 0) == 1)
		assert_int_equal(read(woken, &word, sizeof(word)), sizeof(uint64_t));
	limit.refilled = UINT64_MAX / 2;
	assert_false(vhost_call_send(&c));
	assert_true(c.owed);
	assert_int_equal(poll(&(struct pollfd){.fd = woken, .events = POLLIN}, 1, 0), 0);
	assert_true(vhost_call_send(&good)); /* of the same device */
	watch_no_more();
	end(&c);
	assert_int_equal(vhost_call_dup(given, &limit, &c), 0); /* another one has to wait, too */
	assert_false(vhost_call_send(&c));
	limit.refilled = 0; /* later */
	assert_true(vhost_call_send(&c));
	assert_false(c.owed);
	assert_int_equal(read(woken, &word, sizeof(word)), sizeof(uint64_t));
	end(&c);
	end(&good);
	(void)close(other);
}

static void slow_calls_on_an_eventfd_are_put_off(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)state;
	slow_calls_are_put_off(fd, fd);
	(void)close(fd);
}

static void slow_calls_on_a_socket_are_put_off(void **state)
{
	struct pair *p = *state;

	end(&p->call);
	slow_calls_are_put_off(p->given, p->guest);
}

static void fast_calls_go_on(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct vhost_call c;

	(void)state;
	assert_int_equal(vhost_call_dup(fd, &wakes, &c), 0);
	for (unsigned i = 0; i < MANY / 10; i++)
		assert_true(vhost_call_send(&c));
	end(&c);
	(void)close(fd);
}

static void a_full_eventfd_that_blocks_is_not_called_on(void **state)
{
	(void)state;
	a_call_that_blocks_is_let_go(0, false);
	a_call_that_blocks_is_let_go(EFD_SEMAPHORE, false);
}

static void an_eventfd_that_is_filled_again_holds_nobody(void **state)
{
	(void)state;
	a_call_that_blocks_is_let_go(0, true);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_call_is_one_word_of_8_bytes),
		cmocka_unit_test(a_socket_that_no_guest_reads_is_refused),
		cmocka_unit_test(a_socket_that_cannot_be_written_to_is_refused),
		cmocka_unit_test(a_socket_in_which_descriptors_are_hidden_is_refused),
		T(nothing_can_be_put_into_a_socket_that_is_taken),
		T(a_guest_that_never_reads_costs_nothing),
		T(a_huge_buffer_is_not_filled),
		T(a_small_buffer_that_is_full_does_not_block),
		T(a_guest_that_goes_raises_no_signal),
		T(a_socket_shut_down_later_raises_no_signal),
		T(a_guest_that_is_late_hears_of_the_last_change),
		cmocka_unit_test(an_eventfd_stays_one),
		cmocka_unit_test(slow_calls_on_an_eventfd_are_put_off),
		T(slow_calls_on_a_socket_are_put_off),
		cmocka_unit_test(fast_calls_go_on),
		cmocka_unit_test(a_full_eventfd_that_blocks_is_not_called_on),
		cmocka_unit_test(an_eventfd_that_is_filled_again_holds_nobody),
	};

	return cmocka_run_group_tests_name("vhost_call", tests, NULL, NULL);
}
