/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages of bells, and what wakes their owners: who gets which, what is given back. */
#include "apps.h"
#include "channel/bells.h"
#include "held_page.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define A   101u /* serial numbers of applications */
#define B   102u
#define UID 1000u /* whose they are */

static uint32_t id;
static uint64_t offset;

/* ---- who closes an eventfd last ---- */

static _Thread_local long looked_for = -1; /* set in the thread that must not */
static bool closed_here;
static _Thread_local bool is_main;
static _Atomic bool held_up; /* closing, in other threads */

static long eventfd_id(int fd)
{
	char path[64], text[512] = "";
	const char *at;
	int info;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	/* By system calls: ThreadSanitizer does not see our close(), so it must not see an open()
	 * either, or it takes whoever has the number next for a racing thread. */
	info = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -1;
	n = syscall(SYS_read, info, text, sizeof(text) - 1);
	(void)syscall(SYS_close, info);
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "eventfd-id:");
	return at ? strtol(at + strlen("eventfd-id:"), NULL, 10) : -1;
}

/* Instead of libc's. */
int close(int fd)
{
	if (looked_for >= 0)
		closed_here = closed_here || eventfd_id(fd) == looked_for;
	while (!is_main && held_up)
		sched_yield();
	return (int)syscall(SYS_close, fd);
}

/* An application may have put it into very many epoll sets: half a second, and everybody who needs
 * a bell meanwhile would wait too. */
static void an_eventfd_is_closed_elsewhere(void **state)
{
	int fd = bells_page(A, 0, UID, &id, &offset);

	(void)state;
	assert_true(fd >= 0);
	looked_for = eventfd_id(fd);
	assert_true(looked_for >= 0);
	(void)syscall(SYS_close, fd);
	bells_gone(A);
	looked_for = -1;
	assert_false(closed_here);
}

static void each_queue_has_a_page(void **state)
{
	uint64_t size, at;
	uint32_t other;
	int file, fd[3];

	(void)state;
	file = bells_file(&size);
	assert_true(file >= 0);
	fd[0] = bells_page(A, 0, UID, &id, &offset);
	fd[1] = bells_page(A, 1, UID, &other, &at);
	assert_true(fd[0] >= 0 && fd[1] >= 0);
	assert_int_not_equal(id, other);
	assert_true(offset % 1024 == 0 && at % 1024 == 0 && offset != at && at < size);
	fd[2] = bells_page(A, 0, UID, &other, &at); /* asked for once more, it is the same */
	assert_int_equal(other, id);
	assert_int_equal(at, offset);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	close(file);
	bells_gone(A);
	assert_int_equal(bells_ringer(id, UID, &at), -ENOENT);
	fd[0] = bells_page(B, 0, UID, &other, &at);
	assert_int_not_equal(other, id); /* another use of the place */
	assert_int_equal(bells_ringer(id, UID, &at), -ENOENT);
	close(fd[0]);
	bells_gone(B);
}

/* ---- a write that does not come to its end ---- */

static int to;
static struct held_page nothing;
static pthread_t writer;

static void *write_it(void *arg)
{
	(void)!write(to, nothing.at, sizeof(uint64_t));
	return arg;
}

/* Writes to @fd from a page that is not there until let_go(). False: that cannot be had here. */
static bool hold(int fd)
{
	if (!held_page_new(&nothing))
		return false;
	to = fd;
	assert_int_equal(pthread_create(&writer, NULL, write_it, NULL), 0);
	assert_true(held_page_waits(&nothing)); /* it has begun */
	return true;
}

static void let_go(bool held)
{
	if (!held)
		return;
	held_page_come(&nothing);
	assert_int_equal(pthread_join(writer, NULL), 0);
}

/* ---- tests ---- */

static int events_of(int set)
{
	struct epoll_event ev;

	return epoll_wait(set, &ev, 1, 0);
}

/* The owner never reads, and hears each write all the same. */
static void a_write_is_an_event(void **state)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
	int own = bells_page(A, 0, UID, &id, &offset), ring = bells_ringer(id, UID, &offset);
	int set = epoll_create1(EPOLL_CLOEXEC);

	(void)state;
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, own, &edge), 0);
	assert_int_equal(events_of(set), 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(eventfd_write(ring, 1), 0);
		assert_int_equal(events_of(set), 1);
		assert_int_equal(events_of(set), 0);
	}
	close(set);
	close(own);
	close(ring);
	bells_gone(A);
}

/* Who finds it full empties it, and that it is full is no reason to wait. */
static void a_full_one_delays_nobody(void **state)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
	int own = bells_page(A, 0, UID, &id, &offset), ring = bells_ringer(id, UID, &offset);
	int set = epoll_create1(EPOLL_CLOEXEC);
	eventfd_t n;

	(void)state;
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, own, &edge), 0);
	assert_int_equal(eventfd_write(ring, UINT64_MAX - 1), 0);
	(void)events_of(set);
	assert_int_equal(eventfd_write(ring, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(eventfd_read(ring, &n), 0);
	assert_int_equal(eventfd_write(ring, 1), 0);
	assert_int_equal(events_of(set), 1);
	close(own);
	bells_gone(A);
	assert_int_equal(eventfd_write(ring, 1), 0); /* nobody is there */
	close(ring);
	close(set);
}

/*
 * Whoever has what wakes a queue can let others hang that use it, so no other user gets it, not
 * root either. What he does with his own holds up no lock of ours: a write from memory that does
 * not come is under way throughout.
 */
static void another_user_has_none(void **state)
{
	int own = bells_page(A, 0, UID, &id, &offset), ring = bells_ringer(id, UID, &offset);
	bool held = hold(ring);
	int fd;
	struct bell a, b;
	uint32_t other;

	(void)state;
	assert_true(own >= 0 && ring >= 0);
	assert_int_equal(bells_ringer(id, UID + 1, &offset), -ENOENT);
	assert_int_equal(bells_ringer(id, 0, &offset), -ENOENT);
	fd = bells_page(B, 0, UID + 1, &other, &offset);
	assert_true(fd >= 0);
	assert_false(bells_alloc(A, 0, &a, B, 0, &b));
	close(fd);
	close(own);
	own = bells_page(A, 0, UID, &id, &offset);
	fd = bells_ringer(id, UID, &offset);
	assert_true(own >= 0 && fd >= 0);
	assert_int_equal(eventfd_write(fd, 1), 0);
	close(fd);
	close(own);
	bells_gone(A);
	bells_gone(B);
	close(ring);
	let_go(held);
}

static void bells_come_in_pairs(void **state)
{
	int fd[2] = {bells_page(A, 0, UID, &id, &offset), -1};
	static struct bell a[5000], b[5000];
	unsigned n = 0;
	uint32_t other;

	(void)state;
	assert_false(bells_alloc(A, 0, &a[0], B, 0, &b[0])); /* B has no page */
	assert_int_equal(a[0].nr, 0);
	fd[1] = bells_page(B, 3, UID, &other, &offset);
	assert_false(bells_alloc(A, 0, &a[0], B, 0, &b[0])); /* not that queue */
	while (n < 5000 && bells_alloc(A, 0, &a[n], B, 3, &b[n])) {
		assert_int_equal(a[n].page, id);
		assert_int_equal(b[n].page, other);
		assert_true(a[n].nr && a[n].nr < 4096 && b[n].nr);
		assert_true(!n || a[n].nr != a[n - 1].nr);
		n++;
	}
	assert_int_equal(n, 4095);
	assert_int_equal(b[n].nr, 0);
	bell_free(&b[7]);
	assert_false(bells_alloc(A, 0, &a[n], B, 3, &b[n])); /* and B's is back */
	bell_free(&a[9]);
	assert_true(bells_alloc(A, 0, &a[n], B, 3, &b[n]));
	assert_int_equal(a[n].nr, a[9].nr);
	assert_int_equal(b[n].nr, b[7].nr);
	/* One device with itself. */
	bells_gone(B);
	bell_free(&b[1]); /* of a page that is gone */
	bell_free(&a[1]);
	bell_free(&a[2]);
	assert_true(bells_alloc(A, 0, &a[1], A, 0, &a[2]));
	assert_int_not_equal(a[1].nr, a[2].nr);
	close(fd[0]);
	close(fd[1]);
	bells_gone(A);
}

static void without_descriptors_there_are_none(void **state)
{
	struct rlimit old, none;
	uint64_t size;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	/* However many of those of the tests before are closed meanwhile. */
	none = (struct rlimit){1, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(bells_page(A, 0, UID, &id, &offset), -EMFILE);
	assert_int_equal(bells_file(&size), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(fd);
	fd = bells_page(A, 0, UID, &id, &offset);
	assert_true(fd >= 0);
	close(fd);
	bells_gone(A);
}

/* False: this process may not have as many. */
static bool raise_limit(struct rlimit *old, rlim_t needed)
{
	struct rlimit many;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, old), 0);
	many = (struct rlimit){old->rlim_max, old->rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	if (many.rlim_cur >= needed)
		return true;
	print_message("only %llu descriptors can be had, and %llu are needed\n",
		      (unsigned long long)many.rlim_cur, (unsigned long long)needed);
	return false;
}

static void pages_run_out(void **state)
{
	struct rlimit old;
	uint32_t other;

	(void)state;
	if (!raise_limit(&old, 1200))
		skip();
	for (unsigned i = 0; i < 1024; i++) {
		int fd = bells_page(A + i / 128, i % 128, UID, &other, &offset);

		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(bells_page(A + 8, 0, UID, &other, &offset), -ENOSPC);
	bells_gone(A + 3);
	for (unsigned i = 0; i < 128; i++) {
		int fd = bells_page(A + 8, i, UID, &other, &offset);

		assert_true(fd >= 0);
		close(fd);
	}
	for (unsigned i = 0; i < 9; i++)
		bells_gone(A + i);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* Who can make a close take as long as he likes would have all descriptors of zvsockd, in the
 * end. */
static void eventfds_that_are_not_closed_are_bounded(void **state)
{
	unsigned n = 0;
	uint32_t other;
	int fd;

	(void)state;
	while ((fd = bells_page(A, 0, UID, &id, &offset)) == -EBUSY)
		sched_yield(); /* until those of the tests before are closed */
	held_up = true;
	for (; fd >= 0 && n < 900; n++) {
		close(fd);
		bells_gone(A);
		fd = bells_page(A, 0, UID, &id, &offset);
	}
	assert_int_equal(fd, -EBUSY);
	fd = bells_page(B, 0, UID + 1, &other, &offset); /* another user is not concerned */
	assert_true(fd >= 0);
	close(fd);
	held_up = false;
	bells_gone(B);
	while ((fd = bells_page(A, 0, UID, &id, &offset)) == -EBUSY)
		sched_yield();
	assert_true(fd >= 0);
	close(fd);
	bells_gone(A);
}

/* As many pages as there can be, then those of one application after another that has gone, until
 * there are no new ones; and then all the others have gone too. */
static void all_eventfds_have_a_descriptor_reserved(void **state)
{
	const unsigned queues = APPS_MAX * ZV_QUEUES_MAX;
	unsigned open = 0;
	struct rlimit old;
	uint32_t other;
	int fd = -1;

	(void)state;
	if (!raise_limit(&old, 2000))
		skip();
	while ((fd = bells_page(A, 0, UID, &other, &offset)) == -EBUSY)
		sched_yield(); /* until those of the tests before are closed */
	held_up = true;
	for (; fd >= 0 && open + 1 < queues; open++) {
		(void)syscall(SYS_close, fd);
		fd = bells_page(B + open, 0, UID, &other, &offset);
	}
	for (unsigned i = 0; fd >= 0; i++, open++) { /* of 16 users */
		(void)syscall(SYS_close, fd);
		bells_gone(A);
		fd = bells_page(A, 0, UID + 1 + i % 16, &other, &offset);
	}
	assert_int_equal(fd, -EBUSY);
	for (unsigned i = 0; i < queues; i++)
		bells_gone(B + i);
	assert_true(open <= BELLS_FDS + queues * BELLS_FDS_QUEUE);
	held_up = false;
	while ((fd = bells_page(A, 0, UID, &other, &offset)) == -EBUSY)
		sched_yield();
	assert_true(fd >= 0);
	close(fd);
	bells_gone(A);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_queue_has_a_page),
		cmocka_unit_test(an_eventfd_is_closed_elsewhere),
		cmocka_unit_test(a_write_is_an_event),
		cmocka_unit_test(a_full_one_delays_nobody),
		cmocka_unit_test(another_user_has_none),
		cmocka_unit_test(bells_come_in_pairs),
		cmocka_unit_test(without_descriptors_there_are_none),
		cmocka_unit_test(pages_run_out),
		cmocka_unit_test(eventfds_that_are_not_closed_are_bounded),
		cmocka_unit_test(all_eventfds_have_a_descriptor_reserved),
	};

	is_main = true;
	return cmocka_run_group_tests_name("bells", tests, NULL, NULL);
}
