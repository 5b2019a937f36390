/* SPDX-License-Identifier: BSD-3-Clause */
/* The `host:` transport with the real rte_vhost, for a test that is one program. */
#ifndef TRANSPORT_FIX_H
#define TRANSPORT_FIX_H

#include "front_fix.h"

#include "registry.h"
#include <sched.h>
#include <zvsock_host.h>

/* The socket layer's table of its own transports; not needed here. */
const struct transport_ops *const zv_builtin_transports[] = {NULL};

const struct transport_ops *ops;
static const struct zv_opts opts = {.size = sizeof(opts), .queues = 2};

static struct transport_dev *open_dev(const char *path, unsigned cid)
{
	struct transport_dev *d = NULL;
	char rest[128];

	snprintf(rest, sizeof(rest), "%s,cid=%u", path, cid);
	assert_int_equal(ops->open(&d, rest, &opts), 0);
	assert_int_equal(ops->guest_cid(d), cid);
	return d;
}

static void init(void **state)
{
	cpu_set_t before, after;
	const char *rest;

	(void)state;
	sched_getaffinity(0, sizeof(before), &before);
	assert_int_equal(zv_host_init(), 0);
	assert_int_equal(zv_host_init(), 0);
	sched_getaffinity(0, sizeof(after), &after);
	assert_true(CPU_EQUAL(&before, &after));
	ops = zv_transport_find("host:x", &rest);
	assert_non_null(ops);
	assert_string_equal(rest, "x");
	assert_int_equal(ops->role, ZV_ROLE_HOST);
}

#endif
