/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_uri.h"

#include "transport.h"

#include <errno.h>

#define USE                                                                                        \
	"write host:PATH[,PATH...],cid=N[,mode=client|server][,sockmode=0660][,region=SIZE], or "  \
	"host:fd=N,cid=N[,name=TEXT][,user=UID] with a connected socket"

#define REGION_MIN (2ull << 20) /* bytes, and its unit: a hugepage */
#define REGION_MAX (1ull << 40)

_Static_assert(HOST_PATHS_MAX == ZV_QUEUES_MAX, "a socket is a queue");

/* One word of the URI, between two commas. */
struct word {
	const char *s;
	size_t len;
};

static int parse_cid(struct host_uri *u, struct word w)
{
	uint64_t v = 0;

	if (u->cid)
		return zv_err(-EINVAL, "host:%s: cid is given twice; " USE, u->path[0]);
	if (w.len == 0 || w.len > 10)
		return zv_err(-EINVAL, "host: '%.*s' is no CID; " USE " with N in decimal",
			      (int)w.len, w.s);
	for (size_t i = 0; i < w.len; i++) {
		if (w.s[i] < '0' || w.s[i] > '9')
			return zv_err(-EINVAL, "host: '%.*s' is no CID; " USE " with N in decimal",
				      (int)w.len, w.s);
		v = v * 10 + (uint64_t)(w.s[i] - '0');
	}
	if (!vsock_cid_is_guest(v) && !(u->fd >= 0 && v == VSOCK_CID_HOST))
		return zv_err(-EINVAL,
			      "host: CID %.*s cannot be a guest's; take one from 3 to "
			      "4294967294%s",
			      (int)w.len, w.s, u->fd >= 0 ? ", or 2, an application's" : "");
	u->cid = v;
	return 0;
}

/* A number of up to 9 digits, or -1. */
static int parse_fd(struct word w)
{
	int v = 0;

	for (size_t i = 0; i < w.len && v >= 0; i++)
		v = w.s[i] >= '0' && w.s[i] <= '9' ? v * 10 + (w.s[i] - '0') : -1;
	return w.len == 0 || w.len > 9 ? -1 : v;
}

static int parse_mode(struct host_uri *u, struct word w)
{
	u->client = w.len == 6 && strncmp(w.s, "client", 6) == 0;
	if (!u->client && (w.len != 6 || strncmp(w.s, "server", 6) != 0))
		return zv_err(-EINVAL, "host:%s: mode is '%.*s', must be client or server",
			      u->path[0], (int)w.len, w.s);
	return 0;
}

static int parse_sockmode(struct host_uri *u, struct word w)
{
	int v = 0;

	for (size_t i = 0; i < w.len && v >= 0; i++)
		v = w.s[i] >= '0' && w.s[i] <= '7' && v <= 0777 ? v * 8 + (w.s[i] - '0') : -1;
	if (w.len == 0 || v < 0 || v > 0777)
		return zv_err(-EINVAL,
			      "host:%s: sockmode is '%.*s', must be permission bits in octal such "
			      "as 0660",
			      u->path[0], (int)w.len, w.s);
	u->sockmode = v;
	return 0;
}

static int parse_name(struct host_uri *u, struct word w)
{
	if (u->fd < 0)
		return zv_err(-EINVAL, "host:%s: name goes with fd: a path is a name", u->path[0]);
	if (w.len == 0 || w.len > HOST_PATH_MAX)
		return zv_err(-EINVAL, "host:%s: the name must have 1 to %d bytes", u->path[0],
			      HOST_PATH_MAX);
	memcpy(u->path[0], w.s, w.len);
	u->path[0][w.len] = 0;
	return 0;
}

static int parse_user(struct host_uri *u, struct word w)
{
	uint64_t v = 0;

	for (size_t i = 0; i < w.len && v < (uid_t)-1; i++)
		v = w.s[i] >= '0' && w.s[i] <= '9' ? v * 10 + (uint64_t)(w.s[i] - '0') : UINT64_MAX;
	if (u->fd < 0)
		return zv_err(-EINVAL, "host:%s: user goes with fd", u->path[0]);
	if (w.len == 0 || v >= (uid_t)-1)
		return zv_err(-EINVAL, "host:%s: user is '%.*s', must be a UID in decimal",
			      u->path[0], (int)w.len, w.s);
	u->user = (uid_t)v;
	return 0;
}

/* "64M". 0: it is no size. */
static uint64_t parse_size(struct word w)
{
	static const char units[] = "KMGT";
	const char *unit = w.len ? strchr(units, w.s[w.len - 1]) : NULL;
	size_t digits = unit ? w.len - 1 : w.len;
	uint64_t v = 0;

	if (digits == 0 || digits > 15)
		return 0;
	for (size_t i = 0; i < digits; i++) {
		if (w.s[i] < '0' || w.s[i] > '9')
			return 0;
		v = v * 10 + (uint64_t)(w.s[i] - '0');
	}
	for (long shift = unit ? unit - units + 1 : 0; shift > 0; shift--)
		v = v > REGION_MAX ? v : v * 1024;
	return v;
}

static int parse_region(struct host_uri *u, struct word w)
{
	u->region = parse_size(w);
	if (u->region < REGION_MIN || u->region > REGION_MAX || u->region % REGION_MIN)
		return zv_err(-EINVAL,
			      "host:%s: region is '%.*s', must be a multiple of 2M up to 1T, such "
			      "as 64M",
			      u->path[0], (int)w.len, w.s);
	return 0;
}

static int add_path(struct host_uri *u, struct word w)
{
	char *path;

	if (w.len > HOST_PATH_MAX)
		return zv_err(-EINVAL,
			      "host: the socket path has %zu bytes, a Unix socket takes %d; "
			      "choose a shorter one",
			      w.len, HOST_PATH_MAX);
	if (u->npaths == HOST_PATHS_MAX)
		return zv_err(-EINVAL, "host:%s: more than %d sockets for one guest", u->path[0],
			      HOST_PATHS_MAX);
	path = u->path[u->npaths];
	memcpy(path, w.s, w.len);
	for (unsigned i = 0; i < u->npaths; i++)
		if (strcmp(u->path[i], path) == 0)
			return zv_err(-EINVAL, "host:%s: the socket is named twice", path);
	u->npaths++;
	return 0;
}

static int parse_word(struct host_uri *u, struct word w)
{
	static const struct {
		const char *key;
		int (*parse)(struct host_uri *u, struct word w);
	} keys[] = {{"cid=", parse_cid},   {"mode=", parse_mode}, {"sockmode=", parse_sockmode},
		    {"name=", parse_name}, {"user=", parse_user}, {"region=", parse_region}};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t n = strlen(keys[i].key);

		if (w.len >= n && strncmp(w.s, keys[i].key, n) == 0)
			return keys[i].parse(u, (struct word){w.s + n, w.len - n});
	}
	/* Paths come first; after the CID, or with a descriptor, there are keys only. */
	if (!u->cid && u->fd < 0 && memchr(w.s, '/', w.len))
		return add_path(u, w);
	return zv_err(-EINVAL, "host:%s: unknown key '%.*s'; " USE, u->path[0], (int)w.len, w.s);
}

int host_uri_parse(struct host_uri *u, const char *rest)
{
	struct word w = {rest, strcspn(rest, ",")};
	int ret;

	memset(u, 0, sizeof(*u));
	u->sockmode = u->fd = -1;
	u->user = (uid_t)-1;
	if (w.len == 0)
		return zv_err(-EINVAL, "host: the socket path is empty; " USE);
	ret = add_path(u, w);
	if (ret == 0 && strncmp(u->path[0], "fd=", 3) == 0) {
		u->fd = parse_fd((struct word){w.s + 3, w.len - 3});
		if (u->fd < 0)
			return zv_err(-EINVAL, "host: '%s' names no descriptor; " USE, u->path[0]);
	}
	while (ret == 0 && w.s[w.len]) {
		w.s += w.len + 1; /* the comma */
		w.len = strcspn(w.s, ",");
		ret = parse_word(u, w);
	}
	if (ret)
		return ret;
	if (u->cid == 0)
		return zv_err(-EINVAL, "host:%s: the guest's CID is missing; " USE, u->path[0]);
	if (u->fd >= 0 && (u->client || u->sockmode >= 0 || u->region))
		return zv_err(-EINVAL,
			      "host:%s: mode, sockmode and region go with a path: the socket is "
			      "connected",
			      u->path[0]);
	if (u->client && u->sockmode >= 0)
		return zv_err(-EINVAL,
			      "host:%s: sockmode goes with mode=server: in client mode the socket "
			      "is made by the VMM",
			      u->path[0]);
	return 0;
}
