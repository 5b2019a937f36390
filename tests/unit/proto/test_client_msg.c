/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/local/client_msg.h"
#include "proto_test.h"

#include <string.h>

static void what_is_made_is_taken(void **state)
{
	struct client_msg m;

	(void)state;
	for (unsigned type = CLIENT_ATTACH; client_type_name(type); type++) {
		client_msg_init(&m, (enum client_type)type);
		client_msg_text(&m, "a name");
		assert_null(client_msg_refused(&m, sizeof(m)));
		assert_int_equal(m.type, type);
		assert_string_equal(m.text, "a name");
	}
	assert_int_equal(CLIENT_UNLISTEN, 3);
	assert_int_equal(CLIENT_REGION, 4);
	assert_null(client_type_name(0));
	assert_int_equal(CLIENT_RING, 7);
	assert_null(client_type_name(8));
	assert_string_equal(client_type_name(CLIENT_LISTEN), "listen");
	/* as bytes, on a little-endian machine */
	assert_memory_equal(&m, "ZVCL\1\0\7\0", 8);
}

static void anything_else_is_refused(void **state)
{
	struct client_msg good, m;

	(void)state;
	client_msg_init(&good, CLIENT_ATTACH);
#define REFUSED(what, why)                                                                         \
	do {                                                                                       \
		const char *text_;                                                                 \
		m = good;                                                                          \
		what;                                                                              \
		text_ = client_msg_refused(&m, sizeof(m));                                         \
		assert_non_null(text_);                                                            \
		assert_non_null(strstr(text_, why));                                               \
	} while (0)
	REFUSED(m.magic++, "magic");
	REFUSED(m.version = 2, "version");
	REFUSED(m.version = 0, "version");
	REFUSED(m.type = 0, "type");
	REFUSED(m.type = 0xffff, "type");
	REFUSED(m.reserved = 1, "reserved");
	REFUSED(memset(m.text, 'x', sizeof(m.text)), "text");
#undef REFUSED
	assert_non_null(client_msg_refused(&good, 0));
	assert_non_null(client_msg_refused(&good, sizeof(good) - 1));
	assert_non_null(client_msg_refused(&good, sizeof(good) + 1));
	memset(good.text, 'x', sizeof(good.text) - 1);
	assert_null(client_msg_refused(&good, sizeof(good)));
}

static void text_is_cut_and_harmless(void **state)
{
	char longer[2 * CLIENT_TEXT];
	struct client_msg m;

	(void)state;
	memset(longer, 'y', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	memset(&m, 0xff, sizeof(m));
	client_msg_text(&m, longer);
	assert_int_equal(strlen(m.text), CLIENT_TEXT - 1);
	client_msg_text(&m, "two\nlines\x1b[0m\x7f");
	assert_string_equal(m.text, "two?lines?[0m?");
	client_msg_text(&m, "");
	for (unsigned i = 0; i < CLIENT_TEXT; i++)
		assert_int_equal(m.text[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_made_is_taken),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(text_is_cut_and_harmless),
	};

	return cmocka_run_group_tests_name("client_msg", tests, NULL, NULL);
}
