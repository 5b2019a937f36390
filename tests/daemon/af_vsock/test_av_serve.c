/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's request is joined with the socket of a program that has bound the port. The library and
 * the relay are played here. */
#include "core/guest.h"
#include "endpoint/af_vsock/av.h"
#include "relay/relay.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 5000u
#define CID  3u

static struct av_space space;
static struct guest g;
static struct av_guest part;
static struct av_port port;
static struct relay *joined;
static int answer; /* of zv_conn_answer() */

void __wrap_relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		       const struct conn_kind *kind, int fd, unsigned flags);
void __wrap_relay_start(struct relay *r, const char *early, uint32_t early_len);
void __wrap_relay_abort(struct relay *r);
int __wrap_zv_conn_answer(struct zv_conn *conn, int err);
struct io *__wrap_lcore_io(struct lcore *lc);
void __wrap_io_close_fd(struct io *io, int fd);

void __wrap_relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		       const struct conn_kind *kind, int fd, unsigned flags)
{
	(void)gq;
	(void)conn;
	(void)kind;
	(void)flags;
	r->fd = fd;
}

void __wrap_relay_start(struct relay *r, const char *early, uint32_t early_len)
{
	assert_null(early);
	assert_int_equal(early_len, 0);
	joined = r;
}

/* Of one that the guest has closed meanwhile. */
void __wrap_relay_abort(struct relay *r)
{
	close(r->fd);
	r->ended(r, false);
	guest_fd_put(&g.queues[0]);
	free(r);
}

int __wrap_zv_conn_answer(struct zv_conn *conn, int err)
{
	(void)conn;
	assert_int_equal(err, 0);
	return answer;
}

struct io *__wrap_lcore_io(struct lcore *lc)
{
	(void)lc;
	return NULL;
}

void __wrap_io_close_fd(struct io *io, int fd)
{
	(void)io;
	close(fd);
}

/* What becomes of a request from port @from of the guest. */
static int request(uint32_t from, enum zv_type type)
{
	const struct zv_conn_info info = {.size = sizeof(info),
					  .type = type,
					  .local_cid = ZV_CID_HOST,
					  .local_port = PORT,
					  .peer_cid = CID,
					  .peer_port = from};

	return av_serve(&g.queues[0], NULL, &info);
}

static int socket_of_the_port(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa;

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, av_address(&sa, port.text)), 0);
	return fd;
}

static void the_program_sees_who_it_is(void **state)
{
	int fd = socket_of_the_port(), conn;
	struct dropin_label l;
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);
	size_t skip = offsetof(struct sockaddr_un, sun_path) + 1;

	(void)state;
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(request(1234, ZV_STREAM), 1);
	assert_non_null(joined);
	conn = accept(fd, (struct sockaddr *)&sa, &len);
	assert_true(conn >= 0 && len > skip);
	assert_true(dropin_label_read(&l, sa.sun_path + 1, len - skip));
	assert_true(l.view == 'Z' && l.connected && l.sock_type == SOCK_STREAM);
	assert_int_equal(l.local.cid, ZV_CID_HOST);
	assert_int_equal(l.local.port, PORT);
	assert_int_equal(l.remote.cid, CID);
	assert_int_equal(l.remote.port, 1234);
	assert_int_equal(g.counters.guest_joined, 1);
	assert_int_equal(g.fds, 1);
	__wrap_relay_abort(joined);
	close(conn);
	close(fd);
}

/* And holds nothing. */
static void who_is_not_joined_is_refused(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(request(1234, ZV_SEQPACKET), 0); /* nobody's of that type */
	assert_int_equal(request(1234, ZV_STREAM), -ECONNREFUSED);
	assert_int_equal(g.counters.connect_refused, 1);
	fd = socket_of_the_port(); /* it does not listen */
	assert_int_equal(request(1234, ZV_STREAM), -ECONNREFUSED);
	assert_int_equal(g.counters.connect_refused, 2);
	assert_int_equal(listen(fd, 0), 0);
	port.uid++; /* another user's */
	assert_int_equal(request(1234, ZV_STREAM), -ECONNREFUSED);
	port.uid--;
	assert_int_equal(g.counters.af_vsock_denied, 1);
	assert_int_equal(request(1234, ZV_STREAM), -ECONNREFUSED); /* its backlog is full */
	assert_int_equal(g.counters.connect_refused, 3);
	close(accept(fd, NULL, NULL));
	answer = -ENOTCONN; /* the guest has closed it */
	assert_int_equal(request(1234, ZV_STREAM), 1);
	assert_int_equal(g.counters.guest_joined, 0);
	assert_null(joined);
	assert_int_equal(g.fds, 0);
	close(fd);
}

/* Looking for the program's socket takes the kernel long: in the end it is not looked for. */
static void what_looking_takes_is_charged(void **state)
{
	const struct av_looker l = av_looker_guest(&part, port.uid);
	int fd = socket_of_the_port();

	(void)state;
	assert_int_equal(listen(fd, 5), 0);
	assert_true(av_look_may(&space, &l));
	for (unsigned i = 0; av_look_may(&space, &l); i++) {
		assert_true(i < 100);
		av_look_took(&space, &l, 10000000000u);
	}
	assert_int_equal(request(1234, ZV_STREAM), -ECONNREFUSED);
	assert_int_equal(g.counters.connect_failed, 1);
	assert_int_equal(g.fds, 0);
	close(fd);
}

static int up(void **state)
{
	(void)state;
	memset(&space, 0, sizeof(space));
	memset(&g, 0, sizeof(g));
	memset(&part, 0, sizeof(part));
	memset(&port, 0, sizeof(port));
	joined = NULL;
	answer = 0;
	pthread_mutex_init(&space.lock, NULL);
	part = (struct av_guest){.cid = CID, .guest = &g, .space = &space};
	memcpy(g.name, "a", 2);
	g.max_fds = 16;
	g.queues[0].guest = &g;
	g.part[ENDPOINT_af_vsock] = &part;
	port.label = (struct dropin_label){.view = 'P',
					   .sock_type = SOCK_STREAM,
					   .local = {UINT32_MAX, PORT},
					   .token = {(uint64_t)getpid(), 1}};
	dropin_label_write(&port.label, port.text);
	port.uid = geteuid();
	LIST_INSERT_HEAD(&space.ports[0], &port, link); /* without a seed all are in this bucket */
	return 0;
}

static int down(void **state)
{
	(void)state;
	pthread_mutex_destroy(&space.lock);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_program_sees_who_it_is, up, down),
		cmocka_unit_test_setup_teardown(who_is_not_joined_is_refused, up, down),
		cmocka_unit_test_setup_teardown(what_looking_takes_is_charged, up, down),
	};

	return cmocka_run_group_tests_name("av_serve", tests, NULL, NULL);
}
