/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that connect to a VMM (mode client), beside one that listens: what is in the way to the
 * VMM delays nobody. The device answers one question; there is no link.
 */
#include "ring/vhost_ring.h"
#include "sock_connect.h"
#include "vhost-user/vu_rules.h"
#include "vhost-user/vu_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- two devices ---- */

struct device {
	struct zv_log_limit log;
	struct vu_socket *sk;
	char path[64];
};

static int on_message(void *ctx, struct vu_exchange *x)
{
	(void)ctx;
	x->answer.size = 8;
	x->answer.payload.u64 = x->msg->request;
	return 1;
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static void on_refused(void *ctx, const struct vu_msg *m)
{
	(void)ctx;
	(void)m;
}

static const struct vu_server_ops ops = {
	.attached = nothing, .message = on_message, .refused = on_refused, .gone = nothing};

static int link_open(const char *name, void **link)
{
	(void)name;
	*link = NULL;
	return zv_err(-EMFILE, "no link");
}

static const struct vu_link_ops link_ops = {link_open, nothing};
static struct vu_terms terms = {.nrings = 3, .ring_max = VU_VRING_SIZE_MAX, .mem_max = 1ull << 40};
static char dir[] = "/tmp/zvsock-dial-XXXXXX";
static struct device server, client;
static uint64_t stall_ns; /* of devices that are added; 0: default */

/* What is logged. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const char *words; /* of the lines that count */
	unsigned lines;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void look(void *ctx, enum zv_log_level level, const char *text)
{
	(void)ctx;
	(void)level;
	pthread_mutex_lock(&seen.lock);
	seen.lines += seen.words && strstr(text, seen.words);
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static void look_for(const char *words)
{
	pthread_mutex_lock(&seen.lock);
	seen.words = words;
	seen.lines = 0;
	pthread_mutex_unlock(&seen.lock);
}

static void wait_for_line(void)
{
	pthread_mutex_lock(&seen.lock);
	while (!seen.lines)
		pthread_cond_wait(&seen.changed, &seen.lock);
	pthread_mutex_unlock(&seen.lock);
}

/* There was one line, not one for each attempt. */
static void was_said_once(void)
{
	pthread_mutex_lock(&seen.lock);
	assert_int_equal(seen.lines, 1);
	pthread_mutex_unlock(&seen.lock);
}

static int add(struct device *d, const char *name, bool connects)
{
	struct vu_socket_config c = {.client = connects,
				     .fd = -1,
				     .sockmode = -1,
				     .terms = &terms,
				     .stall_ns = stall_ns,
				     .ops = &ops,
				     .link = &link_ops,
				     .ctx = d,
				     .log = &d->log};

	memset(d, 0, sizeof(*d));
	(void)snprintf(d->path, sizeof(d->path), "%s/%s", dir, name);
	c.path = d->path;
	return vu_server_add(&d->sk, &c);
}

static void end(struct device *d)
{
	if (d->sk)
		vu_server_remove(d->sk);
	d->sk = NULL;
}

static int setup(void **state)
{
	(void)state;
	return add(&server, "server", false);
}

static int teardown(void **state)
{
	(void)state;
	end(&client);
	end(&server);
	stall_ns = 0;
	look_for(NULL);
	return 0;
}

/* Asks at @fd, and closes it. */
static void is_served(int fd)
{
	struct vu_msg m = {.request = VU_GET_QUEUE_NUM, .flags = VU_VERSION};

	assert_int_equal(send(fd, &m, 12, MSG_NOSIGNAL), 12);
	assert_int_equal(recv(fd, &m, 20, MSG_WAITALL), 20);
	assert_int_equal(m.payload.u64, VU_GET_QUEUE_NUM);
	(void)close(fd);
}

static void serves(const struct device *d)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(sa.sun_path, d->path, sizeof(d->path));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	is_served(fd);
}

/* ---- the way to the VMM ---- */

/* What stands between it and the VMM's socket: a directory that can be locked. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool locked;
	const char *name;     /* of the socket */
	unsigned begun, over; /* attempts to connect to it */
} way = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .name = ""};

int __wrap_sock_connect(int fd, const char *path);
int __real_sock_connect(int fd, const char *path);

int __wrap_sock_connect(int fd, const char *path)
{
	bool counts;
	int ret;

	pthread_mutex_lock(&way.lock);
	counts = strcmp(strrchr(path, '/') + 1, way.name) == 0;
	way.begun += counts;
	pthread_cond_broadcast(&way.changed);
	while (way.locked)
		pthread_cond_wait(&way.changed, &way.lock);
	pthread_mutex_unlock(&way.lock);
	ret = __real_sock_connect(fd, path);
	pthread_mutex_lock(&way.lock);
	way.over += counts;
	pthread_cond_broadcast(&way.changed);
	pthread_mutex_unlock(&way.lock);
	return ret;
}

static void set_way(bool locked, const char *name)
{
	pthread_mutex_lock(&way.lock);
	way.name = name;
	way.locked = locked;
	way.begun = way.over = 0;
	pthread_cond_broadcast(&way.changed);
	pthread_mutex_unlock(&way.lock);
}

static void wait_for_way(const unsigned *count, unsigned n)
{
	pthread_mutex_lock(&way.lock);
	while (*count < n)
		pthread_cond_wait(&way.changed, &way.lock);
	pthread_mutex_unlock(&way.lock);
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* ---- the tests ---- */

/* The VMM's directory is locked, or is a file system of a program that does not answer. Other
 * sockets are served, and this one can be removed. */
static void a_locked_directory_delays_nobody(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		set_way(true, "locked");
		assert_int_equal(add(&client, "locked", true), 0);
		wait_for_way(&way.begun, 1);
		serves(&server);
		if (i == 0)
			end(&client);
		set_way(false, "locked");
		wait_for_way(&way.over, 1);
	}
	serves(&server);
}

/* It ends while the result of its attempt is on its way. */
static void an_end_may_cross_a_connection(void **state)
{
	char path[80];
	int ls;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/vmm", dir);
	ls = listen_at(path);
	for (unsigned i = 0; i < 200; i++) {
		set_way(false, "vmm");
		assert_int_equal(add(&client, "vmm", true), 0);
		wait_for_way(&way.over, 1);
		end(&client);
		(void)close(accept(ls, NULL, NULL));
	}
	(void)close(ls);
	(void)unlink(path);
	serves(&server);
}

static void a_client_connects_again(void **state)
{
	int ls;

	(void)state;
	set_way(false, "vmm");
	assert_int_equal(add(&client, "vmm", true), 0);
	wait_for_way(&way.over, 1); /* nobody listens yet */
	ls = listen_at(client.path);
	for (int i = 0; i < 2; i++)
		is_served(accept(ls, NULL, NULL));
	(void)close(ls);
	(void)unlink(client.path);
}

/* Who makes the VMM's socket could lead us to another VMM, which would get this guest's CID. */
static void a_client_follows_no_link(void **state)
{
	int (*const plant[])(const char *, const char *) = {symlink, link};
	char other[80], path[80];
	int ls;

	(void)state;
	(void)snprintf(other, sizeof(other), "%s/other", dir);
	(void)snprintf(path, sizeof(path), "%s/link", dir);
	ls = listen_at(other);
	assert_int_equal(fcntl(ls, F_SETFL, O_NONBLOCK), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(plant[i](other, path), 0);
		set_way(false, "link");
		assert_int_equal(add(&client, "link", true), 0);
		wait_for_way(&way.over, 1);
		assert_int_equal(accept(ls, NULL, NULL), -1);
		assert_int_equal(errno, EAGAIN);
		end(&client);
		assert_int_equal(unlink(path), 0);
	}
	(void)close(ls);
	(void)unlink(other);
}

/* Who waits for a VMM learns that it cannot be reached. */
static void an_attempt_that_does_not_end_is_named(void **state)
{
	(void)state;
	stall_ns = 1;
	look_for("does not end");
	set_way(true, "locked");
	assert_int_equal(add(&client, "locked", true), 0);
	wait_for_line();
	was_said_once();
	set_way(false, "locked");
	wait_for_way(&way.over, 1);
}

/* Another program, or a VMM that serves another backend. */
static void one_that_says_nothing_is_named(void **state)
{
	int ls, fd;

	(void)state;
	stall_ns = 1000000;
	look_for("does not speak vhost-user");
	set_way(false, "vmm");
	assert_int_equal(add(&client, "vmm", true), 0);
	ls = listen_at(client.path);
	fd = accept(ls, NULL, NULL);
	wait_for_line();
	is_served(fd); /* it does after all */
	was_said_once();
	(void)close(ls);
	(void)unlink(client.path);
}

static void one_that_hangs_up_is_named(void **state)
{
	int ls;

	(void)state;
	stall_ns = 3600000000000ull; /* a slow machine is not silent */
	look_for("hangs up without a word");
	set_way(false, "vmm");
	assert_int_equal(add(&client, "vmm", true), 0);
	ls = listen_at(client.path);
	for (int i = 0; i < 3; i++) {
		(void)close(accept(ls, NULL, NULL));
		wait_for_line();
	}
	was_said_once();
	is_served(accept(ls, NULL, NULL));
	(void)close(ls);
	(void)unlink(client.path);
}

/* Nothing but the log tells that this will never do. */
static void an_error_that_stays_is_named(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/dgram", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	look_for("rotocol wrong type for socket");
	set_way(false, "dgram");
	assert_int_equal(add(&client, "dgram", true), 0);
	wait_for_line();
	wait_for_way(&way.over, 2);
	was_said_once();
	(void)close(fd);
	(void)unlink(client.path);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_locked_directory_delays_nobody),
		T(an_end_may_cross_a_connection),
		T(a_client_connects_again),
		T(a_client_follows_no_link),
		T(an_attempt_that_does_not_end_is_named),
		T(one_that_says_nothing_is_named),
		T(one_that_hangs_up_is_named),
		T(an_error_that_stays_is_named),
	};
	int ret;

	if (!mkdtemp(dir))
		return 1;
	terms.layout = vhost_ring_layout_of(0);
	zv_set_log(look, NULL);
	ret = cmocka_run_group_tests_name("vu_dial", tests, NULL, NULL);
	(void)rmdir(dir);
	return ret;
}
