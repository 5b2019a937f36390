/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket, which zvsockctl connects to.
 *
 * Theory of operation
 * -------------------
 * A Unix stream socket; whoever may write to its file may use it. One JSON object a line goes in,
 * one comes out; docs/daemon.md ("The control protocol") lists them. The main thread serves it
 * between its other work: control_fd() is readable when control_serve() has something to do, and
 * that never waits for a client. What belongs to an lcore is fetched by lcore_call(), a little at a
 * time.
 *
 * A client can be slow, send garbage or leave at any time, and costs at most a line of input, one
 * answer and its place: at most CONTROL_CLIENTS have one, the others wait in the backlog; a client
 * that keeps us waiting for longer than CONTROL_PATIENCE_MS is disconnected, unless its capture
 * runs.
 */
#ifndef ZVD_CONTROL_H
#define ZVD_CONTROL_H

struct daemon;
struct guest;

#define CONTROL_CLIENTS 16
/* Descriptors: listener, lock file, epoll set, timer, eventfd, those of captures; of each client
 * itself, its capture's file, and one that has come since. */
#define CONTROL_FDS	    (8 + 3 * CONTROL_CLIENTS)
#define CONTROL_LINE_MAX    4096 /* bytes of a request */
#define CONTROL_PATIENCE_MS 10000

/* Listens on cfg->control_path, which another daemon must not use; "" is no error. 0 or -errno, and
 * then a line in the log. */
int control_start(struct daemon *d);

/* Ends captures and connections, removes the socket. */
void control_stop(struct daemon *d);

/* To be polled for reading; -1: there is no control socket. */
int control_fd(const struct daemon *d);
void control_serve(struct daemon *d);

/* A guest has been added; a guest is about to be removed. For captures. */
void control_guest_up(struct daemon *d, struct guest *g);
void control_guest_down(struct daemon *d, struct guest *g);

#endif
