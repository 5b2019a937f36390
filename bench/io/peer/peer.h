/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A foreign vhost-user-vsock backend as a target (--peer).
 *
 * Theory of operation
 * -------------------
 * The backend is already running and is not ours. We know its vhost-user socket and its hybrid
 * Unix socket UDS, with Firecracker's convention: a host program connects to UDS and writes
 * "CONNECT port\n", and the answer is "OK port\n"; a guest's connection to host port P arrives at
 * the socket UDS_P, on which the host program listens. So there are three processes:
 *
 *     guest side                    backend              host program
 *     libzvsock, vhost-user: URI == virtqueues == ? ==== AF_UNIX stream, blocking
 *
 * The guest side is forked once and keeps its device through all cells (peer_guest.c). The host
 * program is forked for each cell (peer_host.c) and uses its socket as the AF_UNIX baseline does.
 * target/peer.c starts both and combines their figures; peer_daemon.c measures and pins the
 * backend's process. What the two do in a cell is in the workload's file.
 *
 * The side that sends, or that counts connections, opens the connection; in round trips the guest
 * does. What the two programs must know of each other, such as how much was sent, goes through
 * shared memory, because backends differ in how they carry the end of a stream.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "core/workload.h"
#include "io/sock/stream_io.h"
#include "io/zv/zv_side.h"

#include <sched.h>
#include <sys/types.h>
#include <time.h>

/* Ports on either side. */
#define PEER_PORT_DATA 5200u
#define PEER_PORT_CONN 5202u

/* With two CPUs: whose place the host program and the backend have. */
static inline enum bench_role peer_host_place(const struct bench_opts *o)
{
	return o->backend == BACKEND_ALONE ? ROLE_GUEST : ROLE_HOST;
}

static inline enum bench_role peer_backend_place(const struct bench_opts *o)
{
	return o->backend == BACKEND_GUEST ? ROLE_GUEST : ROLE_HOST;
}

/* Shared by the parent, the guest side and the host program. */
struct peer_shm {
	struct bench_opts o; /* as given, but for the duration of the first, short runs */
	struct bench_peer peer;
	struct bench_cell cell;
	struct side_stats side[2];
	struct rtt_result rtt;
	struct bench_facts facts;
	uint64_t total; /* messages or connections there are in all; 0: not known yet */
	int daemon_pid; /* who made the hybrid socket; 0: not known */
	struct proc_err err[2];
};

/* ---- peer_guest.c, peer_host.c: children; @arg is struct peer_shm ---- */

int peer_guest_main(int fd, void *arg);
int peer_host_main(int fd, void *arg);

/* Takes the next connection on @port. 0 or -errno. */
int peer_accept(struct worker *w, uint32_t port, struct zv_conn **zc);

/*
 * Connects to the hybrid socket and asks for @port; waits for the answer "OK port\n". Nothing else
 * can follow it: the guest side does not speak first. A descriptor, 0; -errno with a sentence.
 */
int peer_host_ask(struct peer_shm *sh, unsigned port);
int peer_host_answer(struct peer_shm *sh, int fd);
/*
 * Gets the connection of the cell, from the listener or, where that is -1, from the hybrid socket,
 * and does @fn with it. 0 or -errno.
 */
int peer_host_data(struct peer_shm *sh, int listen_fd,
		   void (*fn)(struct stream_io *s, unsigned char *buf, size_t cap));

/* Removes what a host program that was killed after its 'r' has left. */
void peer_host_clean(const struct peer_shm *sh);

/* ---- peer_daemon.c ---- */

#define PEER_TASKS_MAX 256u

struct peer_daemon {
	pid_t pid; /* 0: none */
	clockid_t clock;
	bool has_clock;
	unsigned ntasks; /* whose CPUs were changed */
	struct {
		pid_t tid;
		cpu_set_t cpus;
	} task[PEER_TASKS_MAX];
};

void peer_daemon_init(struct peer_daemon *d, pid_t pid);
/* User + system time of the process so far, ns; 0 when it cannot be read. */
uint64_t peer_daemon_cpu_ns(const struct peer_daemon *d);
/* Puts all its threads on @cpu. 0; -errno, and nothing is changed. */
int peer_daemon_pin(struct peer_daemon *d, int cpu);
/* Gives them back the CPUs that they had. */
void peer_daemon_unpin(struct peer_daemon *d);

#endif
