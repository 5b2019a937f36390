/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCKS5, the CONNECT command on the server side (RFC 1928): pure functions.
 */
#ifndef ZVD_SOCKS_H
#define ZVD_SOCKS_H

#include <stddef.h>
#include <stdint.h>

#define SOCKS_MSG_MAX  262u /* bytes of the longer of the two messages */
#define SOCKS_NAME_MAX 256u /* with the final 0 */
#define SOCKS_REPLY    10u  /* bytes of a reply to a request */

/* Reply codes, section 6. */
enum socks_code {
	SOCKS_OK,
	SOCKS_FAILURE,
	SOCKS_DENIED,
	SOCKS_NET_UNREACHABLE,
	SOCKS_HOST_UNREACHABLE,
	SOCKS_REFUSED,
	SOCKS_TTL_EXPIRED, /* here: no answer in time */
	SOCKS_BAD_COMMAND,
	SOCKS_BAD_ADDRESS,
};

struct socks_request {
	char name[SOCKS_NAME_MAX]; /* "": addr */
	uint8_t addr[16];
	uint8_t addr_len; /* 4, 16; 0: name */
	uint16_t port;
};

/*
 * Number of bytes to read next, after @len bytes of a greeting or request: never more than the
 * message has. 0: it is complete. -EPROTO: it is invalid. The methods of a greeting, and the
 * command and address type of a request, are not checked.
 */
int socks_greeting_more(const uint8_t *msg, size_t len);
int socks_request_more(const uint8_t *msg, size_t len);

/* True: a complete greeting offers "no authentication". */
int socks_greeting_fits(const uint8_t *msg);

/* Parses a complete request. SOCKS_OK, or the code to refuse it with. */
enum socks_code socks_request_read(struct socks_request *r, const uint8_t *msg);

/* Writes the reply, SOCKS_REPLY bytes, without an address. */
void socks_reply_write(uint8_t *msg, enum socks_code code);

/* The code for an errno of connect(2). */
enum socks_code socks_code_of(int err);

#endif
