/* SPDX-License-Identifier: BSD-3-Clause */
#include "dropin_msg.h"

#include "local_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void dropin_msg_init(struct dropin_msg *m, enum dropin_type type)
{
	memset(m, 0, sizeof(*m));
	m->magic = DROPIN_MAGIC;
	m->version = DROPIN_VERSION;
	m->type = (uint16_t)type;
}

void dropin_msg_text(struct dropin_msg *m, const char *text)
{
	local_text_copy(m->text, sizeof(m->text), text);
}

const char *dropin_type_name(unsigned type)
{
	switch (type) {
#define X(name, number, text)                                                                      \
	case DROPIN_##name:                                                                        \
		return text;
		DROPIN_TYPES(X)
#undef X
	default:
		return NULL;
	}
}

const char *dropin_msg_refused(const struct dropin_msg *m, size_t len)
{
	if (len != sizeof(*m))
		return "its length is not that of a message";
	if (m->magic != DROPIN_MAGIC)
		return "it does not begin with the magic number: this is no drop-in socket";
	if (m->version != DROPIN_VERSION)
		return "it is of another version: use a zvsock-run and a zvsockd of one release";
	if (!dropin_type_name(m->type))
		return "it is of an unknown type";
	if (m->reserved || m->flags & ~(DROPIN_NONBLOCK | DROPIN_LOCAL))
		return "a reserved field is not 0";
	if (!memchr(m->label, 0, sizeof(m->label)) || !memchr(m->where, 0, sizeof(m->where)) ||
	    !memchr(m->text, 0, sizeof(m->text)))
		return "a text in it does not end";
	return NULL;
}

bool dropin_dgram_ok(const struct dropin_dgram *d, size_t len)
{
	return len >= sizeof(*d) && d->magic == DROPIN_MAGIC && d->version == DROPIN_VERSION &&
	       !d->reserved;
}

/* ---- labels -------------------------------------------------------------------------------- */

#define PREFIX "zvsock:"

void dropin_label_write(const struct dropin_label *l, char text[static DROPIN_LABEL])
{
	memset(text, 0, DROPIN_LABEL);
	if (l->connected)
		(void)snprintf(text, DROPIN_LABEL,
			       PREFIX "%c:%u:%" PRIu32 ":%" PRIu32 ":%" PRIu32 ":%" PRIu32
				      ":%016" PRIx64 "%016" PRIx64,
			       l->view, l->sock_type, l->local.cid, l->local.port, l->remote.cid,
			       l->remote.port, l->token[0], l->token[1]);
	else
		(void)snprintf(text, DROPIN_LABEL,
			       PREFIX "%c:%u:%" PRIu32 ":%" PRIu32 ":-:-:%016" PRIx64 "%016" PRIx64,
			       l->view, l->sock_type, l->local.cid, l->local.port, l->token[0],
			       l->token[1]);
}

/* A number of @base below @max, followed by @end, which is skipped. False: there is none. */
static bool number(const char **at, unsigned base, uint64_t max, char end, uint64_t *out)
{
	const char *p = *at;
	uint64_t v = 0;

	for (; *p && *p != end; p++) {
		unsigned d = *p >= '0' && *p <= '9'   ? (unsigned)(*p - '0')
			     : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10
						      : base;

		if (d >= base || v > (max - d) / base)
			return false;
		v = v * base + d;
	}
	if (p == *at || *p != end)
		return false;
	*out = v;
	*at = end ? p + 1 : p;
	return true;
}

static bool address(const char **at, struct dropin_addr *a)
{
	uint64_t cid, port;

	if (!number(at, 10, UINT32_MAX, ':', &cid) || !number(at, 10, UINT32_MAX, ':', &port))
		return false;
	*a = (struct dropin_addr){(uint32_t)cid, (uint32_t)port};
	return true;
}

bool dropin_label_read(struct dropin_label *l, const char *text, size_t len)
{
	char buf[DROPIN_LABEL] = "", half[17] = "";
	const char *at = buf, *h = half;
	uint64_t type;

	memset(l, 0, sizeof(*l));
	if (len < sizeof(PREFIX) + 1 || len >= sizeof(buf))
		return false;
	memcpy(buf, text, len);
	if (strlen(buf) != len || memcmp(buf, PREFIX, sizeof(PREFIX) - 1) != 0)
		return false;
	at += sizeof(PREFIX) - 1;
	l->view = *at++;
	if ((l->view != 'P' && l->view != 'Z') || *at++ != ':')
		return false;
	if (!number(&at, 10, UINT16_MAX, ':', &type) || !address(&at, &l->local))
		return false;
	l->sock_type = (uint16_t)type;
	l->connected = strncmp(at, "-:-:", 4) != 0;
	if (!l->connected)
		at += 4;
	else if (!address(&at, &l->remote))
		return false;
	if (strlen(at) != 32)
		return false;
	memcpy(half, at, 16);
	at += 16;
	return number(&h, 16, UINT64_MAX, 0, &l->token[0]) &&
	       number(&at, 16, UINT64_MAX, 0, &l->token[1]);
}

bool dropin_names(struct dropin_label *out, const struct dropin_label *own,
		  const struct dropin_label *peer)
{
	if (own && own->connected) {
		*out = *own;
	} else if (peer && peer->connected) {
		*out = *peer;
		if (peer->view == 'P') { /* a program of this machine: its view */
			out->local = peer->remote;
			out->remote = peer->local;
		}
	} else if (own) {
		*out = *own;
	} else {
		return false;
	}
	return true;
}
