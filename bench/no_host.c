/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsock-bench-guest is linked without the host side: stubs for what the rest of the program calls
 * of it.
 */
#include <zvsock_host.h>

#include <errno.h>
#include <stdio.h>

int zv_host_init(void)
{
	(void)fputs("vsock-bench-guest: built without the host's side; --client with a device of "
		    "the guest is "
		    "what it can do\n",
		    stderr);
	return -EOPNOTSUPP;
}
