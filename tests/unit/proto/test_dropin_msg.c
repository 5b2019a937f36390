/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/local/dropin_msg.h"
#include "proto_test.h"

#include <string.h>
#include <sys/socket.h>

static void messages(void **state)
{
	struct dropin_msg good, m;

	(void)state;
	for (unsigned type = DROPIN_HELLO; dropin_type_name(type); type++) {
		dropin_msg_init(&good, (enum dropin_type)type);
		dropin_msg_text(&good, "why\nnot");
		assert_null(dropin_msg_refused(&good, sizeof(good)));
		assert_int_equal(good.type, type);
		assert_string_equal(good.text, "why?not");
	}
	assert_int_equal(good.type, DROPIN_SHUTDOWN);
	assert_null(dropin_type_name(0));
	assert_string_equal(dropin_type_name(DROPIN_BIND), "bind");
	assert_memory_equal(&good, "ZVDI\1\0\11\0", 8); /* on a little-endian machine */
#define REFUSED(what, why)                                                                         \
	do {                                                                                       \
		const char *text_;                                                                 \
		m = good;                                                                          \
		what;                                                                              \
		text_ = dropin_msg_refused(&m, sizeof(m));                                         \
		assert_non_null(text_);                                                            \
		assert_non_null(strstr(text_, why));                                               \
	} while (0)
	REFUSED(m.magic++, "magic");
	REFUSED(m.version = 2, "version");
	REFUSED(m.type = DROPIN_SHUTDOWN + 1, "type");
	REFUSED(m.flags = 4, "reserved");
	REFUSED(m.reserved = 1, "reserved");
	REFUSED(memset(m.label, 'x', sizeof(m.label)), "text");
	REFUSED(memset(m.where, 'x', sizeof(m.where)), "text");
	REFUSED(memset(m.text, 'x', sizeof(m.text)), "text");
#undef REFUSED
	assert_non_null(dropin_msg_refused(&good, sizeof(good) - 1));
	assert_non_null(dropin_msg_refused(&good, sizeof(good) + 1));
}

static const struct dropin_label bound = {.view = 'P',
					  .sock_type = SOCK_STREAM,
					  .local = {2, 1234},
					  .token = {1, 0xabcdef0123456789}};
static const struct dropin_label widest = {.view = 'Z',
					   .connected = true,
					   .sock_type = UINT16_MAX,
					   .local = {UINT32_MAX, UINT32_MAX},
					   .remote = {UINT32_MAX, UINT32_MAX - 1},
					   .token = {UINT64_MAX, UINT64_MAX}};

static void labels_are_read_as_written(void **state)
{
	struct dropin_label l;
	char text[DROPIN_LABEL];

	(void)state;
	dropin_label_write(&bound, text);
	assert_string_equal(text, "zvsock:P:1:2:1234:-:-:0000000000000001abcdef0123456789");
	assert_true(dropin_label_read(&l, text, strlen(text)));
	assert_memory_equal(&l, &bound, sizeof(l));
	dropin_label_write(&widest, text);
	assert_true(strlen(text) < DROPIN_LABEL - 1); /* a leading and a final 0 byte beside it */
	assert_true(dropin_label_read(&l, text, strlen(text)));
	assert_memory_equal(&l, &widest, sizeof(l));
}

static void nothing_else_is_a_label(void **state)
{
	static const char *const bad[] = {
		"",
		"zvsock:",
		"zvsock:P:1:2:1234:-:-:",
		"zvsock:X:1:2:1234:-:-:0000000000000001abcdef0123456789",
		"zvsock:P:1:2:1234:-:-:0000000000000001abcdef012345678",
		"zvsock:P:1:2:1234:-:-:0000000000000001abcdef01234567890",
		"zvsock:P:1:2:1234:-:-:0000000000000001ABCDEF0123456789",
		"zvsock:P:65536:2:1234:-:-:0000000000000001abcdef0123456789",
		"zvsock:P:1:2:4294967296:-:-:0000000000000001abcdef0123456789",
		"zvsock:P:1:2:-1:-:-:0000000000000001abcdef0123456789",
		"zvsock:P:1:2::-:-:0000000000000001abcdef0123456789",
		"zvsock:P:1:2:1234:3:-:0000000000000001abcdef0123456789",
		"xvsock:P:1:2:1234:-:-:0000000000000001abcdef0123456789",
	};
	struct dropin_label l;
	char text[DROPIN_LABEL];

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(dropin_label_read(&l, bad[i], strlen(bad[i])));
	dropin_label_write(&bound, text);
	assert_false(dropin_label_read(&l, text, strlen(text) + 1)); /* a 0 byte inside */
	for (size_t n = 0; n < strlen(text); n++)
		assert_false(dropin_label_read(&l, text, n));
}

static void who_a_socket_is(void **state)
{
	const struct dropin_label out = {'P',	     true,	SOCK_STREAM,
					 {2, 50000}, {3, 1234}, {7, 8}}; /* connected to a guest */
	const struct dropin_label guests = {'Z', true, SOCK_STREAM, {2, 1234}, {3, 50001}, {9, 9}};
	const struct dropin_label local = {'P', true, SOCK_STREAM, {2, 50002}, {2, 1234}, {5, 5}};
	struct dropin_label l;

	(void)state;
	assert_true(dropin_names(&l, &out, NULL));
	assert_memory_equal(&l, &out, sizeof(l));
	assert_true(dropin_names(&l, &bound, NULL)); /* it listens */
	assert_false(l.connected);
	assert_int_equal(l.local.port, 1234);
	assert_true(dropin_names(&l, &bound, &guests)); /* accepted, from a guest */
	assert_true(l.connected);
	assert_int_equal(l.local.port, 1234);
	assert_int_equal(l.remote.cid, 3);
	assert_int_equal(l.remote.port, 50001);
	assert_true(
		dropin_names(&l, &bound, &local)); /* accepted, from a program of this machine */
	assert_int_equal(l.local.port, 1234);
	assert_int_equal(l.remote.cid, 2);
	assert_int_equal(l.remote.port, 50002);
	assert_true(dropin_names(&l, &local, &bound)); /* the other end of that */
	assert_int_equal(l.local.port, 50002);
	assert_int_equal(l.remote.port, 1234);
	assert_true(dropin_names(&l, NULL, &guests));
	assert_false(dropin_names(&l, NULL, NULL));
	assert_false(dropin_names(&l, NULL, &bound)); /* whose peer is only bound: unknown */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages),
		cmocka_unit_test(labels_are_read_as_written),
		cmocka_unit_test(nothing_else_is_a_label),
		cmocka_unit_test(who_a_socket_is),
	};

	return cmocka_run_group_tests_name("dropin_msg", tests, NULL, NULL);
}
