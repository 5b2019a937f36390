/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan_side.h"

#include "host_side.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct zv_dev *cs_app, *cs_other;

int cs_start(const char *program, const char *conf)
{
	zf_keep_log = true;
	if (!zf_start(program, conf, 2))
		return -1;
	cs_app = zf_app(0, "apps", 1);
	cs_other = zf_app(1, "apps", 2);
	return cs_app && cs_other && zv_listen(cs_other, PORT, ZV_STREAM, 0) == 0 &&
			       zv_listen(cs_other, PORT + 1, ZV_SEQPACKET, 0) == 0
		       ? 0
		       : -1;
}

/* ---- what zvsockctl says ---- */

char cs_answer[65536];

static bool asked(const char *cmd)
{
	char line[64];
	size_t n = 0;
	int fd;

	snprintf(line, sizeof(line), "{\"v\":1,\"cmd\":\"%s\"}\n", cmd);
	fd = hs_connect("control.sock", line);
	memset(cs_answer, 0, sizeof(cs_answer));
	while (fd >= 0 && n < sizeof(cs_answer) - 1 && !strchr(cs_answer, '\n') &&
	       hs_recv(fd, cs_answer + n, 1) == 1)
		n++;
	close(fd);
	return strchr(cs_answer, '\n');
}

void cs_ask(const char *cmd)
{
	assert_true(asked(cmd));
}

unsigned cs_times(const char *text)
{
	unsigned n = 0;

	for (const char *p = cs_answer; (p = strstr(p, text)); p++)
		n++;
	return n;
}

uint64_t cs_region(const char *key)
{
	char name[32];
	const char *p;

	cs_ask("regions");
	snprintf(name, sizeof(name), "\"%s\":", key);
	p = strstr(cs_answer, name);
	assert_non_null(p);
	return strtoull(p + strlen(name), NULL, 10);
}

bool cs_all_free(void *arg)
{
	(void)arg;
	return cs_region("free") == cs_region("size") && cs_region("channels") == 0;
}

bool cs_no_region(void *arg)
{
	(void)arg;
	cs_ask("regions");
	return !cs_times("\"id\"");
}

unsigned cs_channels(void)
{
	cs_ask("list");
	return cs_times("\"path\":\"channel\"") / 2;
}

long cs_counted(const char *name)
{
	return hs_counter("app.0", name) + hs_counter("app.1", name);
}

int cs_stop(void **state)
{
	static const char *const cmds[] = {"regions", "list", "stats"};

	(void)state;
	/* What a failed test has left is part of what it prints. */
	for (unsigned i = 0; i < 3 && asked(cmds[i]); i++)
		fprintf(stderr, "%s: %s", cmds[i], cs_answer);
	zf_app_flags = 0;
	return zf_stop() ? 0 : -1;
}

/* ---- connections ---- */

struct cs_pair cs_joined(enum zv_type type)
{
	uint32_t port = type == ZV_SEQPACKET ? PORT + 1 : PORT;
	struct cs_pair p;
	int err;

	p.a = zf_connect(cs_app, 0, ZV_CID_LOCAL, port, type, &err);
	assert_non_null(p.a);
	p.b = zf_accept(cs_other, port);
	assert_non_null(p.b);
	return p;
}

void cs_converse(struct cs_pair p, enum zv_type type)
{
	conv_whole(p.a, p.b, type);
}
