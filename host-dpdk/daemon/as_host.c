/* SPDX-License-Identifier: BSD-3-Clause */
#include "as_host.h"

#include "core/guest.h"

#include <zvsock_host.h>

int as_host_prepare(struct guest *g)
{
	int ret = zv_host_init();

	if (ret < 0) {
		guest_fails(g, "%s", zv_error_text());
		return ret;
	}
	ret = zv_catch_sigbus();
	if (ret < 0)
		guest_fails(g, "SIGBUS cannot be caught: %s", zv_strerror(ret));
	return ret;
}
