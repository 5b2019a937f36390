/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where guests may connect to by TCP: the rules of the key tcp_allow. Pure functions.
 *
 *	10.0.0.0/8:443   192.0.2.7:8000-8010   [fd00::]/8:*   example.org:80
 *
 * A rule has an address or a network of them, or a name, and a port, a range of them, or all. What
 * counts in the end is always an address:
 *   - An address that the guest names itself needs a rule that has it.
 *   - A name with a rule may be connected to whatever it resolves to, but for *special* addresses:
 *     whoever serves the name could lead the guest there. Those need a rule of their own as well.
 *   - A name without a rule may be connected to where it resolves to addresses that have rules.
 * Special are the loopback, unspecified ("0.0.0.0" is this machine), link-local, multicast and
 * reserved ones, and the metadata services of clouds. A rule has a special address only if all that
 * the rule has is special: 0.0.0.0/0 opens no loopback; 127.0.0.1 or 127.0.0.0/8 does. IPv4
 * addresses that are written as IPv6 ones are IPv4 addresses. An IPv6 address that a gateway or a
 * tunnel translates to an IPv4 address (NAT64, 6to4, Teredo) is special if the IPv4 address is.
 */
#ifndef ZVD_ALLOW_H
#define ZVD_ALLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define ALLOW_TEXT_MAX 300u

/* An address as 16 bytes; IPv4 is mapped to IPv6 (::ffff:0:0/96). */
struct allow_addr {
	uint8_t b[16];
};

struct allow_rule {
	char text[ALLOW_TEXT_MAX]; /* as written */
	char name[256];		   /* "": net */
	struct allow_addr net;
	uint8_t bits; /* prefix length of net, out of 128 */
	uint16_t first, last;
};

/* Reads a rule. False: it is invalid. */
bool allow_read(struct allow_rule *r, const char *text);

/* From AF_INET or AF_INET6. */
struct allow_addr allow_addr_of(const struct sockaddr *sa);
/* @len: 4 or 16 bytes of an address in network format. */
struct allow_addr allow_addr_make(const uint8_t *bytes, unsigned len);
/* Converts to a socket address; returns its length. */
socklen_t allow_sockaddr(const struct allow_addr *a, uint16_t port, struct sockaddr_storage *ss);

/* Some of the @n rules match the address and port. */
bool allow_address(const struct allow_rule *rules, unsigned n, const struct allow_addr *a,
		   uint16_t port);
/* Some of them match the name and port. Case and a final dot are ignored. */
bool allow_name(const struct allow_rule *rules, unsigned n, const char *name, uint16_t port);
/* Some of them could match an address with that port: a name without a rule is worth a look-up. */
bool allow_some(const struct allow_rule *rules, unsigned n, uint16_t port);
/* An address to which a name with a rule resolves may be connected to. */
bool allow_resolved(const struct allow_rule *rules, unsigned n, const struct allow_addr *a,
		    uint16_t port);

#endif
