/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control connection of each pair, which carries HELLO (docs/protocol.md). The guest connects
 * when a session begins and sends HELLO once it is established; the host answers HELLO_ACK. The
 * connection stays open while the session lives; it ends with it.
 *
 * A HELLO or answer that finds no transmit buffer is due (q->hello.due) and tried again by each
 * poll, for hello_timeout. The host counts the guest as zvsock only once its answer is on its way:
 * what relies on a capability then comes behind that answer, never before it.
 *
 * A new message: its form in proto/hello.[ch], what it asks for in hello_data(), what it says of
 * the peer in peer.[ch].
 */
#ifndef ZV_HELLO_CONN_H
#define ZV_HELLO_CONN_H

#include "state.h"

/* A session has begun: the guest says hello on this pair, the host waits for it. */
void hello_start(struct zv_queue *q);
/* Host: a REQUEST for ZV_CTRL_PORT. False: refused, by RST. */
bool hello_accept(struct zv_queue *q, const struct vsock_hdr *h);
void hello_established(struct zv_conn *c);
void hello_data(struct zv_conn *c);
/* Sends the HELLO or answer that is due, if there is a buffer by now. */
void hello_flush(struct zv_queue *q);

#endif
