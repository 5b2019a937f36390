/* SPDX-License-Identifier: BSD-3-Clause */
#include "conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

void conv_say(struct zf_conn *from, struct zf_conn *to, const char *text, uint32_t flags)
{
	char buf[64];
	uint32_t got = 0;
	size_t len = strlen(text);

	assert_true(zf_send(from, text, len, flags));
	assert_int_equal(zf_recv(to, buf, flags ? sizeof(buf) : len, &got), len);
	assert_memory_equal(buf, text, len);
	assert_int_equal(got & flags, flags);
}

void conv_whole(struct zf_conn *a, struct zf_conn *b, enum zv_type type)
{
	uint32_t eom = type == ZV_SEQPACKET ? ZV_EOM : 0;
	char byte;

	conv_say(a, b, "from the one", eom);
	conv_say(b, a, "from the other", eom);
	conv_say(a, b, "and again", eom);
	assert_int_equal(zv_shutdown(a->c, SHUT_WR), 0);
	assert_int_equal(zf_recv(b, &byte, 1, NULL), 0);
	conv_say(b, a, "half closed", eom);
	zf_close(b);
	assert_int_equal(zf_recv(a, &byte, 1, NULL), 0);
	zf_close(a);
}

struct bulk {
	struct zf_conn *from, *to;
	size_t size, sent, received;
	bool bad;
};

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

/* Sends some, and compares what has arrived. */
static bool bulk_done(void *arg)
{
	static uint8_t out[100000], in[70000];
	struct bulk *b = arg;
	size_t len = b->size - b->sent < sizeof(out) ? b->size - b->sent : sizeof(out);
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		out[i] = byte_at(b->sent + i);
	n = len ? zv_send(b->from->c, out, len, 0) : 0;
	b->sent += n > 0 ? (size_t)n : 0;
	n = zv_recv(b->to->c, in, sizeof(in), NULL);
	for (ssize_t i = 0; i < n; i++)
		b->bad |= in[i] != byte_at(b->received++);
	return b->received == b->size;
}

void conv_bulk(struct zf_conn *from, struct zf_conn *to, size_t size)
{
	struct bulk b = {.from = from, .to = to, .size = size};

	assert_true(zf_until(bulk_done, &b));
	assert_false(b.bad);
}
