/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_HOST_URI_H
#define ZV_HOST_URI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOST_PATH_MAX  107 /* bytes of a Unix socket path */
#define HOST_PATHS_MAX 16  /* sockets of a guest: one per queue */

struct host_uri {
	char path[HOST_PATHS_MAX][HOST_PATH_MAX + 1];
	unsigned npaths;
	uint64_t cid;
	bool client;	 /* the VMM listens, we connect */
	int fd;		 /* a connected socket instead of paths; -1: there are paths */
	uid_t user;	 /* with fd: whose program the frontend is; (uid_t)-1: not known */
	int sockmode;	 /* permission bits of the sockets; -1: from the umask */
	uint64_t region; /* bytes of VIRTIO shared memory for the guest; 0: none */
};

/*
 * Parses "PATH[,PATH...],cid=N[,mode=client|server][,sockmode=0660][,region=SIZE]" or
 * "fd=N,cid=N[,name=TEXT][,user=UID]" (the URI after "host:"). All but the first path must contain
 * a '/', so that a misspelt key is not taken for a path. With fd, path[0] is the name, or "fd=N",
 * for messages. 0, or -EINVAL with zv_err() text.
 */
int host_uri_parse(struct host_uri *u, const char *rest);

#endif
