/* SPDX-License-Identifier: BSD-3-Clause */
#include "dns.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/di_tcp.h"

#define HEADER	  12u
#define LABEL_MAX 63u
#define RECORD	  16u /* an A record whose name is a pointer */
#define TTL_SEC	  1u  /* a repeated query for the name gets the same address */
#define STACK	  (64u << 10)

enum {
	TYPE_A = 1,
	CLASS_IN = 1,
	NO_ERROR = 0,
	FORMAT_ERROR = 1,
	SERVER_FAILURE = 2,
	NOT_KNOWN = 4
};

/* ---- messages (RFC 1035, section 4) --------------------------------------------------------- */

static unsigned get16(const unsigned char *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static unsigned char *put16(unsigned char *at, unsigned value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
	return at + 2;
}

/* Reads the name in the question as text, without a final dot. Returns the offset in @query after
 * it; 0: invalid. */
static size_t read_name(const unsigned char *query, size_t len, char name[static DI_TCP_NAME_MAX])
{
	size_t at = HEADER, n = 0;

	while (at < len && query[at]) {
		size_t part = query[at++];

		if (part > LABEL_MAX || part >= len - at || n + part + 2 > DI_TCP_NAME_MAX)
			return 0;
		if (n)
			name[n++] = '.';
		for (; part; part--, at++) {
			if (query[at] <= ' ' || query[at] > '~' || query[at] == '.')
				return 0;
			name[n++] = (char)query[at];
		}
	}
	name[n] = '\0';
	return n && at < len ? at + 1 : 0;
}

/* "localhost" and its subdomains are always this machine (RFC 6761). */
static bool is_localhost(const char *name)
{
	size_t len = strlen(name), own = strlen("localhost");

	return len >= own && !strcasecmp(name + len - own, "localhost") &&
	       (len == own || name[len - own - 1] == '.');
}

size_t di_dns_answer(const unsigned char *query, size_t len,
		     unsigned char answer[static DI_DNS_BYTES])
{
	char name[DI_TCP_NAME_MAX];
	unsigned char *at;
	uint32_t addr = 0;
	unsigned code = NO_ERROR;
	size_t end;
	bool wanted;

	if (len < HEADER || len > DI_DNS_BYTES - RECORD || query[2] & 0x80)
		return 0;
	if ((query[2] >> 3 & 15) != 0)
		code = NOT_KNOWN;
	end = code == NO_ERROR && get16(query + 4) == 1 ? read_name(query, len, name) : 0;
	if (!end || len - end < 4) {
		end = HEADER;
		code = code ? code : FORMAT_ERROR;
	} else {
		end += 4;
	}
	wanted = !code && get16(query + end - 4) == TYPE_A && get16(query + end - 2) == CLASS_IN;
	if (wanted)
		addr = is_localhost(name) ? INADDR_LOOPBACK : di_tcp_address_for(name);
	if (wanted && !addr)
		code = SERVER_FAILURE;
	memset(answer, 0, HEADER);
	memcpy(answer, query, end);
	answer[2] = (unsigned char)(0x80 | (query[2] & 0x79)); /* an answer; not truncated */
	answer[3] = (unsigned char)(0x80 | code);	       /* recursion is available */
	put16(answer + 4, end > HEADER);
	put16(answer + 6, addr != 0);
	memset(answer + 8, 0, 4);
	at = answer + end;
	if (addr) {
		at = put16(at, 0xc000 | HEADER);
		at = put16(at, TYPE_A);
		at = put16(at, CLASS_IN);
		at = put16(put16(at, 0), TTL_SEC);
		at = put16(at, sizeof(addr));
		at = put16(put16(at, addr >> 16), addr & 0xffff);
	}
	return (size_t)(at - answer);
}

/* ---- the name server ------------------------------------------------------------------------ */

/* False: the program has closed its end. */
static bool serve_one(int fd)
{
	unsigned char query[DI_DNS_BYTES], answer[DI_DNS_BYTES];
	ssize_t n = recv(fd, query, sizeof(query), MSG_DONTWAIT);
	size_t len;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	len = n ? di_dns_answer(query, (size_t)n, answer) : 0;
	if (len) /* lost, like a datagram, if the program does not read */
		(void)!send(fd, answer, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n > 0;
}

static void *serve(void *arg)
{
	int epoll = *(int *)arg;

	for (;;) {
		struct epoll_event e;

		if (epoll_wait(epoll, &e, 1, -1) == 1 && !serve_one(e.data.fd))
			close(e.data.fd);
	}
	return NULL;
}

/* With the lock held, at the first query. */
static int begin(struct di_super *s)
{
	pthread_attr_t attr;
	pthread_t t;
	int rc;

	if (s->dns >= 0)
		return 0;
	s->dns = epoll_create1(EPOLL_CLOEXEC);
	if (s->dns < 0 || pthread_attr_init(&attr))
		return -ENOBUFS;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_attr_setstacksize(&attr, STACK);
	if (!rc)
		rc = pthread_create(&t, &attr, serve, &s->dns);
	pthread_attr_destroy(&attr);
	if (rc) {
		close(s->dns);
		s->dns = -1;
	}
	return -rc;
}

int di_dns_socket(struct di_super *s, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};
	int pair[2], rc;

	/* SEQPACKET: boundaries as of UDP, and the name server sees when the program has closed */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pthread_mutex_lock(&s->lock);
	rc = begin(s);
	pthread_mutex_unlock(&s->lock);
	e.data.fd = pair[1];
	if (!rc && epoll_ctl(s->dns, EPOLL_CTL_ADD, pair[1], &e) < 0)
		rc = -errno;
	if (!rc) {
		di_tcp_keep_options(pair[0], fd);
		return pair[0];
	}
	close(pair[0]);
	close(pair[1]);
	return rc;
}

bool di_dns_is(const void *addr, socklen_t len)
{
	struct sockaddr_in a; /* the port has the same offset in AF_INET6 */

	if (len < sizeof(a))
		return false;
	memcpy(&a, addr, sizeof(a));
	return (a.sin_family == AF_INET || a.sin_family == AF_INET6) &&
	       a.sin_port == htons(DI_DNS_PORT);
}
