/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages in pieces, their descriptors, answers that find no room, and what a descriptor is. */
#include "fd_check.h"
#include "fd_closer.h"
#include "passed.h"
#include "vhost-user/vu_rules.h"
#include "vhost-user/vu_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct ends {
	int frontend, backend;
};

static int setup(void **state)
{
	static struct ends e;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return -1;
	e = (struct ends){fd[0], fd[1]};
	*state = &e;
	return 0;
}

static int teardown(void **state)
{
	struct ends *e = *state;

	if (e->frontend >= 0)
		(void)close(e->frontend);
	(void)close(e->backend);
	return 0;
}

/* Sends @len bytes and @nfds copies of standard input with them. */
static void put(const struct ends *e, const void *data, size_t len, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(PASSED_MAX * sizeof(int))];
	} ctl = {.buf = {0}};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[PASSED_MAX] = {0};

	if (nfds) {
		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, nfds * sizeof(int));
	}
	assert_int_equal(sendmsg(e->frontend, &m, 0), (ssize_t)len);
}

static struct vu_msg kick(void)
{
	struct vu_msg m = {.request = VU_SET_VRING_KICK, .flags = VU_VERSION, .size = 8};

	m.payload.u64 = 1;
	return m;
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void a_message_comes_in_any_pieces(void **state)
{
	const struct ends *e = *state;
	struct vu_msg m = kick();
	struct vu_reader r;
	const char *why;

	vu_reader_init(&r, NULL);
	for (size_t cut = 1; cut < 20; cut++) {
		put(e, &m, cut, 0);
		assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), 0);
		assert_true(vu_reader_midway(&r));
		put(e, (const uint8_t *)&m + cut, 20 - cut, 1);
		assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), 1);
		assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why),
				 1); /* still there */
		assert_memory_equal(&r.msg, &m, 20);
		assert_int_equal(r.nfds, 1);
		assert_int_equal(fcntl(r.fd[0], F_GETFD), FD_CLOEXEC);
		vu_reader_next(&r);
		assert_false(vu_reader_midway(&r));
	}
}

static void nothing_is_taken_from_the_next_message(void **state)
{
	const struct ends *e = *state;
	struct vu_msg two[2] = {kick(), kick()};
	uint8_t wire[40];
	struct vu_reader r;
	const char *why;

	two[1].payload.u64 = 7;
	memcpy(wire, &two[0], 20);
	memcpy(wire + 20, &two[1], 20);
	put(e, wire, 40, 1);
	vu_reader_init(&r, NULL);
	assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), 1);
	assert_int_equal(r.msg.payload.u64, 1);
	assert_int_equal(r.nfds, 1);
	vu_reader_next(&r);
	assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), 1);
	assert_int_equal(r.msg.payload.u64, 7);
	assert_int_equal(r.nfds, 0);
	vu_reader_next(&r);
}

static void descriptors_that_nobody_takes_are_closed(void **state)
{
	const struct ends *e = *state;
	struct vu_msg m = kick();
	struct vu_reader r;
	int before = count_fds();
	const char *why;

	vu_reader_init(&r, NULL);
	put(e, &m, 12, 4);			/* with the header, ... */
	put(e, (const uint8_t *)&m + 12, 8, 4); /* ... and with the payload */
	assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), 1);
	assert_int_equal(r.nfds, 8);
	assert_int_equal(count_fds(), before + 8);
	vu_reader_next(&r);
	assert_int_equal(count_fds(), before);
}

static void more_descriptors_than_any_message_has_are_refused(void **state)
{
	const struct ends *e = *state;
	struct vu_msg m = kick();
	int before = count_fds();
	struct vu_reader r;
	const char *why;

	for (int together = 0; together < 3; together++) {
		vu_reader_init(&r, NULL);
		put(e, &m, 12, (unsigned[]){8, 64, PASSED_MAX}[together]);
		put(e, (const uint8_t *)&m + 12, 8, 1);
		assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), -EPROTO);
		assert_non_null(strstr(why, "more descriptors"));
		vu_reader_next(&r);
		while (recv(e->backend, &m, sizeof(m), MSG_DONTWAIT) > 0)
			;
		m = kick();
		assert_int_equal(count_fds(), before);
	}
}

static unsigned closes;

static void closed(void)
{
	__atomic_add_fetch(&closes, 1, __ATOMIC_RELEASE);
}

/* A close may take as long as who made the descriptor likes: also those that no message can have
 * are for the closer, and not for the kernel, which closes in our thread what finds no room. */
static void all_descriptors_are_for_the_closer(void **state)
{
	const struct ends *e = *state;
	struct fd_closer *b = fd_closer_new(closed);
	struct vu_msg m = kick();
	struct vu_reader r;
	const char *why;

	assert_non_null(b);
	closes = 0;
	vu_reader_init(&r, b);
	put(e, &m, 12, PASSED_MAX);
	assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), -EPROTO);
	vu_reader_next(&r);
	while (fd_closer_count(b))
		sched_yield();
	assert_int_equal(__atomic_load_n(&closes, __ATOMIC_ACQUIRE), PASSED_MAX);
	fd_closer_free(b);
}

static void a_bad_header_is_refused_before_its_payload(void **state)
{
	const struct ends *e = *state;
	struct vu_msg m = kick();
	struct vu_reader r;
	const char *why;

	m.size = sizeof(m.payload) + 1;
	put(e, &m, 12, 0);
	vu_reader_init(&r, NULL);
	assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), -EPROTO);
	assert_non_null(strstr(why, "longer"));
	vu_reader_next(&r);
}

static void the_end_of_the_peer_is_seen(void **state)
{
	struct ends *e = *state;
	struct vu_msg m = kick();
	struct vu_reader r;
	const char *why;

	put(e, &m, 15, 1);
	(void)close(e->frontend);
	e->frontend = -1;
	vu_reader_init(&r, NULL);
	assert_int_equal(vu_read(&r, e->backend, vu_head_refused, &why), -ECONNRESET);
	assert_null(why);
	vu_reader_next(&r);
}

static void an_answer_waits_for_room(void **state)
{
	const struct ends *e = *state;
	struct vu_msg m = {.request = VU_GET_CONFIG, .flags = VU_VERSION | VU_FLAG_REPLY};
	uint8_t got[sizeof(m)], junk[4096] = {0};
	struct vu_writer w;
	size_t have = 0;

	m.size = sizeof(m.payload.config);
	memset(&m.payload.config, 0x5a, m.size);
	while (send(e->backend, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(vu_write(&w, e->backend, &m), 0);
	assert_int_equal(vu_write_rest(&w, e->backend), 0);
	while (recv(e->frontend, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(vu_write_rest(&w, e->backend), 1);
	while (have < 12 + m.size) {
		ssize_t n = recv(e->frontend, got + have, sizeof(got) - have, MSG_DONTWAIT);

		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_int_equal(have, 12 + m.size);
	assert_memory_equal(got, &m, have);
}

static void only_an_eventfd_is_one(void **state)
{
	int event = eventfd(0, EFD_CLOEXEC), epoll = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
	    mem = memfd_create("m", MFD_CLOEXEC);
	const struct ends *e = *state;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_true(fd_is_eventfd(event));
	assert_false(fd_is_eventfd(epoll)); /* anonymous inodes as well: polling one may hang */
	assert_false(fd_is_eventfd(timer));
	assert_false(fd_is_eventfd(mem));
	assert_false(fd_is_eventfd(pipes[0]));
	assert_false(fd_is_eventfd(e->backend));
	assert_false(fd_is_eventfd(-1));
	(void)close(event), (void)close(epoll), (void)close(timer), (void)close(mem);
	(void)close(pipes[0]), (void)close(pipes[1]);
}

static void memory_comes_from_files_that_nobody_serves(void **state)
{
	int event = eventfd(0, EFD_CLOEXEC), mem = memfd_create("m", MFD_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC),
	    proc = open("/proc/self/status", O_RDONLY);
	const struct ends *e = *state;

	assert_null(fd_no_memory(mem, true));
	assert_null(fd_no_memory(mem, false));
	assert_non_null(fd_no_memory(event, true));
	assert_non_null(fd_no_memory(null, true));
	assert_non_null(fd_no_memory(proc, true));
	assert_non_null(fd_no_memory(e->backend, true));
	assert_non_null(fd_no_memory(-1, true));
	(void)close(event), (void)close(mem), (void)close(null), (void)close(proc);
}

/* Whoever touches a page of such a file waits for the disk. */
static void memory_on_a_disk_is_for_those_who_say_so(void **state)
{
	int file = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	(void)state;
	if (file < 0 || fd_no_memory(file, true)) {
		print_message("the test does not run on a disk\n");
		if (file >= 0)
			(void)close(file);
		skip();
	}
	if (fcntl(file, F_GET_SEALS) < 0) {
		assert_non_null(strstr(fd_no_memory(file, false), "memory = disk"));
	} else {
		assert_null(fd_no_memory(file, false)); /* tmpfs */
	}
	(void)close(file);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_message_comes_in_any_pieces),
		T(nothing_is_taken_from_the_next_message),
		T(descriptors_that_nobody_takes_are_closed),
		T(more_descriptors_than_any_message_has_are_refused),
		T(all_descriptors_are_for_the_closer),
		T(a_bad_header_is_refused_before_its_payload),
		T(the_end_of_the_peer_is_seen),
		T(an_answer_waits_for_room),
		T(only_an_eventfd_is_one),
		T(memory_comes_from_files_that_nobody_serves),
		T(memory_on_a_disk_is_for_those_who_say_so),
	};

	return cmocka_run_group_tests_name("vu_stream", tests, NULL, NULL);
}
