/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be seen from outside: information on connections, the list of them, the tap. */
#include "pair.h"

#include <sys/uio.h>

struct list {
	unsigned n, stop_at;
	struct zv_conn_info info[16];
};

static int collect(void *ctx, const struct zv_conn_info *info)
{
	struct list *l = ctx;

	assert_int_equal(info->size, sizeof(*info));
	l->info[l->n++] = *info;
	return l->n == l->stop_at ? 17 : 0;
}

static const struct zv_conn_info *by_port(const struct list *l, uint32_t peer_port)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->info[i].peer_port == peer_port)
			return &l->info[i];
	fail_msg("no connection with peer port %u", peer_port);
	return NULL;
}

static uint32_t port_of(struct zv_conn *c)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c, &i), 0);
	return i.local_port;
}

static uint32_t flags_of(struct zv_conn *c)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c, &i), 0);
	return i.flags;
}

static void test_every_connection_is_listed(void **state)
{
	struct zv_conn *g[4], *h[2];
	struct list l = {0};

	(void)state;
	assert_int_equal(zv_queue_conns(NULL, NULL, collect, &l), -EINVAL);
	assert_int_equal(zv_queue_conns(P.h, NULL, NULL, &l), -EINVAL);
	assert_int_equal(zv_queue_conns(P.h, NULL, collect, &l), 0);
	assert_int_equal(l.n, 0); /* that of HELLO is the library's */
	connect_pair(ZV_STREAM, 1000, &g[0], &h[0]);
	connect_pair(ZV_STREAM, 1000, &g[1], &h[1]);
	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	for (unsigned i = 2; i < 4; i++) /* one waits accepted, one unanswered */
		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, i == 2 ? 1000 : 7,
					    ZV_SEQPACKET - (i == 2), &g[i]),
				 0);
	zv_set_user(h[1], &P);
	zv_conn_reset(g[0]); /* dead on the host's side, and not closed there */
	pump();
	assert_int_equal(zv_queue_conns(P.h, NULL, collect, &l), 0);
	assert_int_equal(l.n, 4);
	assert_string_equal(by_port(&l, port_of(g[1]))->state, "connected");
	assert_string_equal(by_port(&l, port_of(g[2]))->state, "connected");
	assert_string_equal(by_port(&l, port_of(g[3]))->state, "requested");
	assert_int_equal(by_port(&l, port_of(g[3]))->local_port, 7);
	assert_int_equal(by_port(&l, port_of(g[3]))->flags, ZV_CONN_INCOMING);
	assert_int_equal(flags_of(g[3]), 0);
	assert_ptr_equal(by_port(&l, port_of(g[1]))->user, &P);
	assert_null(by_port(&l, port_of(g[3]))->user);
	assert_int_equal(flags_of(h[1]), ZV_CONN_INCOMING);
	l.n = 0;
	l.stop_at = 2;
	assert_int_equal(zv_queue_conns(P.h, NULL, collect, &l), 17);
	assert_int_equal(l.n, 2);
	for (unsigned i = 1; i < 4; i++)
		zv_conn_close(g[i]);
	zv_conn_close(h[0]);
	zv_conn_close(h[1]);
}

/* ---- the list in slices ---- */

#define MANY 700u

static struct many {
	struct zv_conn *g[MANY], *h[MANY];
	uint32_t port[MANY];	      /* of the guest: what the list is searched by */
	unsigned shown[MANY], others; /* so often, since the walk began */
	unsigned in_call, most;	      /* shown by one call */
	unsigned stop_each;
} M;

static int count(void *ctx, const struct zv_conn_info *info)
{
	unsigned i = 0;

	(void)ctx;
	M.in_call++;
	while (i < MANY && M.port[i] != info->peer_port)
		i++;
	if (i < MANY)
		M.shown[i]++;
	else
		M.others++;
	return M.stop_each && M.in_call == M.stop_each ? 5 : 0;
}

/* One call more. False: that was the last. */
static bool many_slice(uint64_t *cursor)
{
	int ret;

	M.in_call = 0;
	ret = zv_queue_conns(P.h, cursor, count, NULL);
	assert_int_equal(ret, M.stop_each && M.in_call == M.stop_each ? 5 : 0);
	M.most = M.in_call > M.most ? M.in_call : M.most;
	return *cursor != 0;
}

static void many_open(void)
{
	memset(&M, 0, sizeof(M));
	for (unsigned i = 0; i < MANY; i++) {
		connect_pair(ZV_STREAM, 1000, &M.g[i], &M.h[i]);
		M.port[i] = port_of(M.g[i]);
	}
}

static void many_close(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		if (M.g[i])
			zv_conn_close(M.g[i]);
		if (M.h[i])
			zv_conn_close(M.h[i]);
	}
}

static void all_shown_once(void)
{
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(M.shown[i], 1);
	assert_int_equal(M.others, 0);
}

/* A call shows no more than a queue's thread has time for, be they alive or dead. */
static void test_a_long_list_comes_in_slices(void **state)
{
	uint64_t cursor = 0;

	(void)state;
	many_open();
	for (unsigned dead = 0; dead < 2; dead++) {
		unsigned calls = 1;

		memset(M.shown, 0, sizeof(M.shown));
		while (many_slice(&cursor))
			calls++;
		assert_true(calls > 2 && M.most < MANY / 2);
		all_shown_once();
		for (unsigned i = 0; i < MANY; i++) {
			(void)zv_conn_reset(M.g[i]);
			M.g[i] = NULL;
		}
		pump();
	}
	many_close();
}

static void test_a_stopped_call_goes_on_behind(void **state)
{
	uint64_t cursor = 0;

	(void)state;
	many_open();
	for (unsigned i = 0; i < MANY; i += 2) { /* half of them are dead */
		(void)zv_conn_reset(M.g[i]);
		M.g[i] = NULL;
	}
	pump();
	M.stop_each = 3;
	while (many_slice(&cursor))
		;
	all_shown_once();
	many_close();
}

/* The first connection that has been shown @times so far. */
static unsigned one_shown(unsigned times, unsigned from)
{
	while (from < MANY && M.shown[from] != times)
		from++;
	assert_true(from < MANY);
	return from;
}

static void end_one(unsigned i, bool closed)
{
	(void)zv_conn_reset(M.g[i]);
	M.g[i] = NULL;
	pump();
	if (!closed) /* dead on the host's side */
		return;
	(void)zv_conn_close(M.h[i]);
	M.h[i] = NULL;
}

static void test_connections_come_and_go_meanwhile(void **state)
{
	unsigned shown_dead, new_dead, shown_closed, new_closed;
	struct zv_conn *g[2], *h[2];
	uint64_t cursor = 0;

	(void)state;
	many_open();
	assert_true(many_slice(&cursor));
	shown_dead = one_shown(1, 0);
	shown_closed = one_shown(1, shown_dead + 1);
	new_dead = one_shown(0, 0);
	new_closed = one_shown(0, new_dead + 1);
	end_one(shown_dead, false);
	end_one(shown_closed, true);
	end_one(new_dead, false);
	end_one(new_closed, true);
	for (unsigned i = 0; i < 2; i++) /* they take the places that have become free */
		connect_pair(ZV_STREAM, 1000, &g[i], &h[i]);
	while (many_slice(&cursor))
		;
	for (unsigned i = 0; i < MANY; i++)
		if (i != shown_dead && i != new_closed)
			assert_int_equal(M.shown[i], 1);
	assert_int_equal(M.shown[shown_dead], 2); /* alive, then dead */
	assert_int_equal(M.shown[new_closed], 0);
	assert_true(M.others <= 2);
	for (unsigned i = 0; i < 2; i++) {
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
	many_close();
}

static void test_info_tells_credit_and_age(void **state)
{
	struct zv_conn_info i = {.size = sizeof(i)}, old;
	size_t old_size = offsetof(struct zv_conn_info, opened_ns);
	struct zv_conn *g, *h;
	uint64_t before = 0;
	char buf[64];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_conn_info(g, &i), 0);
	assert_true(i.opened_ns > 0);
	before = i.opened_ns;
	assert_int_equal(i.peer_buf_alloc, 65536);
	assert_int_equal(i.tx_unacked, 0);
	assert_int_equal(zv_send(g, "0123456789", 10, 0), 10);
	assert_int_equal(zv_conn_info(g, &i), 0);
	assert_int_equal(i.tx_unacked, 10);
	pump();
	assert_int_equal(zv_recv(h, buf, sizeof(buf), NULL), 10);
	assert_int_equal(zv_send(h, "x", 1, 0), 1); /* tells what has been read */
	pump();
	assert_int_equal(zv_conn_info(g, &i), 0);
	assert_int_equal(i.tx_unacked, 0);
	assert_int_equal(i.opened_ns, before);
	/* a caller that was built before these fields were there */
	memset(&old, 0x5a, sizeof(old));
	old.size = old_size;
	assert_int_equal(zv_conn_info(g, &old), 0);
	assert_int_equal(old.size, old_size);
	assert_int_equal(old.rx_bytes, 1);
	assert_int_equal(((unsigned char *)&old)[old_size], 0x5a);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- the tap ---- */

struct seen_pkt {
	bool sent;
	struct vsock_hdr h;
	int n;
	char text[64];
};

struct tap_log {
	unsigned n;
	struct seen_pkt p[64];
};

static void log_packet(void *ctx, bool sent, const void *hdr, const struct iovec *iov, int n)
{
	struct tap_log *l = ctx;
	struct seen_pkt *p = &l->p[l->n++ % 64];
	size_t len = 0;

	*p = (struct seen_pkt){.sent = sent, .n = n};
	vsock_hdr_get(&p->h, hdr);
	for (int i = 0; i < n; i++) {
		assert_true(len + iov[i].iov_len < sizeof(p->text));
		memcpy(p->text + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	assert_int_equal(len, p->h.len);
}

/* The only packet of @op that was sent (received) since the log was emptied. */
static const struct seen_pkt *only(const struct tap_log *l, bool sent, unsigned op)
{
	const struct seen_pkt *found = NULL;

	for (unsigned i = 0; i < l->n; i++)
		if (l->p[i].sent == sent && l->p[i].h.op == op) {
			assert_null(found);
			found = &l->p[i];
		}
	assert_non_null(found);
	return found;
}

static void test_the_tap_sees_what_goes_by(void **state)
{
	struct tap_log l = {0};
	struct zv_conn *g, *h;
	struct vsock_hdr bad;
	struct zv_buf b;

	(void)state;
	fake_config.nseg = 3; /* received payload comes in pieces */
	assert_int_equal(zv_set_tap(NULL, log_packet, &l), -EINVAL);
	assert_int_equal(zv_set_tap(P.h, log_packet, &l), 0);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(only(&l, false, VSOCK_OP_REQUEST)->h.dst_port, 1000);
	assert_int_equal(only(&l, true, VSOCK_OP_RESPONSE)->h.src_port, 1000);
	assert_int_equal(l.n, 2);

	l.n = 0;
	assert_int_equal(zv_send(g, "to the host", 11, 0), 11);
	assert_int_equal(zv_send(h, "copied", 6, 0), 6);
	pump();
	assert_int_equal(only(&l, false, VSOCK_OP_RW)->n, 3);
	assert_string_equal(only(&l, false, VSOCK_OP_RW)->text, "to the host");
	assert_string_equal(only(&l, true, VSOCK_OP_RW)->text, "copied");
	l.n = 0;
	assert_int_equal(zv_send(h, "gat", 3, ZV_MORE), 3);
	assert_int_equal(zv_send(h, "hered", 5, 0), 5);
	assert_string_equal(only(&l, true, VSOCK_OP_RW)->text, "gathered");
	l.n = 0;
	assert_int_equal(zv_buf_alloc(h, &b, 1, 8), 1);
	memcpy(b.data, "in place", 8);
	assert_int_equal(zv_buf_send(h, &b, 1), 1);
	assert_string_equal(only(&l, true, VSOCK_OP_RW)->text, "in place");
	assert_int_equal(only(&l, true, VSOCK_OP_RW)->h.dst_cid, FAKE_CID);

	l.n = 0; /* a header that is refused is not shown, what answers it is */
	bad = hdr_like(g, VSOCK_OP_RW, 4);
	bad.type = 4;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &bad, "evil"), 0);
	assert_true(zv_poll(P.h, &(struct zv_event){0}, 1) >= 0);
	assert_int_equal(only(&l, true, VSOCK_OP_RST)->h.type, 4);
	assert_int_equal(l.n, 1);
	fake_drain(ZV_ROLE_GUEST, 0);

	assert_int_equal(zv_set_tap(P.h, NULL, NULL), 0);
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
	assert_int_equal(l.n, 1);
}

/* The numbers that lines about HELLO call devices by, in the order of the lines. */
static unsigned long long devices[8];
static unsigned ndevices;

static void note_device(void *ctx, enum zv_log_level level, const char *line)
{
	const char *at = strstr(line, "of its device ");

	(void)ctx;
	(void)level;
	if (at && ndevices < 8)
		assert_int_equal(sscanf(at, "of its device %llx", &devices[ndevices++]), 1);
}

/* Pairs of one opened device say the same number, and no other device does. */
static void pairs_of_a_device_are_seen_in_the_log(void **state)
{
	unsigned same = 0;

	ndevices = 0;
	zv_set_log(note_device, NULL);
	pair_setup(state);
	pump();
	zv_set_log(NULL, NULL);
	assert_int_equal(ndevices, 4); /* two queues on each side */
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = i + 1; k < 4; k++)
			same += devices[i] == devices[k];
	assert_int_equal(same, 2);
	assert_true(devices[0] != 0);
	pair_teardown(state);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_connection_is_listed),
		T(test_a_long_list_comes_in_slices),
		T(test_a_stopped_call_goes_on_behind),
		T(test_connections_come_and_go_meanwhile),
		T(test_info_tells_credit_and_age),
		T(test_the_tap_sees_what_goes_by),
		cmocka_unit_test(pairs_of_a_device_are_seen_in_the_log),
	};

	return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
