/* SPDX-License-Identifier: BSD-3-Clause */
#include "testbed.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zvsock_host.h>

#include "host_app.h"
#include "suite.h"

#define MAX_MSG	 20000u
#define BY_ROUND 4u

char testbed_victim[64], testbed_bystander[64];
const char *testbed_program;
const unsigned testbed_asks = 0; /* each port has a listener, or none */

static char dir[] = "/tmp/zvsock-hostile-XXXXXX";
static struct zv_dev *victim, *neighbour;
static pthread_t host, guest;
static int quit, guest_quit, with_guest;
static uint64_t rounds, last_rounds; /* transfers of the bystander */
static const char *guest_fault;

/* ---- the host ---- */

static void *host_main(void *arg)
{
	unsigned idle = 0;

	(void)arg;
	while (!__atomic_load_n(&quit, __ATOMIC_ACQUIRE)) {
		unsigned n = app_poll(zv_queue(victim, 0), true);

		n += app_poll(zv_queue(neighbour, 0), false);
		app_commands(zv_queue(victim, 0));
		if (n)
			idle = 0;
		else if (++idle > 200)
			testbed_nap();
		else
			testbed_idle();
	}
	app_close_all();
	return NULL;
}

/* ---- the bystander ---- */

static bool bystander_fails(const char *what)
{
	__atomic_store_n(&guest_fault, what, __ATOMIC_RELEASE);
	return false;
}

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)((i * 0x9e3779b97f4a7c15ull) >> 56);
}

/* One message of @len bytes there and back. */
static bool transfer(struct zv_queue *q, struct zv_conn *c, uint64_t at, size_t len)
{
	static uint8_t out[MAX_MSG], in[MAX_MSG];
	uint64_t end = testbed_now() + TESTBED_WAIT_NS;
	size_t sent = 0, got = 0;
	struct zv_event ev[4];

	for (size_t i = 0; i < len; i++)
		out[i] = pattern(at + i);
	while (got < len) {
		ssize_t n = sent < len ? zv_send(c, out + sent, len - sent, 0) : -EAGAIN;

		if (n > 0)
			sent += (size_t)n;
		else if (n != -EAGAIN)
			return bystander_fails("bystander: zv_send failed");
		n = zv_recv(c, in + got, len - got, NULL);
		if (n > 0)
			got += (size_t)n;
		else if (n != -EAGAIN)
			return bystander_fails("bystander: zv_recv failed");
		else if (zv_wait(q, ev, 4, 100000000u) < 0 || testbed_now() > end)
			return bystander_fails("bystander: stalled");
	}
	return memcmp(in, out, len) == 0 || bystander_fails("bystander: wrong bytes");
}

static void *guest_main(void *arg)
{
	struct zv_opts o = {.size = sizeof(o),
			    .ring_size = 64,
			    .rx_buf = 4096,
			    .tx_buf = 4096,
			    .connect_timeout_ns = TESTBED_WAIT_NS};
	struct zv_dev *dev = NULL;
	struct zv_conn *c = NULL;
	struct zv_event ev[4];
	char uri[96];
	uint64_t at = 0;
	bool up = false;

	(void)arg;
	snprintf(uri, sizeof(uri), "vhost-user:%s", testbed_bystander);
	if (zv_open(&dev, uri, &o) < 0 ||
	    zv_connect(zv_queue(dev, 0), ZV_CID_HOST, PORT_ECHO, ZV_STREAM, &c) < 0) {
		bystander_fails("bystander: cannot connect");
		return NULL;
	}
	for (uint64_t end = testbed_now() + TESTBED_WAIT_NS; !up && testbed_now() < end;) {
		int n = zv_wait(zv_queue(dev, 0), ev, 4, 100000000u);

		for (int i = 0; i < n; i++)
			up |= (ev[i].events & ZV_EV_CONNECT) && ev[i].err == 0;
	}
	if (!up)
		bystander_fails("bystander: not connected");
	while (up && !__atomic_load_n(&guest_quit, __ATOMIC_ACQUIRE)) {
		size_t len = 1 + (size_t)(at * 7919 % (rounds % 8 ? 300 : MAX_MSG));

		up = transfer(zv_queue(dev, 0), c, at, len);
		at += len;
		__atomic_add_fetch(&rounds, up, __ATOMIC_RELEASE);
		nanosleep(&(struct timespec){0, 50000}, NULL); /* leaves CPUs to the others */
	}
	zv_conn_close(c);
	if (zv_close(dev) < 0)
		bystander_fails("bystander: zv_close failed");
	return NULL;
}

static bool went_on(void *arg)
{
	return __atomic_load_n(&guest_fault, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&rounds, __ATOMIC_ACQUIRE) >= *(uint64_t *)arg + BY_ROUND;
}

const char *testbed_bystander_fault(void)
{
	if (!testbed_until(went_on, &last_rounds))
		return "bystander: makes no progress";
	last_rounds = __atomic_load_n(&rounds, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&guest_fault, __ATOMIC_ACQUIRE);
}

/* ---- start and stop ---- */

static int open_dev(struct zv_dev **dev, const char *path, unsigned cid)
{
	struct zv_opts o = {.size = sizeof(o),
			    .buf_alloc = BUF_ALLOC,
			    .max_conns = MAX_CONNS,
			    .close_timeout_ns = 100000000u};
	char uri[128];

	snprintf(uri, sizeof(uri), "host:%s,cid=%u", path, cid);
	if (zv_open(dev, uri, &o) < 0 || !app_listen(*dev)) {
		fprintf(stderr, "%s: %s\n", uri, zv_error_text());
		return -1;
	}
	return 0;
}

static void on_log(void *ctx, enum zv_log_level level, const char *line)
{
	(void)ctx;
	if (level <= ZV_LOG_INFO)
		fprintf(stderr, "log: %s\n", line);
}

int testbed_start(bool with_bystander)
{
	if (getenv("HOSTILE_LOG"))
		zv_set_log(on_log, NULL);
	if (!mkdtemp(dir))
		return 99;
	snprintf(testbed_victim, sizeof(testbed_victim), "%s/v", dir);
	snprintf(testbed_bystander, sizeof(testbed_bystander), "%s/b", dir);
	if (zv_host_init() < 0 || open_dev(&victim, testbed_victim, VICTIM_CID) < 0 ||
	    open_dev(&neighbour, testbed_bystander, BYSTANDER_CID) < 0 ||
	    pthread_create(&host, NULL, host_main, NULL))
		return 99;
	with_guest = with_bystander;
	if (with_guest && pthread_create(&guest, NULL, guest_main, NULL))
		return 99;
	return with_guest && testbed_bystander_fault() ? 99 : 0;
}

bool testbed_stop(void)
{
	bool good = true;

	/* The guest first: the host must answer until its last transfer is over. */
	__atomic_store_n(&guest_quit, 1, __ATOMIC_RELEASE);
	if (with_guest)
		pthread_join(guest, NULL);
	__atomic_store_n(&quit, 1, __ATOMIC_RELEASE);
	pthread_join(host, NULL);
	good &= !with_guest || guest_fault == NULL;
	good &= zv_close(victim) == 0;
	good &= zv_close(neighbour) == 0;
	return rmdir(dir) == 0 && good;
}

int testbed_group_end(void **state)
{
	(void)state;
	return testbed_stop() ? 0 : -1;
}

/* ---- looking at it ---- */

struct zv_queue_stats testbed_stats(void)
{
	struct zv_queue_stats st;

	zv_queue_stats(zv_queue(victim, 0), &st, sizeof(st));
	return st;
}

uint64_t testbed_counter(size_t offset)
{
	struct zv_queue_stats st = testbed_stats();

	return counter_at(&st, offset);
}

const char *testbed_lacks(unsigned needs)
{
	(void)needs; /* an application of the test's own, and memory wherever it likes */
	return NULL;
}

bool testbed_victim_up(void)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	return zv_dev_info(victim, &info) == 0 && info.queues_up == 1;
}

static bool is_up(void *arg)
{
	return testbed_victim_up() == *(bool *)arg;
}

bool testbed_connect_failed(int err)
{
	return testbed_connect_result() == err;
}

bool testbed_wait_up(bool up)
{
	return testbed_until(is_up, &up);
}
