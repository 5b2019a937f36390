/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs of a stock guest can make an lcore do in one round: by themselves, and by requests
 * before which all of them are heard. The library and the lcore are played here: each program's
 * control connection is always full of claims.
 */
#include "channel/broker.h"
#include "channel/claims.h"
#include "endpoint/endpoint.h"
#include "relay/flow.h"

#include <errno.h>
#include <proto/ctrl/ctrl_msg.h>
#include <proto/ctrl/hello.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRAMS 64u   /* of a guest, unless configured otherwise */
#define REQUESTS 128u  /* in a round */
#define MOST	 1024u /* messages: docs/threat-model.md */

struct zv_conn {
	bool helloed, over;
	struct lcore_work *work; /* NULL: none is put off */
	unsigned claims;
};

static struct zv_conn conns[PROGRAMS];
static uint64_t the_round = 1;
static struct zv_conn *now; /* being received from */
static struct claimant *claimed[PROGRAMS];

/* ---- the lcore ---- */

uint64_t __wrap_lcore_round(const struct lcore *lc);
void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w);
void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w);
void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);
int __wrap_claim_on_msg(struct guest_queue *gq, struct claimant *who, const struct ctrl_claim *m);

uint64_t __wrap_lcore_round(const struct lcore *lc)
{
	(void)lc;
	return the_round;
}

void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	flow_of_work(w)->conn->work = w;
}

void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	for (unsigned i = 0; i < PROGRAMS; i++)
		if (conns[i].work == w)
			conns[i].work = NULL;
}

void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc;
	(void)t;
	(void)ns;
}

void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc;
	(void)t;
}

int __wrap_claim_on_msg(struct guest_queue *gq, struct claimant *who, const struct ctrl_claim *m)
{
	(void)gq;
	(void)m;
	now->claims++;
	if (now >= conns && now < conns + PROGRAMS)
		claimed[now - conns] = who;
	return 0;
}

/* ---- the library ---- */

ssize_t __wrap_zv_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags);
int __wrap_zv_conn_answer(struct zv_conn *c, int err);
int __wrap_zv_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, uint32_t len);
void __wrap_zv_set_user(struct zv_conn *c, void *user);
int __wrap_zv_conn_close(struct zv_conn *c);
int __wrap_zv_conn_reset(struct zv_conn *c);

ssize_t __wrap_zv_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags)
{
	const struct hello h = {.type = CTRL_HELLO,
				.version = ZV_CTRL_VERSION,
				.nonce = 1,
				.npairs = 1,
				.caps = ZV_CAP_CHANNEL,
				.max_pkt = 65536};
	const struct ctrl_msg m = {
		.type = CTRL_CLAIM,
		.claim = {.port = 5000, .peer_port = 6000, .peer_cid = 2, .type = ZV_STREAM}};
	uint8_t wire[CTRL_MSG_MAX];
	size_t n = 0;

	(void)flags;
	now = c;
	if (c->over)
		return -ECONNRESET;
	if (!c->helloed) {
		hello_put(data, &h);
		c->helloed = true;
		return HELLO_WIRE_LEN;
	}
	for (uint32_t bytes = ctrl_msg_put(wire, &m); n + bytes <= len; n += bytes)
		memcpy((char *)data + n, wire, bytes);
	return n ? (ssize_t)n : -EAGAIN;
}

int __wrap_zv_conn_answer(struct zv_conn *c, int err)
{
	(void)c;
	return err;
}

int __wrap_zv_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, uint32_t len)
{
	(void)c;
	(void)bufs;
	(void)n;
	(void)len;
	return -EAGAIN;
}

void __wrap_zv_set_user(struct zv_conn *c, void *user)
{
	(void)c;
	(void)user;
}

int __wrap_zv_conn_close(struct zv_conn *c)
{
	c->work = NULL;
	return 0;
}

int __wrap_zv_conn_reset(struct zv_conn *c)
{
	return __wrap_zv_conn_close(c);
}

/* ---- a guest with programs ---- */

static struct cfg_guest cfg = {.role = CFG_AS_HOST, .programs = PROGRAMS};
static struct guest g = {.name = "g", .serial = 1, .cfg = &cfg, .n_queues = 1};

/* Every program has its turn. How many messages that was. */
static unsigned turns(void)
{
	unsigned before = 0, after = 0;

	for (unsigned i = 0; i < PROGRAMS; i++) {
		struct lcore_work *w = conns[i].work;

		before += conns[i].claims;
		conns[i].work = NULL;
		if (w)
			w->run(w);
		after += conns[i].claims;
	}
	the_round++;
	return after - before;
}

static int setup(void **state)
{
	const struct zv_conn_info info = {
		.size = sizeof(info),
		.type = ZV_STREAM,
		.peer_port = 1000,
		.local_port = ZV_PROC_PORT,
	};

	(void)state;
	g.queues[0].guest = &g;
	TAILQ_INIT(&g.queues[0].owners);
	for (unsigned i = 0; i < PROGRAMS; i++)
		assert_int_equal(endpoint_program.serve(&g.queues[0], &conns[i], &info), 1);
	(void)turns(); /* HELLO, and some claims */
	return 0;
}

/* And nobody goes without. */
static void work_of_their_turns_is_bounded(void **state)
{
	unsigned before[PROGRAMS];

	(void)state;
	for (unsigned i = 0; i < PROGRAMS; i++)
		before[i] = conns[i].claims;
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(turns(), PROGRAMS, MOST);
	for (unsigned i = 0; i < PROGRAMS; i++)
		assert_true(conns[i].claims > before[i]);
}

static void work_before_requests_is_bounded(void **state)
{
	unsigned before = 0, after = 0;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		before = after = 0;
		for (unsigned i = 0; i < PROGRAMS; i++)
			before += conns[i].claims;
		for (unsigned i = 0; i < REQUESTS; i++)
			broker_poll_programs(&g.queues[0]);
		for (unsigned i = 0; i < PROGRAMS; i++)
			after += conns[i].claims;
		assert_in_range(after - before, 1, MOST);
		the_round++;
	}
}

static unsigned programs_left(void)
{
	return __atomic_load_n(&g.programs, __ATOMIC_RELAXED);
}

/* All hang up at the same time, each with as many claims as it may have. */
static void work_of_their_ends_is_bounded(void **state)
{
	unsigned before;

	(void)state;
	for (unsigned i = 0; i < PROGRAMS; i++)
		conns[i].over = true;
	for (unsigned i = 0; i < PROGRAMS; i++)
		claimed[i]->n += CLAIMS_MAX;
	for (before = programs_left(); before; before = programs_left()) {
		(void)turns();
		assert_in_range(before - programs_left(), 1, 2);
	}
}

static int serve(struct zv_conn *c)
{
	const struct zv_conn_info info = {
		.size = sizeof(info),
		.type = ZV_STREAM,
		.peer_port = 1000,
		.local_port = ZV_PROC_PORT,
	};
	int ret = endpoint_program.serve(&g.queues[0], c, &info);

	if (ret == 1)
		c->work->run(c->work); /* HELLO */
	the_round++;
	return ret;
}

/* A request that is served before the programs that have ended are freed finds their places; but
 * they are not more and more. */
static void who_has_ended_has_no_place(void **state)
{
	static struct zv_conn c[3 * PROGRAMS];
	unsigned n;

	(void)state;
	assert_int_equal(programs_left(), 0);
	for (n = 0; n < PROGRAMS; n++)
		assert_int_equal(serve(&c[n]), 1);
	assert_int_equal(serve(&c[n]), -ECONNREFUSED);
	c[n - 1].over = true; /* which is heard first */
	broker_poll_programs(&g.queues[0]);
	assert_int_equal(serve(&c[n++]), 1);
	assert_int_equal(serve(&c[n]), -ECONNREFUSED);
	for (unsigned i = 0; i < n; i++)
		c[i].over = true;
	for (; g.programs_ended < n; the_round++) /* what they have said before is read as well */
		broker_poll_programs(&g.queues[0]);
	while (serve(&c[n]) == 1)
		c[n++].over = true;
	assert_int_equal(n, 2 * PROGRAMS);
	for (unsigned i = 0; i < 2 * PROGRAMS; i++) {
		c[i].work->run(c[i].work);
		the_round++;
	}
	assert_int_equal(programs_left(), 0);
	assert_int_equal(g.programs_ended, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_of_their_turns_is_bounded),
		cmocka_unit_test(work_before_requests_is_bounded),
		cmocka_unit_test(work_of_their_ends_is_bounded),
		cmocka_unit_test(who_has_ended_has_no_place),
	};

	return cmocka_run_group_tests_name("program_work", tests, setup, NULL);
}
