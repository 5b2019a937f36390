/* SPDX-License-Identifier: BSD-3-Clause */
/* In the place of exchange.c, for tests of what zvsockd is as a host only: they need no host's
 * side. */
#include "exchange.h"

#include <stddef.h>

char *exchange_conf(const char *conf)
{
	(void)conf;
	return NULL;
}

struct zv_dev *exchange_host(const char *section, char *name, uint32_t buf_alloc)
{
	(void)section;
	(void)name;
	(void)buf_alloc;
	return NULL;
}
