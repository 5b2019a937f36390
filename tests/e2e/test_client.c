/* SPDX-License-Identifier: BSD-3-Clause */
/* An application of the host on a client socket (`daemon:`), with client_daemon.h as zvsockd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_broker.h>
#include <zvsock_host.h>

#include "client_daemon.h"

#define GUEST_CID 3u

static char dir[] = "/tmp/zvsock-client-XXXXXX";
static char uri[80];

static void poll_all(struct zv_dev *app)
{
	struct zv_event ev[8];

	assert_true(zv_poll(zv_queue(app, 0), ev, 8) >= 0);
	if (served())
		assert_true(zv_poll(zv_queue(served(), 0), ev, 8) >= 0);
	usleep(100);
}

/* Polls until @cond holds, for as long as a loaded machine may need. */
#define until(app, cond)                                                                           \
	do {                                                                                       \
		time_t end_ = time(NULL) + 30;                                                     \
		while (!(cond)) {                                                                  \
			assert_true(time(NULL) < end_);                                            \
			poll_all(app);                                                             \
		}                                                                                  \
	} while (0)

static bool up(struct zv_dev *dev)
{
	struct zv_dev_info i = {.size = sizeof(i)};

	return zv_dev_info(dev, &i) == 0 && i.queues_up == 1;
}

static struct zv_dev *attached(void)
{
	struct zv_dev *app = NULL;

	if (zv_open(&app, uri, NULL))
		fail_msg("%s", zv_error_text());
	until(app, up(app) && served() && up(served()));
	return app;
}

static struct zv_conn_info info_of(struct zv_conn *c)
{
	struct zv_conn_info ci = {.size = sizeof(ci)};

	assert_int_equal(zv_conn_info(c, &ci), 0);
	return ci;
}

/* "hello" from @from to @to. */
static void talk(struct zv_dev *app, struct zv_conn *from, struct zv_conn *to)
{
	char buf[16];

	until(app, zv_send(from, "hello", 5, 0) == 5);
	until(app, zv_recv(to, buf, sizeof(buf), NULL) == 5);
	assert_memory_equal(buf, "hello", 5);
}

static void reaches_guests_and_local_ports(void **state)
{
	static const uint64_t to[] = {GUEST_CID, ZV_CID_HOST, 1};
	struct zv_dev *app = attached();

	(void)state;
	assert_int_equal(zv_cid(app), ZV_CID_HOST);
	assert_string_equal(broker.name, "test_client");
	for (unsigned i = 0; i < 3; i++) {
		struct zv_conn *c, *far;

		assert_int_equal(zv_connect(zv_queue(app, 0), to[i], 7, ZV_STREAM, &c), 0);
		until(app, zv_accept(zv_queue(served(), 0), ZV_PORT_ANY, &far) == 0);
		assert_int_equal(info_of(far).local_cid, to[i]);
		assert_int_equal(info_of(far).peer_cid, ZV_CID_HOST);
		assert_int_equal(zv_conn_answer(far, 0), 0);
		talk(app, c, far);
		talk(app, far, c);
		zv_conn_close(c);
		zv_conn_close(far);
	}
	assert_int_equal(zv_close(app), 0);
}

static void is_reached_by_guests(void **state)
{
	struct zv_dev *app = attached();
	struct zv_conn *c, *far;

	(void)state;
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(seen(&broker.last_port), 7);
	assert_int_equal(zv_connect_from(zv_queue(served(), 0), GUEST_CID, 1234, ZV_CID_HOST, 7,
					 ZV_STREAM, &far),
			 0);
	until(app, zv_accept(zv_queue(app, 0), 7, &c) == 0);
	assert_int_equal(info_of(c).peer_cid, GUEST_CID);
	assert_int_equal(info_of(c).peer_port, 1234);
	assert_int_equal(info_of(c).local_cid, ZV_CID_HOST);
	talk(app, far, c);
	talk(app, c, far);
	zv_conn_close(c);
	zv_conn_close(far);
	assert_int_equal(zv_unlisten(app, 7), 0);
	assert_int_equal(seen(&broker.unlistened), 1);
	assert_int_equal(zv_close(app), 0);
}

static void ports_are_the_daemons_to_give(void **state)
{
	struct zv_dev *app = attached();

	(void)state;
	assert_int_equal(zv_listen(app, TAKEN_PORT, ZV_STREAM, 0), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), "port 99 belongs to another application"));
	assert_int_equal(zv_unlisten(app, TAKEN_PORT), -ENOENT);
	assert_int_equal(zv_listen_all(app, 0, 16), -EOPNOTSUPP);
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(zv_close(app), 0);
}

/* ---- channels ---- */

/* The next message of the application's driver. */
static struct zv_broker_msg heard(struct zv_dev *app, uint32_t what)
{
	struct zv_broker_msg m;

	until(app, zv_broker_recv(zv_queue(served(), 0), &m) == 1);
	assert_int_equal(m.what, what);
	return m;
}

static const struct zv_region the_region = {REGION_ID, REGION_SIZE, ZV_REGION_BY_FD};

static int announce(struct zv_dev *app)
{
	until(app, zv_region_announce(zv_queue(served(), 0), &the_region) == 0);
	return heard(app, ZV_BROKER_REGION).result;
}

/* Both ends are the application's: it connects to itself by way of zvsockd. */
static void joined(struct zv_dev *app, struct zv_conn **a, struct zv_conn **b)
{
	struct zv_queue *far = zv_queue(served(), 0);
	struct zv_conn *ask, *to;
	struct zv_grant g = {.region = REGION_ID, .role = SHM_ROLE_B};

	shm_channel_desc_init(&g.desc, 0, 1);
	g.desc.length = shm_channel_bytes(&g.desc);
	assert_int_equal(shm_channel_format(broker.region.addr, REGION_SIZE, &g.desc), 0);
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(zv_queue(app, 0), ZV_CID_LOCAL, 7, ZV_STREAM, a), 0);
	until(app, zv_accept(far, ZV_PORT_ANY, &ask) == 0);
	assert_int_equal(
		zv_connect_granted(far, ZV_CID_LOCAL, ZV_PORT_ANY, 0, 7, ZV_STREAM, &g, &to), 0);
	until(app, zv_accept(zv_queue(app, 0), 7, b) == 0);
	g.role = SHM_ROLE_A;
	assert_int_equal(zv_conn_grant(ask, &g), 0);
	assert_int_equal(zv_conn_answer(ask, 0), 0);
	until(app, strcmp(info_of(*a).state, "connected") == 0);
}

static void payload_goes_through_a_region(void **state)
{
	struct zv_dev *app = attached();
	struct zv_queue_stats s;
	struct zv_conn *a, *b;

	(void)state;
	(void)heard(app, ZV_BROKER_HELLO);
	assert_int_equal(shm_region_create(&broker.region, "zvsock-test", REGION_SIZE, SHM_NO_HUGE),
			 0);
	assert_int_equal(announce(app), 0);
	joined(app, &a, &b);
	talk(app, a, b);
	talk(app, b, a);
	zv_queue_stats(zv_queue(app, 0), &s, sizeof(s));
	assert_int_equal(s.chans, 2);
	assert_int_equal(info_of(a).tx_bytes, 5);
	zv_conn_reset(a);
	zv_conn_reset(b);
	assert_int_equal(heard(app, ZV_BROKER_RELEASE).generation, 1);
	assert_int_equal(heard(app, ZV_BROKER_RELEASE).generation, 1);
	assert_int_equal(seen(&broker.asked), 1);
	assert_int_equal(zv_close(app), 0);
	shm_region_destroy(&broker.region);
}

/* What zvsockd refuses, or hands out wrongly, is declined; the application goes on without. */
static void a_region_that_cannot_be_had_is_declined(void **state)
{
	struct zv_dev *app = attached();
	const struct zv_region elsewhere = {1, 4096, 0x100000};
	struct zv_conn *c, *far;

	(void)state;
	(void)heard(app, ZV_BROKER_HELLO);
	assert_int_equal(announce(app), -ENOENT);
	assert_int_equal(zv_region_forget(zv_queue(served(), 0), REGION_ID), 0);
	/* smaller than it is said to be */
	assert_int_equal(shm_region_create(&broker.region, "zvsock-test", 4096, SHM_NO_HUGE), 0);
	assert_int_equal(announce(app), -EINVAL);
	shm_region_destroy(&broker.region);
	assert_int_equal(zv_region_announce(zv_queue(served(), 0), &elsewhere), 0);
	assert_int_equal(heard(app, ZV_BROKER_REGION).result, -ENXIO);
	assert_int_equal(zv_connect(zv_queue(app, 0), GUEST_CID, 7, ZV_STREAM, &c), 0);
	until(app, zv_accept(zv_queue(served(), 0), ZV_PORT_ANY, &far) == 0);
	assert_int_equal(zv_conn_answer(far, 0), 0);
	talk(app, c, far);
	zv_conn_close(c);
	zv_conn_close(far);
	assert_int_equal(zv_close(app), 0);
}

static bool lost(struct zv_dev *app, struct zv_conn *c)
{
	struct zv_event ev[8];
	int n = zv_poll(zv_queue(app, 0), ev, 8);

	for (int i = 0; i < n; i++)
		if (ev[i].conn == c && ev[i].events & ZV_EV_ERR)
			return ev[i].err == -ECONNRESET;
	return false;
}

/* zvsockd is killed and comes back: connections end, the device attaches again, ports stay. */
static void a_new_daemon_is_told_of_ports(void **state)
{
	struct zv_dev *app = attached();
	struct zv_conn *c, *far;

	(void)state;
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(zv_queue(app, 0), GUEST_CID, 7, ZV_STREAM, &c), 0);
	until(app, zv_accept(zv_queue(served(), 0), ZV_PORT_ANY, &far) == 0);
	assert_int_equal(zv_conn_answer(far, 0), 0);
	talk(app, far, c);
	daemon_dies();
	until(app, lost(app, c));
	zv_conn_close(c);
	until(app, seen(&broker.listened) == 2);
	assert_int_equal(seen(&broker.attached), 2);
	assert_int_equal(seen(&broker.last_port), 7);
	until(app, up(app) && served() && up(served()));
	assert_int_equal(zv_connect_from(zv_queue(served(), 0), GUEST_CID, 1234, ZV_CID_HOST, 7,
					 ZV_STREAM, &far),
			 0);
	until(app, zv_accept(zv_queue(app, 0), 7, &c) == 0);
	talk(app, far, c);
	zv_conn_close(c);
	zv_conn_close(far);
	assert_int_equal(zv_close(app), 0);
}

/*
 * Between the attachment and the start of the rings nobody can be connected: zvsockd hears of
 * ports afterwards, also of one that the application begins to listen on meanwhile.
 */
static void ports_wait_for_the_rings(void **state)
{
	struct zv_dev *app = attached();

	(void)state;
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(seen(&broker.listened), 1);
	__atomic_store_n(&broker.silent, 1, __ATOMIC_RELEASE);
	daemon_dies();
	until(app, seen(&broker.attached) == 2);
	assert_int_equal(zv_listen(app, 8, ZV_STREAM, 0), 0);
	assert_int_equal(zv_listen(app, 9, ZV_STREAM, 0), 0);
	assert_int_equal(zv_unlisten(app, 9), 0);
	assert_int_equal(seen(&broker.listened), 1);
	assert_int_equal(seen(&broker.unlistened), 0);
	close(__atomic_exchange_n(&broker.silent, 0, __ATOMIC_ACQ_REL));
	until(app, seen(&broker.listened) == 3);
	until(app, up(app) && served() && up(served()));
	assert_int_equal(seen(&broker.attached), 3);
	assert_int_equal(zv_unlisten(app, 8), 0);
	assert_int_equal(seen(&broker.unlistened), 1);
	assert_int_equal(zv_close(app), 0);
}

/* zvsockd stands still after it has answered: whoever opens a device waits for a time, not for
 * ever. */
static void a_daemon_that_hangs_is_given_up(void **state)
{
	struct zv_dev *app;

	(void)state;
	__atomic_store_n(&broker.silent, 1, __ATOMIC_RELEASE);
	assert_int_equal(zv_open(&app, uri, NULL), -EPROTO);
	assert_non_null(strstr(zv_error_text(), "did not answer"));
	close(__atomic_load_n(&broker.silent, __ATOMIC_ACQUIRE));
}

static void what_can_go_wrong_is_said(void **state)
{
	struct zv_dev *app;
	char text[256];
	int pair[2];

	(void)state;
	assert_int_equal(zv_open(&app, "daemon:", NULL), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "write daemon:PATH"));
	snprintf(text, sizeof(text), "daemon:%s/none", dir);
	assert_int_equal(zv_open(&app, text, NULL), -ENOENT);
	assert_non_null(strstr(zv_error_text(), "is zvsockd running"));
	/* a device needs a connected stream socket */
	assert_int_equal(zv_open(&app, "host:fd=1000,cid=2", NULL), -EINVAL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	snprintf(text, sizeof(text), "host:fd=%d,cid=2", pair[0]);
	assert_int_equal(zv_open(&app, text, NULL), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "SOCK_STREAM"));
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reaches_guests_and_local_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(is_reached_by_guests, setup, teardown),
		cmocka_unit_test_setup_teardown(ports_are_the_daemons_to_give, setup, teardown),
		cmocka_unit_test_setup_teardown(payload_goes_through_a_region, setup, teardown),
		cmocka_unit_test_setup_teardown(a_region_that_cannot_be_had_is_declined, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_new_daemon_is_told_of_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(ports_wait_for_the_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(a_daemon_that_hangs_is_given_up, setup, teardown),
		cmocka_unit_test(what_can_go_wrong_is_said),
	};
	int ret;

	if (zv_host_init()) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	if (!mkdtemp(dir))
		return 1;
	snprintf(cd_path, sizeof(cd_path), "%s/clients", dir);
	snprintf(uri, sizeof(uri), "daemon:%s", cd_path);
	ret = cmocka_run_group_tests_name("client", tests, NULL, NULL);
	unlink(cd_path);
	rmdir(dir);
	return ret;
}
