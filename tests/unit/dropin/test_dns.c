/* SPDX-License-Identifier: BSD-3-Clause */
/* The supervisor's name server: what it answers to queries, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/di_tcp.h"
#include "seccomp/dns.h"

enum { A = 1, AAAA = 28, HEADER = 12, RECORD = 16 };
enum { REFUSED_FORMAT = 1, FAILURE = 2, NOT_KNOWN = 4 };

struct query {
	unsigned char bytes[DI_DNS_BYTES];
	size_t len;
};

/* A plain query for @name and @type, as resolvers send it. */
static struct query query_for(const char *name, unsigned char type)
{
	struct query q = {.bytes = {0x12, 0x34, 1, 0, 0, 1}, .len = HEADER};

	while (*name) {
		size_t part = strcspn(name, ".");

		q.bytes[q.len++] = (unsigned char)part;
		memcpy(q.bytes + q.len, name, part);
		q.len += part;
		name += part + (name[part] == '.');
	}
	q.bytes[q.len++] = 0;
	memcpy(q.bytes + q.len, (const unsigned char[]){0, type, 0, 1}, 4);
	q.len += 4;
	return q;
}

/* The answer is to @q, in @records records. Over @out; its length. */
static size_t answered(const struct query *q, unsigned char out[static DI_DNS_BYTES], int code,
		       int records)
{
	size_t len = di_dns_answer(q->bytes, q->len, out);

	assert_in_range(len, HEADER, DI_DNS_BYTES);
	assert_memory_equal(out, q->bytes, 2); /* whose answer it is */
	assert_int_equal(out[2] & 0x80, 0x80); /* an answer */
	assert_int_equal(out[3] & 0x80, 0x80); /* recursion is available: resolvers want it */
	assert_int_equal(out[3] & 15, code);
	assert_int_equal(out[7], records);
	return len;
}

static uint32_t address_of(const char *name)
{
	struct query q = query_for(name, A);
	unsigned char out[DI_DNS_BYTES];
	size_t len = answered(&q, out, 0, 1);

	assert_int_equal(len, q.len + RECORD);
	assert_memory_equal(out + HEADER, q.bytes + HEADER, q.len - HEADER);
	assert_memory_equal(out + q.len, "\xc0\x0c\0\1\0\1", 6);
	return (uint32_t)out[len - 4] << 24 | (uint32_t)out[len - 3] << 16 |
	       (uint32_t)out[len - 2] << 8 | out[len - 1];
}

static void each_name_has_its_address(void **state)
{
	uint32_t a = address_of("a.example.org"), b = address_of("b.example.org");

	(void)state;
	assert_int_equal(a >> 17, 0xc612 >> 1); /* 198.18.0.0/15 */
	assert_int_equal(b >> 17, 0xc612 >> 1);
	assert_int_not_equal(a, b);
	assert_int_equal(address_of("A.Example.ORG"), a);
	assert_int_equal(address_of("localhost"), 0x7f000001);
	assert_int_equal(address_of("x.LocalHost"), 0x7f000001);
	assert_int_equal(address_of("notlocalhost") >> 17, 0xc612 >> 1);
}

static void other_types_have_no_record(void **state)
{
	static const unsigned char types[] = {AAAA, 2, 5, 15, 16, 33, 65, 255};
	unsigned char out[DI_DNS_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(types); i++) {
		struct query q = query_for("a.example.org", types[i]);

		assert_int_equal(answered(&q, out, 0, 0), q.len);
	}
}

/* A resolver's EDNS record behind the question is not looked at. */
static void what_follows_the_question(void **state)
{
	struct query q = query_for("a.example.org", A);
	unsigned char out[DI_DNS_BYTES];
	size_t question = q.len;

	(void)state;
	q.bytes[11] = 1;
	memcpy(q.bytes + q.len, "\0\0\x29\4\xd0\0\0\0\0\0\0", 11);
	q.len += 11;
	assert_int_equal(answered(&q, out, 0, 1), question + RECORD);
	assert_int_equal(out[11], 0);
}

static void what_is_no_plain_query(void **state)
{
	unsigned char out[DI_DNS_BYTES];
	struct query q = query_for("a.example.org", A);

	(void)state;
	for (size_t len = 0; len < HEADER; len++)
		assert_int_equal(di_dns_answer(q.bytes, len, out), 0);
	q.bytes[2] |= 0x80; /* an answer: never answered, or two servers would talk for ever */
	assert_int_equal(di_dns_answer(q.bytes, q.len, out), 0);
	q = query_for("a.example.org", A);
	q.bytes[2] = 5 << 3; /* UPDATE */
	assert_int_equal(answered(&q, out, NOT_KNOWN, 0), HEADER);
	q = query_for("a.example.org", A);
	q.bytes[5] = 2; /* questions */
	assert_int_equal(answered(&q, out, REFUSED_FORMAT, 0), HEADER);
	q = query_for("a b", A);
	assert_int_equal(answered(&q, out, REFUSED_FORMAT, 0), HEADER);
	q = query_for("", A); /* the root */
	assert_int_equal(answered(&q, out, REFUSED_FORMAT, 0), HEADER);
	q = query_for("a.example.org", A);
	q.bytes[HEADER] = 0xc0; /* a pointer, here to itself */
	q.bytes[HEADER + 1] = HEADER;
	assert_int_equal(answered(&q, out, REFUSED_FORMAT, 0), HEADER);
}

/* No byte behind the query is read, however it is cut; no answer is too long. */
static void cut_and_long_ones(void **state)
{
	unsigned char out[DI_DNS_BYTES];
	struct query q = query_for("a.example.org", A);
	char name[DI_TCP_NAME_MAX + 2] = "";

	(void)state;
	for (size_t len = HEADER; len < q.len; len++) {
		unsigned char *cut = malloc(len);

		memcpy(cut, q.bytes, len);
		assert_int_equal(di_dns_answer(cut, len, out), HEADER);
		free(cut);
	}
	for (size_t n = 0; n + 2 < sizeof(name); n += 2) {
		memcpy(name + n, "x.", 2);
		name[n + 1] = '\0'; /* "x.x.x" */
		q = query_for(name, A);
		if (strlen(name) < DI_TCP_NAME_MAX)
			(void)answered(&q, out, 0, 1);
		else
			(void)answered(&q, out, REFUSED_FORMAT, 0);
		name[n + 1] = '.';
	}
	memset(q.bytes + q.len, 0, sizeof(q.bytes) - q.len);
	assert_int_equal(di_dns_answer(q.bytes, sizeof(q.bytes), out),
			 0); /* no room for a record */
}

static void no_more_addresses(void **state)
{
	unsigned char out[DI_DNS_BYTES];
	char name[32];
	int code = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct query q;

		snprintf(name, sizeof(name), "n%u.example.org", i);
		q = query_for(name, A);
		assert_true(di_dns_answer(q.bytes, q.len, out) > 0);
		assert_true((out[3] & 15) >= code); /* once it fails, it goes on so */
		code = out[3] & 15;
	}
	assert_int_equal(code, FAILURE);
	assert_int_equal(address_of("a.example.org") >> 17, 0xc612 >> 1); /* those stay */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_name_has_its_address),
		cmocka_unit_test(other_types_have_no_record),
		cmocka_unit_test(what_follows_the_question),
		cmocka_unit_test(what_is_no_plain_query),
		cmocka_unit_test(cut_and_long_ones),
		cmocka_unit_test(no_more_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
