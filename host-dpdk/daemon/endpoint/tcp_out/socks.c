/* SPDX-License-Identifier: BSD-3-Clause */
#include "socks.h"

#include <errno.h>
#include <string.h>

#define VERSION	     5
#define NO_AUTH	     0
#define CMD_CONNECT  1
#define ADDRESS_IPV4 1
#define ADDRESS_NAME 3
#define ADDRESS_IPV6 4

int socks_greeting_more(const uint8_t *msg, size_t len)
{
	if (len && msg[0] != VERSION)
		return -EPROTO;
	if (len < 2)
		return (int)(2 - len);
	return 2 + (int)msg[1] - (int)len;
}

int socks_greeting_fits(const uint8_t *msg)
{
	return memchr(msg + 2, NO_AUTH, msg[1]) != NULL;
}

int socks_request_more(const uint8_t *msg, size_t len)
{
	size_t whole;

	if (len && msg[0] != VERSION)
		return -EPROTO;
	if (len < 5) /* the shortest has 8 */
		return (int)(5 - len);
	switch (msg[3]) {
	case ADDRESS_IPV4:
		whole = 4 + 4 + 2;
		break;
	case ADDRESS_IPV6:
		whole = 4 + 16 + 2;
		break;
	case ADDRESS_NAME:
		whole = 4 + 1 + (size_t)msg[4] + 2;
		break;
	default:
		whole = len; /* its length is unknown; it is refused because of its type */
	}
	return (int)(whole - len);
}

enum socks_code socks_request_read(struct socks_request *r, const uint8_t *msg)
{
	const uint8_t *port;

	memset(r, 0, sizeof(*r));
	if (msg[1] != CMD_CONNECT)
		return SOCKS_BAD_COMMAND;
	if (msg[3] == ADDRESS_NAME) {
		memcpy(r->name, msg + 5, msg[4]);
		if (!msg[4] || strlen(r->name) != msg[4]) /* a 0 in it */
			return SOCKS_BAD_ADDRESS;
		port = msg + 5 + msg[4];
	} else if (msg[3] == ADDRESS_IPV4 || msg[3] == ADDRESS_IPV6) {
		r->addr_len = msg[3] == ADDRESS_IPV4 ? 4 : 16;
		memcpy(r->addr, msg + 4, r->addr_len);
		port = msg + 4 + r->addr_len;
	} else {
		return SOCKS_BAD_ADDRESS;
	}
	r->port = (uint16_t)(port[0] << 8 | port[1]);
	return r->port ? SOCKS_OK : SOCKS_BAD_ADDRESS;
}

void socks_reply_write(uint8_t *msg, enum socks_code code)
{
	memset(msg, 0, SOCKS_REPLY);
	msg[0] = VERSION;
	msg[1] = (uint8_t)code;
	msg[3] = ADDRESS_IPV4;
}

enum socks_code socks_code_of(int err)
{
	switch (err) {
	case 0:
		return SOCKS_OK;
	case ECONNREFUSED:
		return SOCKS_REFUSED;
	case ENETUNREACH:
		return SOCKS_NET_UNREACHABLE;
	case EHOSTUNREACH:
		return SOCKS_HOST_UNREACHABLE;
	case ETIMEDOUT:
		return SOCKS_TTL_EXPIRED;
	case EACCES:
	case EPERM:
		return SOCKS_DENIED;
	default:
		return SOCKS_FAILURE;
	}
}
