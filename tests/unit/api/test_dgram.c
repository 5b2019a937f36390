/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams over the fake transport: both ways, ports, full queues, full rings, wrong calls. */
#include "pair.h"
#include "socket/core/listener.h"
#include "zvsock_dgram.h"

#define PORT 5000u

static char got[70000];
static struct zv_dgram_addr from;

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	zv_queue_stats(q, &s, sizeof(s));
	return s;
}

static uint32_t bound(struct zv_dev *dev, uint32_t port, size_t rx_bytes)
{
	assert_int_equal(zv_dgram_bind(dev, &port, rx_bytes), 0);
	return port;
}

static ssize_t send_from(uint32_t port, const char *text)
{
	return zv_dgram_send(P.g, &(struct zv_dgram_addr){.local_port = port, .peer_port = PORT},
			     text, strlen(text), 0);
}

static void expect(struct zv_queue *q, uint32_t port, const char *text)
{
	assert_int_equal(zv_dgram_recv(q, port, got, sizeof(got), NULL, &from), strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

/* Polls @q once: the events of all kinds, and the port of ZV_EV_DGRAM. */
static uint32_t look(struct zv_queue *q, uint32_t *port)
{
	struct zv_event ev[8];
	uint32_t events = 0;

	for (int i = 0, n = zv_poll(q, ev, 8); i < n; i++) {
		events |= ev[i].events;
		if (ev[i].events & ZV_EV_DGRAM) {
			assert_null(ev[i].conn);
			*port = ev[i].port;
		}
	}
	return events;
}

static void there_and_back(void **state)
{
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0), port = 0, flags;
	struct zv_dev_info info = {.size = sizeof(info)};
	struct zv_dgram_addr answer;

	(void)state;
	assert_int_equal(zv_dev_info(P.guest, &info), 0);
	assert_true(info.flags & ZV_DEV_DGRAM);
	assert_in_range(mine, 49152, 0x7fffffff);
	assert_int_equal(bound(P.host, PORT, 0), PORT);
	assert_int_equal(send_from(mine, "one"), 3);
	assert_int_equal(send_from(mine, ""), 0);
	assert_int_equal(send_from(mine, "three is longer"), 15);
	assert_true(look(P.h, &port) & ZV_EV_DGRAM);
	assert_int_equal(port, PORT);
	assert_true(look(P.h, &port) & ZV_EV_DGRAM); /* while it is true */
	flags = ZV_PEEK;
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 2, &flags, NULL), 2);
	assert_int_equal(flags, ZV_TRUNC);
	expect(P.h, PORT, "one");
	assert_int_equal(from.local_cid, ZV_CID_HOST);
	assert_int_equal(from.peer_cid, FAKE_CID);
	assert_int_equal(from.local_port, PORT);
	assert_int_equal(from.peer_port, mine);
	answer = from;
	expect(P.h, PORT, "");
	flags = 0;
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 5, &flags, NULL), 5);
	assert_memory_equal(got, "three", 5);
	assert_int_equal(flags, ZV_TRUNC); /* the rest is lost */
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 5, NULL, NULL), -EAGAIN);
	assert_int_equal(look(P.h, &port), 0);
	assert_int_equal(zv_dgram_send(P.h, &answer, "back", 4, 0), 4);
	pump();
	expect(P.g, mine, "back");
	assert_int_equal(from.local_port, mine);
	assert_int_equal(from.peer_port, PORT);
	assert_int_equal(stats(P.g).rx_bytes, stats(P.h).tx_bytes);
}

/* Datagrams have ports of their own: a connection with the same numbers neither sees nor stops
 * them. */
static void beside_a_connection(void **state)
{
	struct zv_conn_info i = {.size = sizeof(i)};
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, PORT, &g, &h);
	assert_int_equal(zv_conn_info(g, &i), 0);
	bound(P.guest, i.local_port, 0);
	bound(P.host, PORT, 0);
	assert_int_equal(zv_send(g, "str", 3, 0), 3);
	assert_int_equal(send_from(i.local_port, "dgram"), 5);
	assert_int_equal(zv_send(g, "eam", 3, 0), 3);
	pump();
	expect(P.h, PORT, "dgram");
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 6);
	assert_memory_equal(got, "stream", 6);
	assert_int_equal(stats(P.h).rx_bad_type, 0);
	/* and a listener takes none */
	assert_int_equal(zv_dgram_unbind(P.host, PORT), 0);
	assert_int_equal(send_from(i.local_port, "dgram"), 5);
	pump();
	assert_int_equal(stats(P.h).dgram_unbound, 1);
	assert_int_equal(zv_conn_info(h, &i), 0);
	assert_string_equal(i.state, "connected");
	zv_conn_close(g);
	zv_conn_close(h);
}

static void a_full_queue_drops(void **state)
{
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0);
	static const char big[1000];
	struct zv_dgram_addr to = {.local_port = mine, .peer_port = PORT};

	(void)state;
	bound(P.host, PORT, 4096);
	bound(P.host, PORT + 1, 4096);
	for (int i = 0; i < 10; i++)
		assert_int_equal(zv_dgram_send(P.g, &to, big, sizeof(big), 0), sizeof(big));
	to.peer_port = PORT + 1; /* another port has room of its own */
	assert_int_equal(zv_dgram_send(P.g, &to, "x", 1, 0), 1);
	pump();
	assert_int_equal(stats(P.h).dgram_dropped, 7);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	expect(P.h, PORT + 1, "x");
	for (int i = 0; i < 3; i++)
		assert_int_equal(zv_dgram_recv(P.h, PORT, got, sizeof(got), NULL, NULL), 1000);
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, sizeof(got), NULL, NULL), -EAGAIN);
	/* Empty ones cost, too: 4096 / ZV_DGRAM_COST of them. */
	to.peer_port = PORT;
	for (int i = 0; i < 200; i++) {
		assert_int_equal(zv_dgram_send(P.g, &to, NULL, 0, 0), 0);
		pump();
	}
	assert_int_equal(stats(P.h).dgram_dropped, 7 + 200 - 4096 / ZV_DGRAM_COST);
	/* One that could never fit. */
	to.peer_port = PORT + 1;
	assert_int_equal(zv_dgram_send(P.g, &to, got, 4096, 0), 4096);
	pump();
	assert_int_equal(stats(P.h).dgram_dropped, 8 + 200 - 4096 / ZV_DGRAM_COST);
	assert_int_equal(zv_dgram_recv(P.h, PORT + 1, got, sizeof(got), NULL, NULL), -EAGAIN);
}

static void a_full_ring_says_so(void **state)
{
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0), port;
	struct zv_conn *g, *h;
	unsigned what;

	(void)state;
	bound(P.host, PORT, 0);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	fake_limit_tx(ZV_ROLE_GUEST, 0, FAKE_CTRL_RESERVE);
	assert_int_equal(zv_send(g, "stream", 6, 0), -EAGAIN);
	assert_int_equal(send_from(mine, "dgram"), -EAGAIN);
	assert_non_null(strstr(zv_error_text(), "ZV_EV_DGRAM_OUT"));
	assert_int_equal(look(P.g, &port), 0);
	assert_int_equal(zv_arm(P.g), 0);
	(void)fake_arms(ZV_ROLE_GUEST, 0, &what);
	assert_int_equal(what, 1);
	/* The stream has waited longer: what is free first is its own. */
	fake_limit_tx(ZV_ROLE_GUEST, 0, FAKE_CTRL_RESERVE + 1);
	assert_int_equal(look(P.g, &port), ZV_EV_OUT);
	assert_int_equal(send_from(mine, "dgram"), -EAGAIN);
	assert_int_equal(zv_send(g, "stream", 6, 0), 6);
	fake_limit_tx(ZV_ROLE_GUEST, 0, -1);
	assert_true(look(P.g, &port) & ZV_EV_DGRAM_OUT);
	assert_int_equal(look(P.g, &port) & ZV_EV_DGRAM_OUT, 0); /* once */
	assert_int_equal(send_from(mine, "dgram"), 5);
	pump();
	expect(P.h, PORT, "dgram");
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 6);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void hello_comes_first(void **state)
{
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0);

	(void)state;
	bound(P.host, PORT, 0);
	fake_new_session(false);
	assert_int_equal(send_from(mine, "early"), -ENETDOWN);
	fake_new_session(true);
	assert_int_equal(send_from(mine, "early"), -EAGAIN);
	pump();
	assert_true(seen_guest.events & ZV_EV_DGRAM_OUT);
	assert_int_equal(send_from(mine, "in time"), 7);
	pump();
	/* What was received before stays, as the port does. */
	fake_new_session(true);
	pump();
	expect(P.h, PORT, "in time");
	assert_int_equal(send_from(mine, "again"), 5);
	pump();
	expect(P.h, PORT, "again");
}

static void open_with(uint32_t guest_flags, uint32_t host_flags)
{
	struct zv_opts o = {.size = sizeof(o), .queues = FAKE_QUEUES, .flags = host_flags};

	fake_config = (struct fake_config){.nbuf = 64, .buf_len = 4096, .nseg = 3};
	assert_int_equal(zv_open(&P.host, "fakehost:", &o), 0);
	o.flags = guest_flags;
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &o), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
	pump();
}

/* Whoever has not named datagrams gets none, and answers one as any unknown type. */
static void not_without_consent(void **state)
{
	static const uint32_t flags[][2] = {{ZV_OPT_NO_HELLO, 0},
					    {0, ZV_OPT_NO_HELLO},
					    {ZV_OPT_NO_DGRAM, 0},
					    {0, ZV_OPT_NO_DGRAM}};
	const struct vsock_hdr dgram = {.src_cid = FAKE_CID,
					.dst_cid = ZV_CID_HOST,
					.src_port = 1,
					.dst_port = PORT,
					.len = 3,
					.type = ZV_DGRAM,
					.op = VSOCK_OP_RW};
	struct vsock_hdr rst;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct zv_dev_info info = {.size = sizeof(info)};
		uint32_t mine;

		open_with(flags[i][0], flags[i][1]);
		assert_int_equal(zv_dev_info(P.host, &info), 0);
		assert_false(info.flags & ZV_DEV_DGRAM);
		mine = bound(P.guest, ZV_PORT_ANY, 0);
		bound(P.host, PORT, 0);
		assert_int_equal(send_from(mine, "no"), -EOPNOTSUPP);
		assert_non_null(strstr(zv_error_text(), "has no datagrams"));
		assert_int_equal(zv_dgram_send(P.h,
					       &(struct zv_dgram_addr){.local_port = PORT,
								       .peer_port = mine},
					       "no", 2, 0),
				 i == 0 ? -EAGAIN : -EOPNOTSUPP); /* HELLO may still come */
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &dgram, "abc"), 0);
		assert_int_equal(zv_poll(P.h, &(struct zv_event){0}, 1), 0);
		assert_int_equal(stats(P.h).rx_bad_type, 1);
		assert_int_equal(zv_dgram_recv(P.h, PORT, got, 3, NULL, NULL), -EAGAIN);
		assert_true(fake_peek(ZV_ROLE_GUEST, 0, 0, &rst));
		assert_int_equal(rst.op, VSOCK_OP_RST);
		assert_int_equal(rst.type, ZV_DGRAM);
		assert_int_equal(rst.dst_port, 1);
		fake_drain(ZV_ROLE_GUEST, 0);
		(void)pair_teardown(NULL);
	}
}

static void ports_are_bound_once(void **state)
{
	uint32_t port = PORT;

	(void)state;
	bound(P.host, PORT, 0);
	assert_int_equal(zv_dgram_bind(P.host, &port, 0), -EADDRINUSE);
	assert_int_equal(zv_listen(P.host, PORT, ZV_STREAM, 0), 0); /* others */
	assert_int_equal(zv_listen(P.host, PORT + 1, ZV_DGRAM, 0), -EINVAL);
	assert_int_equal(zv_connect(P.g, 2, PORT, ZV_DGRAM, &(struct zv_conn *){0}), -EINVAL);
	assert_int_equal(zv_dgram_bind_all(P.host, 0, 0), 0);
	assert_int_equal(zv_dgram_bind_all(P.host, 0, 0), -EADDRINUSE);
	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	assert_int_equal(zv_dgram_unbind(P.host, PORT + 1), -ENOENT);
	assert_int_equal(zv_dgram_unbind(P.host, PORT), 0);
	assert_int_equal(zv_dgram_unbind(P.host, PORT), -ENOENT);
	assert_int_equal(zv_dgram_unbind(P.host, ZV_PORT_ANY), 0);
	assert_int_equal(zv_dgram_unbind(P.host, ZV_PORT_ANY), -ENOENT);
	assert_int_equal(zv_unlisten(P.host, PORT), 0);
	assert_int_equal(zv_unlisten(P.host, ZV_PORT_ANY), 0);
}

static void an_unbound_port_keeps_nothing(void **state)
{
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0), port = 0;

	(void)state;
	bound(P.host, PORT, 0);
	assert_int_equal(send_from(mine, "late"), 4);
	assert_true(look(P.h, &port) & ZV_EV_DGRAM);
	assert_int_equal(zv_dgram_unbind(P.host, PORT), 0);
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 4, NULL, NULL), -ENOENT);
	assert_non_null(P.host->closed); /* the queue has to see it */
	bound(P.host, PORT, 0);
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 4, NULL, NULL), -EAGAIN);
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_dgram_unbind(P.host, PORT), 0);
	pump();
	bound(P.host, PORT, 0);
	assert_null(P.host->closed);
	assert_int_equal(send_from(mine, "new"), 3);
	pump();
	expect(P.h, PORT, "new");
}

/* A process that speaks for sibling guests. */
static void for_siblings(void **state)
{
	const uint64_t sibling = 77;
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0), port = 0;
	struct zv_dgram_addr to = {.peer_cid = sibling, .local_port = mine, .peer_port = PORT};

	(void)state;
	assert_int_equal(zv_dgram_bind_all(P.guest, ZV_LISTEN_ANY_CID, 0), -EOPNOTSUPP);
	bound(P.host, PORT, 0);
	assert_int_equal(zv_dgram_send(P.g, &to, "who", 3, 0), 3);
	pump();
	assert_int_equal(stats(P.h).rx_bad_cid, 1); /* nobody speaks for it */
	assert_int_equal(zv_dgram_bind_all(P.host, 0, 0), 0);
	assert_int_equal(zv_dgram_send(P.g, &to, "who", 3, 0), 3);
	pump();
	assert_int_equal(stats(P.h).rx_bad_cid, 2);
	assert_int_equal(zv_dgram_unbind(P.host, ZV_PORT_ANY), 0);
	assert_int_equal(zv_dgram_bind_all(P.host, ZV_LISTEN_ANY_CID, 0), 0);
	assert_int_equal(zv_dgram_send(P.g, &to, "you", 3, 0), 3);
	assert_true(look(P.h, &port) & ZV_EV_DGRAM);
	assert_int_equal(port, ZV_PORT_ANY);
	expect(P.h, ZV_PORT_ANY, "you");
	assert_int_equal(from.local_cid, sibling);
	assert_int_equal(from.local_port, PORT);
	assert_int_equal(zv_dgram_send(P.h, &from, "me", 2, 0), 2);
	pump();
	expect(P.g, mine, "me");
	assert_int_equal(from.peer_cid, sibling);
	assert_int_equal(from.local_cid, FAKE_CID);
	/* The host's own port goes before it. */
	assert_int_equal(send_from(mine, "own"), 3);
	pump();
	expect(P.h, PORT, "own");
	assert_int_equal(stats(P.g).rx_bad_cid, 0);
}

static void wrong_calls(void **state)
{
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0), port = PORT, peek = ZV_EOM;
	struct zv_dgram_addr to = {.local_port = mine, .peer_port = PORT};

	(void)state;
#define REFUSED(err, call)                                                                         \
	do {                                                                                       \
		assert_int_equal(call, err);                                                       \
		assert_true(*zv_error_text());                                                     \
	} while (0)
	REFUSED(-EINVAL, zv_dgram_bind(NULL, &port, 0));
	REFUSED(-EINVAL, zv_dgram_bind(P.host, NULL, 0));
	REFUSED(-EINVAL, zv_dgram_bind(P.host, &(uint32_t){0}, 0));
	REFUSED(-EINVAL, zv_dgram_bind(P.host, &port, 4095));
	REFUSED(-EINVAL, zv_dgram_bind(P.host, &port, (1u << 30) + 1));
	REFUSED(-EINVAL, zv_dgram_bind_all(P.host, 2, 0));
	REFUSED(-ENOENT, zv_dgram_unbind(NULL, PORT));
	REFUSED(-EINVAL, zv_dgram_send(NULL, &to, "x", 1, 0));
	REFUSED(-EINVAL, zv_dgram_send(P.g, NULL, "x", 1, 0));
	REFUSED(-EINVAL, zv_dgram_send(P.g, &to, NULL, 1, 0));
	REFUSED(-EINVAL, zv_dgram_send(P.g, &to, "x", 1, ZV_MORE));
	REFUSED(-EMSGSIZE, zv_dgram_send(P.g, &to, got, 4097, 0)); /* of this device's buffers */
	REFUSED(-EMSGSIZE, zv_dgram_send(P.g, &to, got, ZV_DGRAM_MAX + 1, 0));
	to.peer_port = 0;
	REFUSED(-EINVAL, zv_dgram_send(P.g, &to, "x", 1, 0));
	to.peer_port = ZV_PORT_ANY;
	REFUSED(-EINVAL, zv_dgram_send(P.g, &to, "x", 1, 0));
	to = (struct zv_dgram_addr){.local_port = mine + 1, .peer_port = PORT};
	REFUSED(-EADDRNOTAVAIL, zv_dgram_send(P.g, &to, "x", 1, 0));
	to = (struct zv_dgram_addr){.local_cid = 77, .local_port = mine, .peer_port = PORT};
	REFUSED(-EOPNOTSUPP, zv_dgram_send(P.g, &to, "x", 1, 0));
	to = (struct zv_dgram_addr){.peer_cid = 1, .local_port = mine, .peer_port = PORT};
	REFUSED(-EHOSTUNREACH, zv_dgram_send(P.g, &to, "x", 1, 0));
	bound(P.host, PORT, 0);
	to = (struct zv_dgram_addr){.local_cid = 77, .local_port = PORT, .peer_port = mine};
	REFUSED(-EINVAL, zv_dgram_send(P.h, &to, "x", 1, 0)); /* it does not speak for it */
	assert_int_equal(zv_dgram_bind_all(P.host, ZV_LISTEN_ANY_CID, 0), 0);
	to.local_cid = FAKE_CID;
	REFUSED(-EINVAL, zv_dgram_send(P.h, &to, "x", 1, 0));
	to = (struct zv_dgram_addr){.peer_cid = 77, .local_port = PORT, .peer_port = mine};
	REFUSED(-EHOSTUNREACH, zv_dgram_send(P.h, &to, "x", 1, 0));
	REFUSED(-EINVAL, zv_dgram_recv(NULL, PORT, got, 1, NULL, NULL));
	REFUSED(-EINVAL, zv_dgram_recv(P.h, PORT, NULL, 1, NULL, NULL));
	REFUSED(-EINVAL, zv_dgram_recv(P.h, PORT, got, 1, &peek, NULL));
	REFUSED(-ENOENT, zv_dgram_recv(P.h, PORT + 1, got, 1, NULL, NULL));
	REFUSED(-EAGAIN, zv_dgram_recv(P.h, PORT, got, 1, NULL, NULL));
#undef REFUSED
	pump();
	assert_int_equal(stats(P.h).rx_packets + stats(P.g).rx_packets,
			 stats(P.g).tx_packets + stats(P.h).tx_packets);
	assert_int_equal(stats(P.h).dgram_unbound, 0); /* none has left */
}

static void inject(const struct vsock_hdr *h)
{
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, h, got), 0);
	pump();
}

static void headers_that_lie(void **state)
{
	const struct vsock_hdr good = {.src_cid = FAKE_CID,
				       .dst_cid = ZV_CID_HOST,
				       .src_port = 1,
				       .dst_port = PORT,
				       .len = 8,
				       .type = ZV_DGRAM,
				       .op = VSOCK_OP_RW,
				       .flags = UINT32_MAX,
				       .buf_alloc = UINT32_MAX,
				       .fwd_cnt = UINT32_MAX};
	struct vsock_hdr h = good;
	uint64_t sent = stats(P.h).tx_packets;

	(void)state;
	bound(P.host, PORT, 0);
	inject(&h); /* fields without meaning have none */
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 100, NULL, &from), 8);
	h.src_port = h.dst_port = 0;
	h.dst_port = UINT32_MAX;
	inject(&h);
	assert_int_equal(stats(P.h).dgram_unbound, 1);
	assert_int_equal(zv_dgram_bind_all(P.host, 0, 0), 0);
	inject(&h);
	assert_int_equal(zv_dgram_recv(P.h, ZV_PORT_ANY, got, 100, NULL, &from), 8);
	for (uint16_t op = VSOCK_OP_REQUEST; op <= VSOCK_OP_CREDIT_REQUEST; op++) {
		uint64_t state_faults = stats(P.h).rx_bad_state, late = stats(P.h).rx_late;

		h = good;
		h.op = op;
		h.len = 0;
		if (op == VSOCK_OP_RW)
			continue;
		inject(&h);
		assert_int_equal(stats(P.h).rx_bad_state, state_faults + (op != VSOCK_OP_RST));
		assert_int_equal(stats(P.h).rx_late, late + (op == VSOCK_OP_RST));
	}
	h = good;
	h.op = VSOCK_OP_CREDIT_UPDATE; /* with payload */
	inject(&h);
	assert_int_equal(stats(P.h).rx_bad_hdr, 1);
	h = good;
	h.src_cid = 77;
	inject(&h);
	assert_int_equal(stats(P.h).rx_bad_cid, 1);
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 100, NULL, NULL), -EAGAIN);
	assert_int_equal(stats(P.h).tx_packets, sent); /* none of it is answered */
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
}

/* A datagram of which zeros may have taken the place is dropped, as one that did not come. */
static void memory_that_is_cut_off(void **state)
{
	uint32_t mine;
	struct zv_conn *g, *h;
	struct zv_buf b;

	(void)state;
	open_with(0, 0);
	mine = bound(P.guest, ZV_PORT_ANY, 0);
	bound(P.host, PORT, 0);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(g, "held", 4, 0), 4);
	pump();
	assert_int_equal(zv_buf_recv(h, &b, 1), 1);
	assert_int_equal(send_from(mine, "not seen"), 8);
	fake_faults++;
	fake_zeros = true;
	pump();
	fake_zeros = false;
	assert_int_equal(stats(P.h).dgram_dropped, 1);
	assert_int_equal(zv_dgram_recv(P.h, PORT, got, 100, NULL, NULL), -EAGAIN);
	assert_int_equal(send_from(mine, "seen"), 4);
	pump();
	expect(P.h, PORT, "seen");
	zv_buf_release(P.h, &b, 1);
	zv_conn_close(g);
	zv_conn_close(h);
	(void)pair_teardown(NULL);
}

/* Neither events of ports nor those of connections hide the others. */
static void events_take_turns(void **state)
{
	uint32_t mine = bound(P.guest, ZV_PORT_ANY, 0), seen = 0;
	struct zv_conn *g, *h, *again;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	bound(P.host, PORT, 0);
	assert_int_equal(send_from(mine, "d"), 1);
	assert_int_equal(zv_send(g, "s", 1, 0), 1);
	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &again), 0);
	for (int i = 0; i < 8; i++) {
		struct zv_event ev = {0};

		assert_in_range(zv_poll(P.h, &ev, 1), 0, 1);
		seen |= ev.events;
	}
	assert_int_equal(seen & (ZV_EV_DGRAM | ZV_EV_IN | ZV_EV_ACCEPT),
			 ZV_EV_DGRAM | ZV_EV_IN | ZV_EV_ACCEPT);
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), 0); /* past the port with datagrams */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(there_and_back),	 T(beside_a_connection),
		T(a_full_queue_drops),	 T(a_full_ring_says_so),
		T(hello_comes_first),	 cmocka_unit_test(not_without_consent),
		T(ports_are_bound_once), T(an_unbound_port_keeps_nothing),
		T(for_siblings),	 T(wrong_calls),
		T(headers_that_lie),	 cmocka_unit_test(memory_that_is_cut_off),
		T(events_take_turns),
	};

	return cmocka_run_group_tests_name("dgram", tests, NULL, NULL);
}
