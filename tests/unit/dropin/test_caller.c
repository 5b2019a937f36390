/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of the thread that made a call, and what is left of it when the thread ends. */
#include "seccomp/caller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* At the same address in each child. */
static char mine[2 * 4096] = "as it was";
static int told[2];

/* A child, with the number @as unless that is 0; what it finds in mine goes to told[1] when it is
 * told by SIGUSR1. -1: that number cannot be had. */
static pid_t child(pid_t as)
{
	struct clone_args a = {.exit_signal = SIGCHLD,
			       .set_tid = as ? (uintptr_t)&as : 0,
			       .set_tid_size = as ? 1 : 0};
	sigset_t set;
	pid_t pid;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		if (sigwait(&set, &sig) == 0)
			(void)!write(told[1], mine, sizeof(mine));
}

static void found_in(pid_t pid, char text[static sizeof(mine)])
{
	assert_true(pid > 0);
	assert_int_equal(kill(pid, SIGUSR1), 0);
	assert_int_equal(read(told[0], text, sizeof(mine)), sizeof(mine));
}

static void end(pid_t pid)
{
	assert_true(pid > 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void written(void **state)
{
	struct iovec at[3] = {{mine + 1, 2}, {mine + 4, 0}, {mine + 4096, 9}};
	char text[sizeof(mine)];
	pid_t pid = child(0);
	struct di_caller t;

	(void)state;
	assert_int_equal(di_caller_open(&t, pid), 0);
	assert_int_equal(di_caller_hold(&t), 0);
	assert_int_equal(di_caller_write(&t, (uintptr_t)mine, "new", 3), 0);
	assert_int_equal(di_caller_scatter(&t, at, 3, "abcde", 5), 0);
	found_in(pid, text);
	assert_string_equal(text, "nabit was");
	assert_memory_equal(text + 4096, "cde", 3);
	/* more than there is room for, and where nothing is */
	assert_int_equal(di_caller_scatter(&t, at, 3, mine, 12), -EFAULT);
	assert_int_equal(di_caller_write(&t, 8, "new", 3), -EFAULT);
	assert_int_equal(di_caller_write(&t, UINT64_MAX - 1, "new", 3), -EFAULT);
	di_caller_close(&t);
	end(pid);
}

/* Its number is another's: that gets nothing of what was meant for it. */
static void another_has_its_number(void **state)
{
	struct iovec at = {mine, 3};
	char text[sizeof(mine)];
	pid_t pid = child(0), other;
	struct di_caller t;

	(void)state;
	assert_int_equal(di_caller_open(&t, pid), 0);
	assert_int_equal(di_caller_hold(&t), 0);
	end(pid);
	other = child(pid);
	if (other < 0 && (errno == EPERM || errno == ENOSYS)) {
		print_message("not root: no number of its choice\n");
		di_caller_close(&t);
		return;
	}
	assert_int_equal(other, pid);
	assert_int_equal(di_caller_write(&t, (uintptr_t)mine, "new", 3), -EFAULT);
	assert_int_equal(di_caller_scatter(&t, &at, 1, "new", 3), -EFAULT);
	found_in(other, text);
	assert_string_equal(text, "as it was");
	di_caller_close(&t);
	end(other);
}

static void nobody_there(void **state)
{
	pid_t pid = child(0);
	struct di_caller t;

	(void)state;
	end(pid);
	assert_int_equal(di_caller_open(&t, pid), -ESRCH);
	di_caller_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written),
		cmocka_unit_test(another_has_its_number),
		cmocka_unit_test(nobody_there),
	};

	if (pipe(told))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
