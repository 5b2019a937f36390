/* SPDX-License-Identifier: BSD-3-Clause */
/* Who connects to a program's socket and is no guest: anybody can, the name is not secret. */
#include "dropin_test.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FLOOD	 20
#define STRANGER 65533 /* user */

/* The name of a listening socket is no secret. */
static void strangers_are_no_guests(void **state)
{
	int fd = new_socket(SOCK_STREAM), stranger, got;

	(void)state;
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1234), 0);
	assert_int_equal(listen(fd, 8), 0);
	stranger = fake_stranger_connects(1234, 0);
	got = accept(fd, NULL, NULL);
	assert_int_equal(di_accepted(&di, fd, got), -ECONNABORTED);
	close(got);
	close(stranger);

	/* It may be a program of this machine, but not a guest's. */
	stranger = fake_stranger_connects(1234, 'P');
	got = accept(fd, NULL, NULL);
	assert_int_equal(di_accepted(&di, fd, got), 0);
	assert_names(got, VMADDR_CID_HOST, 1234, VMADDR_CID_LOCAL, 7);
	close(got);
	close(stranger);

	if (geteuid() != 0) {
		print_message("not root: a stranger cannot be another user\n");
		close(fd);
		return;
	}
	assert_int_equal(syscall(SYS_setresuid, -1, STRANGER, -1), 0);
	stranger = fake_stranger_connects(1234, 'Z');
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	assert_true(stranger >= 0);
	got = accept(fd, NULL, NULL);
	assert_int_equal(di_accepted(&di, fd, got), -ECONNABORTED);
	close(got);
	close(stranger);
	close(fd);
}

static void connect_once(int to_child, char what, int answer)
{
	assert_int_equal(write(to_child, &what, 1), 1);
	assert_int_equal(read(answer, &what, 1), 1);
}

/* Accepts in a user namespace in which no user has a number: what the parent sends it to accept. 0:
 * it was as it should be. */
static int among_nameless(int in, int out, const char *dir)
{
	struct sockaddr_vm a = vm(VMADDR_CID_ANY, 1234);
	struct di d;
	int fd, got, rc;
	char what;

	if (unshare(CLONE_NEWUSER) < 0)
		return 77;
	di_init(&d, dir);
	fd = di_socket(&d, SOCK_STREAM, 0);
	if (fd < 0 || di_bind(&d, fd, &a) < 0 || listen(fd, 8) < 0)
		return 1;
	for (;;) {
		if (write(out, "", 1) != 1 || read(in, &what, 1) != 1)
			return 2;
		if (what == 'e')
			return 0;
		got = accept(fd, NULL, NULL);
		rc = di_accepted(&d, fd, got);
		close(got);
		if (rc != (what == 'g' ? 0 : -ECONNABORTED))
			return what;
	}
}

/* Where zvsockd's user has the same number as all others, nobody else is taken for zvsockd. */
static void strangers_without_a_number(void **state)
{
	int in[2], out[2], fd, status;
	pid_t child, stranger;
	char c;

	(void)state;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(in[1]);
		_exit(among_nameless(in[0], out[1], di.dir));
	}
	close(out[1]);
	if (read(out[0], &c, 1) == 1) {
		fd = fake_guest_connects(1234, 5000);
		assert_true(fd >= 0);
		connect_once(in[1], 'g', out[0]);
		close(fd);
		stranger = fake_fork();
		assert_true(stranger >= 0);
		if (stranger == 0)
			_exit(fake_stranger_connects(1234, 'Z') < 0);
		assert_int_equal(waitpid(stranger, &status, 0), stranger);
		assert_int_equal(status, 0);
		connect_once(in[1], 's', out[0]);
		assert_int_equal(write(in[1], "e", 1), 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("no user namespaces here\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
	close(in[0]);
	close(in[1]);
	close(out[0]);
}

/* They cost little: zvsockd is not asked because of each. */
static void many_strangers(void **state)
{
	int fd = new_socket(SOCK_STREAM), stranger[FLOOD], got;
	unsigned before;

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: a stranger cannot be another user\n");
		close(fd);
		return;
	}
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1234), 0);
	assert_int_equal(listen(fd, FLOOD), 0);
	assert_int_equal(syscall(SYS_setresuid, -1, STRANGER, -1), 0);
	for (int i = 0; i < FLOOD; i++)
		stranger[i] = fake_stranger_connects(1234, 'Z');
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	before = fake_hellos();
	for (int i = 0; i < FLOOD; i++) {
		got = accept(fd, NULL, NULL);
		assert_int_equal(di_accepted(&di, fd, got), -ECONNABORTED);
		close(got);
		close(stranger[i]);
	}
	assert_in_range(fake_hellos() - before, 1, FLOOD / 2);
	close(fd);
}

/* Nor do programs that say that they have the CID of a guest, or a port below 1024. */
static void programs_are_of_this_machine(void **state)
{
	static const struct {
		uint32_t cid, port, shown;
		uid_t uid;
		int rc;
	} by[] = {
		{FAKE_GUEST, 5000, VMADDR_CID_LOCAL, 0, 0},
		{VMADDR_CID_HOST, 5001, VMADDR_CID_HOST, 0, 0},
		{VMADDR_CID_LOCAL, 5002, VMADDR_CID_LOCAL, 65534, 0},
		{VMADDR_CID_LOCAL, 1023, VMADDR_CID_LOCAL, 0, 0},
		{VMADDR_CID_LOCAL, 1022, 0, 65534, -ECONNABORTED},
	};
	int fd = new_socket(SOCK_STREAM);

	(void)state;
	assert_int_equal(bind_to(fd, VMADDR_CID_ANY, 1234), 0);
	assert_int_equal(listen(fd, 8), 0);
	for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
		int other, got;

		if (by[i].uid && syscall(SYS_setresuid, -1, by[i].uid, -1) < 0)
			continue; /* we are not root */
		other = fake_program_connects(by[i].cid, 1234, by[i].port);
		if (by[i].uid)
			assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
		assert_true(other >= 0);
		got = accept(fd, NULL, NULL);
		assert_int_equal(di_accepted(&di, fd, got), by[i].rc);
		if (!by[i].rc)
			assert_names(got, by[i].shown, 1234, by[i].shown, by[i].port);
		close(got);
		close(other);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(strangers_are_no_guests, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers_without_a_number, setup, teardown),
		cmocka_unit_test_setup_teardown(many_strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(programs_are_of_this_machine, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
