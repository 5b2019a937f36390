/* SPDX-License-Identifier: BSD-3-Clause */
#include "exchange.h"

#include "zvd_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_host.h>

char *exchange_conf(const char *conf)
{
	static const char *const words[][2] = {
		{"[guest ", "[device "}, {"socket = ", "uri = vhost-user:"}, {"cid = ", "#"}};
	char *text = NULL;
	size_t size, k;
	FILE *f = open_memstream(&text, &size);

	while (f && *conf) {
		for (k = 0; k < 3 && strncmp(conf, words[k][0], strlen(words[k][0])) != 0; k++)
			;
		if (k < 3)
			fputs(words[k][1], f);
		else
			fputc(*conf, f);
		conf += k < 3 ? strlen(words[k][0]) : 1;
	}
	return f && fclose(f) == 0 ? text : NULL;
}

/* What stands behind "@key = " in the section that begins at @section. NULL: it has no such key. */
static const char *value_of(const char *section, const char *key)
{
	const char *end = strchr(section + 1, '[');
	char line[32];
	const char *p;

	snprintf(line, sizeof(line), "\n%s = ", key);
	p = strstr(section, line);
	return p && (!end || p < end) ? p + strlen(line) : NULL;
}

struct zv_dev *exchange_host(const char *section, char *name, uint32_t buf_alloc)
{
	struct zv_opts o = {.size = sizeof(o),
			    .queues = 1,
			    .buf_alloc = buf_alloc,
			    .connect_timeout_ns = LONG_S * 1000000000ull,
			    .flags = ZV_OPT_NO_HELLO};
	const char *queues = value_of(section, "queues"), *cid = value_of(section, "cid"),
		   *socket = value_of(section, "socket");
	struct zv_dev *dev = NULL;
	char uri[256];

	if (queues)
		o.queues = (uint32_t)strtoul(queues, NULL, 10);
	if (!cid || !socket || sscanf(socket, "@%31s", name) != 1)
		return NULL;
	snprintf(uri, sizeof(uri), "host:%s%s,cid=%lu", zf_dir, name, strtoul(cid, NULL, 10));
	if (zv_host_init() < 0 || zv_open(&dev, uri, &o) < 0) {
		fprintf(stderr, "%s: %s\n", uri, zv_error_text());
		return NULL;
	}
	return dev;
}
