/* SPDX-License-Identifier: BSD-3-Clause */
/* An AF_VSOCK program's part of the dialogue with zvsockd (api/proto/local/dropin_msg.h), step by
 * step. Whatever waits polls the guests meanwhile. */
#ifndef DROPIN_SIDE_H
#define DROPIN_SIDE_H

#include "proto/local/dropin_msg.h"
#include "zvd_fixture.h"

/* The drop-in directory, below zf_dir and with a '/' at its end; "": that itself. */
extern const char *ds_space;
/* A daemon with guest a, CID 3, whose port 80 is listened on: the guest's device; NULL. */
extern const char ds_conf[];
struct zv_dev *ds_up(const char *program);
/* A daemon without guests, with a drop-in directory and applications, both of that mode. */
#define DS_APPS_CONF(apps_mode, dir_mode)                                                          \
	"applications = @apps\napplications_mode = " apps_mode "\n"                                \
	"af_vsock = @\naf_vsock_mode = " dir_mode "\nlog_level = debug\n"
/* That daemon, started: an application of two queues, and *ask, for questions; NULL. */
struct zv_dev *ds_up_apps(const char *program, const char *conf, unsigned lcores, int *ask);
/* The daemon still serves, and ends well. */
bool ds_down(void);
/* Connects to DIR/ask, as soon as that is there. -1: it never was. */
int ds_ask(void);
/* Sends the question *m and receives the answer there. False: hung up on. */
bool ds_question(int ask, struct dropin_msg *m);
/* The same in a child, which must not poll its parent's guests: without polling any. False also:
 * the answer is a refusal. */
int ds_ask_alone(void);
bool ds_question_alone(int ask, struct dropin_msg *m);
void ds_send(int ask, const struct dropin_msg *m);
bool ds_answer(int ask, struct dropin_msg *m);
/* A CONNECT, as yet without flags and label. */
void ds_connect_msg(struct dropin_msg *m, int type, uint32_t cid, uint32_t port);
/* A socket with the name @label ("": without); connected to DIR/stream or DIR/seqpacket. */
int ds_socket(int type, const char *label);
int ds_join(int fd, int type);
/* Connects the socket @fd to the abstract name @label. 0, -errno. */
int ds_to(int fd, const char *label);
/* All of it: blocking connect(2). The socket, or -errno. */
int ds_connect(int ask, int type, uint32_t cid, uint32_t port);
/* bind(2) and listen(2): the socket, or -errno; *m is the answer to BIND. */
int ds_listen(int ask, int type, uint32_t cid, uint32_t port, struct dropin_msg *m);
/* The same of a datagram socket, which takes datagrams of anybody, with the key behind them. */
int ds_dgram(int ask, uint32_t cid, uint32_t port, struct dropin_msg *m);
/* From the socket @fd, of which *m is the answer to BIND. False: not all of it was sent. */
bool ds_dgram_send(int fd, const struct dropin_msg *m, uint32_t cid, uint32_t port,
		   const void *data, size_t len);
/* Waits for a datagram: its length without the key; *from: the label of who has sent it. -errno. */
ssize_t ds_dgram_recv(int fd, void *data, size_t len, struct dropin_label *from);
/* Waits until poll(2) of @fd says one of @events. What it says; 0: never. */
short ds_poll(int fd, short events);
/* Polls the guests until @fd has something: is it the end? */
bool ds_hung_up(int fd);
/* Runs @fn in a child, as @uid. Its exit status; -1: it has none. */
int ds_as(uid_t uid, void (*fn)(const struct dropin_msg *m), const struct dropin_msg *m);
/* Reads the label of the peer of @fd, or its own. */
bool ds_peer(int fd, struct dropin_label *l);
bool ds_own(int fd, struct dropin_label *l);
/* A question about the socket of that label. */
void ds_about(struct dropin_msg *m, enum dropin_type type, const char *label);
/* A non-blocking connect(2) behind the answer with @label: the socket, full; *filled is the
 * FILLED that is due. -1: it could not be connected. */
int ds_pending(int type, const char *label, struct dropin_msg *filled);
/* Fills the socket until it takes no more, as a non-blocking connect(2) does. */
void ds_fill(int fd, int type, struct dropin_msg *filled);

#endif
