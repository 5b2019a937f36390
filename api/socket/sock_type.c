/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of socket types; sock_type.h says what a descriptor is. */
#include "sock_type.h"

static const struct sock_type *const types[] = {&sock_stream, &sock_seqpacket};

const struct sock_type *sock_type_find(unsigned type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i]->type == type)
			return types[i];
	return NULL;
}
