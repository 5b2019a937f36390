/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket, which zvsockctl connects to.
 *
 * Theory of operation
 * -------------------
 * A Unix stream socket; whoever may write to its file may use it. Requests and answers are JSON
 * objects, one per line; docs/daemon.md ("The control protocol") lists them. The main thread serves
 * the socket between its other tasks: control_fd() is readable when control_serve() has something
 * to do, and control_serve() never waits for a client. Data that belongs to an lcore is fetched by
 * lcore_call(), a little at a time.
 *
 * A client can be slow, send garbage or disconnect at any time. It costs at most one line of input,
 * one answer and one of CONTROL_CLIENTS places; further clients wait in the backlog, or are turned
 * away if their user has its share of the places (control_user.c). A client that
 * delays us for longer than CONTROL_CLIENT_TIMEOUT_MS is disconnected, unless its capture is
 * running.
 */
#ifndef ZVD_CONTROL_H
#define ZVD_CONTROL_H

struct daemon;
struct guest;

#define CONTROL_CLIENTS 16
/* Descriptors: listener, lock file, epoll set, timer, eventfd, those of captures; for each client
 * its socket, the file of its capture, and one that it has sent since. */
#define CONTROL_FDS		  (8 + 3 * CONTROL_CLIENTS)
#define CONTROL_LINE_MAX	  4096 /* bytes of a request */
#define CONTROL_CLIENT_TIMEOUT_MS 10000

/* Listens on cfg->control_path, which no other daemon may be using; "": nothing to do. 0 or -errno,
 * which has been logged. */
int control_start(struct daemon *d);

/* Ends captures and connections, removes the socket. */
void control_stop(struct daemon *d);

/* Descriptor to poll for reading; -1: there is no control socket. */
int control_fd(const struct daemon *d);
void control_serve(struct daemon *d);

/* For captures: a guest has been added; a guest is about to be removed. */
void control_guest_up(struct daemon *d, struct guest *g);
void control_guest_down(struct daemon *d, struct guest *g);

#endif
