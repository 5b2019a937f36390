/* SPDX-License-Identifier: BSD-3-Clause */
/* Two configurations: what a reload takes for the same, and what needs a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "conf_text.h"
#include "config/config_int.h"
#include "endpoint/host/endpoint_tcp.h"

#define GUEST "[guest a]\ncid = 3\nsocket = /s/a.sock\n"

/* Each line, put behind the text, makes another guest or device of it; and so does the other text.
 */
struct base {
	enum cfg_role role;
	const char *text, *other;
	const char *has; /* the key that text has and no line */
	const char *const *lines;
	size_t n;
};

/* Keys whose values a running guest can change (endpoint_ops.trim): no other guest comes of them.
 */
static bool is_live(const char *key)
{
	return strcmp(key, "listen") == 0;
}

/* A key that is forgotten in a comparison would be one that a reload does not change. */
static void each_key_has_a_line(const struct key *k, const struct base *b)
{
	const char *const *lines = b->lines;
	size_t n = b->n;

	for (; k && k->name; k++) {
		size_t len = strlen(k->name), i = 0;

		while (i < n && (strncmp(lines[i], k->name, len) != 0 || lines[i][len] != ' '))
			i++;
		if (i == n && !k->absent[b->role] && strcmp(k->name, b->has) != 0 &&
		    !is_live(k->name))
			fail_msg("no line has the key %s", k->name);
	}
}

/* True if the key of @line is not an endpoint type's, whose keys may depend on each other. */
static bool of_every_guest(const char *line)
{
	const struct key *k = cfg_guest_keys;

	while (k->name &&
	       (strncmp(line, k->name, strlen(k->name)) != 0 || line[strlen(k->name)] != ' '))
		k++;
	return k->name;
}

#define LINES_MAX 48u

static void all_differ(const struct base *b)
{
	struct cfg *c[LINES_MAX + 2];
	char *printed[LINES_MAX + 2];
	size_t n = b->n;

	assert_true(n <= LINES_MAX);
	each_key_has_a_line(cfg_guest_keys, b);
	for (size_t i = 0; i < n; i++) {
		char text[256];

		(void)snprintf(text, sizeof(text), "%s%s\n", b->text, b->lines[i]);
		c[i] = conf_good(text);
	}
	c[n] = conf_good(b->text);
	c[n + 1] = conf_good(b->other);
	for (size_t i = 0; c[n]->parts[i]; i++)
		each_key_has_a_line(c[n]->parts[i]->keys, b);
	for (size_t i = 0; i < n + 2; i++)
		printed[i] = conf_printed(c[i]);
	for (size_t i = 0; i < n; i++)
		if (of_every_guest(b->lines[i]) && strcmp(printed[i], printed[n]) == 0)
			fail_msg("--check does not show \"%s\"", b->lines[i]);
	for (size_t i = 0; i < n + 2; i++)
		for (size_t j = 0; j < n + 2; j++)
			if (cfg_guest_same(c[i], &c[i]->guests[0], &c[j]->guests[0]) != (i == j))
				fail_msg("\"%s\" and \"%s\" are taken for %s",
					 i < n ? b->lines[i] : "(none)",
					 j < n ? b->lines[j] : "(none)",
					 i == j ? "different" : "the same");
	for (size_t i = 0; i < n + 2; i++) {
		cfg_free(c[i]);
		free(printed[i]);
	}
}

static void guests_differ(void **state)
{
	static const char *const lines[] = {
		"socket = /s/b",
		"mode = client",
		"memory = disk",
		"queues = 2",
		"ring_size = 64",
		"buf_alloc = 8K",
		"rx_memory = 1M",
		"max_conns = 5",
		"programs = 5",
		"connect_timeout_ms = 100",
		"socket_mode = 0666",
		"socket_owner = 1",
		"socket_owner = :1",
		"region = 16M\nregion_path = /r",
		"region_path = /q\nregion = 16M",
		"region_kind = ivshmem\nregion = 16M\nregion_path = /q",
		"region_kind = virtio\nregion = 16M",
		"low_port_users = 1",
		"low_port_groups = 1",
		"groups = x",
		"unix = /s/u",
		"tcp = 80=127.0.0.1:80",
		"vsock = 5",
		"tcp_out = 5",
		"tcp_allow = 10.0.0.0/8:443",
		"builtin = echo:7",
		"builtin = discard:7",
		"tcp = 81=127.0.0.1:80",
		"vsock = 5-6",
		"low_port_users = 1,2",
		"tcp = 80=127.0.0.1:81",
		"unix = /s/v",
		"groups = y",
		"tcp = 80=127.0.0.2:80",
		"af_vsock = /s/d",
		"af_vsock_mode = 0600\naf_vsock = /s/d",
		"af_vsock_owner = 1\naf_vsock = /s/d",
		"af_vsock_low_ports = 1\naf_vsock = /s/d",
		"af_vsock_low_ports = @1\naf_vsock = /s/d",
	};
	(void)state;
	all_differ(&(const struct base){.role = CFG_AS_HOST,
					.text = GUEST,
					.other = "[guest a]\ncid = 4\nsocket = /s/a.sock\n",
					.has = "cid",
					.lines = lines,
					.n = sizeof(lines) / sizeof(lines[0])});
}

static void devices_differ(void **state)
{
	static const char *const lines[] = {
		"queues = 2",
		"ring_size = 64",
		"buf_alloc = 8K",
		"rx_memory = 1M",
		"max_conns = 5",
		"connect_timeout_ms = 100",
		"tx_timeout_ms = 100",
		"socket_mode = 0666",
		"socket_owner = 1",
		"low_port_users = 1",
		"low_port_groups = 1",
		"unix = /s/u",
		"tcp = 80=127.0.0.1:80",
		"vsock = 5",
		"tcp_out = 5",
		"tcp_allow = 10.0.0.0/8:443",
		"builtin = echo:7",
		"af_vsock = /s/d",
		"af_vsock_mode = 0600\naf_vsock = /s/d",
		"af_vsock_owner = 1\naf_vsock = /s/d",
		"af_vsock_low_ports = 1\naf_vsock = /s/d",
	};
	char *names[] = {"--device=name=a,uri=uio:0000:00:02.0", NULL};
	struct cfg *vfio = conf_good("[device a]\nuri = vfio:0000:00:02.0\n");
	struct cfg *uio = conf_good_with("[device b]\nuri = vfio:x\n", names);

	(void)state;
	all_differ(
		&(const struct base){.role = CFG_AS_GUEST,
				     .text = "[device a]\nuri = vfio:0000:00:02.0\n",
				     .other = "[device a]\nuri = vfio:0000:00:02.0,0000:00:03.0\n",
				     .has = "uri",
				     .lines = lines,
				     .n = sizeof(lines) / sizeof(lines[0])});
	assert_false(cfg_guest_same(vfio, &vfio->guests[0], &uio->guests[1]));
	cfg_free(vfio);
	cfg_free(uio);
}

static void listeners_make_no_other_guest(void **state)
{
	struct cfg *a = conf_good(GUEST);
	struct cfg *b = conf_good(GUEST "listen = /s/x:80, 127.0.0.1:8080:80\n");
	char *text = conf_printed(b);

	(void)state;
	assert_true(cfg_guest_same(a, &a->guests[0], &b->guests[0]));
	assert_non_null(strstr(text,
			       "listen      /s/x: Unix socket, leads to port 80 of the guest\n"
			       "  listen      127.0.0.1:8080: TCP, leads to port 80"));
	assert_string_equal(cfg_made_socket(b, &b->guests[0], 1), "/s/x");
	assert_null(cfg_made_socket(b, &b->guests[0], 2));
	free(text);
	cfg_free(a);
	cfg_free(b);
}

/* The same name for something else. */
static void a_guest_is_no_device(void **state)
{
	struct cfg *a = conf_good(GUEST), *b = conf_good("[device a]\nuri = vfio:x\n");

	(void)state;
	assert_false(cfg_guest_same(a, &a->guests[0], &b->guests[0]));
	cfg_free(a);
	cfg_free(b);
}

static void guests_are_the_same(void **state)
{
	struct cfg *a = conf_good("[daemon]\nspin_us = 1\n[guest a]\nvsock = 5, 6\ncid = 3\n"
				  "tcp = 80=localhost:80\nsocket = /s/a.sock\n");
	struct cfg *b = conf_good("[guest a]\n\ncid = 3\nsocket = /s/a.sock\nvsock = 5\nvsock = 6\n"
				  "tcp = 80=localhost:80\nbuf_alloc = 256K\nqueues = 1\n");

	(void)state;
	tcp_port(tcp_values(&b->guests[0]), 0)->addr.ss_family =
		AF_UNSPEC; /* the name server has changed its mind */
	assert_true(cfg_guest_same(a, &a->guests[0], &b->guests[0]));
	cfg_free(a);
	cfg_free(b);
}

/* Whether there are applications does not change while zvsockd runs. */
static void applications_stay_as_they_are(void **state)
{
	static const char space[] = "[daemon]\naf_vsock = /av\n" GUEST;
	struct cfg *with = conf_good("[daemon]\naf_vsock = /av\napplications = /apps\n"
				     "application_users = 0\napplication_ports = 5000\n" GUEST);
	struct cfg *other = conf_good("[daemon]\naf_vsock = /av\napplications = /other\n" GUEST);
	struct cfg *without = conf_good(space), *a = conf_good(space), *b = conf_good(space);

	(void)state;
	assert_true(with->space.apps && with->guests[0].space.apps);
	cfg_keep_apps(a, with); /* the key was removed */
	assert_string_equal(a->apps.path, "/apps");
	assert_true(a->apps.n_users == 1 && a->apps.n_ports == 1);
	assert_true(a->space.apps && a->guests[0].space.apps);
	cfg_keep_apps(with, without); /* it was added */
	assert_string_equal(with->apps.path, "");
	assert_false(with->space.apps || with->guests[0].space.apps);
	cfg_keep_apps(b, without);
	assert_false(b->space.apps || *b->apps.path);
	cfg_keep_apps(other, a); /* another path: who may attach is what it says */
	assert_string_equal(other->apps.path, "/other");
	assert_int_equal(other->apps.n_users, 0);
	cfg_free(with);
	cfg_free(other);
	cfg_free(without);
	cfg_free(a);
	cfg_free(b);
}

static void fixed_keys(void **state)
{
	struct cfg *a = conf_good(GUEST "[daemon]\nlog_level = info\ndrain_ms = 1\n");
	struct cfg *b = conf_good(GUEST "[daemon]\nlog_level = warn\ndrain_ms = 2\nmax_fds = 9\n");
	struct cfg *c = conf_good(GUEST "[daemon]\ncontrol = /c\nspin_us = 3\ncpus = any,any\n");
	char *words[] = {"--set=control=/c", "--set=cpus=any,any", NULL};
	struct cfg *d = conf_good_with(
		GUEST "[daemon]\ncontrol = /longer\nspin_us = 3\ncpus = any,any,any\n", words);
	char keys[100];

	(void)state;
	cfg_fixed_keys(c, d, keys, sizeof(keys));
	assert_string_equal(keys, ""); /* of what was replaced nothing is left to be compared */
	cfg_fixed_keys(a, b, keys, sizeof(keys));
	assert_string_equal(keys, "");
	cfg_fixed_keys(a, c, keys, sizeof(keys));
	assert_string_equal(keys, "cpus, spin_us, control");
	cfg_fixed_keys(a, c, keys, 8);
	assert_string_equal(keys, "cpus, s");
	cfg_free(d);
	cfg_free(a);
	cfg_free(b);
	cfg_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_differ),
		cmocka_unit_test(devices_differ),
		cmocka_unit_test(a_guest_is_no_device),
		cmocka_unit_test(guests_are_the_same),
		cmocka_unit_test(applications_stay_as_they_are),
		cmocka_unit_test(fixed_keys),
		cmocka_unit_test(listeners_make_no_other_guest),
	};

	return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
