/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_HOST_URI_H
#define ZV_HOST_URI_H

#include <stdint.h>

#define HOST_PATH_MAX 107 /* bytes of a Unix socket path */

struct host_uri {
	char path[HOST_PATH_MAX + 1];
	uint64_t cid;
};

/* Parses "PATH,cid=N" (the URI behind "host:"). 0, or -EINVAL with zv_err() text. */
int host_uri_parse(struct host_uri *u, const char *rest);

#endif
