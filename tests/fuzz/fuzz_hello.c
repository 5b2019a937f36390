/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HELLO: what a control connection can carry.
 *
 * The input is a piece of a control stream. Every prefix of it is parsed from memory of just that
 * size. What must hold: a message is taken only whole, a refusal does not depend on how much has
 * arrived behind it (0 = wait, and once a verdict is there it stays), what is parsed can be put
 * and parsed again with the same result, and what hello_put writes is judged by its fields alone.
 */
#include "fuzz.h"
#include "proto/ctrl/hello.h"

#include <errno.h>

#define PREFIXES 96u /* beyond that, only the length of the message matters */

static int parse(struct hello *h, const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	int ret;

	if (n)
		memcpy(copy, data, n);
	ret = hello_get(h, copy, n);
	free(copy);
	return ret;
}

static bool same(const struct hello *a, const struct hello *b)
{
	return a->type == b->type && a->version == b->version && a->nonce == b->nonce &&
	       a->pair == b->pair && a->npairs == b->npairs && a->caps == b->caps &&
	       a->max_pkt == b->max_pkt && a->flags == b->flags;
}

static void check_taken(const struct hello *h, int len, size_t size)
{
	uint8_t wire[HELLO_WIRE_LEN];
	struct hello again;

	FZ_CHECK(len >= (int)HELLO_WIRE_LEN && len <= (int)ZV_CTRL_MAX_LEN && (size_t)len <= size);
	FZ_CHECK(h->version == ZV_CTRL_VERSION);
	FZ_CHECK(h->type == CTRL_HELLO || h->type == CTRL_HELLO_ACK);
	FZ_CHECK(h->npairs >= 1 && h->npairs <= 128 && h->pair < h->npairs && h->max_pkt >= 65536);
	hello_put(wire, h);
	FZ_CHECK(parse(&again, wire, sizeof(wire)) == (int)HELLO_WIRE_LEN);
	FZ_CHECK(same(h, &again));
}

/* A HELLO with whatever fields: taken if, and only if, they are allowed. */
static void check_built(struct fz *z)
{
	struct hello h, got;
	uint8_t wire[HELLO_WIRE_LEN];
	int ret, want = (int)HELLO_WIRE_LEN;

	h.type = fz_u16(z);
	h.version = fz_u16(z);
	h.nonce = fz_u64(z);
	h.pair = fz_u16(z);
	h.npairs = fz_u16(z);
	h.caps = fz_u32(z);
	h.max_pkt = fz_u32(z);
	h.flags = fz_u32(z);
	if ((h.type != CTRL_HELLO && h.type != CTRL_HELLO_ACK) || !h.npairs || h.npairs > 128 ||
	    h.pair >= h.npairs || h.max_pkt < 65536)
		want = -EPROTO;
	if (h.version != ZV_CTRL_VERSION)
		want = -EPROTONOSUPPORT;
	hello_put(wire, &h);
	ret = parse(&got, wire, sizeof(wire));
	FZ_CHECK(ret == want);
	FZ_CHECK(ret < 0 || same(&h, &got));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz z = {data, size};
	struct hello h = {0}, last = {0};
	int ret, verdict = parse(&last, data, size);
	bool decided = false;

	if (verdict > 0)
		check_taken(&last, verdict, size);
	for (size_t n = 0; n <= size && n < PREFIXES; n++) {
		ret = parse(&h, data, n);
		FZ_CHECK(ret == 0 || ret == verdict);
		FZ_CHECK(!decided || ret == verdict);
		FZ_CHECK(ret <= 0 || (n >= (size_t)ret && same(&h, &last)));
		decided = ret != 0;
	}
	if (verdict > 0 && size > (size_t)verdict)
		FZ_CHECK(parse(&h, data, (size_t)verdict) == verdict);
	if (verdict > 0)
		FZ_CHECK(parse(&h, data, (size_t)verdict - 1) == 0);
	check_built(&z);
	return 0;
}
