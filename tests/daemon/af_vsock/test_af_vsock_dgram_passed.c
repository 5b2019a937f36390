/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs send descriptors beside datagrams to a zvsockd whose kernel cannot refuse them
 * (no_passrights.c): TCP sockets that take an hour to close (slow_fd.h). Of those that zvsockd
 * takes, a user has few at a time, and everything goes on but what shares a queue with them.
 */
#include "dropin_side.h"
#include "slow_fd.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_ANY	 UINT32_MAX
#define PORT	 1234u
#define AT_ONCE	 253u /* SCM_MAX_FD */
#define MESSAGES 12u
#define SURE	 3u  /* of those: more than zvsockd takes descriptors of */
#define OTHERS	 64u /* descriptors of zvsockd that may come beside them */
#define FEW	 3u  /* of those; fewer than a look at a message can receive */
#define LOOKED	 4u  /* in a message: as many as have room beside its sender's credentials */

static const char *program;

static int up(void **state)
{
	(void)state;
	return ds_up(program) ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	return ds_down() ? 0 : -1;
}

/* A message with @n times @fd, at most so often as the kernel permits. */
struct bomb {
	int sock, fd;
	unsigned n;
	const char *path; /* NULL: to whom @sock is connected */
};

static bool send_bomb(void *arg)
{
	const struct bomb *b = arg;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(AT_ONCE * sizeof(int))];
	} ctl = {.align = {.cmsg_len = CMSG_LEN(b->n * sizeof(int)),
			   .cmsg_level = SOL_SOCKET,
			   .cmsg_type = SCM_RIGHTS}};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct iovec iov = {(void *)(uintptr_t) "bomb", 4};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = CMSG_SPACE(b->n * sizeof(int))};

	for (unsigned i = 0; i < b->n; i++)
		memcpy(CMSG_DATA(&ctl.align) + i * sizeof(int), &b->fd, sizeof(int));
	if (b->path) {
		snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s%s", zf_dir, ds_space, b->path);
		m.msg_name = &sa;
		m.msg_namelen = sizeof(sa);
	}
	return sendmsg(b->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* zvsockd is stopped meanwhile: it is to be the last who closes what is sent. */
static void send_bombs(int sock, const char *path, unsigned n, int end[static MESSAGES])
{
	zf_asleep();
	for (unsigned i = 0; i < MESSAGES; i++) {
		struct bomb b = {sock, slow_fd(&end[i]), n, path};

		if (!send_bomb(&b)) { /* the queue may be short */
			assert_true(i >= SURE);
			close(end[i]);
			end[i] = -1;
		}
		close(b.fd);
	}
}

/* A socket that is connected accepts zvsockd's next one only afterwards. */
static void dissolve(int fd)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};

	assert_int_equal(connect(fd, &none, sizeof(none)), 0);
}

static int connected(int ask, const struct dropin_msg *of, int fd)
{
	struct dropin_msg m;

	dissolve(fd);
	ds_connect_msg(&m, SOCK_DGRAM, ZV_CID_LOCAL, PORT);
	memcpy(m.label, of->label, sizeof(m.label));
	assert_true(ds_question(ask, &m));
	return m.result ? m.result : ds_to(fd, m.where);
}

static void arrives(int fd, const char *text)
{
	struct dropin_label from;
	char data[16];

	assert_int_equal(ds_dgram_recv(fd, data, sizeof(data), &from), strlen(text));
	assert_memory_equal(data, text, strlen(text));
}

static void beside_datagrams_with_an_address(void **state)
{
	int end[MESSAGES], ask = ds_ask(), to, with, without, stranger;
	struct dropin_msg m, of_with, of_without;
	unsigned before;

	(void)state;
	to = ds_dgram(ask, CID_ANY, PORT, &m);
	with = ds_dgram(ask, CID_ANY, PORT + 1, &of_with);
	without = ds_dgram(ask, CID_ANY, PORT + 2, &of_without);
	stranger = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_true(to >= 0 && with >= 0 && without >= 0 && stranger >= 0);
	assert_int_equal(connected(ask, &of_with, with), 0);
	assert_int_equal(send(with, "one", 3, 0), 3);
	arrives(to, "one");
	before = zf_fds();
	send_bombs(stranger, "dgram", AT_ONCE, end);
	zf_awake();
	assert_true(zf_logged("has sent descriptors, and closing them takes long"));
	assert_true(zf_fds() <= before + 2 * AT_ONCE + OTHERS);
	assert_int_equal(send(with, "two", 3, 0), 3);
	arrives(to, "two");
	for (unsigned i = 0; i < MESSAGES; i++)
		close(end[i]);
	/* It goes on, and nothing is left. */
	assert_true(ds_dgram_send(without, &of_without, ZV_CID_LOCAL, PORT, "three", 5));
	arrives(to, "three");
	assert_true(zf_fds_back(before + FEW));
	close(stranger);
	close(without);
	close(with);
	close(to);
	close(ask);
}

struct probe {
	int fd;
	unsigned n;
};

/* Sends rarely: with a full socket there would be no other error than that. */
static bool is_over(void *arg)
{
	struct probe *p = arg;

	p->n++;
	return !(p->n & (p->n - 1)) && send(p->fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	       (errno == EPIPE || errno == ECONNREFUSED);
}

/* Who sends them on a connected socket has none any more. */
static void on_a_connected_socket(void **state)
{
	int end[MESSAGES], ask = ds_ask(), to, with, other;
	struct dropin_msg m, of_with, of_other;
	unsigned before;

	(void)state;
	to = ds_dgram(ask, CID_ANY, PORT, &m);
	with = ds_dgram(ask, CID_ANY, PORT + 1, &of_with);
	other = ds_dgram(ask, CID_ANY, PORT + 2, &of_other);
	assert_true(to >= 0 && with >= 0 && other >= 0);
	assert_int_equal(connected(ask, &of_with, with), 0);
	before = zf_fds();
	send_bombs(with, NULL, AT_ONCE, end);
	zf_awake();
	assert_true(zf_until(is_over, &(struct probe){.fd = with}));
	assert_true(zf_fds() <= before + 2 * AT_ONCE + OTHERS);
	assert_true(ds_dgram_send(other, &of_other, ZV_CID_LOCAL, PORT, "one", 3));
	arrives(to, "one");
	for (unsigned i = 0; i < MESSAGES; i++)
		close(end[i]);
	assert_true(zf_fds_back(before + FEW));
	assert_int_equal(connected(ask, &of_with, with), 0);
	assert_int_equal(send(with, "two", 3, 0), 3);
	arrives(to, "two");
	close(other);
	close(with);
	close(to);
	close(ask);
}

/* So few that all are taken. A look whether more come with the next message receives none of these,
 * or they would be left. */
static void few_on_a_connected_socket(void **state)
{
	int end[MESSAGES], ask = ds_ask(), to, with;
	struct dropin_msg m, of_with;
	unsigned before;

	(void)state;
	to = ds_dgram(ask, CID_ANY, PORT, &m);
	with = ds_dgram(ask, CID_ANY, PORT + 1, &of_with);
	assert_true(to >= 0 && with >= 0);
	assert_int_equal(connected(ask, &of_with, with), 0);
	before = zf_fds();
	send_bombs(with, NULL, LOOKED, end);
	zf_awake();
	assert_int_equal(send(with, "one", 3, 0), 3);
	arrives(to, "one"); /* what was sent before has been read */
	assert_true(zf_fds() <= before + MESSAGES * LOOKED + FEW);
	for (unsigned i = 0; i < MESSAGES; i++)
		close(end[i]);
	assert_true(zf_fds_back(before + FEW));
	close(with);
	close(to);
	close(ask);
}

struct again {
	const struct dropin_msg *of;
	int ask, fd;
};

static bool connects(void *arg)
{
	const struct again *a = arg;

	return connected(a->ask, a->of, a->fd) == 0;
}

/* It connects again, for which what it has sent before is read first. */
static void before_another_connect(void **state)
{
	int end[MESSAGES], ask = ds_ask(), to, with;
	struct dropin_msg m, of_with, again;

	(void)state;
	to = ds_dgram(ask, CID_ANY, PORT, &m);
	with = ds_dgram(ask, CID_ANY, PORT + 1, &of_with);
	assert_true(to >= 0 && with >= 0);
	assert_int_equal(connected(ask, &of_with, with), 0);
	send_bombs(with, NULL, AT_ONCE, end);
	dissolve(with);
	ds_connect_msg(&again, SOCK_DGRAM, ZV_CID_LOCAL, PORT);
	memcpy(again.label, of_with.label, sizeof(again.label));
	ds_send(ask, &again);
	zf_awake();
	assert_true(ds_answer(ask, &again));
	for (unsigned i = 0; i < MESSAGES; i++)
		close(end[i]);
	/* As long as those are not closed it may be refused. */
	assert_true(again.result == 0 || again.result == -ENOBUFS);
	assert_true(zf_until(connects, &(struct again){&of_with, ask, with}));
	assert_int_equal(send(with, "one", 3, 0), 3);
	arrives(to, "one");
	close(with);
	close(to);
	close(ask);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(beside_datagrams_with_an_address, up, down),
		cmocka_unit_test_setup_teardown(on_a_connected_socket, up, down),
		cmocka_unit_test_setup_teardown(few_on_a_connected_socket, up, down),
		cmocka_unit_test_setup_teardown(before_another_connect, up, down),
	};

	program = argc > 1 ? argv[1] : "zvsockd";
	return cmocka_run_group_tests_name("af_vsock_dgram_passed", tests, NULL, NULL);
}
