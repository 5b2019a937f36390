/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A real zvsockd in a directory of its own, and guests that are devices of this process: what the
 * tests of its endpoints share.
 *
 * With ZVD_ROLES=exchanged in the environment the same test is about zvsockd as a guest: its
 * configuration says "[device NAME]" and "uri = vhost-user:PATH" for "[guest NAME]", "cid" and
 * "socket", and what zf_guest gives is the host's side of that device.
 */
#ifndef ZVD_FIXTURE_H
#define ZVD_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <zvsock.h>

#define ZF_GUESTS 4u

/* True: zvsockd is the guest. */
bool zf_exchanged(void);

extern char zf_dir[64]; /* with a '/' at its end */
extern pid_t zf_pid;
/* Before zf_start. Not 0: the daemon's limit of descriptors. True: its log goes to a file, for
 * zf_logged(), and to stderr at the end. */
extern unsigned zf_nofile;
extern bool zf_keep_log;
/* Before zf_guest. Not 0: receive credit of its connections. */
extern uint32_t zf_buf_alloc;
/* Before zf_app: ZV_OPT_*. */
extern uint32_t zf_app_flags;
extern uint64_t zf_app_spin_ns; /* 0: the library's default */

/*
 * Starts @program with the configuration @conf, in which every '@' stands for zf_dir. @lcores > 1:
 * that many threads, not pinned. False: it did not come up; its words are on stderr.
 */
bool zf_start(const char *program, const char *conf, unsigned lcores);
/* kill -9 of the daemon; and another one in its place, with the same configuration. */
bool zf_kill(void);
bool zf_start_again(const char *program);
/* Another configuration, and SIGHUP. False: it could not be written. */
bool zf_reload(const char *conf, unsigned lcores);
/* SIGTERM; true if it exits with 0. Removes the directory. Closes all guests first. */
bool zf_stop(void);
/* Guest @i with @queues pairs on socket zf_dir/<name>; waits until it is attached. */
struct zv_dev *zf_guest(unsigned i, const char *name, unsigned queues);
/* The same as a zvsock guest, which says HELLO; zf_guest's are as a stock one. */
struct zv_dev *zf_zvsock_guest(unsigned i, const char *name, unsigned queues);
/* An application of the host in the place of guest @i, on the client socket zf_dir/<name>. */
struct zv_dev *zf_app(unsigned i, const char *name, unsigned queues);
/* Closes guest @i; its connections go with it. */
bool zf_guest_close(unsigned i);
/* One round of all guests' queues; ZV_EV_CONNECT and ZV_EV_ERR are noted behind zv_user. */
void zf_poll(void);
/* Rounds until @done says so. False: not within a long time. */
bool zf_until(bool (*done)(void *arg), void *arg);
/* Waits for a line of the daemon's log that has a match of the extended regular expression @re. */
bool zf_logged(const char *re);
/* Lines that have one now. */
unsigned zf_log_lines(const char *re);
/* The daemon is stopped, and takes all that happens until zf_awake() in one go. */
void zf_asleep(void);
void zf_awake(void);
/* Open descriptors of the daemon. */
unsigned zf_fds(void);
/* Waits until there are no more than @most. False: in vain. */
bool zf_fds_back(unsigned most);

/* Behind zv_set_user of connections that zf_connect and zf_accept give. */
struct zf_conn {
	struct zv_conn *c;
	bool connected;
	int err; /* ZV_EV_ERR or a failed connect */
};

/* Whose CID zvsockd has towards @dev: the host's, or the guest's when roles are exchanged. */
uint64_t zf_daemon_cid(struct zv_dev *dev);

/* Connects and waits for the outcome; ZV_CID_HOST is whoever zvsockd is. NULL: refused; *err (may
 * be NULL) says how. */
struct zf_conn *zf_connect(struct zv_dev *dev, unsigned queue, uint64_t cid, uint32_t port,
			   enum zv_type type, int *err);
/* Waits for a connection to @port on any queue of @dev. */
struct zf_conn *zf_accept(struct zv_dev *dev, uint32_t port);
void zf_close(struct zf_conn *c);
/* Sends all of it, polling. False: an error. */
bool zf_send(struct zf_conn *c, const void *data, size_t len, uint32_t flags);
/* Receives exactly @len bytes (STREAM) or one message; fewer: end of stream, -errno: an error. */
ssize_t zf_recv(struct zf_conn *c, void *data, size_t len, uint32_t *flags);

#endif
