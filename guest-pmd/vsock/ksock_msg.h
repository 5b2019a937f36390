/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sends whole messages (SOCK_SEQPACKET) by a thread per connection, which may block.
 *
 * The owner hands messages over under the sender's lock; the thread sends them one after the other,
 * then shuts down if requested. It leaves its results in the structure, puts itself on the queue's
 * list of news and wakes the owner by the queue's eventfd, whose event ksock_msg_events() handles.
 * Once the owner has let go of it, the thread closes the socket and frees everything.
 */
#ifndef ZV_KSOCK_MSG_H
#define ZV_KSOCK_MSG_H

#include "ksock.h"

/* Takes a packet of a message; @last: it is complete. 0 or -errno: the connection cannot go on. */
int ksock_msg_add(struct ksock_conn *c, const uint8_t *data, uint32_t len, bool last, bool eor);
/* Shuts down after the messages handed over before. */
void ksock_msg_shutdown(struct ksock_conn *c, unsigned shut);
/* Messages are waiting to be sent. */
bool ksock_msg_busy(struct ksock_conn *c);
/* The owner lets go: the thread ends at once and closes the socket. */
void ksock_msg_leave(struct ksock_conn *c);
/* Handles what senders have done since the last call. */
void ksock_msg_events(struct ksock_queue *q);
/* Waits until all threads that were let go have ended. */
void ksock_msg_wait(struct ksock_dev *dev);

#endif
