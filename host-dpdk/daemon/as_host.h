/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a process needs to be the host of guests: libzvsock-host, and with it DPDK's EAL. It is
 * asked for when the first guest is started, or applications are to attach, and never where there
 * are devices only; zvsockd-guest is linked without it (no_host.c in the place of as_host.c).
 */
#ifndef ZVD_AS_HOST_H
#define ZVD_AS_HOST_H

#include <stdbool.h>

struct guest;

/* 0; or -errno and guest_fails(). May be called again. Main thread. */
int as_host_prepare(struct guest *g);

/* Now and then: has the guest's driver died, while its VM goes on? True: it could be seen. Main
 * thread. */
bool as_host_look(const struct guest *g);

#endif
