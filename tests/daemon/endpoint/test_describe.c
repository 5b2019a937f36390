/* SPDX-License-Identifier: BSD-3-Clause */
/* Where connections lead, in the words of their endpoint types: endpoint_ops.kind.describe. */
#include "conf_text.h"
#include "endpoint/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cfg *cfg;
static struct guest guest;

static int setup(void **state)
{
	(void)state;
	cfg = conf_good("[guest web]\ncid = 3\nsocket = /s/web\nunix = /run/web.v\n"
			"builtin = echo:1024, discard:1025, source:1026\n"
			"listen = /run/h:50000, [::1]:8080:50000, /run/other:80\n"
			"tcp = 1027=[::1]:80, 1028=localhost:81\nvsock = 1029-1040\n");
	guest.cfg = &cfg->guests[0];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cfg_free(cfg);
	return 0;
}

/* @flags: ZV_CONN_*. */
static void described(const struct endpoint_ops *type, uint32_t port, uint32_t flags,
		      const char *want)
{
	const struct zv_conn_info info = {.size = sizeof(info),
					  .local_cid = ZV_CID_HOST,
					  .local_port = port,
					  .peer_port = 50000,
					  .flags = flags};
	char text[64];

	type->kind.describe(&guest, &info, text, sizeof(text));
	assert_string_equal(text, want);
	assert_ptr_equal(type->kind.closed.kind, &type->kind);
}

static void each_type_knows_its_own(void **state)
{
	(void)state;
	described(&endpoint_builtin, 1024, ZV_CONN_INCOMING, "echo");
	described(&endpoint_builtin, 1025, ZV_CONN_INCOMING, "discard");
	described(&endpoint_builtin, 1026, ZV_CONN_INCOMING, "source");
	described(&endpoint_tcp, 1027, ZV_CONN_INCOMING, "tcp:[::1]:80");
	described(&endpoint_tcp, 1028, ZV_CONN_INCOMING, "tcp:localhost:81");
	described(&endpoint_vsock, 1030, ZV_CONN_INCOMING, "vsock:1030");
	described(&endpoint_unix, 1050, ZV_CONN_INCOMING, "unix:/run/web.v_1050");
	described(&endpoint_listen, 50001, 0, "listen:/run/h,[::1]:8080");
	described(&endpoint_unix, 50001, 0, "unix:/run/web.v"); /* a host program has asked */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_type_knows_its_own, setup, teardown),
	};

	return cmocka_run_group_tests_name("describe", tests, NULL, NULL);
}
