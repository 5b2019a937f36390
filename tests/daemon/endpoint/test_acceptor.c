/* SPDX-License-Identifier: BSD-3-Clause */
/* Many programs connect at the same time: what an lcore accepts in a round. */
#include "endpoint/acceptor.h"
#include "endpoint/af_vsock/endpoint_af_vsock.h"

#include "dir_open.h"
#include "sock_claim.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PROGRAMS 300u /* at most: as many as the backlog takes (net.core.somaxconn) */

static struct lcore *lc;
static struct guest guest;
static struct cfg_guest cfg = {.socket_uid = (uid_t)-1, .socket_gid = (gid_t)-1};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned accepted, most, in_round;
static uint64_t the_round;
static bool held, may_go, mounted;

bool __wrap_guest_fd_get(struct guest_queue *gq);
void __wrap_guest_fd_put(struct guest_queue *gq);
int __wrap_sock_set_rights(const char *path, mode_t mode, uid_t uid, gid_t gid);
int __real_sock_set_rights(const char *path, mode_t mode, uid_t uid, gid_t gid);

bool __wrap_guest_fd_get(struct guest_queue *gq)
{
	(void)gq;
	return true;
}

void __wrap_guest_fd_put(struct guest_queue *gq)
{
	(void)gq;
}

int __wrap_sock_set_rights(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	return mounted ? -EXDEV : __real_sock_set_rights(path, mode, uid, gid);
}

static void begin(const struct accepted *a)
{
	pthread_mutex_lock(&lock);
	if (the_round != lcore_round(lc))
		in_round = 0;
	the_round = lcore_round(lc);
	most = ++in_round > most ? in_round : most;
	accepted++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	(void)close(a->fd);
}

static void wait_for(const bool *what)
{
	while (!*what)
		pthread_cond_wait(&changed, &lock);
}

/* The lcore is elsewhere. */
static void hold(struct lcore *on, void *arg)
{
	(void)on;
	(void)arg;
	pthread_mutex_lock(&lock);
	held = true;
	pthread_cond_broadcast(&changed);
	wait_for(&may_go);
	pthread_mutex_unlock(&lock);
}

/* Connects until the backlog is full. Returns how many have connected. */
static unsigned connect_all(const struct sockaddr_un *sa, int *fd)
{
	for (unsigned i = 0; i < PROGRAMS; i++) {
		fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_true(fd[i] >= 0);
		if (connect(fd[i], (const struct sockaddr *)sa, sizeof(*sa)) < 0) {
			assert_int_equal(errno, EAGAIN);
			(void)close(fd[i]);
			return i;
		}
	}
	return PROGRAMS;
}

static void one_is_accepted_in_a_round(void **state)
{
	char dir[] = "/tmp/zvd-acceptor.XXXXXX";
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct acceptor *l;
	int fd[PROGRAMS];
	unsigned n;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/s", dir);
	assert_int_equal(lcore_start(&lc, 0, -1, false, 0), 0);
	guest.cfg = &cfg;
	guest.n_queues = 1;
	guest.queues[0].guest = &guest;
	guest.queues[0].lc = lc;
	assert_int_equal(acceptor_start_unix(&l, &guest, sa.sun_path, begin, 0), 0);
	assert_int_equal(lcore_post(lc, hold, NULL), 0);
	pthread_mutex_lock(&lock);
	wait_for(&held);
	pthread_mutex_unlock(&lock);
	n = connect_all(&sa, fd);
	pthread_mutex_lock(&lock);
	may_go = true;
	pthread_cond_broadcast(&changed);
	while (accepted < n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	acceptor_stop(l);
	lcore_stop(lc);
	assert_int_equal(most, n > 0);
	for (unsigned i = 0; i < n; i++)
		(void)close(fd[i]);
	(void)rmdir(dir);
}

/* Between bind(2) and the look at it: the owner of the directory has mounted something there. */
static void a_socket_that_something_is_mounted_on_is_named(void **state)
{
	char dir[] = "/tmp/zvd-acceptor.XXXXXX", path[64], why[GUEST_WHY_MAX] = "", wanted[256];
	struct acceptor *l;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	(void)snprintf(wanted, sizeof(wanted), "%s: cannot set the socket's mode or owner: %s",
		       path, DIR_MOUNTED);
	guest.cfg = &cfg;
	guest.why = why;
	mounted = true;
	assert_int_equal(acceptor_start_unix(&l, &guest, path, begin, 0), -EXDEV);
	mounted = false;
	guest.why = NULL;
	assert_string_equal(why, wanted);
	assert_int_equal(rmdir(dir), 0); /* the socket file is gone */
}

/* The same in a drop-in directory. */
static void one_of_a_drop_in_directory_is_named_too(void **state)
{
	static struct cfg c;
	char dir[] = "/tmp/zvd-acceptor.XXXXXX", why[GUEST_WHY_MAX] = "";

	(void)state;
	assert_non_null(mkdtemp(dir));
	c.space.apps = true;
	(void)snprintf(c.space.dir, sizeof(c.space.dir), "%s", dir);
	for (unsigned i = 0; i < CFG_SPACE_SOCKETS; i++)
		(void)snprintf(c.space.sockets[i], sizeof(c.space.sockets[i]), "%s/%u", dir, i);
	mounted = true;
	assert_int_equal(av_space_of_apps(&c, NULL, why), -ENOMEM);
	mounted = false;
	assert_non_null(strstr(why, "/0: cannot set the socket's mode or owner: " DIR_MOUNTED));
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_socket_that_something_is_mounted_on_is_named),
		cmocka_unit_test(one_of_a_drop_in_directory_is_named_too),
		cmocka_unit_test(one_is_accepted_in_a_round),
	};

	return cmocka_run_group_tests_name("acceptor", tests, NULL, NULL);
}
