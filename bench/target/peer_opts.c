/* SPDX-License-Identifier: BSD-3-Clause */
#include "peer_opts.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FORM "[name=NAME,]vhost-user:PATH,uds=PATH"

/* The hybrid socket's longest name, UDS_PORT, must fit too. */
#define UDS_MAX (sizeof(((struct bench_peer *)0)->uds) - sizeof("_5200"))

static bool good_name(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("-_.+", s[i]))
			return false;
	return len > 0;
}

/* One part, without its comma. */
static int peer_part(struct bench_peer *p, const char *s, size_t len, char *err, size_t err_len)
{
	static const char scheme[] = "vhost-user:";
	size_t n = sizeof(scheme) - 1;

	if (len > n && strncmp(s, scheme, n) == 0 && !p->uri[0]) {
		if (len - n >= sizeof(p->uds))
			goto too_long;
		memcpy(p->uri, s, len);
		return 0;
	}
	if (len > 4 && strncmp(s, "uds=", 4) == 0 && !p->uds[0]) {
		if (len - 4 > UDS_MAX)
			goto too_long;
		memcpy(p->uds, s + 4, len - 4);
		return 0;
	}
	if (len > 5 && strncmp(s, "name=", 5) == 0 && !p->name[0]) {
		s += 5;
		len -= 5;
		if (len < sizeof(p->name) && good_name(s, len)) {
			memcpy(p->name, s, len);
			return 0;
		}
		snprintf(err, err_len,
			 "a name has at most %zu letters, digits and -_.+, not '%.*s'",
			 sizeof(p->name) - 1, (int)len, s);
		return -EINVAL;
	}
	snprintf(err, err_len, "'%.*s' is no part of " FORM ", or is there twice", (int)len, s);
	return -EINVAL;
too_long:
	snprintf(err, err_len, "'%.40s...' does not fit into the address of a Unix socket", s);
	return -EINVAL;
}

int peer_parse(struct bench_peer *p, const char *arg, unsigned index, char *err, size_t err_len)
{
	memset(p, 0, sizeof(*p));
	for (const char *s = arg;; s++) {
		size_t len = strcspn(s, ",");

		if (peer_part(p, s, len, err, err_len) < 0)
			return -EINVAL;
		s += len;
		if (!*s)
			break;
	}
	if (!p->uri[0] || !p->uds[0]) {
		snprintf(err, err_len, "'%s' has no %s; it takes " FORM, arg,
			 p->uri[0] ? "uds=PATH" : "vhost-user:PATH");
		return -EINVAL;
	}
	if (!p->name[0])
		snprintf(p->name, sizeof(p->name), "peer%u", index + 1);
	return 0;
}
