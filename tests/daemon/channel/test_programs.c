/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels between applications of the host and programs of a guest with a driver of its own. */
#include "chan_side.h"
#include "host_side.h"
#include "prog_side.h"

#include <errno.h>
#include <proto/ctrl/hello.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CID	 11u
#define GUEST	 2u    /* its index in the fixture */
#define LISTENED 6000u /* by programs */
#define BULK	 (3u * MIB + 77u)

#define A_GUEST	       "application_region = 0\n[guest a]\ncid = 11\nsocket = @a.sock\nprograms = 3\n"
#define CONF_GUEST     CONF A_GUEST
#define CONF_IMPATIENT "applications = @apps\nchannel_timeout_ms = 100\n" A_GUEST

static const char *program;
static struct zv_dev *guest;
static uint32_t next_port = 2000;

static int start(void **state)
{
	(void)state;
	if (cs_start(program, CONF_GUEST))
		return -1;
	guest = zf_guest(GUEST, "a.sock,region=64M", 1);
	return guest && zv_listen(guest, LISTENED, ZV_STREAM, 0) == 0 ? 0 : -1;
}

static long bad_before;

static bool counted_one_more(void *arg)
{
	(void)arg;
	return hs_counter("a", "channel_bad_msg") > bad_before;
}

/* zvsockd has taken what @p has said: behind it comes what is counted. */
static void heard(struct ps *p)
{
	bad_before = hs_counter("a", "channel_bad_msg");
	ps_send_msg(p, &(struct ctrl_msg){.type = CTRL_RELEASE, .release = {.region = 99}});
	assert_true(zf_until(counted_one_more, NULL));
}

static void listens(struct ps *p)
{
	ps_claim(p, CTRL_CLAIM_LISTEN, LISTENED, 0);
	heard(p);
}

/* A connection to an application, by a channel. */
static struct ps_chan from_program(struct ps *p, struct zf_conn **app)
{
	struct ctrl_msg grant;
	struct zf_conn *c;

	ps_claim(p, CTRL_CLAIM_CONNECT, next_port, PORT);
	ps_port = next_port++;
	c = zf_connect(guest, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
	assert_non_null(c);
	grant = ps_next(p, CTRL_GRANT);
	*app = zf_accept(cs_other, PORT);
	assert_non_null(*app);
	return ps_use(p, c, &grant);
}

static struct ps_chan to_program(struct ps *p, struct zf_conn **app)
{
	struct ctrl_msg grant;
	struct zf_conn *c;

	*app = zf_connect(cs_app, 0, CID, LISTENED, ZV_STREAM, NULL);
	assert_non_null(*app);
	c = zf_accept(guest, LISTENED);
	assert_non_null(c);
	grant = ps_next(p, CTRL_GRANT);
	return ps_use(p, c, &grant);
}

/* What an application sends and receives while the program sleeps and wakes. */
static void app_sends(struct zf_conn *app, size_t len, unsigned seed)
{
	static uint8_t b[65536];

	for (size_t done = 0; done < len;) {
		size_t n = len - done < sizeof(b) ? len - done : sizeof(b);

		for (size_t i = 0; i < n; i++)
			b[i] = (uint8_t)(seed + done + i);
		assert_true(zf_send(app, b, n, 0));
		done += n;
	}
}

static void app_receives(struct zf_conn *app, size_t len, unsigned seed)
{
	static uint8_t b[65536];

	for (size_t done = 0; done < len;) {
		size_t n = len - done < sizeof(b) ? len - done : sizeof(b);

		assert_int_equal(zf_recv(app, b, n, NULL), n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(b[i], (uint8_t)(seed + done + i));
		done += n;
	}
}

static void converse(struct ps *p, struct ps_chan *pc, struct zf_conn *app)
{
	char byte;

	for (unsigned i = 0; i < 8; i++) {
		ps_send(pc, 100000, i);
		app_receives(app, 100000, i);
		app_sends(app, 100000, 7 * i);
		ps_recv(pc, 100000, 7 * i);
	}
	/* The application ends its half: what says so is in the channel, and the other half goes
	 * on. */
	assert_int_equal(zv_shutdown(app->c, 1), 0);
	assert_true(ps_ended(pc));
	ps_send(pc, 100000, 3);
	app_receives(app, 100000, 3);
	ps_shut(pc);
	assert_int_equal(zf_recv(app, &byte, 1, NULL), 0);
	ps_drop(p, pc);
	zf_close(app);
}

static void payload_goes_through_the_channel(void **state)
{
	struct ps *p = ps_new(guest, 700);
	struct ps_chan pc;
	struct zf_conn *app;

	(void)state;
	pc = from_program(p, &app);
	assert_int_equal(cs_channels(), 1);
	converse(p, &pc, app);
	listens(p);
	pc = to_program(p, &app);
	assert_int_equal(cs_channels(), 1);
	converse(p, &pc, app);
	assert_true(zf_until(cs_all_free, NULL));
	assert_int_equal(hs_counter("a", "programs"), 1);
	ps_end(p);
}

/* Without a claim, with one that is taken back, or of another program: as if there were no region.
 */
static void what_is_not_claimed_is_relayed(void **state)
{
	struct ps *p = ps_new(guest, 700), *q = ps_new(guest, 701);
	struct cs_pair pair;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		if (i)
			ps_claim(p, CTRL_CLAIM_CONNECT, next_port, PORT);
		if (i)
			ps_claim(p, CTRL_CLAIM_NO_CONNECT, next_port, PORT);
		ps_port = next_port++;
		pair.a = zf_connect(guest, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
		assert_non_null(pair.a);
		pair.b = zf_accept(cs_other, PORT);
		assert_non_null(pair.b);
		assert_int_equal(cs_channels(), 0);
		cs_converse(pair, ZV_STREAM);
	}
	/* Who came first has the port. */
	listens(p);
	listens(q);
	ps_claim(q, CTRL_CLAIM_NO_LISTEN, LISTENED, 0);
	heard(q);
	{
		struct zf_conn *app;
		struct ps_chan pc = to_program(p, &app);

		assert_true(ps_none(q));
		converse(p, &pc, app);
	}
	assert_int_equal(hs_counter("a", "claim_ignored"), 1);
	ps_claim(p, CTRL_CLAIM_NO_LISTEN, LISTENED, 0);
	heard(p);
	pair.a = zf_connect(cs_app, 0, CID, LISTENED, ZV_STREAM, NULL);
	assert_non_null(pair.a);
	pair.b = zf_accept(guest, LISTENED);
	assert_non_null(pair.b);
	assert_int_equal(cs_channels(), 0);
	cs_converse(pair, ZV_STREAM);
	ps_end(p);
	ps_end(q);
}

static void a_port_of_a_program_that_has_ended_is_anothers(void **state)
{
	struct ps *p = ps_new(guest, 700), *q = ps_new(guest, 701);

	(void)state;
	listens(p);
	zf_asleep();
	ps_claim(q, CTRL_CLAIM_CONNECT, next_port, PORT); /* so its claims are read first */
	ps_end(p);
	ps_claim(q, CTRL_CLAIM_LISTEN, LISTENED, 0);
	zf_awake();
	heard(q);
	assert_int_equal(hs_counter("a", "claim_ignored"), 0);
	ps_end(q);
}

static bool settled(void *arg)
{
	const struct zf_conn *c = arg;

	return c->connected || c->err;
}

/* One that maps the region late is waited for: it may have had no CPU. */
static void a_late_program_gets_its_channel(void **state)
{
	struct ps *p = ps_hello(guest, 700);
	struct zf_conn *app = calloc(1, sizeof(*app)), *c;
	struct ctrl_msg grant;
	struct ps_chan pc;

	(void)state;
	assert_non_null(app);
	ps_offer(p);
	listens(p);
	assert_int_equal(zv_connect(zv_queue(cs_app, 0), CID, LISTENED, ZV_STREAM, &app->c), 0);
	zv_set_user(app->c, app);
	for (unsigned i = 0; i < 1500; i++, (void)usleep(1000))
		zf_poll();
	assert_int_equal(app->err, 0);
	assert_false(app->connected);
	ps_ack(p);
	grant = ps_next(p, CTRL_GRANT);
	c = zf_accept(guest, LISTENED);
	assert_non_null(c);
	assert_true(zf_until(settled, app));
	assert_int_equal(app->err, 0);
	pc = ps_use(p, c, &grant);
	converse(p, &pc, app);
	ps_end(p);
}

/* It is not waited for any longer than the configuration says. */
static void who_never_maps_is_relayed(void **state)
{
	struct ps *p = ps_new(guest, 700), *q;
	struct cs_pair pair;
	struct zf_conn *app;
	struct ps_chan pc;

	(void)state;
	listens(p);
	pc = to_program(p, &app); /* applications have said HELLO */
	converse(p, &pc, app);
	ps_claim(p, CTRL_CLAIM_NO_LISTEN, LISTENED, 0);
	heard(p);
	q = ps_hello(guest, 701);
	ps_offer(q);
	listens(q);
	assert_true(zf_reload(CONF_IMPATIENT, 2));
	assert_true(zf_logged("the new configuration is in force"));
	pair.a = zf_connect(cs_app, 0, CID, LISTENED, ZV_STREAM, NULL);
	assert_non_null(pair.a);
	pair.b = zf_accept(guest, LISTENED);
	assert_non_null(pair.b);
	assert_int_equal(cs_channels(), 0);
	cs_converse(pair, ZV_STREAM);
	assert_true(zf_logged("a program of the guest has not mapped the region .* within 100 ms"));
	assert_int_equal(hs_counter("a", "channel_declined"), 1);
	ps_ack(q);
	heard(q);
	pc = to_program(q, &app);
	converse(q, &pc, app);
	ps_end(p);
	ps_end(q);
}

static bool failed(void *arg)
{
	return ((struct zf_conn *)arg)->err;
}

static bool no_programs(void *arg)
{
	(void)arg;
	return hs_counter("a", "programs") == 0;
}

/* Its control connection is all that has to end; again and again, nothing is left. */
static void death_of_a_program_resets_its_connections(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct ps *p = ps_new(guest, 700);
		struct ps_chan pc[2];
		struct zf_conn *app[2];

		listens(p);
		pc[0] = from_program(p, &app[0]);
		pc[1] = to_program(p, &app[1]);
		ps_send(&pc[0], 1000, 0);
		ps_end(p);
		for (unsigned k = 0; k < 2; k++) {
			assert_true(zf_until(failed, app[k]));
			assert_int_equal(app[k]->err, -ECONNRESET);
			assert_true(zf_until(failed, pc[k].c));
			shm_channel_detach(pc[k].ch);
			zf_close(pc[k].c);
			zf_close(app[k]);
		}
		assert_true(zf_until(cs_all_free, NULL));
		assert_true(zf_until(no_programs, NULL));
	}
}

static void death_of_an_application_resets_the_program(void **state)
{
	struct ps *p = ps_new(guest, 700);
	struct ps_chan pc;
	struct zf_conn *app;

	(void)state;
	pc = from_program(p, &app);
	assert_true(zf_guest_close(1));
	free(app);
	assert_true(zf_until(failed, pc.c));
	assert_int_equal(pc.c->err, -ECONNRESET);
	assert_int_equal(p->ctl->err, 0);
	ps_drop(p, &pc);
	assert_true(zf_until(cs_all_free, NULL));
	ps_end(p);
}

static bool ctl_failed(void *arg)
{
	return ((struct ps *)arg)->ctl->err;
}

static void death_of_the_guest_frees_all(void **state)
{
	struct ps *p = ps_new(guest, 700);
	struct ps_chan pc;
	struct zf_conn *app;

	(void)state;
	pc = from_program(p, &app);
	shm_channel_detach(pc.ch);
	assert_true(zf_guest_close(GUEST));
	free(pc.c);
	free(p->ctl);
	free(p);
	assert_true(zf_until(failed, app));
	assert_int_equal(app->err, -ECONNRESET);
	zf_close(app);
	assert_true(zf_until(no_programs, NULL));
}

static bool all_are_back(void *arg)
{
	struct zv_dev *const dev[] = {cs_app, cs_other, guest};
	unsigned up = 0;

	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		struct zv_dev_info info = {.size = sizeof(info)};

		(void)zv_dev_info(dev[i], &info);
		up += info.queues_up == info.queues;
	}
	return up == 3;
}

static void death_of_zvsockd_ends_both(void **state)
{
	struct ps *p = ps_new(guest, 700);
	struct ps_chan pc;
	struct zf_conn *app;

	(void)state;
	pc = from_program(p, &app);
	assert_true(zf_kill());
	assert_true(zf_until(failed, app));
	assert_true(zf_until(failed, pc.c));
	assert_true(zf_until(ctl_failed, p));
	shm_channel_detach(pc.ch);
	zf_close(pc.c);
	zf_close(app);
	ps_end(p);
	/* Another one does not know of them, and they begin again. */
	assert_true(zf_start_again(program));
	assert_true(zf_until(all_are_back, NULL));
	p = ps_new(guest, 700);
	pc = from_program(p, &app);
	assert_int_equal(cs_channels(), 1);
	converse(p, &pc, app);
	ps_end(p);
}

/* ---- who may speak, and how ---- */

static void only_privileged_programs_and_so_many(void **state)
{
	struct ps *p[3];
	int err;

	(void)state;
	ps_port = 1024;
	assert_null(zf_connect(guest, 0, ZV_CID_HOST, ZV_PROC_PORT, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	ps_port = 700;
	assert_null(zf_connect(guest, 0, ZV_CID_HOST, ZV_PROC_PORT, ZV_SEQPACKET, &err));
	for (uint32_t i = 0; i < 3; i++)
		p[i] = ps_hello(guest, 700 + i);
	ps_port = 703;
	assert_null(zf_connect(guest, 0, ZV_CID_HOST, ZV_PROC_PORT, ZV_STREAM, &err));
	assert_int_equal(hs_counter("a", "program_refused"), 3);
	for (unsigned i = 0; i < 3; i++)
		ps_end(p[i]);
	assert_true(zf_until(no_programs, NULL));
	ps_end(ps_hello(guest, 703));
}

/* Sends @len bytes after HELLO, or (@bare) in its place: the connection is reset, and no other. */
static void sends(const void *wire, size_t len, bool bare)
{
	struct ps *p = calloc(1, sizeof(*p));

	if (bare) {
		assert_non_null(p);
		ps_port = 800;
		p->ctl = zf_connect(guest, 0, ZV_CID_HOST, ZV_PROC_PORT, ZV_STREAM, NULL);
		assert_non_null(p->ctl);
	} else {
		free(p);
		p = ps_hello(guest, 800);
	}
	assert_true(zf_send(p->ctl, wire, len, 0));
	assert_true(ps_reset(p));
	ps_end(p);
}

static void nonsense_ends_its_control_connection_alone(void **state)
{
	struct ps *other = ps_new(guest, 700);
	const struct ctrl_msg ours[] = {
		{.type = CTRL_REGION, .region = {.id = 1, .size = 4096}},
		{.type = CTRL_GRANT, .grant = {.region = 1}},
	};
	uint8_t wire[4096] = {0};
	struct hello h = {.type = CTRL_HELLO,
			  .version = ZV_CTRL_VERSION,
			  .npairs = 1,
			  .caps = ZV_CAP_CHANNEL,
			  .max_pkt = 65536};
	struct ps_chan pc;
	struct zf_conn *app;
	long before;

	(void)state;
	sends("nonsense nonsense", 17, true);
	sends("nonsense nonsense", 17, false);
	hello_put(wire, &h);
	sends(wire, HELLO_WIRE_LEN, false); /* a second one */
	h.caps = 0;
	hello_put(wire, &h);
	sends(wire, HELLO_WIRE_LEN, true);
	h.caps = ZV_CAP_CHANNEL;
	h.npairs = 2;
	hello_put(wire, &h);
	sends(wire, HELLO_WIRE_LEN, true);
	for (unsigned i = 0; i < 2; i++)
		sends(wire, ctrl_msg_put(wire, &ours[i]), false);
	ctrl_frame_put(wire, ZV_CTRL_VERSION, CTRL_CLAIM, 4097);
	sends(wire, CTRL_FRAME_LEN, false);
	ctrl_frame_put(wire, 2, CTRL_CLAIM, 40);
	sends(wire, CTRL_FRAME_LEN, false);
	assert_int_equal(hs_counter("a", "program_bad_msg"), 9);
	/* What it does not have is counted, and ignored. */
	before = hs_counter("a", "channel_bad_msg");
	ps_send_msg(other, &(struct ctrl_msg){.type = CTRL_REGION_ACK, .region_ack = {.id = 99}});
	ps_send_msg(other, &(struct ctrl_msg){.type = CTRL_RELEASE, .release = {.region = 99}});
	ps_send_msg(other,
		    &(struct ctrl_msg){.type = CTRL_OFFER, .offer = {.gpa = 4096, .size = MIB}});
	pc = from_program(other, &app);
	assert_int_equal(hs_counter("a", "channel_bad_msg"), before + 2);
	converse(other, &pc, app);
	ps_end(other);
}

static void claims_are_limited(void **state)
{
	struct ps *p = ps_new(guest, 700);
	struct cs_pair pair;

	(void)state;
	for (uint32_t i = 0; i < 1025; i++)
		ps_claim(p, CTRL_CLAIM_LISTEN, 20000 + i, 0);
	listens(p);
	pair.a = zf_connect(cs_app, 0, CID, LISTENED, ZV_STREAM, NULL);
	assert_non_null(pair.a);
	pair.b = zf_accept(guest, LISTENED);
	assert_non_null(pair.b);
	assert_int_equal(hs_counter("a", "claim_ignored"), 2);
	assert_int_equal(cs_channels(), 0);
	cs_converse(pair, ZV_STREAM);
	ps_end(p);
}

int main(int argc, char **argv)
{
#define WITH_GUEST(test) cmocka_unit_test_setup_teardown(test, start, cs_stop)
	const struct CMUnitTest tests[] = {
		WITH_GUEST(payload_goes_through_the_channel),
		WITH_GUEST(what_is_not_claimed_is_relayed),
		WITH_GUEST(a_port_of_a_program_that_has_ended_is_anothers),
		WITH_GUEST(a_late_program_gets_its_channel),
		WITH_GUEST(who_never_maps_is_relayed),
		WITH_GUEST(death_of_a_program_resets_its_connections),
		WITH_GUEST(death_of_an_application_resets_the_program),
		WITH_GUEST(death_of_the_guest_frees_all),
		WITH_GUEST(death_of_zvsockd_ends_both),
		WITH_GUEST(only_privileged_programs_and_so_many),
		WITH_GUEST(nonsense_ends_its_control_connection_alone),
		WITH_GUEST(claims_are_limited),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD [TEST]\n", argv[0]);
		return 2;
	}
	program = argv[1];
	cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("programs", tests, NULL, NULL);
}
