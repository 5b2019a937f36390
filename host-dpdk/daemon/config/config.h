/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration of zvsockd as plain data: read from a file and the command line, checked once
 * as a whole, and never changed afterwards. A reload reads a new one.
 *
 * Theory of operation
 * -------------------
 * The keys of [daemon], and those common to every [guest NAME] and [device NAME], are defined here.
 * The two kinds of section describe the two ends of the same thing: zvsockd is the host of a guest,
 * or it is the guest, on a device that it drives. So a device is a struct cfg_guest as well;
 * cfg_roles[] lists the differences, and a key says which of the two does not have it, and why.
 * Where connections go is defined by the endpoint types: each has a struct cfg_part with keys of
 * its own, their checks, and what --check prints (config_part.h). cfg_load() gets the list of parts
 * and treats all keys alike; nothing here distinguishes the types.
 *
 * Every value has been checked when cfg_load() returns 0: ranges, duplicates, paths that fit into a
 * sockaddr_un, CIDs that are not reserved; groups exist by being named. docs/daemon.md and
 * zvsock.conf(5) list the keys.
 */
#ifndef ZVD_CONFIG_H
#define ZVD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

#define CFG_PATHS_MAX  16u /* devices of a guest; if several, one per queue pair */
#define CFG_NAME_MAX   32u
#define CFG_PATH_MAX   108u /* including the final 0, as sun_path */
#define CFG_SCHEME_MAX 16u

#define CFG_PARTS_MAX 11u /* endpoint types: config_part.h */

#define CFG_APP_IDS_MAX	  32u /* users, and groups, that may attach applications */
#define CFG_APP_PORTS_MAX 16u /* ranges of ports for them */

#define CFG_SPACE_SOCKETS 4u  /* of a drop-in directory */
#define CFG_SPACE_IDS_MAX 16u /* users, and groups, that may bind low ports */

struct cfg_part;

/* The role of zvsockd for a guest. */
enum cfg_role {
	CFG_AS_HOST,  /* [guest NAME]: its host */
	CFG_AS_GUEST, /* [device NAME]: the guest itself */
	CFG_APP,      /* an attached host application: no section, cfg_app_new() */
	CFG_ROLES
};

struct cfg_role_info {
	const char *section; /* "guest", "device": of the file, of the command line, in words */
	bool attached;	     /* comes and goes by itself; there is no such section */
	bool any_cid;	     /* the peer may connect to CIDs that are not ours */
	bool host_ports;     /* the peer reaches applications that listen on ports of the host */
	bool broker;	     /* its driver can be given channels */
	const char *ours, *peer;       /* whose programs are on our side and on the other */
	const char *device;	       /* name of one of cfg_guest.devices in messages */
	const char *verbs[2];	       /* what is done with one, by cfg_guest.client */
	const char *scheme;	       /* of all its devices; NULL: from the key uri */
	bool client;		       /* always client: the other side listens */
	uint64_t own_cid;	       /* our CID for the peer; 0: whatever the device says */
	uint64_t peer_cid;	       /* for zv_connect() to the other end */
	const char *down;	       /* reason when no ring runs: nobody can be reached */
	unsigned fds_device, fds_pair; /* maximum descriptors of a device, and per queue pair */
	struct {
		const char *key, *how;
	} needs[2]; /* required keys, and what to write */
};

extern const struct cfg_role_info cfg_roles[CFG_ROLES];

/*
 * A drop-in directory, where AF_VSOCK programs find zvsockd (api/proto/local/dropin_msg.h):
 * af_vsock and af_vsock_*. Guests with the same directory are one namespace, and applications
 * belong to that of [daemon]. While a file is read, values that a guest does not set come from
 * [daemon]; afterwards the structure is complete.
 */
struct cfg_space {
	char dir[CFG_PATH_MAX]; /* "": none */
	mode_t mode;		/* of the sockets in it */
	uid_t uid;		/* their owner; -1: as created */
	gid_t gid;
	uint32_t low_users[CFG_SPACE_IDS_MAX], low_groups[CFG_SPACE_IDS_MAX];
	unsigned n_low_users, n_low_groups; /* who, besides root, may bind ports below 1024 */
	char sockets[CFG_SPACE_SOCKETS][CFG_PATH_MAX]; /* "ask", "stream", "seqpacket", "dgram" */
	uid_t becomes;				       /* user that zvsockd switches to; -1: none */
	bool apps; /* there may be applications, and this is the directory of [daemon] */
};

struct cfg_guest {
	char name[CFG_NAME_MAX];
	enum cfg_role role;
	char origin[160]; /* "FILE:LINE" or "--guest", for messages; the application's process */
	uint64_t cid;	  /* 0: taken from the device */
	char scheme[CFG_SCHEME_MAX];
	char devices[CFG_PATHS_MAX][CFG_PATH_MAX]; /* vhost-user sockets, PCI addresses... */
	unsigned n_devices;
	bool client;	    /* connect to the VMM's socket instead of listening */
	bool disk;	    /* guest memory may be files on local disks */
	uint32_t queues;    /* queue pairs; if several devices: their number */
	uint32_t ring_size; /* for devices where it can be chosen; 0: default */
	uint32_t buf_alloc; /* receive credit of a connection, bytes */
	uint32_t rx_memory; /* of all connections together, bytes; 0: as zv_opts has it */
	uint32_t max_conns; /* connections of a queue */
	uint32_t programs;  /* programs on the guest's own driver that may have channels */
	uint32_t connect_timeout_ms;
	uint32_t tx_timeout_ms;		/* until a device that accepts nothing is reset */
	uint32_t region;		/* bytes that QEMU shares between the VM and us; 0: none */
	char region_path[CFG_PATH_MAX]; /* the file behind them */
	uint32_t region_kind;		/* enum cfg_region_kind */
	mode_t socket_mode;		/* of the vhost-user and hybrid sockets */
	bool has_user;	  /* it belongs to a user, who counts with all that is theirs: */
	uid_t app_uid;	  /* the user of an application */
	uid_t socket_uid; /* -1: as created; never so with user or group in [daemon] */
	gid_t socket_gid;
	struct cfg_space space;
	void *part[CFG_PARTS_MAX]; /* values of the keys of cfg.parts[i]; NULL: it has none */
	unsigned n_ports;	   /* ranges of host ports taken by parts */
	bool any_port;		   /* a part serves all remaining ports */
};

/* How the VM gets its region. */
enum cfg_region_kind {
	CFG_NVDIMM,
	CFG_IVSHMEM,
	CFG_VIRTIO, /* shared memory of the vsock device, created by zvsockd and sent to the VMM */
	CFG_REGION_KINDS,
};

extern const char *const cfg_region_kinds[CFG_REGION_KINDS]; /* their names */

/* Who may attach host applications, and what they may do: applications and application_*. */
struct cfg_apps {
	char path[CFG_PATH_MAX]; /* of the client socket; "": none */
	mode_t mode;
	uid_t uid; /* owner; -1: as created */
	gid_t gid;
	uint32_t users[CFG_APP_IDS_MAX], groups[CFG_APP_IDS_MAX];
	unsigned n_users, n_groups; /* both 0: anybody who may connect to the socket */
	struct {
		uint32_t first, last;
	} ports[CFG_APP_PORTS_MAX]; /* that may be listened on */
	unsigned n_ports;	    /* 0: all */
	uint32_t region;	    /* bytes of the region for channels among them; 0: none */
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
	struct cfg_apps apps;
	uint32_t channel_size;	     /* bytes; 0: by the size of the region */
	uint32_t channel_timeout_ms; /* for a driver to map a region */
	struct cfg_space space;	     /* of applications; default for guests */
	struct cfg_guest *guests;
	unsigned n_guests;
	const struct cfg_part *const *parts; /* define the guests' other keys; ends with NULL */
	void *part[CFG_PARTS_MAX];	     /* state of cfg.parts[i] for all guests together */
};

/*
 * Reads @file (NULL: none) and then the command line words in @extra (NULL, or an array that ends
 * with NULL), as typed: "--guest=name=NAME,KEY=VALUE,...", "--device=" likewise, and
 * "--set=[SECTION.]KEY=VALUE", where SECTION is "daemon", the default, or the name of a guest or
 * device. On success *out is complete and owned by the caller until cfg_free; @parts
 * (config_part.h) are those of the endpoint types. A host name that cannot be resolved is not a
 * fault; it only keeps its guest from being started (cfg_trouble()). Otherwise -EINVAL (or -ENOMEM,
 * or the errno of the file), and every fault found has been written to @err, one per line:
 * "FILE:LINE: what; how to mend it".
 */
int cfg_load(struct cfg **out, const struct cfg_part *const *parts, const char *file,
	     char *const *extra, FILE *err);
void cfg_free(struct cfg *c);

/*
 * Creates the configuration of an attached application, as if it had a section. @name and @device:
 * less than CFG_NAME_MAX and CFG_PATH_MAX bytes; @queues. NULL: no memory. @c is not needed
 * afterwards.
 */
struct cfg_guest *cfg_app_new(const struct cfg *c, const char *name, const char *device,
			      unsigned queues);
void cfg_app_free(struct cfg_guest *g);

/* May a process of @uid, which is in the groups @gids, attach; may applications listen on @port? */
bool cfg_app_admits(const struct cfg_apps *a, uid_t uid, const gid_t *gids, unsigned n_gids);
bool cfg_app_port(const struct cfg_apps *a, uint32_t port);

/* May a process of @uid, which is in the groups @gids, bind ports below 1024? Root may always. */
bool cfg_space_low(const struct cfg_space *s, uid_t uid, const gid_t *gids, unsigned n_gids);

/* Maximum number of VMMs attached at a time: the vhost-user sockets of the guests of @c. */
unsigned cfg_vmms(const struct cfg *c);

/* Maximum memory mappings that these make the process have (vu_limits.h). */
uint64_t cfg_vmm_maps(const struct cfg *c);

/* Prints what a daemon with this configuration would do. */
void cfg_print(const struct cfg *c, FILE *to);

/* Writes what currently keeps guests from being started, one per line. Returns their number. */
unsigned cfg_print_troubles(const struct cfg *c, FILE *to);

/*
 * Looking up host names takes a while. cfg_ask() starts look-ups for names without an address,
 * unless that is in progress: 0, -ENOMEM. cfg_answers() waits up to @ms and processes the answers
 * that have come; true: nothing is outstanding.
 */
int cfg_ask(struct cfg *c);
bool cfg_answers(struct cfg *c, unsigned ms);

/* Why the guest cannot be started now: it lacks an address. NULL: it can. */
const char *cfg_trouble(const struct cfg *c, const struct cfg_guest *g);

/* A running guest continues with the equal configuration @to: keeps the addresses looked up for
 * @from. */
void cfg_keep(const struct cfg *c, struct cfg_guest *to, const struct cfg_guest *from);

/* Name of the i-th device of @g in the URI of zv_open() and in messages: "vfio:0000:00:02.0"; for a
 * vhost-user socket that we serve, its path alone; for an attached application, its process. */
void cfg_device_name(const struct cfg_guest *g, unsigned i, char *buf, size_t len);
#define CFG_DEVICE_NAME_MAX (CFG_SCHEME_MAX + CFG_PATH_MAX)

/* The i-th socket created in the file system for the guest; NULL: no more. */
const char *cfg_made_socket(const struct cfg *c, const struct cfg_guest *g, unsigned i);

/* True if nothing that a running guest depends on differs, so a reload leaves it alone. The
 * addresses of host names do not count: name servers may answer in another order each time. */
bool cfg_guest_same(const struct cfg *c, const struct cfg_guest *a, const struct cfg_guest *b);

/* Whether there are applications is decided at the start. If only one of the two has the key, @c
 * gets all that @running says about them, so that a reload neither ends them nor drops the
 * restrictions on who may attach. */
void cfg_keep_apps(struct cfg *c, const struct cfg *running);

/* The keys of [daemon] that differ and need a restart, separated by commas; "": none. */
void cfg_fixed_keys(const struct cfg *a, const struct cfg *b, char *buf, size_t len);

#endif
