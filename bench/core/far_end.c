/* SPDX-License-Identifier: BSD-3-Clause */
#include "far_end.h"

#include "option.h"
#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an end can do: the role of a server, the service of zvsockd. */
static const struct {
	const char *role, *service;
} parts[FAR_PARTS] = {
	[FAR_SINK] = {"sink", "discard"},
	[FAR_SOURCE] = {"source", "source"},
	[FAR_ECHO] = {"echo", "echo"},
	[FAR_CLOSER] = {"", "discard"},
};

const char *far_part_role(enum far_part part)
{
	return parts[part].role ? parts[part].role : "";
}

enum far_part far_part_of(const struct bench_cell *c, enum bench_role client)
{
	enum far_part part = c->workload->far[c->dir];

	/* The table is the guest's. */
	if (client == ROLE_HOST && (part == FAR_SINK || part == FAR_SOURCE))
		return part == FAR_SINK ? FAR_SOURCE : FAR_SINK;
	return part;
}

/* ---- a server of ours ---- */

static uint32_t server_port(const struct bench_opts *o, enum far_part part)
{
	if (part == FAR_CLOSER)
		return BENCH_PORT_CONN;
	return o->type == TYPE_SEQPACKET ? BENCH_PORT_SEQ : BENCH_PORT_STREAM;
}

static const struct far_end server = {.name = "server", .port = server_port, .controlled = true};

/* ---- the services of zvsockd ---- */

static unsigned service_named(const char *name)
{
	unsigned i = 0;

	while (i < service_names.n && strcmp(service_names.name[i], name) != 0)
		i++;
	return i;
}

static uint32_t service_port(const struct bench_opts *o, enum far_part part)
{
	return parts[part].service ? o->service[service_named(parts[part].service)] : 0;
}

static const struct far_end services = {.name = "services", .port = service_port, .dull = true};

const struct far_end *far_end_of(const struct bench_opts *o)
{
	return o->services ? &services : &server;
}

/* One service, without its comma. */
static int service_parse(struct bench_opts *o, char *s, char *why, size_t len)
{
	char *colon = strchr(s, ':'), *end = NULL;
	unsigned long port = 0;
	unsigned i;

	if (colon) {
		*colon = '\0';
		errno = 0;
		port = strtoul(colon + 1, &end, 10);
	}
	i = service_named(s);
	if (!colon || i == service_names.n)
		snprintf(
			why, len,
			"--services takes echo:PORT, discard:PORT and source:PORT with commas, not "
			"'%s'",
			s);
	else if (end == colon + 1 || *end || errno || !port || port >= UINT32_MAX)
		snprintf(why, len, "--services: '%s' is no port of %s", colon + 1, s);
	else if (o->service[i])
		snprintf(why, len, "--services: %s is there twice", s);
	else
		o->service[i] = (uint32_t)port;
	return why[0] ? -EINVAL : 0;
}

int services_parse(struct bench_opts *o, char *arg, char *why, size_t len)
{
	why[0] = '\0';
	memset(o->service, 0, sizeof(o->service));
	o->services = true;
	for (char *s = arg, *next; s; s = next) {
		next = strchr(s, ',');
		if (next)
			*next++ = '\0';
		if (service_parse(o, s, why, len) < 0)
			return -EINVAL;
	}
	return 0;
}

/* In one of the directions that were asked for. */
static bool service_for(const struct bench_opts *o, const struct workload *wl)
{
	for (unsigned d = DIR_G2H; d <= DIR_BOTH; d++)
		if ((!wl->oneway || o->dir & d) && service_port(o, wl->far[d]))
			return true;
	return false;
}

int services_check(const struct bench_opts *o, char *why, size_t len)
{
	const char *need[SERVICES_MAX];

	if (!o->services)
		return 0;
	if (!o->client_uri) {
		snprintf(why, len, "--services says what is behind a --client, which is not there");
		return -EINVAL;
	}
	for (unsigned i = 0; i < nworkloads; i++) {
		const struct workload *wl = workloads[i];
		char text[80];
		unsigned n = 0;

		if (!(o->workloads >> i & 1) || service_for(o, wl))
			continue;
		for (unsigned d = DIR_G2H; d <= DIR_BOTH; d++)
			if (parts[wl->far[d]].service && (!wl->oneway || o->dir & d))
				need[n++] = parts[wl->far[d]].service;
		option_join(text, sizeof(text), need, n);
		if (n)
			snprintf(why, len, "--test %s needs %s:PORT in --services", wl->name, text);
		else
			snprintf(why, len, "--test %s needs a --server, no service can do it",
				 wl->name);
		return -EINVAL;
	}
	return 0;
}

const char *far_end_text(char *buf, size_t len, const struct bench_opts *o)
{
	size_t at = (size_t)snprintf(buf, len, "%s",
				     o->services ? "the services" : "a vsock-bench server");
	char sep = ' ';

	for (unsigned i = 0; i < service_names.n && at < len; i++)
		if (o->service[i]) {
			at += (size_t)snprintf(buf + at, len - at, "%c%s:%u", sep,
					       service_names.name[i], o->service[i]);
			sep = ',';
		}
	return buf;
}
