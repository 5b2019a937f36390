/* SPDX-License-Identifier: BSD-3-Clause */
#include "zvd_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

void zf_asleep(void)
{
	int status = 0;

	assert_int_equal(kill(zf_pid, SIGSTOP), 0);
	assert_int_equal(waitpid(zf_pid, &status, WUNTRACED), zf_pid);
	assert_true(WIFSTOPPED(status));
}

void zf_awake(void)
{
	assert_int_equal(kill(zf_pid, SIGCONT), 0);
}
