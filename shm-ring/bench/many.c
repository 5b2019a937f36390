/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * 999 more channels, open and idle. Their sleeping receivers would be named on a control channel,
 * the hub: see the README.
 */
#include "cells.h"

#define IDLE 999u

static struct shm_channel *idle[IDLE], *hub;

/* The smallest channel, and the hub as the last one; *d is the busy one, which they lie behind. */
static void describe(struct shm_channel_desc *d, const struct shm_channel_desc *busy, uint32_t i)
{
	struct shm_channel_desc small;

	shm_channel_desc_init(&small, 0, 1);
	small.dir[0].classes = small.dir[1].classes = 0;
	small.dir[0].entries = small.dir[1].entries = SHM_ENTRIES_MIN;
	small.length = shm_channel_bytes(&small);
	*d = small;
	d->offset = busy->offset + busy->length + i * small.length;
	if (i == IDLE) {
		d->dir[SHM_ROLE_A].entries = 1024;
		d->length = shm_channel_bytes(d);
	}
}

void many_format(const struct shm_channel_desc *busy)
{
	struct shm_channel_desc d;

	for (uint32_t i = 0; i <= IDLE; i++) {
		describe(&d, busy, i);
		if (shm_channel_format(region.addr, region.size, &d))
			die("the region is too small");
	}
}

static int report_name(void *arg)
{
	uint32_t i = (uint32_t)((struct shm_channel **)arg - idle);

	return shm_channel_control(hub, i, 0) == 1 ? 0 : -1;
}

void many_attach(const struct shm_channel_desc *busy, enum shm_role role)
{
	struct shm_channel_opts o = {.size = sizeof(o), .wake = report_name, .wake_fd = -1};
	struct shm_channel_desc d;

	for (uint32_t i = 0; i <= IDLE; i++) {
		describe(&d, busy, i);
		o.wake_arg = &idle[i < IDLE ? i : 0];
		if (shm_channel_attach(i < IDLE ? &idle[i] : &hub, region.addr, region.size, &d,
				       role, i < IDLE ? &o : NULL))
			die("cannot attach to a thousand channels");
		if (i < IDLE && role == SHM_ROLE_B &&
		    shm_channel_arm(idle[i], SHM_WANT_DATA, 0) != 0)
			die("an idle channel is not idle");
	}
}

void many_detach(void)
{
	for (uint32_t i = 0; i < IDLE; i++)
		shm_channel_detach(idle[i]);
	shm_channel_detach(hub);
}

void many_notify(void)
{
	shm_channel_notify(hub);
}

void many_poll(void)
{
	struct shm_msg m;

	if (shm_channel_recv(hub, &m, 1) != 0)
		die("an idle channel was named");
}
