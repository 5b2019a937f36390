/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configurations that are taken: from files, from the command line, and what --check prints of
 * them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock.h>

#include "conf_text.h"
#include "config/config_int.h"
#include "endpoint/endpoint_builtin.h"
#include "endpoint/host/endpoint_tcp.h"
#include "endpoint/host/endpoint_vsock.h"
#include "endpoint/unix/endpoint_unix.h"

#define GUEST "[guest a]\ncid = 3\nsocket = /s/a.sock\n"

static const char *group(const struct cfg_guest *g, unsigned i)
{
	return endpoint_sibling.cfg.name(g->part[ENDPOINT_sibling], i);
}

/* ---- good ones ---------------------------------------------------------------------------- */

static void defaults(void **state)
{
	struct cfg *c = conf_good(GUEST);
	const struct cfg_guest *g = &c->guests[0];

	(void)state;
	assert_int_equal(c->n_cpus, 1);
	assert_int_equal(c->cpus[0], -1);
	assert_false(c->busy_poll);
	assert_int_equal(c->spin_us, 50);
	assert_int_equal(c->log_level, ZV_LOG_INFO);
	assert_int_equal(c->drain_ms, 5000);
	assert_int_equal(c->channel_timeout_ms, 1000);
	assert_int_equal(c->max_fds, 0);
	assert_string_equal(c->user, "");
	assert_string_equal(c->control_path, "");
	assert_int_equal(c->control_mode, 0600);
	assert_int_equal(c->n_guests, 1);
	assert_string_equal(g->name, "a");
	assert_int_equal(g->cid, 3);
	assert_int_equal(g->n_devices, 1);
	assert_string_equal(g->devices[0], "/s/a.sock");
	assert_false(g->client || g->disk);
	assert_int_equal(g->queues, 1);
	assert_int_equal(g->ring_size, 0);
	assert_int_equal(g->buf_alloc, 262144);
	assert_int_equal(g->max_conns, 65536);
	assert_int_equal(g->programs, 64);
	assert_int_equal(g->connect_timeout_ms, 2000);
	/* Otherwise a connection that gets no channel would fail instead of being copied. */
	assert_true(c->channel_timeout_ms < g->connect_timeout_ms);
	assert_int_equal(g->socket_mode, 0600);
	assert_int_equal(g->socket_uid, (uid_t)-1);
	assert_int_equal(g->socket_gid, (gid_t)-1);
	assert_non_null(strstr(g->origin, ":1"));
	cfg_free(c);
}

static void daemon_values(void **state)
{
	const char *user = getpwuid(0)->pw_name, *group = getgrgid(0)->gr_name;
	char text[512];
	struct cfg *c;

	(void)state;
	(void)snprintf(text, sizeof(text),
		       GUEST
		       "[daemon]\ncpus = any, any\npoll = busy\nspin_us = 0\nlog_level = debug\n"
		       "channel_timeout_ms = 600000\ndrain_ms = 600000\nmax_fds = 4096\nuser = "
		       "%s\ngroup = %s\n"
		       "control = /c.sock\ncontrol_mode = 0660\n",
		       user, group);
	c = conf_good(text);
	assert_int_equal(c->n_cpus, 2);
	assert_int_equal(c->cpus[1], -1);
	assert_true(c->busy_poll);
	assert_int_equal(c->spin_us, 0);
	assert_int_equal(c->log_level, ZV_LOG_DEBUG);
	assert_int_equal(c->drain_ms, 600000);
	assert_int_equal(c->channel_timeout_ms, 600000);
	assert_int_equal(c->max_fds, 4096);
	assert_string_equal(c->user, user);
	assert_string_equal(c->group, group);
	assert_string_equal(c->control_path, "/c.sock");
	assert_int_equal(c->control_mode, 0660);
	cfg_free(c);
}

static void applications_values(void **state)
{
	struct cfg *c = conf_good("[daemon]\napplications = /s/apps\napplications_mode = 0666\n"
				  "applications_owner = 12:34\napplication_users = 7, 8\n"
				  "application_groups = 9\napplication_ports = 5, 10-20\n");
	const struct cfg_apps *a = &c->apps;
	const gid_t gids[] = {0, 7, 9};
	struct cfg_guest *g = cfg_app_new(c, "app.1", "fd=7", 3);

	(void)state;
	assert_int_equal(c->n_guests, 0); /* it needs none */
	assert_string_equal(a->path, "/s/apps");
	assert_int_equal(a->mode, 0666);
	assert_int_equal(a->uid, 12);
	assert_int_equal(a->gid, 34);
	assert_true(cfg_app_admits(a, 7, gids, 1) && cfg_app_admits(a, 8, gids, 1));
	assert_true(cfg_app_admits(a, 0, gids, 3) && cfg_app_admits(a, 0, gids + 2, 1));
	assert_false(cfg_app_admits(a, 9, gids, 2) || cfg_app_admits(a, 9, gids, 0));
	assert_true(cfg_app_port(a, 5) && cfg_app_port(a, 10) && cfg_app_port(a, 20));
	assert_false(cfg_app_port(a, 4) || cfg_app_port(a, 6) || cfg_app_port(a, 21));
	assert_int_equal(g->role, CFG_APP);
	assert_int_equal(g->cid, 2);
	assert_int_equal(g->queues, 3);
	assert_int_equal(g->max_conns, 65536);
	assert_null(cfg_made_socket(c, g, 0));
	cfg_free(c);
	cfg_app_free(g);
	c = conf_good("[daemon]\napplications = /s/apps\n");
	assert_int_equal(c->apps.mode, 0600);
	assert_true(cfg_app_admits(&c->apps, 7, gids, 1) && cfg_app_port(&c->apps, 1));
	cfg_free(c);
}

static void guest_values(void **state)
{
	struct cfg *c = conf_good("[guest big-1_Z]\n"
				  "cid = 4294967294\n"
				  "socket = /s/a, /s/b\nsocket = /s/c\n"
				  "mode = client\nmemory = disk\nring_size = 32768\nbuf_alloc = "
				  "1024M\nmax_conns = 1\n"
				  "socket_mode = 660\nsocket_owner = 1234:5678\n"
				  "low_port_users = 0, 99999\nlow_port_groups = 7\n"
				  "groups = x, y\ngroups = z\n"
				  "unix = /s/u\n"
				  "tcp = 80=127.0.0.1:8080, 81=[::1]:1\ntcp = 82=localhost:65535\n"
				  "vsock = 1, 100-200, 4294967294\n"
				  "builtin = echo:7, discard:9\nbuiltin = source:19\n");
	const struct cfg_guest *g = &c->guests[0];
	const struct unix_values *u = unix_values(g);
	const struct tcp_values *tcp = tcp_values(g);
	const struct cfg_array *vsock = vsock_ports(g), *builtin = builtin_ports(g);
	const struct cfg_ports *range = vsock->v;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&tcp_port(tcp, 0)->addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&tcp_port(tcp, 1)->addr;

	(void)state;
	assert_string_equal(g->name, "big-1_Z");
	assert_int_equal(g->cid, 4294967294u);
	assert_int_equal(g->n_devices, 3);
	assert_string_equal(g->devices[2], "/s/c");
	assert_int_equal(g->queues, 3); /* a device a socket */
	assert_true(g->client && g->disk);
	assert_int_equal(g->ring_size, 32768);
	assert_int_equal(g->buf_alloc, 1u << 30);
	assert_int_equal(g->max_conns, 1);
	assert_int_equal(g->socket_mode, 0660);
	assert_int_equal(g->socket_uid, 1234);
	assert_int_equal(g->socket_gid, 5678);
	assert_int_equal(u->low_uids.n, 2);
	assert_int_equal(((const uid_t *)u->low_uids.v)[1], 99999);
	assert_int_equal(u->low_gids.n, 1);
	assert_string_equal(group(g, 2), "z");
	assert_null(group(g, 3));
	assert_string_equal(u->path, "/s/u");
	assert_int_equal(tcp->ports.n, 3);
	assert_string_equal(tcp_port(tcp, 1)->host, "::1");
	assert_int_equal(tcp_port(tcp, 2)->target, 65535);
	assert_int_equal(in->sin_family, AF_INET);
	assert_int_equal(in->sin_port, htons(8080));
	assert_int_equal(in->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_int_equal(in6->sin6_family, AF_INET6);
	assert_int_equal(tcp_port(tcp, 1)->addr_len, sizeof(*in6));
	assert_int_equal(vsock->n, 3);
	assert_int_equal(range[1].first, 100);
	assert_int_equal(range[1].last, 200);
	assert_int_equal(range[2].last, 4294967294u);
	assert_int_equal(builtin->n, 3);
	assert_string_equal(builtin_at(g, 19), "source");
	cfg_free(c);
}

/* What editors and people do to a text without meaning anything by it. */
static void forgiving_text(void **state)
{
	static const char long_comment[] = "# ...................................................."
					   "......................................................."
					   "......................................................."
					   "...............................................";
	char text[1024];
	struct cfg *c;

	(void)state;
	(void)snprintf(text, sizeof(text),
		       "\xef\xbb\xbf[daemon] ; us\r\n\r\n  spin_us=7\r\n%s\r\n\t[guest \t web]\r\n"
		       "   cid : 3\r\n\tsocket=/s/a ; the VMM's\r\n     unix = /s/u\r\n[daemon]\r\n"
		       "drain_ms = 0",
		       long_comment);
	assert_true(strlen(long_comment) > 200);
	c = conf_good(text);
	assert_int_equal(c->spin_us, 7);
	assert_int_equal(c->drain_ms, 0);
	assert_string_equal(c->guests[0].name, "web");
	assert_string_equal(c->guests[0].devices[0], "/s/a");
	assert_int_equal(c->guests[0].n_devices, 1); /* the indented line is no second socket */
	assert_string_equal(unix_values(&c->guests[0])->path, "/s/u");
	cfg_free(c);
}

static void longest_values(void **state)
{
	char text[512], socket[108], hybrid[97];
	struct cfg *c;

	(void)state;
	memset(socket, 's', sizeof(socket));
	memset(hybrid, 'u', sizeof(hybrid));
	socket[0] = hybrid[0] = '/';
	socket[107] = hybrid[96] = 0;
	(void)snprintf(text, sizeof(text),
		       "[guest abcdefghijklmnopqrstuvwxyz01234]\ncid=3\nsocket=%s\nunix=%s\n",
		       socket, hybrid);
	c = conf_good(text);
	assert_string_equal(c->guests[0].name, "abcdefghijklmnopqrstuvwxyz01234");
	assert_string_equal(c->guests[0].devices[0], socket);
	assert_string_equal(unix_values(&c->guests[0])->path, hybrid);
	cfg_free(c);
}

static void many_guests(void **state)
{
	enum { N = 300 };
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	struct cfg *c;

	(void)state;
	for (unsigned i = 0; i < N; i++)
		(void)fprintf(f,
			      "[guest g%u]\ncid=%u\nsocket=/s/g%u\nunix=/u/g%u\nbuiltin=echo:7\n",
			      i, i + 3, i, i);
	assert_int_equal(fclose(f), 0);
	c = conf_good(text);
	assert_int_equal(c->n_guests, N);
	assert_int_equal(c->guests[N - 1].cid, N + 2);
	cfg_free(c);
	free(text);
}

/* ---- the command line --------------------------------------------------------------------- */

/* One guest, once in a file, once in words: everything is the same. */
static void words_equal_file(void **state)
{
	char *words[] = {"--guest=name=web,cid=3,socket=/s/a,/s/b,unix=/s/u,tcp=80=127.0.0.1:80,"
			 "81=[::1]:81,groups=x,y,vsock=25-29,20,builtin=echo:7,buf_alloc=1M",
			 "--set=spin_us=20",
			 "--set=daemon.drain_ms=7",
			 "--set=web.max_conns=9",
			 "--set=control=/s/c",
			 NULL};
	struct cfg *a =
		conf_good("[guest web]\ncid=3\nsocket=/s/a,/s/b\nunix=/s/u\nmax_conns=9\n"
			  "tcp=80=127.0.0.1:80\ntcp=81=[::1]:81\ngroups=x,y\nvsock=25-29,20\n"
			  "builtin=echo:7\nbuf_alloc=1048576\n"
			  "[daemon]\nspin_us=20\ndrain_ms=7\ncontrol=/s/c\n");
	struct cfg *b = NULL;
	char *of_a, *of_b;

	(void)state;
	assert_int_equal(cfg_load(&b, endpoint_parts, NULL, words, stderr), 0);
	assert_true(cfg_guest_same(a, &a->guests[0], &b->guests[0]));
	of_a = conf_printed(a);
	of_b = conf_printed(b);
	assert_string_equal(of_a, of_b);
	free(of_a);
	free(of_b);
	cfg_free(a);
	cfg_free(b);
}

/* One value gives way to the command line, lists grow. */
static void words_and_file(void **state)
{
	char *words[] = {"--set=a.unix=/s/new",
			 "--set=spin_us=9",
			 "--set=a.groups=y",
			 "--set=cpus=any",
			 "--guest=name=b,cid=4,socket=/s/old",
			 NULL};
	struct cfg *c = conf_good_with(
		"[daemon]\nspin_us=1\ncpus=any,any\n" GUEST "unix = /s/old\ngroups = x\n", words);

	(void)state;
	assert_int_equal(c->spin_us, 9);
	assert_int_equal(c->n_cpus, 1);
	assert_string_equal(unix_values(&c->guests[0])->path, "/s/new");
	assert_string_equal(group(&c->guests[0], 1), "y");
	assert_null(group(&c->guests[0], 2));
	assert_string_equal(c->guests[1].name, "b"); /* and /s/old is free for it */
	cfg_free(c);
}

/* ---- what --check prints ------------------------------------------------------------------ */

static void check_prints(void **state)
{
	struct cfg *c =
		conf_good("[daemon]\ncontrol = /s/c\n"
			  "[guest web]\ncid = 3\nsocket = /s/a\nunix = /s/u\ngroups = x\n"
			  "tcp = 80=[::1]:8080\nbuiltin = echo:7\nvsock = 1000-2000\n"
			  "low_port_users = 33\n"
			  "[guest db]\ncid = 4\nsocket = /s/b, /s/c1\nmode = client\ngroups = x\n"
			  "rx_memory = 64M\n"
			  "[guest far]\ncid = 5\nsocket = /s/f\ngroups = y\n");
	static const char want[] =
		"daemon\n"
		"  lcores      1: 1 not pinned; an idle one sleeps after 50 us\n"
		"  log         info and more severe, to standard error\n"
		"  stop        waits up to 5000 ms for open connections\n"
		"  limit       the connections of all guests share what RLIMIT_NOFILE leaves\n"
		"  runs as     the user who starts it\n"
		"  control     /s/c, mode 0600\n"
		"guest web, CID 3\n"
		"  listens at  /s/a\n"
		"  modes       sockets 0600\n"
		"  queues      1, 256 KiB of credit for a connection, 65536 connections at most on "
		"each\n"
		"  port        7: echo, built in\n"
		"  port        80: TCP to [::1]:8080\n"
		"  port        1000-2000: AF_VSOCK of this machine\n"
		"  port        any other: Unix socket /s/u_PORT\n"
		"  to guest    connect to /s/u and write \"CONNECT PORT\"\n"
		"  low ports   of the host may be served by root, user 33\n"
		"  siblings    db (CID 4)\n"
		"guest db, CID 4\n"
		"  connects to /s/b\n"
		"  connects to /s/c1\n"
		"  modes       sockets 0600\n"
		"  queues      2, a device for each, 256 KiB of credit for a connection, 65536 "
		"connections at most on each\n"
		"  memory      64 MiB at most for payload of all its connections\n"
		"  port        none: whatever the guest connects to is refused\n"
		"  siblings    web (CID 3)\n"
		"guest far, CID 5\n"
		"  listens at  /s/f\n"
		"  modes       sockets 0600\n"
		"  queues      1, 256 KiB of credit for a connection, 65536 connections at most on "
		"each\n"
		"  port        none: whatever the guest connects to is refused\n"
		"  siblings    none\n";
	char *text = conf_printed(c);

	(void)state;
	assert_string_equal(text, want);
	free(text);
	cfg_free(c);
}

/* zvsockd as a guest: no CID of the configuration, no siblings, and the words change sides. */
static void devices(void **state)
{
	char *words[] = {"--device=name=w,uri=vfio:0000:00:03.0,0000:00:04.0,buf_alloc=8K",
			 "--set=vm.uri=vhost-kernel:cid=42", NULL};
	struct cfg *c = conf_good_with("[device vm]\nuri = uio:0000:00:02.0\nunix = /s/u\nbuiltin "
				       "= echo:7\nring_size = 64\n"
				       "socket_mode = 0660\n",
				       words);
	static const char want[] =
		"device vm\n"
		"  drives      vhost-kernel:cid=42\n"
		"  modes       sockets 0660\n"
		"  queues      1, 256 KiB of credit for a connection, 65536 connections at most on "
		"each\n"
		"  ring        64 descriptors\n"
		"  port        7: echo, built in\n"
		"  port        any other: Unix socket /s/u_PORT\n"
		"  to host     connect to /s/u and write \"CONNECT PORT\"\n"
		"  low ports   of the guest may be served by root\n"
		"device w\n"
		"  drives      vfio:0000:00:03.0\n"
		"  drives      vfio:0000:00:04.0\n"
		"  modes       sockets 0600\n"
		"  queues      2, a device for each, 8 KiB of credit for a connection, 65536 "
		"connections at most on each\n"
		"  port        none: whatever the host connects to is refused\n";
	const struct cfg_guest *g = &c->guests[0];
	char *text = conf_printed(c);

	(void)state;
	assert_int_equal(g->role, CFG_AS_GUEST);
	assert_int_equal(g->cid, 0);
	assert_string_equal(g->scheme, "vhost-kernel");
	assert_int_equal(g->n_devices, 1); /* the command line's, not one more */
	assert_string_equal(g->devices[0], "cid=42");
	assert_int_equal(g->ring_size, 64);
	assert_string_equal(c->guests[1].devices[1], "0000:00:04.0");
	assert_int_equal(cfg_vmms(c), 0);
	assert_string_equal(cfg_made_socket(c, g, 0), "/s/u");
	assert_null(cfg_made_socket(c, g, 1));
	assert_string_equal(strstr(text, "device vm"), want);
	free(text);
	cfg_free(c);
}

/* More VMMs than one process can serve at a time: --check says so. */
static void too_many_vmms_are_told(void **state)
{
	char *text = NULL, *printed;
	size_t size;
	struct cfg *c;
	FILE *f;

	(void)state;
	for (unsigned n = 1023; n <= 1024; n++) {
		f = open_memstream(&text, &size);
		assert_non_null(f);
		for (unsigned i = 0; i < n; i++)
			(void)fprintf(f, "[guest g%u]\ncid = %u\nsocket = /s/%u\n", i, i + 3, i);
		assert_int_equal(fclose(f), 0);
		c = conf_good(text);
		printed = conf_printed(c);
		assert_int_equal(cfg_vmms(c), n);
		assert_int_equal(strstr(printed, "1023 VMMs at a time of these 1024 sockets: start "
						 "another zvsockd") != NULL,
				 n > 1023);
		free(printed);
		free(text);
		cfg_free(c);
	}
}

/* Of 16 queues 24 mappings each, of few 64; 8 at each socket; 40 for regions. */
static void mappings_of_guests_are_planned(void **state)
{
	struct cfg *c = conf_good("[guest a]\ncid = 3\nsocket = /s/a\nqueues = 16\n"
				  "[guest b]\ncid = 4\nsocket = /s/b\n"
				  "[guest c]\ncid = 5\nsocket = /s/c, /s/d\n");

	(void)state;
	assert_int_equal(cfg_vmm_maps(c), 16 * 24 + 8 + 40 + 64 + 8 + 40 + 2 * 64 + 2 * 8 + 40);
	cfg_free(c);
}

/* ---- look-ups ---------------------------------------------------------------------------- */

/* The ends of ranges, what lies between them, and the first and last of each kind. */
static void ports_are_found(void **state)
{
	struct cfg *c =
		conf_good(GUEST "vsock = 4294967294, 500, 100-199\nbuiltin = source:9, echo:7\n"
				"tcp = 81=127.0.0.1:2, 80=127.0.0.1:1\n"
				"low_port_users = 7, 0\nlow_port_groups = 9, 3\n");
	const struct cfg_guest *g = &c->guests[0];

	(void)state;
	assert_string_equal(builtin_at(g, 7), "echo");
	assert_string_equal(builtin_at(g, 9), "source");
	assert_null(builtin_at(g, 8));
	assert_int_equal(tcp_at(g, 80)->target, 1);
	assert_int_equal(tcp_at(g, 81)->target, 2);
	assert_null(tcp_at(g, 82));
	assert_null(vsock_at(g, 99));
	assert_int_equal(vsock_at(g, 100)->last, 199);
	assert_int_equal(vsock_at(g, 150)->last, 199);
	assert_int_equal(vsock_at(g, 199)->last, 199);
	assert_null(vsock_at(g, 200));
	assert_null(vsock_at(g, 499));
	assert_int_equal(vsock_at(g, 500)->last, 500);
	assert_null(vsock_at(g, 501));
	assert_int_equal(vsock_at(g, 4294967294u)->first, 4294967294u);
	assert_true(unix_low_ports_of(g, 0, 1) && unix_low_ports_of(g, 7, 1));
	assert_true(unix_low_ports_of(g, 1, 3) && unix_low_ports_of(g, 1, 9));
	assert_false(unix_low_ports_of(g, 3, 7));
	cfg_free(c);
}

/* The guest's trouble, and no fault: the others are not to suffer from it. No name server is asked
 * about a name that is no name. */
static void unresolvable_hosts(void **state)
{
	struct cfg *c = conf_good(GUEST "tcp = 80=bad..name:80, 81=localhost:81\n"
					"[guest b]\ncid = 4\nsocket = /s/b\ntcp = 1=localhost:1\n");
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	(void)state;
	assert_non_null(to);
	assert_int_equal(cfg_print_troubles(c, to), 1);
	assert_int_equal(fclose(to), 0);
	assert_non_null(strstr(text, ":1: guest a cannot be started: tcp: the host of "
				     "\"bad..name:80\" cannot be resolved: "));
	assert_null(cfg_trouble(c, &c->guests[1]));
	assert_int_equal(tcp_port(tcp_values(&c->guests[0]), 0)->addr_len, 0);
	assert_int_not_equal(tcp_port(tcp_values(&c->guests[0]), 1)->addr_len, 0);
	free(text);
	cfg_free(c);
}

/* It says which region the devices have, and is none of them. */
static void a_region_is_no_device(void **state)
{
	struct cfg *c = conf_good("[device d]\nuri = vfio:00:02.0,00:03.0,region=none\n");
	const struct cfg_guest *g = &c->guests[0];

	(void)state;
	assert_int_equal(g->n_devices, 2);
	assert_int_equal(g->queues, 2);
	assert_string_equal(g->devices[0], "00:02.0");
	assert_string_equal(g->devices[1], "00:03.0,region=none");
	cfg_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_region_is_no_device),
		cmocka_unit_test(defaults),
		cmocka_unit_test(daemon_values),
		cmocka_unit_test(applications_values),
		cmocka_unit_test(guest_values),
		cmocka_unit_test(forgiving_text),
		cmocka_unit_test(longest_values),
		cmocka_unit_test(many_guests),
		cmocka_unit_test(words_equal_file),
		cmocka_unit_test(words_and_file),
		cmocka_unit_test(devices),
		cmocka_unit_test(check_prints),
		cmocka_unit_test(too_many_vmms_are_told),
		cmocka_unit_test(mappings_of_guests_are_planned),
		cmocka_unit_test(ports_are_found),
		cmocka_unit_test(unresolvable_hosts),
	};

	return cmocka_run_group_tests_name("configuration", tests, NULL, NULL);
}
