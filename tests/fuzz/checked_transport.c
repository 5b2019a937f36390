/* SPDX-License-Identifier: BSD-3-Clause */
#include "checked_transport.h"

#include "fuzz.h"
#include "socket/core/state.h"

#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>

#define TOKENS 1024u

static struct transport_ops ops[2];
static struct transport_queue_ops queue_ops[2];
static uint8_t rx_out[2][FAKE_QUEUES][TOKENS];
static uint8_t tx_out[2][FAKE_QUEUES][TOKENS];
static uint32_t tx_cap[2][FAKE_QUEUES][TOKENS];
static struct transport_queue *queues[2][FAKE_QUEUES];
static uint64_t now_ns;

int __wrap_clock_gettime(clockid_t id, struct timespec *t);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	(void)id;
	t->tv_sec = (time_t)(now_ns / 1000000000u);
	t->tv_nsec = (long)(now_ns % 1000000000u);
	return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	memset(buf, 0x5a, len);
	return (ssize_t)len;
}

void checked_clock(uint64_t ns)
{
	now_ns += ns;
}

static unsigned index_of(enum zv_role role, const struct transport_queue *q)
{
	unsigned i = 0;

	while (queues[role][i] != q)
		FZ_CHECK(++i < FAKE_QUEUES);
	return i;
}

static const struct transport_ops *real(enum zv_role role)
{
	return role == ZV_ROLE_GUEST ? &fake_guest_ops : &fake_host_ops;
}

static enum zv_role role_of(const struct transport_queue *q)
{
	return q->ops == &queue_ops[ZV_ROLE_HOST] ? ZV_ROLE_HOST : ZV_ROLE_GUEST;
}

static int rx_burst(struct transport_queue *q, struct rx_pkt *pkts, unsigned max)
{
	enum zv_role role = role_of(q);
	unsigned i = index_of(role, q);
	int n = fake_queue_ops.rx_burst(q, pkts, max);

	for (int k = 0; k < n; k++)
		if (pkts[k].nseg) {
			FZ_CHECK(!rx_out[role][i][pkts[k].token]);
			rx_out[role][i][pkts[k].token] = 1;
		}
	return n;
}

static void rx_release(struct transport_queue *q, uint32_t token)
{
	enum zv_role role = role_of(q);
	unsigned i = index_of(role, q);

	FZ_CHECK(token < TOKENS && rx_out[role][i][token]);
	rx_out[role][i][token] = 0;
	fake_queue_ops.rx_release(q, token);
}

static unsigned tx_reserve(struct transport_queue *q, struct tx_slot *slots, unsigned n,
			   uint32_t len, unsigned flags)
{
	enum zv_role role = role_of(q);
	unsigned i = index_of(role, q), got = fake_queue_ops.tx_reserve(q, slots, n, len, flags);

	for (unsigned k = 0; k < got; k++) {
		FZ_CHECK(!tx_out[role][i][slots[k].token]);
		tx_out[role][i][slots[k].token] = 1;
		tx_cap[role][i][slots[k].token] = slots[k].capacity;
	}
	return got;
}

/* The token comes back. */
static void tx_back(struct transport_queue *q, uint32_t token)
{
	enum zv_role role = role_of(q);
	unsigned i = index_of(role, q);

	FZ_CHECK(token < TOKENS && tx_out[role][i][token]);
	tx_out[role][i][token] = 0;
}

static void tx_commit(struct transport_queue *q, uint32_t token, const struct vsock_hdr *h)
{
	enum zv_role role = role_of(q);
	uint64_t near = role == ZV_ROLE_GUEST ? h->src_cid : h->dst_cid; /* the guest's end */
	uint64_t far = role == ZV_ROLE_GUEST ? h->dst_cid : h->src_cid;

	tx_back(q, token);
	FZ_CHECK(h->len <= tx_cap[role][index_of(role, q)][token]);
	FZ_CHECK(near == FAKE_CID && h->op >= VSOCK_OP_REQUEST && h->op <= VSOCK_OP_MAX);
	/* A device refuses from whatever CID it was asked for. */
	FZ_CHECK(far == VSOCK_CID_HOST || (vsock_cid_is_guest(far) && far != near) ||
		 (role == ZV_ROLE_HOST && h->op == VSOCK_OP_RST));
	FZ_CHECK(h->len == 0 || h->op == VSOCK_OP_RW);
	/* What answers a foreign type repeats it; all else must be beyond reproach. */
	FZ_CHECK(h->op == VSOCK_OP_RST ||
		 vsock_hdr_check(h, h->dst_cid, h->src_cid) == VSOCK_HDR_OK);
	fake_queue_ops.tx_commit(q, token, h);
}

static void tx_cancel(struct transport_queue *q, uint32_t token)
{
	tx_back(q, token);
	fake_queue_ops.tx_cancel(q, token);
}

static void close_dev(struct transport_dev *t)
{
	static const uint8_t none[FAKE_QUEUES][TOKENS];
	enum zv_role role = t->ops->role;

	FZ_CHECK(memcmp(rx_out[role], none, sizeof(none)) == 0);
	FZ_CHECK(memcmp(tx_out[role], none, sizeof(none)) == 0);
	for (unsigned i = 0; i < FAKE_QUEUES; i++)
		FZ_CHECK(fake_held(role, i) == 0);
	real(role)->close(t);
}

void checked_tap(void *ctx, bool sent, const void *hdr, const struct iovec *iov, int n)
{
	static volatile uint8_t sink;
	struct vsock_hdr h;
	size_t len = 0;

	(void)ctx;
	(void)sent;
	vsock_hdr_get(&h, hdr);
	for (int i = 0; i < n; len += iov[i++].iov_len)
		for (size_t k = 0; k < iov[i].iov_len; k++)
			sink = (uint8_t)(sink + ((uint8_t *)iov[i].iov_base)[k]);
	FZ_CHECK(len == h.len);
}

void checked_reset(void)
{
	memset(rx_out, 0, sizeof(rx_out));
	memset(tx_out, 0, sizeof(tx_out));
	memset(queues, 0, sizeof(queues));
	now_ns = 1000000000u;
}

void checked_attach(struct zv_dev *dev, enum zv_role role)
{
	ops[role] = *real(role);
	ops[role].close = close_dev;
	queue_ops[role] = fake_queue_ops;
	queue_ops[role].rx_burst = rx_burst;
	queue_ops[role].rx_release = rx_release;
	queue_ops[role].tx_reserve = tx_reserve;
	queue_ops[role].tx_commit = tx_commit;
	queue_ops[role].tx_cancel = tx_cancel;
	dev->ops = &ops[role];
	for (unsigned i = 0; i < dev->nqueues; i++) {
		queues[role][i] = dev->queues[i]->tq;
		dev->queues[i]->tq->ops = &queue_ops[role];
		/* As if the list of kept ones were full: a freed connection is really freed. */
		dev->queues[i]->pool.nfree = UINT32_MAX;
	}
}
