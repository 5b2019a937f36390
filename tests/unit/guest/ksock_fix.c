/* SPDX-License-Identifier: BSD-3-Clause */
#include "ksock_fix.h"

#include "vsock/vsock_transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int unix_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	struct own_region own = region;

	(void)rest;
	if (own.map)
		(void)region_map_hold(own.map);
	return ksock_open(out, &ksock_net_unix, &own, opts);
}

static struct transport_ops unix_ops;
struct zv_dev *client, *server;
struct zv_queue *cq, *sq;
uint8_t *want, *got;
char logged[512];
struct own_region region = {.fd = -1};

static void on_log(void *ctx, enum zv_log_level level, const char *line)
{
	(void)ctx;
	if (level <= ZV_LOG_WARN)
		(void)snprintf(logged, sizeof(logged), "%s", line);
}

static void open_both(const struct zv_opts *c, const struct zv_opts *s)
{
	assert_int_equal(zv_open(&client, "kunix:", c), 0);
	assert_int_equal(zv_open(&server, "kunix:", s), 0);
	cq = zv_queue(client, 0);
	sq = zv_queue(server, 0);
	logged[0] = 0;
}

int set_up(void **state)
{
	(void)state;
	if (!unix_ops.scheme) {
		unix_ops = vsock_transport_ops;
		unix_ops.scheme = "kunix";
		unix_ops.open = unix_open;
		if (zv_transport_register(&unix_ops))
			return -1;
		want = malloc(BIG);
		got = malloc(BIG);
		for (size_t i = 0; i < BIG; i++)
			want[i] = (uint8_t)(i * 2654435761u >> 13);
		zv_set_log(on_log, NULL);
	}
	open_both(NULL, NULL);
	return 0;
}

int tear_down(void **state)
{
	(void)state;
	assert_int_equal(zv_close(client), 0);
	assert_int_equal(zv_close(server), 0);
	return 0;
}

void reopen(const struct zv_opts *c, const struct zv_opts *s)
{
	(void)tear_down(NULL);
	open_both(c, s);
}

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

bool has(struct zv_conn *c, uint32_t events)
{
	return (uint32_t)zv_conn_wait(c, events, 0) & events;
}

const char *state_of(struct zv_conn *c)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c, &i), 0);
	return i.state;
}

void join(enum zv_type type, struct zv_conn **c, struct zv_conn **s)
{
	int ret = zv_listen(server, PORT, type, 0);

	assert_true(ret == 0 || ret == -EADDRINUSE);
	assert_int_equal(zv_connect(cq, 2, PORT, type, c), 0);
	PUMP(zv_accept(sq, PORT, s) == 0);
	PUMP(strcmp(state_of(*c), "connected") == 0);
}

void close_both(struct zv_conn *a, struct zv_conn *b)
{
	assert_int_equal(zv_conn_close(a), 0);
	assert_int_equal(zv_conn_close(b), 0);
}
