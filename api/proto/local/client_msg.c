/* SPDX-License-Identifier: BSD-3-Clause */
#include "client_msg.h"

#include "local_text.h"

#include <string.h>

void client_msg_init(struct client_msg *m, enum client_type type)
{
	memset(m, 0, sizeof(*m));
	m->magic = CLIENT_MAGIC;
	m->version = CLIENT_VERSION;
	m->type = (uint16_t)type;
}

void client_msg_text(struct client_msg *m, const char *text)
{
	local_text_copy(m->text, sizeof(m->text), text);
}

const char *client_msg_refused(const struct client_msg *m, size_t len)
{
	if (len != sizeof(*m))
		return "its length is not that of a message";
	if (m->magic != CLIENT_MAGIC)
		return "it does not begin with the magic number: this is no zvsock client socket";
	if (m->version != CLIENT_VERSION)
		return "it is of another version: use a libzvsock and a zvsockd of one release";
	if (!client_type_name(m->type))
		return "it is of an unknown type";
	if (m->reserved)
		return "a reserved field is not 0";
	if (!memchr(m->text, 0, CLIENT_TEXT))
		return "its text does not end";
	return NULL;
}

const char *client_type_name(unsigned type)
{
	switch (type) {
#define X(name, number, text)                                                                      \
	case CLIENT_##name:                                                                        \
		return text;
		CLIENT_TYPES(X)
#undef X
	default:
		return NULL;
	}
}
