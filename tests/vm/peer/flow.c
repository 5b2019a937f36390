/* SPDX-License-Identifier: BSD-3-Clause */
/* The conversations of the VM tests; peer.h tells what they are. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

unsigned server_flows;

/* ---- payload ---- */

static uint64_t word_of(uint64_t seed, uint64_t i)
{
	uint64_t z = seed * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u;

	z = (z ^ (z >> 29)) * 0x94d049bb133111ebu;
	return z ^ (z >> 32);
}

static void pattern_fill(struct pattern *p, uint8_t *buf, size_t len)
{
	while (len) {
		uint64_t word = word_of(p->seed, p->pos / 8);
		size_t skip = p->pos % 8, n = len < 8 - skip ? len : 8 - skip;

		memcpy(buf, (uint8_t *)&word + skip, n);
		buf += n;
		len -= n;
		p->pos += n;
	}
}

/* 0, or -EBADMSG with the first wrong byte in @text. */
static int pattern_check(struct flow *f, const uint8_t *buf, size_t len, char *text, size_t size)
{
	uint64_t start = f->rx.pos;

	pattern_fill(&f->rx, f->scratch, len);
	if (memcmp(buf, f->scratch, len) == 0)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (buf[i] != f->scratch[i]) {
			snprintf(text, size, "byte %llu is %02x and should be %02x",
				 (unsigned long long)(start + i), buf[i], f->scratch[i]);
			break;
		}
	}
	return -EBADMSG;
}

/* Length of message @i: short ones, long ones, and some around the size of a receive buffer. */
static uint32_t seq_len(uint64_t seed, uint64_t i)
{
	static const uint32_t edges[] = {1, 44, 4051, 4052, 4053, 4096, 8192, SEQ_MSG_MAX};
	uint64_t w = word_of(seed, i);

	return i % 4 == 0 ? edges[(i / 4) % 8] : (uint32_t)(1 + w % (i % 4 == 1 ? 100u : 20000u));
}

static bool seq_eor(const struct flow *f, uint64_t i)
{
	return f->job->eor && i % 3 == 1;
}

/* ---- sending and receiving ---- */

/* Hands the bytes under way to the transport. 1: all gone, 0: no room now, or -errno. */
static int flush(struct flow *f)
{
	while (f->sent < f->have) {
		ssize_t n = peer_ops.send(f, f->buf + f->sent, f->have - f->sent, f->eor);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		f->sent += (uint32_t)n;
	}
	f->have = f->sent = 0;
	return 1;
}

static int finish(struct flow *f)
{
	int ret = f->fin_sent ? 0 : peer_ops.shutdown(f);

	f->fin_sent = true;
	return ret;
}

/* Sends what is left of the pattern. 1: all sent, 0: no room now, or -errno. */
static int send_pattern(struct flow *f)
{
	for (;;) {
		int ret = flush(f);
		uint32_t n = f->tx_left < PEER_BUF ? (uint32_t)f->tx_left : PEER_BUF;

		if (ret <= 0)
			return ret;
		if (n == 0)
			return 1;
		pattern_fill(&f->tx, f->buf, n);
		f->have = n;
		if (f->tx_left != PEER_FOREVER)
			f->tx_left -= n;
	}
}

/* 0 with the head or the tail of an xfer complete; -EAGAIN, -EPIPE: ended before; or -errno. */
static int recv_fixed(struct flow *f)
{
	while (f->x_have < sizeof(f->x)) {
		ssize_t n =
			peer_ops.recv(f, f->x.bytes + f->x_have, sizeof(f->x) - f->x_have, NULL);

		if (n <= 0)
			return n ? (int)n : -EPIPE;
		f->x_have += (uint32_t)n;
	}
	return 0;
}

static int wrong(char *text, size_t size, const char *why)
{
	snprintf(text, size, "%s", why);
	return -EPROTO;
}

/* ---- servers ---- */

static int step_echo_server(struct flow *f, bool messages)
{
	for (;;) {
		int ret = flush(f);
		ssize_t n;

		if (ret <= 0)
			return ret ? ret : (int)WANT_OUT;
		n = peer_ops.recv(f, f->buf, PEER_BUF, messages ? &f->eor : NULL);
		if (n == -EAGAIN)
			return (int)WANT_IN;
		if (n <= 0)
			return n ? (int)n : finish(f);
		f->have = (uint32_t)n;
	}
}

static int step_xfer_server(struct flow *f)
{
	int ret = recv_fixed(f);
	ssize_t n;

	if (ret)
		return ret == -EAGAIN ? (int)WANT_IN : ret;
	while (f->phase == BODY) {
		n = peer_ops.recv(f, f->scratch, PEER_BUF, NULL);
		if (n == -EAGAIN)
			return (int)WANT_IN;
		if (n < 0)
			return (int)n;
		XXH3_64bits_update(f->hash, f->scratch, (size_t)n);
		f->body += (uint64_t)n;
		if (n == 0) {
			f->phase = ANSWER;
			f->tx = (struct pattern){.seed = f->x.head.seed};
			f->tx_left = f->x.head.reply;
		}
	}
	ret = send_pattern(f);
	if (ret == 1 && f->phase == ANSWER) {
		struct xfer_tail tail = {f->body, XXH3_64bits_digest(f->hash)};

		memcpy(f->buf, &tail, sizeof(tail));
		f->have = sizeof(tail);
		f->phase = TAIL;
		ret = send_pattern(f);
	}
	return ret == 1 ? finish(f) : ret ? ret : (int)WANT_OUT;
}

/* ---- clients ---- */

/* After the last byte nothing but the end may come. */
static int expect_end(struct flow *f, char *text, size_t size)
{
	ssize_t n = peer_ops.recv(f, f->scratch, PEER_BUF, NULL);

	if (n > 0)
		return wrong(text, size, "more came back than was to come");
	return n == -EAGAIN ? (int)WANT_IN : (int)n;
}

/* Receives and checks rx_left bytes. 0: all here, -EAGAIN, or -errno. */
static int recv_pattern(struct flow *f, char *text, size_t size)
{
	uint8_t in[16384];

	while (f->rx_left) {
		size_t want = f->rx_left < sizeof(in) ? (size_t)f->rx_left : sizeof(in);
		ssize_t n = peer_ops.recv(f, in, want, NULL);
		int ret;

		if (n <= 0)
			return n ? (int)n : wrong(text, size, "the stream ended early");
		ret = pattern_check(f, in, (size_t)n, text, size);
		if (ret)
			return ret;
		if (f->rx_left != PEER_FOREVER)
			f->rx_left -= (uint64_t)n;
	}
	return 0;
}

static int step_echo_client(struct flow *f, char *text, size_t size)
{
	int tx = send_pattern(f), rx;

	if (tx < 0)
		return tx;
	rx = recv_pattern(f, text, size);
	if (rx < 0 && rx != -EAGAIN)
		return rx;
	if (rx == 0 && tx == 1) {
		int ret = finish(f);

		return ret ? ret : expect_end(f, text, size);
	}
	return (int)((tx ? 0 : WANT_OUT) | (rx ? WANT_IN : 0));
}

static int step_xfer_client(struct flow *f, char *text, size_t size)
{
	int ret;

	if (!f->fin_sent) {
		/* The head is the first 16 bytes of what is to be flushed; see flow_connected(). */
		ret = send_pattern(f);
		if (ret <= 0)
			return ret ? ret : (int)WANT_OUT;
		ret = finish(f);
		if (ret)
			return ret;
	}
	ret = recv_pattern(f, text, size);
	if (ret == 0)
		ret = recv_fixed(f);
	if (ret)
		return ret == -EAGAIN ? (int)WANT_IN : ret;
	if (f->x.tail.len != f->body || f->x.tail.hash != XXH3_64bits_digest(f->hash)) {
		snprintf(text, size, "the peer received %llu bytes, hash %016llx; sent were %llu",
			 (unsigned long long)f->x.tail.len, (unsigned long long)f->x.tail.hash,
			 (unsigned long long)f->body);
		return -EBADMSG;
	}
	return expect_end(f, text, size);
}

static int recv_messages(struct flow *f, char *text, size_t size)
{
	static uint8_t in[PEER_BUF]; /* one thread */

	while (f->rx_left) {
		uint64_t i = f->job->bytes - f->rx_left;
		uint32_t len = seq_len(f->rx.seed, i);
		bool eor = false;
		ssize_t n = peer_ops.recv(f, in, sizeof(in), &eor);
		int ret;

		if (n <= 0)
			return n ? (int)n : wrong(text, size, "the stream ended early");
		if ((uint64_t)n != len || eor != seq_eor(f, i)) {
			snprintf(text, size,
				 "message %llu came back with %zd bytes%s, should have %u%s",
				 (unsigned long long)i, n, eor ? " and MSG_EOR" : "", len,
				 seq_eor(f, i) ? " and MSG_EOR" : "");
			return -EPROTO;
		}
		ret = pattern_check(f, in, len, text, size);
		if (ret)
			return ret;
		f->rx_left--;
	}
	return 0;
}

static int send_messages(struct flow *f)
{
	int tx;

	while ((tx = flush(f)) == 1 && f->tx_left && f->rx_left - f->tx_left < SEQ_WINDOW) {
		uint64_t i = f->job->bytes - f->tx_left--;

		f->have = seq_len(f->tx.seed, i);
		f->eor = seq_eor(f, i);
		pattern_fill(&f->tx, f->buf, f->have);
	}
	return tx;
}

static int step_seq_client(struct flow *f, char *text, size_t size)
{
	int tx, rx, ret;
	uint64_t before;

	do { /* what comes back opens the window */
		before = f->rx_left;
		tx = send_messages(f);
		if (tx < 0)
			return tx;
		rx = recv_messages(f, text, size);
		if (rx < 0 && rx != -EAGAIN)
			return rx;
	} while (f->rx_left != before);
	if (rx)
		return (int)((tx ? 0 : WANT_OUT) | WANT_IN);
	ret = finish(f);
	return ret ? ret : expect_end(f, text, size);
}

int flow_step(struct flow *f, char *text, size_t size)
{
	switch (f->kind) {
	case ECHO_SERVER:
	case SEQ_SERVER:
		return step_echo_server(f, f->kind == SEQ_SERVER);
	case XFER_SERVER:
		return step_xfer_server(f);
	case ECHO_CLIENT:
		return step_echo_client(f, text, size);
	case SEQ_CLIENT:
		return step_seq_client(f, text, size);
	case XFER_CLIENT:
		return step_xfer_client(f, text, size);
	}
	return -EINVAL;
}

/* ---- life of a flow ---- */

struct flow *flow_new(enum flow_kind kind, struct job *job)
{
	struct flow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->kind = kind;
	f->job = job;
	f->buf = malloc(PEER_BUF);
	f->scratch = malloc(PEER_BUF);
	f->hash = XXH3_createState();
	if (!f->buf || !f->scratch || !f->hash || XXH3_64bits_reset(f->hash) != XXH_OK) {
		flow_free(f);
		return NULL;
	}
	server_flows += !job;
	return f;
}

void flow_free(struct flow *f)
{
	if (f->conn)
		peer_ops.close(f);
	server_flows -= !f->job;
	XXH3_freeState(f->hash);
	free(f->scratch);
	free(f->buf);
	free(f);
}

/* The body's hash is known before it is sent: the receiver's must be the same. */
static void xfer_begin(struct flow *f)
{
	struct pattern p = {.seed = f->tx.seed + 1};
	struct xfer_head head = {f->job->reply, f->tx.seed};

	f->body = f->tx_left;
	for (uint64_t left = f->body; left;) {
		size_t n = left < PEER_BUF ? (size_t)left : PEER_BUF;

		pattern_fill(&p, f->scratch, n);
		XXH3_64bits_update(f->hash, f->scratch, n);
		left -= n;
	}
	f->tx.seed++;
	memcpy(f->buf, &head, sizeof(head));
	f->have = sizeof(head);
}

void flow_connected(struct flow *f, int err)
{
	if (err) {
		char text[64];

		snprintf(text, sizeof(text), "connect: %s", strerror(-err));
		job_flow_over(f->job, f, text);
		return;
	}
	f->tx_left = f->job->bytes;
	f->rx_left = f->kind == XFER_CLIENT ? f->job->reply : f->job->bytes;
	if (f->kind == XFER_CLIENT)
		xfer_begin(f);
	job_connected(f->job, f);
}

void flow_run(struct flow *f)
{
	char why[160] = "", text[256];
	int ret = flow_step(f, why, sizeof(why));

	if (ret > 0) {
		peer_ops.want(f, (unsigned)ret);
		return;
	}
	if (ret < 0)
		snprintf(text, sizeof(text), "%s%s%s", why, *why ? ": " : "", strerror(-ret));
	if (f->job) {
		job_flow_over(f->job, f, ret < 0 ? text : NULL);
		return;
	}
	if (ret < 0)
		server_broke(f, text);
	flow_free(f);
}
