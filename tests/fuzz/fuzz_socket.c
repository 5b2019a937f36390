/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket layer between two applications and two hostile transports.
 *
 * A guest and a host device are joined by the fake transport. The input calls the public API on
 * both sides, in any order that the header allows, and injects packets towards either: of existing
 * connections with any field changed, of unknown ones, HELLO. It ends sessions, takes transmit
 * buffers away and lets time pass. What must hold:
 *   - tokens: see checked_transport.h;
 *   - an event names a connection that the application holds, on the queue that was polled;
 *   - the library counts the same loans as the application; loans stay readable and writable past
 *     reset and close; at most half of a ring is withheld;
 *   - without injected packets neither side ever finds fault with the other;
 *   - zv_close refuses while there is a loan, succeeds without, and leaves nothing behind, whether
 *     or not the application has closed its connections.
 */
#include "checked_transport.h"
#include "fuzz.h"
#include "proto/ctrl/hello.h"
#include "socket/conn/rx_loan.h"
#include "socket/tx/tx.h"

#include <errno.h>

#define CONNS 24u
#define BUFS  48u
#define PORTS 4u /* listening ports are 1..PORTS */

struct rx_held {
	struct zv_queue *q;
	struct zv_buf b;
};

struct tx_held {
	struct zv_conn *c;
	struct zv_buf b;
};

struct side {
	struct zv_dev *dev;
	struct zv_conn *conn[CONNS];
	struct rx_held rx[BUFS];
	struct tx_held tx[BUFS];
	unsigned nrx, ntx;
};

static struct side side[2]; /* by enum zv_role */
static uint8_t data_buf[8192];
static bool injected; /* else both sides are honest */
static bool siblings; /* a connection of another CID than the host's has been tried */

/* ---- handles ---- */

static void close_conn(struct side *s, unsigned i, bool reset)
{
	bool lent = false;
	int ret;

	if (!s->conn[i])
		return;
	for (unsigned k = 0; k < s->ntx; k++)
		lent |= s->tx[k].c == s->conn[i];
	ret = reset ? zv_conn_reset(s->conn[i]) : zv_conn_close(s->conn[i]);
	FZ_CHECK(ret == (lent ? -EBUSY : 0));
	if (!lent)
		s->conn[i] = NULL;
}

static void keep_conn(struct side *s, struct zv_conn *c)
{
	unsigned room = CONNS;

	for (unsigned i = 0; i < CONNS; i++) {
		FZ_CHECK(s->conn[i] != c);
		if (!s->conn[i])
			room = i;
	}
	if (room == CONNS) {
		FZ_CHECK(zv_conn_close(c) == 0);
		return;
	}
	s->conn[room] = c;
}

static void poll_queue(struct side *s, unsigned i, unsigned max)
{
	struct zv_queue *q = zv_queue(s->dev, i);
	struct zv_event ev[16];
	int n = zv_poll(q, ev, max);

	FZ_CHECK(n >= 0 && n <= (int)max);
	for (int k = 0; k < n; k++) {
		bool known = false;

		FZ_CHECK(ev[k].events != 0);
		if (ev[k].events & ZV_EV_ACCEPT) {
			FZ_CHECK(!ev[k].conn && ev[k].port >= 1);
			FZ_CHECK(ev[k].port <= PORTS || ev[k].port == ZV_PORT_ANY);
			continue;
		}
		for (unsigned j = 0; j < CONNS; j++)
			known |= s->conn[j] == ev[k].conn;
		FZ_CHECK(known && zv_conn_queue(ev[k].conn) == q);
		FZ_CHECK(!(ev[k].events & ZV_EV_ERR) == !ev[k].err);
	}
}

static void pump(unsigned rounds)
{
	while (rounds--)
		for (unsigned i = 0; i < FAKE_QUEUES; i++) {
			poll_queue(&side[0], i, 16);
			poll_queue(&side[1], i, 16);
		}
}

/* ---- loans ---- */

static void touch(const struct zv_buf *b)
{
	static volatile uint8_t sink;

	for (uint32_t i = 0; i < b->len; i++)
		sink = (uint8_t)(sink + ((uint8_t *)b->data)[i]);
}

static void give_rx(struct side *s, unsigned k, bool twice)
{
	struct zv_buf b[2];

	if (k >= s->nrx)
		return;
	touch(&s->rx[k].b);
	b[0] = b[1] = s->rx[k].b;
	zv_buf_release(s->rx[k].q, b, twice ? 2 : 1);
	s->rx[k] = s->rx[--s->nrx];
}

static void give_tx(struct side *s, unsigned k, unsigned how, uint32_t len)
{
	struct tx_held t;
	struct zv_buf b[2];

	if (k >= s->ntx)
		return;
	t = s->tx[k];
	memset(t.b.data, 0x55, t.b.capacity);
	t.b.flags = how >> 4 & 3;
	t.b.len = how & 2 ? len : len % (t.b.capacity + 1);
	b[0] = b[1] = t.b;
	if (how & 1)
		zv_buf_cancel(t.c, b, how & 4 ? 2 : 1);
	else
		(void)zv_buf_send(t.c, b, how & 4 ? 2 : 1);
	s->tx[k] = s->tx[--s->ntx];
}

static void alloc_tx(struct side *s, struct zv_conn *c, unsigned n, size_t len)
{
	struct zv_buf b[16];
	int got;

	n = 1 + n % 16;
	if (s->ntx + n > BUFS)
		return;
	got = zv_buf_alloc(c, b, n, len);
	FZ_CHECK(got != 0 && got <= (int)n);
	for (int i = 0; i < got; i++) {
		FZ_CHECK(b[i].capacity && b[i].capacity <= len);
		memset(b[i].data, 0xaa, b[i].capacity);
		s->tx[s->ntx++] = (struct tx_held){c, b[i]};
	}
}

static void take_rx(struct side *s, struct zv_conn *c, unsigned n)
{
	struct zv_buf b[16];
	int got;

	n = 1 + n % 16;
	if (s->nrx + n > BUFS)
		return;
	got = zv_buf_recv(c, b, n);
	FZ_CHECK(got <= (int)n);
	for (int i = 0; i < got; i++) {
		touch(&b[i]);
		s->rx[s->nrx++] = (struct rx_held){zv_conn_queue(c), b[i]};
	}
}

/* ---- injected packets ---- */

static uint32_t some_size(struct fz *z)
{
	static const uint32_t nice[] = {0, 1, 64, 4096, 65536, 1u << 20, UINT32_MAX};
	uint8_t how = fz_u8(z);

	return how < 7 ? nice[how] : how & 0x80 ? fz_u32(z) : how;
}

static uint32_t hello_payload(struct fz *z, enum zv_role to, unsigned q, uint8_t *out)
{
	uint8_t how = fz_u8(z);
	struct hello h = {.type = to == ZV_ROLE_HOST ? CTRL_HELLO : CTRL_HELLO_ACK,
			  .version = ZV_CTRL_VERSION,
			  .pair = (uint16_t)q,
			  .npairs = FAKE_QUEUES,
			  .caps = how & 3,
			  .max_pkt = how & 4 ? fz_u32(z) : 65536};

	if (how & 8)
		h.type = fz_u8(z);
	if (how & 16)
		h.pair = fz_u8(z);
	hello_put(out, &h);
	if (how & 32)
		fz_bytes(z, out + fz_below(z, HELLO_WIRE_LEN - 3), 4);
	return how & 64 ? fz_below(z, HELLO_WIRE_LEN + 1) : HELLO_WIRE_LEN;
}

static void inject(struct fz *z)
{
	uint8_t how = fz_u8(z), what = fz_u8(z);
	enum zv_role to = how & 1 ? ZV_ROLE_HOST : ZV_ROLE_GUEST;
	unsigned q = how >> 1 & 1;
	struct zv_conn *c = side[to].conn[fz_below(z, CONNS)];
	struct vsock_hdr h = {.src_cid = to == ZV_ROLE_HOST ? FAKE_CID : VSOCK_CID_HOST,
			      .dst_cid = to == ZV_ROLE_HOST ? VSOCK_CID_HOST : FAKE_CID,
			      .op = what & 7,
			      .type = 1 + (what >> 3 & 1),
			      .flags = what >> 4 & 3,
			      .buf_alloc = 65536};

	h.src_port = 1000 + fz_u8(z) % 16;
	h.dst_port = fz_u8(z) % (PORTS + 2);
	if (how & 4 && c) {
		q = c->q->index;
		h.src_port = c->node.key.peer_port;
		h.dst_port = c->node.key.local_port;
		h.type = c->type;
		h.fwd_cnt = c->credit.tx_cnt;
	}
	if (how & 8) { /* the HELLO connection */
		h.type = ZV_STREAM;
		h.src_port = to == ZV_ROLE_HOST ? 512 + q : ZV_CTRL_PORT;
		h.dst_port = to == ZV_ROLE_HOST ? ZV_CTRL_PORT : 512 + q;
	}
	if (how & 16)
		h.buf_alloc = some_size(z);
	if (how & 32)
		h.fwd_cnt += fz_u32(z);
	if (how & 64) {
		h.src_cid += fz_u8(z);
		h.dst_cid += fz_u8(z);
		h.type = (uint16_t)(h.type + fz_u8(z));
		h.flags = fz_u32(z);
	}
	if (how & 8 && h.op == VSOCK_OP_RW)
		h.len = hello_payload(z, to, q, data_buf);
	else if (h.op == VSOCK_OP_RW || how & 128)
		h.len = fz_u16(z);
	if (h.len > fake_config.buf_len)
		h.len = fake_config.buf_len;
	(void)fake_inject(to, q, &h, data_buf);
	injected = true;
}

/* ---- the applications ---- */

static int is_it(void *ctx, const struct zv_conn_info *info)
{
	return memcmp(ctx, info, sizeof(*info)) == 0;
}

static void look_at(struct side *s, struct zv_conn *c)
{
	struct zv_conn_info ci = {.size = sizeof(ci)};
	struct zv_dev_info di = {.size = sizeof(di)};
	struct zv_queue_stats st;

	FZ_CHECK(zv_conn_info(c, &ci) == 0 && ci.state && ci.rx_unread <= 65536);
	FZ_CHECK(zv_dev_info(s->dev, &di) == 0 && di.queues == zv_nqueues(s->dev));
	FZ_CHECK(zv_queue_stats(zv_conn_queue(c), &st, sizeof(st)) == 0);
	FZ_CHECK(st.rx_bytes >= ci.rx_bytes && st.tx_bytes >= ci.tx_bytes);
	FZ_CHECK((s == &side[0] ? ci.local_cid : ci.peer_cid) == FAKE_CID);
	FZ_CHECK(siblings || injected || zv_cid(s->dev) == ci.local_cid);
	FZ_CHECK(ci.queue < FAKE_QUEUES && zv_queue_conns(zv_conn_queue(c), NULL, is_it, &ci) == 1);
	zv_set_user(c, s);
	FZ_CHECK(zv_user(c) == s);
}

static void conn_op(struct side *s, struct zv_conn *c, struct fz *z, unsigned op)
{
	uint32_t flags;
	ssize_t n;
	size_t len;

	switch (op) {
	case 0:
		flags = fz_u8(z);
		len = fz_u16(z) % sizeof(data_buf);
		n = zv_send(c, data_buf, len, flags & (ZV_EOR | ZV_MORE));
		FZ_CHECK(n <= (ssize_t)len);
		break;
	case 1:
		flags = fz_u8(z) & ZV_PEEK;
		len = fz_u16(z) % sizeof(data_buf);
		n = zv_recv(c, data_buf, len, &flags);
		FZ_CHECK(n <= (ssize_t)len);
		break;
	case 2:
		alloc_tx(s, c, fz_u8(z), 1 + fz_u16(z) % 5000u);
		break;
	case 3:
		take_rx(s, c, fz_u8(z));
		break;
	case 4:
		(void)zv_shutdown(c, fz_u8(z) % 3);
		break;
	case 5:
		n = zv_conn_answer(c, fz_u8(z) & 1 ? -ECONNREFUSED : 0);
		FZ_CHECK(n == 0 || n == -EINVAL || zv_send(c, data_buf, 1, 0) == n);
		break;
	default:
		zv_set_events(c, fz_u8(z));
		look_at(s, c);
	}
}

static void connect_op(struct side *s, struct fz *z)
{
	uint8_t how = fz_u8(z);
	struct zv_conn *c;

	siblings |= how & (64 | 128);
	if (how & 128) {
		uint8_t from = fz_u8(z);

		if (zv_connect_from(zv_queue(s->dev, how & 1), from, from & 1 ? from : ZV_PORT_ANY,
				    0, 1 + (how >> 1) % PORTS, how & 32 ? ZV_SEQPACKET : ZV_STREAM,
				    &c) == 0)
			keep_conn(s, c);
		return;
	}
	if (zv_connect(zv_queue(s->dev, how & 1),
		       how & 64	       ? fz_u8(z)
		       : s == &side[0] ? 2u
				       : 0u,
		       1 + (how >> 1) % PORTS, how & 32 ? ZV_SEQPACKET : ZV_STREAM, &c) == 0)
		keep_conn(s, c);
}

static void listen_op(struct side *s, struct fz *z)
{
	uint8_t how = fz_u8(z);
	uint32_t port = 1 + (how & 15) % PORTS;

	if ((how & 15) >= 12)
		port = ZV_PORT_ANY;
	if (how & 16)
		(void)zv_unlisten(s->dev, port);
	else if (port == ZV_PORT_ANY)
		(void)zv_listen_all(s->dev, how >> 5 & 1, how >> 6);
	else
		(void)zv_listen(s->dev, port, how & 32 ? ZV_SEQPACKET : ZV_STREAM, how >> 6);
}

static void accept_op(struct side *s, struct fz *z)
{
	uint8_t how = fz_u8(z);
	struct zv_conn *c;

	if (zv_accept(zv_queue(s->dev, how & 1), how & 2 ? ZV_PORT_ANY : 1 + (how >> 2) % PORTS,
		      &c) == 0)
		keep_conn(s, c);
}

static void transport_op(struct fz *z)
{
	uint8_t how = fz_u8(z);

	switch (how & 3) {
	case 0:
		fake_new_session(how & 4);
		break;
	case 1:
		checked_clock((uint64_t)fz_u16(z) * 1000000u);
		break;
	default:
		fake_limit_tx(how >> 2 & 1 ? ZV_ROLE_HOST : ZV_ROLE_GUEST, how >> 3 & 1,
			      how & 16 ? -1 : how >> 5);
	}
}

static void step(struct fz *z)
{
	uint8_t op = fz_u8(z);
	struct side *s = &side[op >> 7];
	unsigned i;

	switch (op & 15) {
	case 0:
		pump(1 + (op >> 4 & 3));
		break;
	case 1:
		poll_queue(s, op >> 4 & 1, 1 + (op >> 5 & 3));
		break;
	case 2:
		connect_op(s, z);
		break;
	case 3:
		listen_op(s, z);
		break;
	case 4:
		accept_op(s, z);
		break;
	case 5:
		close_conn(s, fz_below(z, CONNS), op & 16);
		break;
	case 6:
		give_rx(s, fz_below(z, BUFS), op & 16);
		break;
	case 7:
		i = fz_below(z, BUFS);
		give_tx(s, i, fz_u8(z), fz_u16(z));
		break;
	case 8:
		transport_op(z);
		break;
	case 9:
		if (op & 32)
			(void)zv_set_tap(zv_queue(s->dev, op >> 4 & 1),
					 op & 64 ? checked_tap : NULL, NULL);
		else
			FZ_CHECK(zv_arm(zv_queue(s->dev, op >> 4 & 1)) <= 0);
		break;
	case 10:
	case 11:
		inject(z);
		break;
	default:
		i = fz_below(z, CONNS);
		if (s->conn[i])
			conn_op(s, s->conn[i], z, fz_u8(z) % 7);
	}
}

/* Connections that were woken and have not sent since. */
static unsigned woken(const struct zv_queue *q)
{
	struct conn_node *n;
	uint32_t pos = 0;
	unsigned found = 0;

	while ((n = conn_table_next(&q->conns, &pos)))
		found += ((const struct zv_conn *)n)->flow.turn == TX_WOKEN;
	return found;
}

static void check(const struct side *s)
{
	unsigned rx = 0, tx = 0, lent = 0;

	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		const struct zv_queue *q = s->dev->queues[i];

		rx += q->rx.app_loans;
		tx += q->tx.app_loans;
		lent = q->rx.lent_descs;
		FZ_CHECK(lent <= q->tq->rx_descs / 2);
		FZ_CHECK(q->rst.count <= ZV_RST_FIFO + q->dev->opts.max_conns);
		FZ_CHECK(lent || !q->rx.holders);
		FZ_CHECK(q->sched.nwoken == woken(q));
	}
	FZ_CHECK(rx == s->nrx && tx == s->ntx);
}

static void open_side(enum zv_role role, const struct zv_opts *o)
{
	memset(&side[role], 0, sizeof(side[role]));
	FZ_CHECK(zv_open(&side[role].dev, role == ZV_ROLE_HOST ? "fakehost:" : "fakeguest:", o) ==
		 0);
	checked_attach(side[role].dev, role);
}

static void check_honest(const struct side *s)
{
	struct zv_queue_stats st;

	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		FZ_CHECK(zv_queue_stats(zv_queue(s->dev, i), &st, sizeof(st)) == 0);
		FZ_CHECK(!st.rx_overrun && !st.rx_bad_hdr);
		/* A port that is named again at once meets packets of its former connection. */
		FZ_CHECK((!st.rx_bad_cid && !st.rx_bad_type && !st.rx_bad_credit) || siblings);
	}
}

static void close_both(bool tidy)
{
	for (unsigned r = 0; r < 2; r++) {
		struct side *s = &side[r];

		if (s->nrx || s->ntx)
			FZ_CHECK(zv_close(s->dev) == -EBUSY);
		while (s->nrx)
			give_rx(s, 0, false);
		while (s->ntx)
			give_tx(s, 0, 1, 0);
		for (unsigned i = 0; i < CONNS && tidy; i++)
			close_conn(s, i, false);
		check(s);
		if (!injected)
			check_honest(s);
	}
	FZ_CHECK(zv_close(side[ZV_ROLE_GUEST].dev) == 0);
	FZ_CHECK(zv_close(side[ZV_ROLE_HOST].dev) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz z = {data, size};
	uint8_t shape = fz_u8(&z);
	struct zv_opts o = {.size = sizeof(o), .queues = FAKE_QUEUES};

	o.flags = shape & 1 ? ZV_OPT_NO_HELLO : 0;
	o.buf_alloc = shape & 2 ? 4096 : 65536;
	o.max_conns = shape & 4 ? 2 : 100;
	fake_config = (struct fake_config){.nbuf = shape & 8 ? 8 : 64,
					   .buf_len = shape & 16 ? 256 : 4096,
					   .nseg = 1 + (shape >> 5 & 3)};
	checked_reset();
	injected = siblings = false;
	open_side(ZV_ROLE_HOST, &o);
	open_side(ZV_ROLE_GUEST, &o);
	while (z.left) {
		step(&z);
		check(&side[0]);
		check(&side[1]);
	}
	close_both(shape & 128);
	return 0;
}
