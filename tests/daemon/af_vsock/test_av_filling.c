/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has filled programs' sockets until their guest accepted: all of it is read before the first
 * byte of payload, and no more in a round than of payload, be it a thousand connections that the
 * guest has accepted at once. The lcore is played here; the sockets are real.
 */
#include "endpoint/af_vsock/av.h"
#include "lcore_works.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CALLS 64u
#define MOST  (WORK_ROUND * WORK_BYTES + FLOW_QUOTA) /* bytes in a round */
#define SMALL 100u				     /* bytes of a message */

static struct guest guest;
static struct guest_queue queue;
static struct av_call calls[CALLS];
static int program[CALLS];
static size_t filled, got;
static unsigned reads, started, aborted;
static struct relay *running[CALLS];

/* ---- the lcore, and what a relay does ---- */

void __wrap_relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		       const struct conn_kind *kind, int fd, unsigned flags);
void __wrap_relay_start(struct relay *r, const char *early, uint32_t early_len);
void __wrap_relay_abort(struct relay *r);
ssize_t __wrap_relay_recv(struct relay *r, void *buf, size_t len);
int __wrap_zv_connect(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
		      struct zv_conn **conn);
void __wrap_zv_set_user(struct zv_conn *conn, void *user);
int __wrap_zv_conn_info(struct zv_conn *conn, struct zv_conn_info *info);
bool __wrap_guest_fd_get(struct guest_queue *gq);
void __wrap_fds_put(void);
void __wrap_av_named_give(struct av_named *n, struct relay *r);
void __wrap_av_named_started(struct relay *r);

static void no_payload_yet(struct lcore_work *w)
{
	(void)w;
	fail();
}

void __wrap_relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		       const struct conn_kind *kind, int fd, unsigned flags)
{
	flow_init(&r->f, gq, conn, kind, no_payload_yet);
	r->fd = fd;
	r->flags = (uint16_t)flags;
}

static void forget(struct relay *r)
{
	r->f.conn = NULL; /* there is none that could be closed */
	flow_close(&r->f, false);
	conn_owner_remove(&r->f.owner);
	close(r->fd);
	free(r);
}

void __wrap_relay_start(struct relay *r, const char *early, uint32_t early_len)
{
	char c;

	assert_null(early);
	assert_int_equal(early_len, 0);
	assert_ptr_equal(r->f.work.run, no_payload_yet);
	assert_int_equal(recv(r->fd, &c, 1, MSG_DONTWAIT), -1); /* all is read */
	running[started++] = r;
}

void __wrap_relay_abort(struct relay *r)
{
	aborted++;
	forget(r);
}

ssize_t __wrap_relay_recv(struct relay *r, void *buf, size_t len)
{
	ssize_t n = recv(r->fd, buf, len, MSG_DONTWAIT);

	reads++;
	got += n > 0 ? (size_t)n : 0;
	return n < 0 ? -EAGAIN : n;
}

/* The guest accepts at once, as far as this end is concerned. */
int __wrap_zv_connect(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
		      struct zv_conn **conn)
{
	(void)q;
	(void)cid;
	(void)port;
	(void)type;
	*conn = (struct zv_conn *)&guest;
	return 0;
}

void __wrap_zv_set_user(struct zv_conn *conn, void *user)
{
	(void)conn;
	(void)user;
}

int __wrap_zv_conn_info(struct zv_conn *conn, struct zv_conn_info *info)
{
	(void)conn;
	(void)info;
	return 0;
}

bool __wrap_guest_fd_get(struct guest_queue *gq)
{
	(void)gq;
	return true;
}

void __wrap_fds_put(void)
{
}

void __wrap_av_named_give(struct av_named *n, struct relay *r)
{
	(void)n;
	(void)r;
}

void __wrap_av_named_started(struct relay *r)
{
	(void)r;
}

/* ---- connections ---- */

static int up(void **state)
{
	static struct cfg_guest cfg;

	(void)state;
	memset(&guest, 0, sizeof(guest));
	memset(&queue, 0, sizeof(queue));
	guest.cfg = &cfg;
	queue.guest = &guest;
	TAILQ_INIT(&queue.owners);
	TAILQ_INIT(&queue.waiting);
	filled = got = 0;
	reads = started = aborted = 0;
	return 0;
}

static int down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CALLS; i++)
		close(program[i]);
	for (unsigned i = 0; i < started; i++)
		forget(running[i]);
	return queue.n_owners != 0;
}

/* Each call has its guest's answer, and its program's socket, which is full. Says that there is
 * @more. */
static void accepted_all(int type, uint64_t more)
{
	static char data[65536];

	for (unsigned i = 0; i < CALLS; i++) {
		size_t part = type == SOCK_STREAM ? sizeof(data) : SMALL;
		struct av_call *c = &calls[i];
		uint32_t messages = 0;
		uint64_t bytes = 0;
		int fd[2];
		ssize_t n;

		assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fd), 0);
		while ((n = send(fd[0], data, part, MSG_DONTWAIT)) > 0) {
			bytes += (uint64_t)n;
			messages++;
		}
		filled += bytes;
		program[i] = fd[0];
		*c = (struct av_call){.refs = 2,
				      .gq = &queue,
				      .local_port = ZV_PORT_ANY,
				      .label = {.sock_type = (uint16_t)type}};
		av_conn_begin(c);
		av_conn_go(c, fd[1], bytes + more, messages + (uint32_t)more);
	}
}

/* What one round reads, until all are over. */
static void rounds(uint64_t bytes, unsigned most_reads)
{
	while (started + aborted < CALLS) {
		size_t before = got;
		unsigned calls_before = reads;

		lcore_works_round();
		assert_true(got - before <= bytes);
		assert_true(reads - calls_before <= most_reads);
		assert_true(reads > calls_before); /* it goes on */
	}
}

static void a_round_reads_so_many_bytes(void **state)
{
	(void)state;
	accepted_all(SOCK_STREAM, 0);
	assert_true(got <= MOST);
	assert_true(filled > 2 * MOST); /* else nothing is shown */
	rounds(MOST, UINT32_MAX);
	assert_int_equal(started, CALLS);
	assert_int_equal(got, filled);
}

/* A small one costs as much as a larger one. */
static void a_round_reads_so_many_messages(void **state)
{
	const unsigned most = WORK_ROUND / WORK_UNIT + FLOW_QUOTA / WORK_UNIT;

	(void)state;
	accepted_all(SOCK_SEQPACKET, 0);
	assert_true(reads <= most);
	assert_true(filled / SMALL > 2 * most);
	rounds(UINT64_MAX, most);
	assert_int_equal(started, CALLS);
	assert_int_equal(got, filled);
}

/* Who says that there is more than there is has no connection, and costs nothing further. */
static void a_lie_ends_the_connection(void **state)
{
	(void)state;
	for (unsigned seq = 0; seq < 2; seq++) {
		up(NULL);
		accepted_all(seq ? SOCK_SEQPACKET : SOCK_STREAM, 1u << 20);
		for (unsigned i = 0; i < CALLS; i++)
			assert_int_equal(shutdown(program[i], SHUT_WR), 0);
		rounds(UINT64_MAX, UINT32_MAX);
		assert_int_equal(aborted, CALLS);
		assert_int_equal(got, filled);
		if (!seq)
			down(NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_round_reads_so_many_bytes, up, down),
		cmocka_unit_test_setup_teardown(a_round_reads_so_many_messages, up, down),
		cmocka_unit_test_setup_teardown(a_lie_ends_the_connection, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
