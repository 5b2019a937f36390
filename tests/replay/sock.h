/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's AF_VSOCK sockets of a trace, by name. Each call: NULL, or what went wrong. */
#ifndef ZV_REPLAY_SOCK_H
#define ZV_REPLAY_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SOCKS	     16u
#define SOCK_NAME    32u
#define SOCK_WAIT_MS 20000

struct sock_set {
	struct sock {
		char name[SOCK_NAME];
		int fd;
		uint32_t port; /* its own */
	} sock[SOCKS];
	unsigned n;
	char wrong[128];
};

/* connect(2) that does not wait: EINPROGRESS. */
const char *sock_connect(struct sock_set *s, const char *name, int type, uint32_t cid,
			 uint32_t port);
/* Waits until poll(2) says something for @events; then SO_ERROR is @err. */
const char *sock_poll(struct sock_set *s, const char *name, short events, int err);
const char *sock_listen(struct sock_set *s, const char *name, int type, uint32_t port);
const char *sock_accept(struct sock_set *s, const char *name, const char *listener);
const char *sock_send(struct sock_set *s, const char *name, const void *data, size_t n);
/* These bytes come, or a message of them; @n 0: the end. */
const char *sock_receive(struct sock_set *s, const char *name, const void *data, size_t n);
const char *sock_shutdown(struct sock_set *s, const char *name, int how);
const char *sock_close(struct sock_set *s, const char *name);
/* False: there is no such socket. */
bool sock_port(const struct sock_set *s, const char *name, uint32_t *port);
void sock_end(struct sock_set *s);

#endif
