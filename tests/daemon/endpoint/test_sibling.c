/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sibling endpoint by itself: what it makes of a request, by what it asks splices and lcores
 * to do; they are this file's. Two guests with real groups.
 */
#include "conf_text.h"
#include "endpoint/endpoint.h"
#include "relay/splice.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* An address is all that anybody here wants of them. */
struct zv_conn {
	int none;
};
struct splice {
	int none;
};

static struct {
	unsigned splices, refused, connected, posts;
	bool no_splice, no_post;
	struct guest_queue *to;
	void (*fn)(struct lcore *lc, void *arg);
	void *arg;
} seen;

static struct splice the_splice;
static struct zv_conn the_conn;

/* By the linker's --wrap. */
struct splice *__wrap_splice_new(struct guest_queue *gq, struct zv_conn *conn,
				 const struct conn_kind *kind, const struct zv_conn_info *info,
				 bool self);
void __wrap_splice_refuse(struct splice *sp);
void __wrap_splice_connect(struct splice *sp, struct guest_queue *gq);
int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);

struct splice *__wrap_splice_new(struct guest_queue *gq, struct zv_conn *conn,
				 const struct conn_kind *kind, const struct zv_conn_info *info,
				 bool self)
{
	assert_ptr_equal(kind, &endpoint_sibling.kind);
	(void)gq;
	(void)info;
	assert_ptr_equal(conn, &the_conn);
	assert_false(self);
	seen.splices++;
	return seen.no_splice ? NULL : &the_splice;
}

void __wrap_splice_refuse(struct splice *sp)
{
	assert_ptr_equal(sp, &the_splice);
	seen.refused++;
}

void __wrap_splice_connect(struct splice *sp, struct guest_queue *gq)
{
	assert_ptr_equal(sp, &the_splice);
	seen.to = gq;
	seen.connected++;
}

int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg)
{
	(void)lc;
	seen.posts++;
	if (seen.no_post)
		return -ENOMEM;
	seen.fn = fn;
	seen.arg = arg;
	return 0;
}

int zv_dev_info(struct zv_dev *dev, struct zv_dev_info *info)
{
	(void)dev;
	info->queues_up = 1;
	return 0;
}

/* ---- two guests that share a group, one that is in another ---- */

static struct cfg *cfg;
static struct guest guests[3];

static int setup(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(guests, 0, sizeof(guests));
	cfg = conf_good("[guest a]\ncid = 11\nsocket = /s/a\ngroups = both\n"
			"[guest b]\ncid = 12\nsocket = /s/b\ngroups = both\n"
			"[guest c]\ncid = 13\nsocket = /s/c\ngroups = lonely\n");
	for (unsigned i = 0; i < 3; i++) {
		struct guest *g = &guests[i];

		memcpy(g->name, cfg->guests[i].name, sizeof(g->name));
		g->cfg = &cfg->guests[i];
		g->n_queues = 1;
		g->queues[0].guest = g;
		assert_int_equal(endpoint_sibling.start(g), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		endpoint_sibling.stop(&guests[i]);
		endpoint_sibling.free(&guests[i]);
	}
	cfg_free(cfg);
	return 0;
}

/* Guest 11 asks for @cid. */
static int ask_for(uint64_t cid)
{
	const struct zv_conn_info info = {.size = sizeof(info),
					  .local_cid = cid,
					  .local_port = 5,
					  .peer_cid = 11,
					  .peer_port = 6,
					  .type = ZV_STREAM};

	return endpoint_sibling.serve(&guests[0].queues[0], &the_conn, &info);
}

static void a_sibling_is_asked(void **state)
{
	(void)state;
	assert_int_equal(ask_for(12), 1);
	assert_int_equal(seen.splices, 1);
	assert_int_equal(seen.posts, 1);
	assert_int_equal(seen.connected, 0);
	seen.fn(NULL, seen.arg); /* on the other lcore */
	assert_int_equal(seen.connected, 1);
	assert_ptr_equal(seen.to, &guests[1].queues[0]);
	assert_int_equal(guests[0].counters.sibling_denied, 0);
}

/* endpoint_accept() asks the others for what is meant for the host. */
static void the_host_is_not_ours(void **state)
{
	(void)state;
	assert_true(endpoint_sibling.others);
	assert_false(endpoint_unix.others || endpoint_tcp.others || endpoint_vsock.others ||
		     endpoint_builtin.others);
}

/* A guest may ask for strangers as often as it likes: that costs no memory and no other lcore. */
static void strangers_cost_nothing(void **state)
{
	(void)state;
	assert_int_equal(ask_for(13), -ECONNREFUSED); /* in another group */
	assert_int_equal(ask_for(99), -ECONNREFUSED); /* nobody's */
	endpoint_sibling.stop(&guests[1]);	      /* has left */
	assert_int_equal(ask_for(12), -ECONNREFUSED);
	assert_int_equal(guests[0].counters.sibling_denied, 3);
	assert_int_equal(seen.splices, 0);
	assert_int_equal(seen.posts, 0);
}

static void memory_is_short(void **state)
{
	(void)state;
	seen.no_splice = true; /* the connection is still the caller's, who refuses it */
	assert_int_equal(ask_for(12), -ENOMEM);
	assert_int_equal(seen.refused, 0);
	seen.no_splice = false;
	seen.no_post = true; /* the splice has it */
	assert_int_equal(ask_for(12), 1);
	assert_int_equal(seen.refused, 1);
	assert_int_equal(guests[0].counters.no_memory, 2);
	assert_int_equal(guests[0].counters.sibling_denied, 0);
}

/* A connection of guest 11 whose other end has @cid is described as @want. */
static void described(uint64_t cid, const char *want)
{
	const struct zv_conn_info info = {.size = sizeof(info), .local_cid = cid};
	char text[64];

	endpoint_sibling.kind.describe(&guests[0], &info, text, sizeof(text));
	assert_string_equal(text, want);
}

/* By name, also while it is being stopped; and no names of guests that share no group. */
static void a_sibling_has_a_name(void **state)
{
	(void)state;
	described(12, "guest:b");
	endpoint_sibling.stop(&guests[1]);
	described(12, "guest:b");
	described(13, "guest:CID 13");
	endpoint_sibling.free(&guests[1]);
	described(12, "guest:CID 12");
}

/* Requests that the other lcore has not taken yet are bounded, and those it takes make room. */
static void requests_are_bounded(void **state)
{
	void (*fn)(struct lcore * lc, void *arg);
	void *arg[2048];
	unsigned n = 0;

	(void)state;
	while (n < 2048 && ask_for(12) == 1)
		arg[n++] = seen.arg;
	fn = seen.fn;
	assert_true(n > 0 && n < 2048);
	assert_int_equal(ask_for(12), -ECONNREFUSED);
	assert_int_equal(seen.splices, n);
	fn(NULL, arg[--n]);
	assert_int_equal(ask_for(12), 1);
	arg[n++] = seen.arg;
	while (n)
		fn(NULL, arg[--n]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_sibling_is_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(the_host_is_not_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers_cost_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_short, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sibling_has_a_name, setup, teardown),
		cmocka_unit_test_setup_teardown(requests_are_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
