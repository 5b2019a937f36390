/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_uri.h"

#include "transport.h"

#include <errno.h>

#define USE "write host:PATH,cid=N"

static int parse_cid(uint64_t *cid, const char *text, size_t len)
{
	uint64_t v = 0;

	if (len == 0 || len > 10)
		return zv_err(-EINVAL, "host: '%.*s' is no CID; " USE " with N in decimal",
			      (int)len, text);
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return zv_err(-EINVAL, "host: '%.*s' is no CID; " USE " with N in decimal",
				      (int)len, text);
		v = v * 10 + (uint64_t)(text[i] - '0');
	}
	if (!vsock_cid_is_guest(v))
		return zv_err(-EINVAL,
			      "host: CID %.*s cannot be a guest's; take one from 3 to "
			      "4294967294",
			      (int)len, text);
	*cid = v;
	return 0;
}

int host_uri_parse(struct host_uri *u, const char *rest)
{
	size_t len = strcspn(rest, ",");
	int ret;

	memset(u, 0, sizeof(*u));
	if (len == 0)
		return zv_err(-EINVAL, "host: the socket path is empty; " USE);
	if (len > HOST_PATH_MAX)
		return zv_err(-EINVAL,
			      "host: the socket path has %zu bytes, a Unix socket takes %d; "
			      "choose a shorter one",
			      len, HOST_PATH_MAX);
	memcpy(u->path, rest, len);
	for (rest += len; *rest; rest += len) {
		rest++; /* the comma */
		len = strcspn(rest, ",");
		if (strncmp(rest, "cid=", 4) != 0)
			return zv_err(-EINVAL, "host:%s: unknown key '%.*s'; " USE, u->path,
				      (int)len, rest);
		if (u->cid)
			return zv_err(-EINVAL, "host:%s: cid is given twice; " USE, u->path);
		ret = parse_cid(&u->cid, rest + 4, len - 4);
		if (ret < 0)
			return ret;
	}
	if (u->cid == 0)
		return zv_err(-EINVAL, "host:%s: the guest's CID is missing; " USE, u->path);
	return 0;
}
