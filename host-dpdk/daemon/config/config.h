/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What zvsockd is told: the configuration as plain data, read by config.c from a file and the
 * command line, checked once as a whole, and never changed afterwards. A reload reads another one.
 *
 * Every value has been checked when cfg_load() returns 0: ranges, duplicates, paths that fit into a
 * sockaddr_un, CIDs that are not reserved, groups that exist by being named. docs/daemon.md and
 * zvsock.conf(5) list the keys.
 */
#ifndef ZVD_CONFIG_H
#define ZVD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

#define CFG_PATHS_MAX  16u /* sockets of a guest: one a queue pair when there are several */
#define CFG_GROUPS_MAX 16u
#define CFG_NAME_MAX   32u
#define CFG_PATH_MAX   108u /* with the final 0, as sun_path */

/* tcp = PORT=HOST:TARGET: connections of the guest to host port PORT go to HOST:TARGET. */
struct cfg_tcp {
	uint32_t port;
	char host[256]; /* a name or an address, without brackets */
	uint16_t target;
	/* host and target, looked up by lookup.h: never for a connection */
	struct sockaddr_storage addr;
	socklen_t addr_len; /* 0: not resolved yet */
};

/* A range of vsock ports, both ends included. */
struct cfg_ports {
	uint32_t first, last;
};

enum cfg_service { CFG_ECHO, CFG_DISCARD, CFG_SOURCE };

struct cfg_builtin {
	enum cfg_service service;
	uint32_t port;
};

struct cfg_guest {
	char name[CFG_NAME_MAX];
	char origin[160]; /* "FILE:LINE" or "--guest", for messages */
	uint64_t cid;
	char sockets[CFG_PATHS_MAX][CFG_PATH_MAX]; /* vhost-user sockets */
	unsigned n_sockets;
	bool client;	    /* connect to the VMM's socket instead of listening */
	uint32_t queues;    /* queue pairs; with several sockets as many as there are sockets */
	uint32_t ring_size; /* for qemu-args of devices that let one choose; 0: the device's own */
	uint32_t buf_alloc; /* receive credit of a connection, bytes */
	uint32_t rx_memory; /* of all connections together, bytes; 0: as zv_opts has it */
	uint32_t max_conns; /* connections of a queue */
	uint32_t connect_timeout_ms;
	mode_t socket_mode; /* of the vhost-user and hybrid sockets */
	uid_t socket_uid;   /* -1: as created; never so with user or group in [daemon] */
	gid_t socket_gid;
	uid_t *low_uids; /* who, besides root, may serve host ports below 1024 */
	unsigned n_low_uids;
	gid_t *low_gids;
	unsigned n_low_gids;
	/* guests that share one may talk to each other */
	char groups[CFG_GROUPS_MAX][CFG_NAME_MAX];
	unsigned n_groups;

	/* endpoints; a port is looked up in this order: builtin, tcp, vsock, unix. In the order of
	 * their ports, which do not overlap: cfg_builtin_at() and the like */
	char unix_path[CFG_PATH_MAX]; /* "": none */
	struct cfg_tcp *tcp;
	unsigned n_tcp;
	struct cfg_ports *vsock; /* ports forwarded to the host's AF_VSOCK, local CID */
	unsigned n_vsock;
	struct cfg_builtin *builtin;
	unsigned n_builtin;
	char *trouble; /* NULL, or why the guest cannot be started as things are: lookup.h */
};

struct cfg {
	int cpus[64]; /* one lcore thread on each; -1: not pinned */
	unsigned n_cpus;
	bool busy_poll;	   /* lcores never sleep */
	uint32_t spin_us;  /* how long an idle lcore polls before it sleeps */
	int log_level;	   /* enum zv_log_level */
	uint32_t drain_ms; /* SIGTERM: longest wait for connections to end */
	uint32_t max_fds;  /* descriptors a guest's connections may hold; 0: no limit of its own */
	char user[CFG_NAME_MAX]; /* "": stay who we are */
	char group[CFG_NAME_MAX];
	char control_path[CFG_PATH_MAX]; /* control socket for zvsockctl; "": none */
	mode_t control_mode;
	struct cfg_guest *guests;
	unsigned n_guests;
	struct lookup *lookup; /* NULL: none under way */
};

/*
 * Reads @file (NULL: none) and then the command line's words in @extra (NULL, or an array that ends
 * with NULL), as typed: "--guest=name=NAME,KEY=VALUE,..." and "--set=[SECTION.]KEY=VALUE", where
 * SECTION is "daemon", the default, or the name of a guest. On success *out is complete and owned
 * by the caller until cfg_free; a host name that cannot be resolved is no fault, but its guest's
 * trouble. Otherwise -EINVAL (or -ENOMEM, or the errno of the file), and every
 * fault found has been written to @err, a line each: "FILE:LINE: what; how to mend it".
 */
int cfg_load(struct cfg **out, const char *file, char *const *extra, FILE *err);
void cfg_free(struct cfg *c);

/* VMMs that the guests of @c could have attached at the same time: their vhost-user sockets. */
unsigned cfg_vmms(const struct cfg *c);

/* What a daemon with this configuration would do, for people. */
void cfg_print(const struct cfg *c, FILE *to);

/* Writes what keeps guests from being started as things are, a line each. Their number. */
unsigned cfg_print_troubles(const struct cfg *c, FILE *to);

/* What serves @port of the host, by binary search; NULL: nothing of that kind. */
const struct cfg_builtin *cfg_builtin_at(const struct cfg_guest *g, uint32_t port);
const struct cfg_tcp *cfg_tcp_at(const struct cfg_guest *g, uint32_t port);
const struct cfg_ports *cfg_vsock_at(const struct cfg_guest *g, uint32_t port);
/* True if low_port_users or low_port_groups names one of the two. */
bool cfg_low_ports_of(const struct cfg_guest *g, uid_t uid, gid_t gid);

/*
 * True if nothing that a running guest depends on differs, so that a reload leaves it alone. What a
 * tcp host's name resolves to does not count: name servers like to shuffle their answers.
 */
bool cfg_guest_same(const struct cfg_guest *a, const struct cfg_guest *b);

/* The keys of [daemon] that differ and that only a restart changes, a list for people; "": none. */
void cfg_fixed_keys(const struct cfg *a, const struct cfg *b, char *buf, size_t len);

#endif
