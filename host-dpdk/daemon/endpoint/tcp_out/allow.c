/* SPDX-License-Identifier: BSD-3-Clause */
#include "allow.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define V4_BITS 96u /* of ::ffff:0:0/96 */

/* Special networks, which names and wider rules do not include. */
static const struct special {
	const char *net;
	uint8_t bits;
} specials[] = {
	{"0.0.0.0", 8},
	{"127.0.0.0", 8},
	{"169.254.0.0", 16},
	{"192.0.0.0", 24},
	{"224.0.0.0", 4},
	{"240.0.0.0", 4},
	{"::", 128},
	{"::1", 128},
	{"fe80::", 10},
	{"ff00::", 8},
	/* Services that a cloud gives the machine itself, by addresses that are not link-local:
	 * Alibaba, Azure, AWS, Google, Oracle. */
	{"100.100.100.200", 32},
	{"168.63.129.16", 32},
	{"fd00:ec2::", 32},
	{"fd20:ce::254", 128},
	{"fd00:c1::a9fe:a9fe", 128},
	/* Local translation to IPv4 (RFC 8215): where the IPv4 address is depends on the network.
	 */
	{"64:ff9b:1::", 48},
};

/* Networks whose addresses contain an IPv4 address, to which a gateway or a tunnel leads. */
static const struct carrier {
	const char *net;
	uint8_t bits;
	uint8_t at;   /* where the IPv4 address begins, in bytes */
	uint8_t flip; /* its bytes are inverted: 0xff */
} carriers[] = {
	{"64:ff9b::", 96, 12, 0},    /* NAT64, RFC 6052 */
	{"::ffff:0:0:0", 96, 12, 0}, /* SIIT, RFC 7915 */
	{"::", 96, 12, 0},	     /* IPv4-compatible, RFC 4291 */
	{"2002::", 16, 2, 0},	     /* 6to4, RFC 3056 */
	{"2001::", 32, 12, 0xff},    /* Teredo, RFC 4380: the client */
	{"2001::", 32, 4, 0},	     /* ... and the server */
};

static bool in_net(const struct allow_addr *a, const struct allow_addr *net, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(a->b, net->b, bytes) != 0)
		return false;
	return !rest || ((a->b[bytes] ^ net->b[bytes]) & (uint8_t)(0xff00u >> rest)) == 0;
}

struct allow_addr allow_addr_make(const uint8_t *bytes, unsigned len)
{
	struct allow_addr a = {.b = {[10] = 0xff, [11] = 0xff}};

	if (len == 4)
		memcpy(a.b + 12, bytes, 4);
	else
		memcpy(a.b, bytes, sizeof(a.b));
	return a;
}

struct allow_addr allow_addr_of(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return allow_addr_make(
			(const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr,
			4);
	return allow_addr_make(
		(const uint8_t *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
}

static bool is_v4(const struct allow_addr *a)
{
	static const struct allow_addr mapped = {.b = {[10] = 0xff, [11] = 0xff}};

	return in_net(a, &mapped, V4_BITS);
}

socklen_t allow_sockaddr(const struct allow_addr *a, uint16_t port, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *four = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (is_v4(a)) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		memcpy(&four->sin_addr, a->b + 12, 4);
		return sizeof(*four);
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	memcpy(&six->sin6_addr, a->b, sizeof(a->b));
	return sizeof(*six);
}

/* Parses a numeric address. Returns its length in bits, 32 or 128; 0: invalid. */
static unsigned read_address(struct allow_addr *a, const char *text)
{
	uint8_t b[16];

	if (inet_pton(AF_INET, text, b) == 1) {
		*a = allow_addr_make(b, 4);
		return 32;
	}
	if (inet_pton(AF_INET6, text, b) != 1)
		return 0;
	*a = allow_addr_make(b, 16);
	return 128;
}

/* Prefix length of the network in the table that contains @a; 0: none. */
static unsigned special_itself(const struct allow_addr *a)
{
	for (unsigned i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
		struct allow_addr net = {{0}};
		unsigned all = read_address(&net, specials[i].net);
		unsigned bits = specials[i].bits + (128 - all);

		if (in_net(a, &net, bits))
			return bits;
	}
	return 0;
}

/* Prefix length of the special network that contains @a, or the IPv4 address in it; 0: none. */
static unsigned special_bits(const struct allow_addr *a)
{
	unsigned bits = special_itself(a);

	for (unsigned i = 0; i < sizeof(carriers) / sizeof(carriers[0]) && !bits; i++) {
		const struct carrier *c = &carriers[i];
		struct allow_addr net = {{0}}, inner;
		uint8_t b[4];

		(void)read_address(&net, c->net);
		if (!in_net(a, &net, c->bits))
			continue;
		for (unsigned k = 0; k < sizeof(b); k++)
			b[k] = a->b[c->at + k] ^ c->flip;
		inner = allow_addr_make(b, sizeof(b));
		bits = special_itself(&inner);
		if (bits)
			bits += c->at * 8 - V4_BITS;
	}
	return bits;
}

/* ---- reading a rule ---- */

static bool read_number(const char *text, unsigned max, unsigned *v)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*v = (unsigned)n;
	return *text >= '0' && *text <= '9' && !*end && n <= max;
}

static bool read_ports(struct allow_rule *r, char *text)
{
	char *dash = strchr(text, '-');
	unsigned first, last;

	if (strcmp(text, "*") == 0) {
		r->first = 1;
		r->last = UINT16_MAX;
		return true;
	}
	if (dash)
		*dash++ = 0;
	if (!read_number(text, UINT16_MAX, &first) ||
	    !read_number(dash ? dash : text, UINT16_MAX, &last) || !first || last < first)
		return false;
	r->first = (uint16_t)first;
	r->last = (uint16_t)last;
	return true;
}

/* A host name: letters, digits, "-", "_" and ".", with no number as the last label. */
static bool read_name(struct allow_rule *r, const char *text)
{
	size_t len = strlen(text);
	const char *last = strrchr(text, '.');

	last = last ? last + 1 : text;
	if (!len || len >= sizeof(r->name) || strspn(last, "0123456789") == strlen(last) ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
		    len)
		return false;
	memcpy(r->name, text, len + 1);
	return true;
}

/* "ADDRESS", "ADDRESS/BITS", "[ADDRESS]", "[ADDRESS]/BITS" or "[ADDRESS/BITS]". */
static bool read_net(struct allow_rule *r, char *text)
{
	char *slash = strchr(text, '/'), *close;
	unsigned all, bits;

	if (*text == '[') {
		close = strchr(text, ']');
		if (!close || (close[1] && close + 1 != slash))
			return false;
		text++;
		*close = 0;
	} else if (strchr(text, ':')) {
		return false; /* IPv6 without brackets: the start of the port would be ambiguous */
	}
	if (slash)
		*slash++ = 0;
	all = read_address(&r->net, text);
	if (!all)
		return false;
	bits = all;
	if (slash && !read_number(slash, all, &bits))
		return false;
	r->bits = (uint8_t)(bits + (128 - all));
	for (unsigned i = r->bits; i < 128; i++) /* 10.1.2.3/8 is 10.0.0.0/8 */
		r->net.b[i / 8] &= (uint8_t) ~(0x80u >> (i % 8));
	return true;
}

bool allow_read(struct allow_rule *r, const char *text)
{
	char copy[ALLOW_TEXT_MAX], *colon;
	size_t len = strlen(text);

	memset(r, 0, sizeof(*r));
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len + 1);
	memcpy(r->text, text, len + 1);
	colon = strrchr(copy, ':');
	if (!colon)
		return false;
	*colon = 0;
	if (!read_ports(r, colon + 1))
		return false;
	if (strpbrk(copy, "[/"))
		return read_net(r, copy);
	return read_net(r, copy) || read_name(r, copy);
}

/* ---- asking ---- */

static bool has_port(const struct allow_rule *r, uint16_t port)
{
	return port >= r->first && port <= r->last;
}

bool allow_address(const struct allow_rule *rules, unsigned n, const struct allow_addr *a,
		   uint16_t port)
{
	unsigned special = special_bits(a);

	for (unsigned i = 0; i < n; i++)
		if (!*rules[i].name && has_port(&rules[i], port) && rules[i].bits >= special &&
		    is_v4(&rules[i].net) == is_v4(a) && in_net(a, &rules[i].net, rules[i].bits))
			return true;
	return false;
}

static bool same_name(const char *a, const char *b)
{
	size_t len = strlen(a), other = strlen(b);

	len -= len && a[len - 1] == '.';
	other -= other && b[other - 1] == '.';
	return len == other && strncasecmp(a, b, len) == 0;
}

bool allow_name(const struct allow_rule *rules, unsigned n, const char *name, uint16_t port)
{
	for (unsigned i = 0; i < n; i++)
		if (*rules[i].name && has_port(&rules[i], port) && same_name(rules[i].name, name))
			return true;
	return false;
}

bool allow_some(const struct allow_rule *rules, unsigned n, uint16_t port)
{
	for (unsigned i = 0; i < n; i++)
		if (!*rules[i].name && has_port(&rules[i], port))
			return true;
	return false;
}

bool allow_resolved(const struct allow_rule *rules, unsigned n, const struct allow_addr *a,
		    uint16_t port)
{
	return !special_bits(a) || allow_address(rules, n, a, port);
}
