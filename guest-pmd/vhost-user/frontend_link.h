/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device at the other end of a vhost-user socket: functions of struct guest_link_ops for the
 * transports that use one. Such a device embeds struct frontend_dev as the first member.
 */
#ifndef ZV_FRONTEND_LINK_H
#define ZV_FRONTEND_LINK_H

#include "frontend.h"
#include "transport/guest_dev.h"

struct frontend_dev {
	struct guest_dev g; /* first */
	struct frontend fe;
};

/* Connects to the socket's path, and negotiates. */
int frontend_link_connect(struct guest_dev *g);
/*
 * The same with the connected stream socket @fd, which the link owns from now on and makes
 * non-blocking: a backend that does not answer must not block its frontend.
 */
int frontend_link_adopt(struct guest_dev *g, int fd);
int frontend_link_start(struct guest_dev *g);
int frontend_link_set_memory(struct guest_dev *g);
void frontend_link_disconnect(struct guest_dev *g);
int frontend_link_read_cid(struct guest_dev *g);
int frontend_link_fd(struct guest_dev *g);
const char *frontend_link_lost(struct guest_dev *g);

#endif
