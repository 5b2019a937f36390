/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory whose file is cut off while it is in use. What is under test: the access that meets
 * the lost page goes on, on zeroes; guest_mem.fault tells; another guest's memory is not touched;
 * an address that nobody watches still ends the process, or reaches the earlier handler.
 */
#include "mem/guest_mem.h"
#include "sigbus.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LEN (64u * 1024)

static struct guest_mem *import(int *fd)
{
	struct guest_mem_src src = {.gpa = {0x1000}, .uva = {0x7000000}, .size = LEN};
	struct guest_mem *m;

	*fd = src.fd = memfd_create("sigbus", MFD_CLOEXEC);
	assert_true(src.fd >= 0);
	assert_int_equal(ftruncate(src.fd, LEN), 0);
	assert_int_equal(guest_mem_import(&m, &src, 1), 0);
	return m;
}

/* cmocka has a SIGBUS handler of its own, so each case is a child; its exit code is the line. */
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			_exit(__LINE__ & 127 ? __LINE__ & 127 : 1);                                \
	} while (0)

static int in_child(void (*f)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		f();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void cut_off(void)
{
	struct guest_mem *a, *b;
	int fa, fb;

	CHECK(sigbus_install() == 0 && sigbus_install() == 0);
	a = import(&fa);
	b = import(&fb);
	memset(a->r[0].va, 1, LEN);
	memset(b->r[0].va, 2, LEN);
	CHECK(ftruncate(fa, 4096) == 0);
	CHECK(((volatile uint8_t *)a->r[0].va)[LEN - 1] == 0); /* a read */
	CHECK(a->fault == 1);
	memset(a->r[0].va, 3, LEN); /* writes reach nobody */
	CHECK(b->fault == 0);
	CHECK(b->r[0].va[LEN - 1] == 2);
	guest_mem_put(a);
	guest_mem_put(b);
}

static void lost_write(void)
{
	struct guest_mem *m;
	int fd;

	CHECK(sigbus_install() == 0);
	m = import(&fd);
	CHECK(ftruncate(fd, 0) == 0);
	((volatile uint8_t *)m->r[0].va)[5000] = 7;
	CHECK(m->fault == 1);
	CHECK(m->r[0].va[5000] == 7);
	guest_mem_put(m);
}

static void test_cut_off_file_turns_to_zeroes(void **state)
{
	(void)state;
	assert_int_equal(in_child(cut_off), 0);
}

static void test_write_to_a_lost_page(void **state)
{
	(void)state;
	assert_int_equal(in_child(lost_write), 0);
}

static void test_slots_are_reused(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		int fd;
		struct guest_mem *m = import(&fd);

		assert_true(m->map[0].watch >= 0);
		guest_mem_put(m);
		close(fd);
	}
}

/* As many maps at once as no process ever had: each is watched, the last one too. */
static void many(void)
{
	static struct guest_mem *m[10000];
	int fd;

	CHECK(sigbus_install() == 0);
	for (unsigned i = 0; i < 10000; i++) {
		m[i] = import(&fd);
		if (i < 9999)
			close(fd);
	}
	CHECK(ftruncate(fd, 0) == 0);
	CHECK(((volatile uint8_t *)m[9999]->r[0].va)[1] == 0);
	CHECK(m[9999]->fault == 1 && m[9998]->fault == 0);
	for (unsigned i = 0; i < 10000; i++)
		guest_mem_put(m[i]);
}

static void test_every_map_is_watched(void **state)
{
	(void)state;
	assert_int_equal(in_child(many), 0);
}

/* A lost page that is not guest memory. */
static void lose_another_page(void)
{
	int fd = memfd_create("other", 0);
	volatile uint8_t *p;

	CHECK(sigbus_install() == 0 && ftruncate(fd, 4096) == 0);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(ftruncate(fd, 0) == 0);
	(void)p[0];
}

static void earlier_handler(int sig)
{
	(void)sig;
	_exit(42);
}

static void with_earlier_handler(void)
{
	signal(SIGBUS, earlier_handler);
	lose_another_page();
}

static void with_default_action(void)
{
	signal(SIGBUS, SIG_DFL);
	lose_another_page();
}

static void test_other_addresses_are_passed_on(void **state)
{
	int status;

	(void)state;
	status = in_child(with_earlier_handler);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	status = in_child(with_default_action);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

/* A signal that was sent is no access: whoever had it ignored or handled keeps the protection. */
static void sent_handler(int sig)
{
	(void)sig;
}

static void sent(void (*before)(int))
{
	struct guest_mem *m;
	int fd;

	signal(SIGBUS, before);
	CHECK(sigbus_install() == 0);
	m = import(&fd);
	for (int i = 0; i < 3; i++)
		CHECK(kill(getpid(), SIGBUS) == 0);
	CHECK(ftruncate(fd, 0) == 0);
	CHECK(((volatile uint8_t *)m->r[0].va)[1] == 0);
	CHECK(m->fault == 1);
	guest_mem_put(m);
}

static void sent_and_ignored(void)
{
	sent(SIG_IGN);
}

static void sent_and_handled(void)
{
	sent(sent_handler);
}

static void sent_and_deadly(void)
{
	sent(SIG_DFL);
}

static void test_a_sent_signal_does_not_end_the_protection(void **state)
{
	int status;

	(void)state;
	assert_int_equal(in_child(sent_and_ignored), 0);
	assert_int_equal(in_child(sent_and_handled), 0);
	status = in_child(sent_and_deadly); /* as it always was */
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_off_file_turns_to_zeroes),
		cmocka_unit_test(test_write_to_a_lost_page),
		cmocka_unit_test(test_slots_are_reused),
		cmocka_unit_test(test_every_map_is_watched),
		cmocka_unit_test(test_other_addresses_are_passed_on),
		cmocka_unit_test(test_a_sent_signal_does_not_end_the_protection),
	};

	return cmocka_run_group_tests_name("sigbus", tests, NULL, NULL);
}
