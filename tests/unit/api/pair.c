/* SPDX-License-Identifier: BSD-3-Clause */
#include "pair.h"

struct pair P;
struct seen seen_guest, seen_host;

int pair_open(const struct zv_opts *opts)
{
	struct zv_opts o = *opts;

	o.size = sizeof(o);
	o.queues = 2;
	fake_config = (struct fake_config){.nbuf = 64, .buf_len = 4096, .nseg = 1};
	assert_int_equal(zv_open(&P.host, "fakehost:", &o), 0);
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &o), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
	pump();
	return 0;
}

static int setup(uint32_t flags)
{
	return pair_open(&(struct zv_opts){.flags = flags, .buf_alloc = 65536});
}

int pair_setup(void **state)
{
	(void)state;
	return setup(0);
}

int pair_setup_plain(void **state)
{
	(void)state;
	return setup(ZV_OPT_NO_HELLO);
}

int pair_teardown(void **state)
{
	(void)state;
	assert_int_equal(zv_close(P.guest), 0);
	assert_int_equal(zv_close(P.host), 0);
	return 0;
}

static void look(struct zv_queue *q, struct seen *s)
{
	struct zv_event ev[16];
	int n = zv_poll(q, ev, 16);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		s->events |= ev[i].events;
		if (ev[i].err)
			s->err = ev[i].err;
		s->accepts += !!(ev[i].events & ZV_EV_ACCEPT);
	}
}

void pump(void)
{
	seen_guest = seen_host = (struct seen){0};
	for (int quiet = 0; quiet < 3; quiet++)
		for (unsigned i = 0; i < FAKE_QUEUES; i++) {
			if (fake_pending(ZV_ROLE_HOST, i) || fake_pending(ZV_ROLE_GUEST, i))
				quiet = 0;
			look(zv_queue(P.guest, i), &seen_guest);
			look(zv_queue(P.host, i), &seen_host);
		}
}

void connect_pair(enum zv_type type, uint32_t port, struct zv_conn **g, struct zv_conn **h)
{
	int ret = zv_listen(P.host, port, type, 0);

	assert_true(ret == 0 || ret == -EADDRINUSE);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, port, type, g), 0);
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	assert_int_equal(seen_guest.err, 0);
	assert_int_equal(zv_accept(P.h, port, h), 0);
}

void earn_buffers(struct zv_conn *c, unsigned n)
{
	struct zv_buf b;

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(zv_buf_alloc(c, &b, 1, 64), 1);
		zv_buf_cancel(c, &b, 1);
	}
}

struct vsock_hdr hdr_like(struct zv_conn *g, unsigned op, uint32_t len)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(g, &i), 0);
	return (struct vsock_hdr){.src_cid = i.local_cid,
				  .dst_cid = i.peer_cid,
				  .src_port = i.local_port,
				  .dst_port = i.peer_port,
				  .len = len,
				  .type = (uint16_t)i.type,
				  .op = (uint16_t)op,
				  .buf_alloc = 65536};
}
