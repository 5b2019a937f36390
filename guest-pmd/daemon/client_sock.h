/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The application's end of zvsockd's client socket: requests and replies
 * (proto/local/client_msg.h).
 *
 * Threads: any. A request holds the lock until the reply has come, at most CLIENT_TIMEOUT_MS.
 */
#ifndef ZV_CLIENT_SOCK_H
#define ZV_CLIENT_SOCK_H

#include "proto/local/client_msg.h"

#include <pthread.h>
#include <sys/un.h>

#define CLIENT_TIMEOUT_MS 30000 /* generous: zvsockd may be slow on a busy machine */

struct client_sock {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	pthread_mutex_t lock; /* fd */
	int fd;		      /* -1: not connected */
};

/* Checks and stores @path. 0; -EINVAL (empty), -ENAMETOOLONG with zv_err() text. */
int client_sock_init(struct client_sock *s, const char *path);
void client_sock_fini(struct client_sock *s);

/* 0; or -errno as unix_connect(). */
int client_unix_connect(struct client_sock *s, int cancel_fd);
/* Harmless when there is no connection. */
void client_sock_close(struct client_sock *s);

/*
 * Sends the request @m and stores the reply in @m. @fd: gets the descriptor that must come with the
 * reply, owned by the caller from then on; NULL: there must be none. 0; or -errno with zv_err()
 * text: the result in the reply, or -ENOTCONN, -EPROTO (zvsockd is gone, silent, or sends an
 * invalid reply), -ECANCELED.
 */
int client_sock_ask(struct client_sock *s, struct client_msg *m, int *fd, int cancel_fd);

#endif
