/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the far ends of a --client: its --services, and the server and client of plain sockets.
 */
#include "core/far_end.h"
#include "io/sock/sock_client.h"
#include "measure/cpu.h"
#include "workload/workloads.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
	const char *arg, *says;
} bad_services[] = {
	{"", "not ''"},
	{"echo", "not 'echo'"},
	{"echo:7,", "not ''"},
	{"chargen:19", "not 'chargen'"},
	{"echo:", "'' is no port"},
	{"echo:0", "'0' is no port"},
	{"echo:7x", "'7x' is no port"},
	{"echo:4294967295", "is no port"},
	{"echo:7,echo:8", "echo is there twice"},
};

static void services_are_read(void **state)
{
	struct bench_opts o = {0};
	char why[200], good[] = "discard:9,echo:7", text[80];

	(void)state;
	assert_int_equal(services_parse(&o, good, why, sizeof(why)), 0);
	assert_true(o.services);
	assert_string_equal(far_end_text(text, sizeof(text), &o), "the services echo:7,discard:9");
	assert_int_equal(far_end_of(&o)->port(&o, FAR_SINK), 9);
	assert_int_equal(far_end_of(&o)->port(&o, FAR_CLOSER), 9);
	assert_int_equal(far_end_of(&o)->port(&o, FAR_ECHO), 7);
	assert_int_equal(far_end_of(&o)->port(&o, FAR_SOURCE), 0);
	assert_int_equal(far_end_of(&o)->port(&o, FAR_OWN), 0);
	for (unsigned i = 0; i < sizeof(bad_services) / sizeof(bad_services[0]); i++) {
		char arg[40];

		snprintf(arg, sizeof(arg), "%s", bad_services[i].arg);
		assert_int_equal(services_parse(&o, arg, why, sizeof(why)), -EINVAL);
		if (!strstr(why, bad_services[i].says))
			fail_msg("'%s': '%s' has no '%s'", bad_services[i].arg, why,
				 bad_services[i].says);
	}
}

static unsigned workload_index(const char *name)
{
	unsigned i = 0;

	while (strcmp(workloads[i]->name, name) != 0)
		i++;
	return i;
}

/* A test without its service is an error of the user's, never left out in silence. */
static void each_test_has_its_service(void **state)
{
	static const struct {
		const char *test, *services, *says;
		unsigned dir;
	} cases[] = {
		{"throughput", "discard:9", NULL, DIR_BOTH},
		{"throughput", "discard:9", "needs source:PORT", DIR_H2G},
		{"throughput", "echo:7", "needs discard or source:PORT", DIR_BOTH},
		{"rtt", "echo:7", NULL, DIR_H2G},
		{"rtt", "discard:9", "needs echo:PORT", DIR_BOTH},
		{"echo", "discard:9", "needs echo:PORT", DIR_BOTH},
		{"connrate", "echo:7", "needs discard:PORT", DIR_BOTH},
		{"idle", "echo:7,discard:9,source:19", "needs a --server", DIR_BOTH},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench_opts o = {.client_uri = "af_vsock:2", .dir = cases[i].dir};
		char arg[40], why[200] = "";

		snprintf(arg, sizeof(arg), "%s", cases[i].services);
		assert_int_equal(services_parse(&o, arg, why, sizeof(why)), 0);
		o.workloads = 1ull << workload_index(cases[i].test);
		assert_int_equal(services_check(&o, why, sizeof(why)), cases[i].says ? -EINVAL : 0);
		if (cases[i].says && !strstr(why, cases[i].says))
			fail_msg("'%s' has no '%s'", why, cases[i].says);
	}
}

/* AF_UNIX stands for AF_VSOCK: a port is an abstract name. */
static pid_t family_of;

static socklen_t abstract_port(struct sockaddr_storage *ss, uint32_t cid, uint32_t port)
{
	struct sockaddr_un *un = (struct sockaddr_un *)ss;

	(void)cid;
	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) +
	       (socklen_t)snprintf(un->sun_path + 1, sizeof(un->sun_path) - 1, "zv-bench-%d-%u",
				   family_of, port);
}

static const struct socket_family abstract_family = {
	.name = "abstract", .family = AF_UNIX, .port = abstract_port};

static int run_server(int fd, void *arg)
{
	struct proc_err err = {""};

	(void)fd;
	return sock_server_run(&abstract_family, arg, -1, &err);
}

/* Connects until the server is there. */
static void meet(const struct sock_far *far, const struct bench_opts *o)
{
	uint64_t deadline = cpu_now_ns() + 30000000000ull;
	struct proc_err err;
	int rc;

	do {
		err.text[0] = '\0';
		rc = sock_client_meet(far, o, &err);
		usleep(1000);
	} while (rc < 0 && cpu_now_ns() < deadline);
	if (rc < 0)
		fail_msg("%s", err.text);
}

static void cell_is_right(const struct sock_far *far, const struct bench_opts *o,
			  const struct bench_cell *c)
{
	struct proc_err err = {""};
	struct bench_result res = {0};
	int rc = sock_client_run(far, o, c, &res, &err);

	if (rc < 0)
		fail_msg("%s %s: %s", c->workload->name, dir_names.name[c->dir], err.text);
	assert_true(res.valid);
	assert_int_equal(res.errors, 0);
	assert_true(res.messages > 0 && res.elapsed_ns > 0);
	assert_true(!c->workload->oneway || res.bytes >= res.messages * c->msg_size);
}

/* Client and server of plain sockets: every workload, direction and type, the client on each side.
 */
static void sockets_speak_to_a_server(void **state)
{
	static const uint32_t sizes[] = {1, 64, 5000, 100000};
	struct bench_opts o = {.duration_ns = 5000000,
			       .batch = 32,
			       .touch = true,
			       .cpus = CPUS_FREE,
			       .server_uri = "a test"};
	struct sock_far far = {.family = &abstract_family, .cid = 2};
	struct proc p;

	(void)state;
	family_of = getpid();
	assert_int_equal(proc_spawn(&p, "server", run_server, &o), 0);
	meet(&far, &o);
	for (unsigned i = 0; i < 2 * 4 * 2; i++) {
		struct bench_cell c = {.msg_size = sizes[i / 2 % 4], .in_flight = 4};

		far.role = i % 2 ? ROLE_HOST : ROLE_GUEST;
		o.type = i / 8;
		for (c.dir = DIR_G2H; c.dir <= DIR_H2G; c.dir++) {
			c.workload = &workload_throughput;
			cell_is_right(&far, &o, &c);
		}
		c.dir = DIR_BOTH;
		c.workload = &workload_rtt;
		cell_is_right(&far, &o, &c);
		c.workload = &workload_echo;
		cell_is_right(&far, &o, &c);
		c.dir = DIR_G2H;
		c.workload = &workload_connrate;
		cell_is_right(&far, &o, &c);
	}
	proc_kill(&p);
}

/* What comes on one connection of a far end that is not to be trusted. */
struct liar {
	const unsigned char *send;
	size_t len;
	bool echoes; /* sends back what comes, with the 40th byte changed: on a busy machine
		      * there may be one message */
};

static void lie(int fd, const struct liar *l)
{
	unsigned char buf[64];
	size_t at = 0;
	ssize_t n;

	if (!l->echoes) {
		while (stream_write_all(fd, l->send, l->len))
			;
		return;
	}
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		if (at <= 40 && at + (size_t)n > 40)
			buf[40 - at] ^= 1;
		at += (size_t)n;
		if (!stream_write_all(fd, buf, (size_t)n))
			return;
	}
}

static int run_liar(int fd, void *arg)
{
	struct stream_ctx s = {.family = &abstract_family, .type = SOCK_STREAM, .listen_fd = -1};
	struct proc_err err = {""};

	(void)fd;
	s.err = &err;
	s.addr_len = abstract_port(&s.addr, 0, 7);
	if (stream_listen(&s) < 0)
		return 1;
	for (;;) {
		int conn = accept4(s.listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (conn < 0)
			return 1;
		lie(conn, arg);
		close(conn);
	}
}

/* A wrong byte of a service is an error; a service that stops is one too. */
static void a_service_that_is_wrong_is_seen(void **state)
{
	static unsigned char zeros[4096], one[4096] = {[4095] = 1};
	static const struct {
		struct liar liar;
		const struct workload *workload;
		unsigned dir;
		bool right;
	} cases[] = {
		{{zeros, sizeof(zeros), false}, &workload_throughput, DIR_H2G, true},
		{{one, sizeof(one), false}, &workload_throughput, DIR_H2G, false},
		{{.echoes = true}, &workload_rtt, DIR_BOTH, false},
		{{.echoes = true}, &workload_echo, DIR_BOTH, false},
	};
	struct bench_opts o = {.duration_ns = 20000000,
			       .batch = 32,
			       .touch = true,
			       .cpus = CPUS_FREE,
			       .client_uri = "a test",
			       .services = true,
			       .service = {7, 7, 7}};
	struct sock_far far = {.family = &abstract_family, .cid = 2};

	(void)state;
	family_of = getpid();
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench_cell c = {
			.workload = cases[i].workload, .dir = cases[i].dir, .msg_size = 64};
		struct bench_result res = {0};
		struct proc_err err = {""};
		struct liar liar = cases[i].liar;
		struct proc p;

		assert_int_equal(proc_spawn(&p, "liar", run_liar, &liar), 0);
		meet(&far, &o);
		assert_int_equal(sock_client_run(&far, &o, &c, &res, &err), 0);
		assert_true(res.messages > 0);
		assert_true((res.errors == 0) == cases[i].right);
		proc_kill(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(services_are_read),
		cmocka_unit_test(each_test_has_its_service),
		cmocka_unit_test(sockets_speak_to_a_server),
		cmocka_unit_test(a_service_that_is_wrong_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
