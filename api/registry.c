/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transports by URI scheme. Two sources: zv_builtin_transports, an explicit table that whoever
 * links this library defines (libzvsock's is guest-pmd/builtin.c), and those registered at run
 * time by a library above it (libzvsock-host).
 */
#include "registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MAX_REGISTERED 8

static const struct transport_ops *registered[MAX_REGISTERED];
static unsigned nregistered;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *match(const struct transport_ops *ops, const char *uri)
{
	size_t n = strlen(ops->scheme);

	return strncmp(uri, ops->scheme, n) == 0 && uri[n] == ':' ? uri + n + 1 : NULL;
}

int zv_transport_register(const struct transport_ops *ops)
{
	int ret = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nregistered && ret == 0; i++)
		if (strcmp(registered[i]->scheme, ops->scheme) == 0)
			ret = -EEXIST;
	if (ret == 0 && nregistered == MAX_REGISTERED)
		ret = -ENOSPC;
	if (ret == 0)
		registered[nregistered++] = ops;
	pthread_mutex_unlock(&lock);
	return ret;
}

const struct transport_ops *zv_transport_find(const char *uri, const char **rest)
{
	const struct transport_ops *found = NULL;

	for (unsigned i = 0; zv_builtin_transports[i] && !found; i++)
		if ((*rest = match(zv_builtin_transports[i], uri)))
			found = zv_builtin_transports[i];
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nregistered && !found; i++)
		if ((*rest = match(registered[i], uri)))
			found = registered[i];
	pthread_mutex_unlock(&lock);
	return found;
}

/* Appends one at buf + *at. */
static void add_scheme(char *buf, size_t size, size_t *at, const struct transport_ops *ops)
{
	int n;

	if (*at >= size)
		return;
	n = snprintf(buf + *at, size - *at, "%s%s:", *at ? ", " : "", ops->scheme);
	*at += n > 0 ? (size_t)n : 0;
}

void zv_transport_schemes(char *buf, size_t size)
{
	size_t at = 0;

	if (size)
		buf[0] = '\0';
	for (unsigned i = 0; zv_builtin_transports[i]; i++)
		add_scheme(buf, size, &at, zv_builtin_transports[i]);
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nregistered; i++)
		add_scheme(buf, size, &at, registered[i]);
	pthread_mutex_unlock(&lock);
}
