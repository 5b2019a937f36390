/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels between applications of the host and a guest whose memory has a region. */
#include "chan_side.h"

#include "proto/ctrl/alive.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CID   11u
#define GUEST 2u /* its index in the fixture */
#define KEPT  8u /* regions of a guest: docs/threat-model.md */

#define CONF_GUEST                                                                                 \
	CONF "application_region = 0\n[guest a]\ncid = 11\nsocket = @a.sock\n"                     \
	     "[guest b]\ncid = 12\nsocket = @b.sock\n"

static const char *program;
static struct zv_dev *guest;

static bool offered(void *arg)
{
	(void)arg;
	cs_ask("regions");
	return cs_times("\"origin\":\"a\"") == 1 && cs_times("\"retired\":true") == 0;
}

static int start_guest(void **state)
{
	(void)state;
	if (cs_start(program, CONF_GUEST))
		return -1;
	guest = zf_zvsock_guest(GUEST, "a.sock,region=64M", 1);
	return guest && zv_listen(guest, PORT, ZV_STREAM, 0) == 0 && zf_until(offered, NULL) ? 0
											     : -1;
}

static int start_without(void **state)
{
	(void)state;
	return cs_start(program, CONF_GUEST);
}

static struct cs_pair from_guest(void)
{
	struct cs_pair p;

	p.a = zf_connect(guest, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
	assert_non_null(p.a);
	p.b = zf_accept(cs_other, PORT);
	assert_non_null(p.b);
	return p;
}

static struct cs_pair to_guest(void)
{
	struct cs_pair p;

	p.a = zf_connect(cs_app, 0, CID, PORT, ZV_STREAM, NULL);
	assert_non_null(p.a);
	p.b = zf_accept(guest, PORT);
	assert_non_null(p.b);
	return p;
}

static void guest_and_applications_share_its_memory(void **state)
{
	struct cs_pair p[2];

	(void)state;
	p[0] = from_guest();
	p[1] = to_guest();
	assert_int_equal(cs_channels(), 2);
	assert_int_equal(cs_region("channels"), 2);
	for (unsigned i = 0; i < 2; i++) {
		conv_bulk(p[i].a, p[i].b, STREAM_SIZE);
		conv_bulk(p[i].b, p[i].a, STREAM_SIZE);
		cs_converse(p[i], ZV_STREAM);
	}
	assert_true(zf_until(cs_all_free, NULL));
	assert_int_equal(cs_region("size"), 64 * MIB);
}

/* Two applications have no region in common: the guest's is not for them. */
static void the_region_is_for_those_who_talk_to_the_guest(void **state)
{
	struct cs_pair p = cs_joined(ZV_STREAM);

	(void)state;
	assert_int_equal(cs_channels(), 0);
	cs_converse(p, ZV_STREAM);
	cs_ask("regions");
	assert_int_equal(cs_times("\"name\":\"app."), 0);
	cs_converse(to_guest(), ZV_STREAM);
	cs_ask("regions");
	assert_int_equal(cs_times("\"name\":\"app."), 1);
}

static bool failed(void *arg)
{
	return ((struct zf_conn *)arg)->err;
}

static void region_name(char id[32])
{
	const char *p;

	cs_ask("regions");
	p = strstr(cs_answer, "\"id\":");
	assert_non_null(p);
	snprintf(id, 32, "%.23s", p);
}

static bool offered_anew(void *arg)
{
	return offered(NULL) && !cs_times(arg);
}

/* The region goes with the guest's memory; another driver brings it again. */
static void a_guest_that_goes_takes_its_region_along(void **state)
{
	char id[32];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct cs_pair p = i % 2 ? to_guest() : from_guest();
		struct zf_conn *survivor = i % 2 ? p.a : p.b, *dead = i % 2 ? p.b : p.a;

		conv_say(p.a, p.b, "before", 0);
		assert_int_equal(cs_channels(), 1);
		region_name(id);
		assert_true(zf_guest_close(GUEST));
		free(dead); /* its connection has gone with the device */
		assert_true(zf_until(failed, survivor));
		assert_int_equal(survivor->err, -ECONNRESET);
		zf_close(survivor);
		guest = zf_zvsock_guest(GUEST, "a.sock,region=64M", 1);
		assert_non_null(guest);
		assert_int_equal(zv_listen(guest, PORT, ZV_STREAM, 0), 0);
		assert_true(zf_until(offered_anew, id)); /* and nothing is left of the other one */
		assert_true(cs_all_free(NULL));
	}
	cs_converse(to_guest(), ZV_STREAM);
}

static bool lent(void *arg)
{
	struct zv_buf *loan = arg;

	return zv_buf_recv(loan->data, loan, 1) == 1;
}

static bool connected_again(void *arg)
{
	struct cs_pair *p = arg;

	p->a = zf_connect(cs_app, 0, CID, PORT, ZV_STREAM, NULL);
	return p->a;
}

static void to_guest_again(struct cs_pair *p)
{
	assert_true(zf_until(connected_again, p));
	p->b = zf_accept(guest, PORT);
	assert_non_null(p->b);
}

static bool has_channel(void *arg)
{
	struct cs_pair *p = arg;

	to_guest_again(p);
	if (cs_channels())
		return true;
	zf_close(p->a);
	zf_close(p->b);
	return false;
}

/*
 * Payload that an application has on loan in the guest's memory stays as it is, though zvsockd is
 * killed and the next one, which knows nothing of it, is offered the same memory.
 */
static void a_loan_outlives_zvsockd(void **state)
{
	struct cs_pair p = to_guest();
	struct zv_buf loan = {.data = p.a->c};
	char sent[4096];

	(void)state;
	memset(sent, '!', sizeof(sent));
	assert_true(zf_send(p.b, sent, sizeof(sent), 0));
	assert_true(zf_until(lent, &loan));
	assert_true(zf_kill());
	assert_true(zf_until(failed, p.a) && zf_until(failed, p.b));
	zf_close(p.a);
	zf_close(p.b);
	assert_true(zf_start_again(program));
	to_guest_again(&p);
	cs_converse(p, ZV_STREAM);
	assert_true(zf_until(offered, NULL));
	for (unsigned i = 0; i < 2; i++) {
		to_guest_again(&p);
		assert_int_equal(cs_channels(), 0);
		conv_bulk(p.b, p.a, STREAM_SIZE);
		conv_bulk(p.a, p.b, STREAM_SIZE);
		cs_converse(p, ZV_STREAM);
	}
	assert_true(zf_logged("applications or guests have its region mapped since before zvsockd "
			      "was started"));
	assert_true(loan.len > 0 && loan.len <= sizeof(sent));
	assert_memory_equal(loan.data, sent, loan.len);
	zv_buf_release(zv_queue(cs_app, 0), &loan, 1);
	to_guest_again(&p);
	assert_int_equal(cs_channels(), 1);
	assert_true(zf_logged("its region can be used again"));
	conv_bulk(p.b, p.a, STREAM_SIZE);
	cs_converse(p, ZV_STREAM);
	assert_true(zf_until(cs_all_free, NULL));
}

static bool regions_are(void *n)
{
	cs_ask("regions");
	return cs_times("\"origin\":\"a\"") == *(unsigned *)n;
}

/* Ends that an application does not give back keep the region of a guest that has gone. The guest
 * comes again and again, each time with other memory. */
static void regions_that_are_kept_are_few(void **state)
{
	struct zf_conn *held[3 * KEPT];
	struct zv_buf loan[3 * KEPT];

	(void)state;
	for (unsigned i = 0; i < 3 * KEPT; i++) {
		unsigned n = i < KEPT ? i + 1 : KEPT;
		struct cs_pair p;

		assert_true(zf_until(regions_are, &n));
		p = from_guest();
		assert_int_equal(cs_channels(), i < KEPT);
		held[i] = p.b;
		loan[i].data = p.b->c;
		assert_true(zf_send(p.a, "!", 1, 0) && zf_until(lent, &loan[i]));
		assert_true(zf_guest_close(GUEST));
		free(p.a);
		assert_true(zf_until(failed, held[i]));
		assert_true(regions_are(&n));
		guest = zf_zvsock_guest(GUEST, "a.sock,region=64M", 1);
		assert_non_null(guest);
	}
	assert_true(zf_logged("8 regions of this guest are still in use"));
	assert_true(zf_guest_close(GUEST)); /* or its offer may come when there is room again */
	for (unsigned i = 0; i < 3 * KEPT; i++) {
		zv_buf_release(zv_conn_queue(held[i]->c), &loan[i], 1);
		zf_close(held[i]);
	}
	assert_true(zf_until(cs_no_region, NULL));
	guest = zf_zvsock_guest(GUEST, "a.sock,region=64M", 1);
	assert_non_null(guest);
	assert_true(zf_until(offered, NULL));
	cs_converse(from_guest(), ZV_STREAM);
}

/* The last page of the guest's region, which this process has mapped. */
static struct alive_slot *region_slots(void)
{
	unsigned long from, to, end = 0;
	char line[256];
	FILE *maps = fopen("/proc/self/maps", "r");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "memfd:zvsock-region") && sscanf(line, "%lx-%lx", &from, &to) == 2)
			end = to;
	(void)fclose(maps);
	assert_int_not_equal(end, 0);
	return alive_slots((void *)(end - ALIVE_BYTES), ALIVE_BYTES);
}

/* As after the death of the zvsockd that has served a guest with that CID. */
static struct alive_slot *held_by(uint64_t cid)
{
	struct alive_slot *s = alive_find(region_slots(), cid, 1);

	assert_non_null(s);
	shm_store_release32(&s->owner, 4711);
	shm_store_release32(&s->host, ALIVE_DIED);
	return s;
}

/*
 * The same of another guest with that memory: no channel before it has offered it as well. One that
 * zvsockd does not know is not waited for.
 */
static void another_guests_loan_outlives_zvsockd(void **state)
{
	struct alive_slot *other;
	struct cs_pair p = to_guest();

	(void)state;
	assert_true(zf_kill());
	assert_true(zf_until(failed, p.a) && zf_until(failed, p.b));
	zf_close(p.a);
	zf_close(p.b);
	(void)held_by(13);
	other = held_by(12);
	assert_true(zf_start_again(program));
	to_guest_again(&p);
	cs_converse(p, ZV_STREAM);
	assert_true(zf_until(offered, NULL));
	for (unsigned i = 0; i < 2; i++) {
		to_guest_again(&p);
		assert_int_equal(cs_channels(), 0);
		cs_converse(p, ZV_STREAM);
	}
	shm_store_release32(&other->host, 4712); /* it is served again */
	assert_true(zf_until(has_channel, &p));
	cs_converse(p, ZV_STREAM);
	assert_true(zf_until(cs_all_free, NULL));
}

/* A program that opens its device and connects at once. */
struct hasty {
	char uri[128];
	struct zv_dev *dev;
	struct zv_conn *c;
	int err, connected; /* atomic */
};

static void *hasty_main(void *arg)
{
	const struct zv_opts opts = {.size = sizeof(opts),
				     .queues = 1,
				     .connect_timeout_ns = UINT64_MAX,
				     .hello_timeout_ns = UINT64_MAX};
	struct hasty *h = arg;

	h->err = zv_open(&h->dev, h->uri, &opts);
	if (!h->err)
		h->err = zv_connect_wait(zv_queue(h->dev, 0), ZV_CID_HOST, PORT, ZV_STREAM,
					 UINT64_MAX, &h->c);
	__atomic_store_n(&h->connected, 1, __ATOMIC_RELEASE);
	return NULL;
}

static bool has_connected(void *arg)
{
	return __atomic_load_n(&((struct hasty *)arg)->connected, __ATOMIC_ACQUIRE);
}

/* More than one attempt, because zvsockd does not wait for ever until a program has its end. */
static void the_first_connection_has_a_channel(void **state)
{
	unsigned channels = 0;

	(void)state;
	for (unsigned i = 0; i < 5 && !channels; i++) {
		struct hasty h = {0};
		struct zf_conn *b;
		pthread_t t;

		snprintf(h.uri, sizeof(h.uri), "vhost-user:%sa.sock,region=16M", zf_dir);
		assert_int_equal(pthread_create(&t, NULL, hasty_main, &h), 0);
		b = zf_accept(cs_other, PORT);
		assert_non_null(b);
		assert_true(zf_until(has_connected, &h));
		assert_int_equal(pthread_join(t, NULL), 0);
		assert_int_equal(h.err, 0);
		channels = cs_channels();
		zv_conn_close(h.c);
		zv_close(h.dev);
		zf_close(b);
	}
	assert_int_equal(channels, 1);
}

int main(int argc, char **argv)
{
#define WITH_GUEST(test) cmocka_unit_test_setup_teardown(test, start_guest, cs_stop)
	const struct CMUnitTest tests[] = {
		WITH_GUEST(guest_and_applications_share_its_memory),
		WITH_GUEST(the_region_is_for_those_who_talk_to_the_guest),
		WITH_GUEST(a_guest_that_goes_takes_its_region_along),
		WITH_GUEST(a_loan_outlives_zvsockd),
		WITH_GUEST(another_guests_loan_outlives_zvsockd),
		WITH_GUEST(regions_that_are_kept_are_few),
		cmocka_unit_test_setup_teardown(the_first_connection_has_a_channel, start_without,
						cs_stop),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD [TEST]\n", argv[0]);
		return 2;
	}
	program = argv[1];
	cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("channel_guests", tests, NULL, NULL);
}
