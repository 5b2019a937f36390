/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of socket types; sock_type.h says what a descriptor is. */
#include "sock_type.h"

#include "proto/vsock/vsock_hdr.h"

#define DESCRIPTOR(number, name) [number] = &sock_##name,
static const struct sock_type *const types[] = {VSOCK_TYPES(DESCRIPTOR)};

const struct sock_type *sock_type_find(unsigned type)
{
	return type < sizeof(types) / sizeof(types[0]) ? types[type] : NULL;
}

const struct sock_type *sock_type_of_conns(unsigned type)
{
	const struct sock_type *t = sock_type_find(type);

	return t && !t->connectionless ? t : NULL;
}
