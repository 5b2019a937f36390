/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The counters that zvsockctl shows. These tables are the only definition for zvsockctl and the
 * daemon: a line here becomes a member of a structure, a member of the same name in the JSON answer
 * to "stats", and a row of "zvsockctl stats". An exporter in another format would iterate over the
 * arrays below, like control/control_stats.c, which does so for JSON.
 *
 * X(field, GROUP, KIND, meaning). Names are unique within their table. KIND says how a value may
 * change: a COUNTER only grows, a GAUGE is a current value.
 */
#ifndef ZVD_COUNTERS_H
#define ZVD_COUNTERS_H

#include <stdint.h>

/* Per queue: the counters of the library, in the order of struct zv_queue_stats. counters.c asserts
 * that nothing of that structure is missing. */
#define QUEUE_COUNTERS(X)                                                                          \
	X(rx_packets, TRAFFIC, COUNTER, "packets received")                                        \
	X(rx_bytes, TRAFFIC, COUNTER, "payload bytes received")                                    \
	X(tx_packets, TRAFFIC, COUNTER, "packets sent")                                            \
	X(tx_bytes, TRAFFIC, COUNTER, "payload bytes sent")                                        \
	X(rx_copied, TRAFFIC, COUNTER, "packets copied because of the loan limits")                \
	X(tx_no_buffer, TRAFFIC, COUNTER, "times no buffer to send in was free")                   \
	X(tx_no_credit, TRAFFIC, COUNTER, "times there was no credit of the peer")                 \
	X(kicks, TRAFFIC, COUNTER, "notifications sent to the peer")                               \
	X(wakeups, TRAFFIC, COUNTER, "sleeps in zv_wait; an lcore has its own, below")             \
	X(conns_opened, CONNECTIONS, COUNTER, "started from here")                                 \
	X(conns_accepted, CONNECTIONS, COUNTER, "started by the peer and accepted")                \
	X(conns_refused, CONNECTIONS, COUNTER, "refused")                                          \
	X(conns_reset, CONNECTIONS, COUNTER, "ended by a reset")                                   \
	X(conns_timedout, CONNECTIONS, COUNTER, "timed out")                                       \
	X(rst_sent, CONNECTIONS, COUNTER,                                                          \
	  "RST sent: the end of a connection, a refusal, nobody there")                            \
	X(rst_dropped, ERRORS, COUNTER, "RST to stray packets lost: too many waited")              \
	X(rx_bad_hdr, ERRORS, COUNTER, "header too short, unknown operation, bad length")          \
	X(rx_bad_cid, ERRORS, COUNTER, "forged source or foreign destination CID")                 \
	X(rx_bad_type, ERRORS, COUNTER, "unknown socket type, or not the connection's")            \
	X(rx_no_conn, ERRORS, COUNTER, "packets for no connection and no listener")                \
	X(rx_bad_state, ERRORS, COUNTER, "packets that the connection's state forbids")            \
	X(rx_overrun, ERRORS, COUNTER, "payload beyond the credit given")                          \
	X(rx_bad_credit, ERRORS, COUNTER, "credit counters that ran backwards")                    \
	X(rx_bad_chain, ERRORS, COUNTER, "descriptor chains refused")                              \
	X(ring_broken, ERRORS, COUNTER, "times a ring was declared broken")                        \
	X(sessions, TRAFFIC, COUNTER, "times the rings were started")                              \
	X(rx_late, CONNECTIONS, COUNTER, "packets that crossed the end of their connection")       \
	X(rx_promised, TRAFFIC, GAUGE, "bytes of rx_memory promised to open connections")          \
	X(rx_private, TRAFFIC, GAUGE, "bytes of memory that hold payload not yet taken")           \
	X(chans, TRAFFIC, GAUGE, "connections whose payload goes through shared memory")           \
	X(chan_broken, ERRORS, COUNTER, "peers that broke their channel: connection reset")        \
	X(chan_rings, TRAFFIC, COUNTER, "wake-ups of a channel's other end, past the device")      \
	X(dgram_dropped, ERRORS, COUNTER, "datagrams lost: their port's queue was full")           \
	X(dgram_unbound, ERRORS, COUNTER, "datagrams lost: nobody has bound their port")           \
	X(loan_limit, ERRORS, COUNTER, "sessions over: loans keep too much of the peer's memory")

/*
 * Per guest: its endpoints and what carries their connections. JSON: "endpoints". The names assume
 * that zvsockd is the host of a guest. If it is the guest ([device NAME]), "host_" still means the
 * programs on this side, and "guest_" the other end of the device.
 */
#define GUEST_COUNTERS(X)                                                                          \
	X(host_accepted, CONNECTIONS, COUNTER, "connections taken from local programs")            \
	X(host_joined, CONNECTIONS, COUNTER, "of those, joined with a connection to the peer")     \
	X(host_refused, CONNECTIONS, COUNTER, "of those, refused by the peer or not answered")     \
	X(guest_requests, CONNECTIONS, COUNTER, "connections asked for by the peer")               \
	X(guest_joined, CONNECTIONS, COUNTER, "of those, joined with a local program")             \
	X(sock_promised, TRAFFIC, GAUGE,                                                           \
	  "bytes that sockets may hold until programs read them: rx_memory, and some each")        \
	X(channel_granted, CONNECTIONS, COUNTER, "connections with others here, by a channel")     \
	X(channel_no_room, CONNECTIONS, COUNTER,                                                   \
	  "relayed: no room in the region, no share, or its pages take long")                      \
	X(channel_declined, CONNECTIONS, COUNTER, "relayed: a driver has not mapped the region")   \
	X(channel_failed, ERRORS, COUNTER, "reset: an end of the channel could not be granted")    \
	X(channel_bad_msg, ERRORS, COUNTER, "answers about regions or channels it does not have")  \
	X(programs, CONNECTIONS, GAUGE, "programs on the guest's own driver with channels")        \
	X(program_refused, ERRORS, COUNTER, "such programs refused: port, or key programs")        \
	X(program_bad_msg, ERRORS, COUNTER, "such programs that sent nonsense: reset")             \
	X(claim_ignored, ERRORS, COUNTER, "claims of such programs that others had, or too many")  \
	X(bad_connect_line, ERRORS, COUNTER, "programs whose first line was no CONNECT")           \
	X(connect_line_timeout, ERRORS, COUNTER, "programs that sent no whole line in time")       \
	X(connect_line_closed, ERRORS, COUNTER, "programs that left before their line was whole")  \
	X(no_endpoint, ERRORS, COUNTER, "refused: nothing is configured for the port")             \
	X(sibling_denied, ERRORS, COUNTER, "refused: no guest of a shared group has the CID")      \
	X(dgram_passed_on, TRAFFIC, COUNTER, "datagrams to guests and applications passed on")     \
	X(dgram_lost, ERRORS, COUNTER, "datagrams lost: nobody there, no datagrams, no room")      \
	X(sibling_share, ERRORS, COUNTER, "refused: who asked has its share of max_conns")         \
	X(connect_refused, ERRORS, COUNTER, "refused: nobody listens at the endpoint")             \
	X(connect_failed, ERRORS, COUNTER, "refused: the endpoint could not be reached")           \
	X(connect_timeout, ERRORS, COUNTER, "refused: the endpoint did not accept in time")        \
	X(low_port_denied, ERRORS, COUNTER, "refused: port below 1024 and server not privileged")  \
	X(af_vsock_unclaimed, ERRORS, COUNTER, "connections whose program did not come: reset")    \
	X(af_vsock_denied, ERRORS, COUNTER, "refused: another user has the label of a port")       \
	X(app_not_admitted, ERRORS, COUNTER, "refused: programs that may not attach here")         \
	X(af_vsock_dgrams, TRAFFIC, COUNTER, "datagrams carried between the peer and programs")    \
	X(af_vsock_dgrams_lost, ERRORS, COUNTER, "datagrams lost: nobody at the port, or no room") \
	X(tcp_out_denied, ERRORS, COUNTER, "refused: no rule of tcp_allow has the address")        \
	X(tcp_out_bad, ERRORS, COUNTER, "tcp_out: not SOCKS5, or no request: reset")               \
	X(fds_passed, ERRORS, COUNTER, "connections of programs that sent descriptors: reset")     \
	X(fd_limit, ERRORS, COUNTER, "refused: no descriptor left")                                \
	X(no_memory, ERRORS, COUNTER, "refused: no memory left")                                   \
	X(mem_rests, ERRORS, COUNTER, "times a queue rested: its memory made an lcore sleep")      \
	X(host_resets, ERRORS, COUNTER, "connections that the program's side reset")               \
	X(guest_resets, ERRORS, COUNTER, "connections that the peer reset")                        \
	X(msg_too_long, ERRORS, COUNTER,                                                           \
	  "connections reset: a message was too long to be carried")                               \
	X(msg_empty, ERRORS, COUNTER, "empty messages left out: the peer cannot take them")

/* Per lcore. */
#define LCORE_COUNTERS(X)                                                                          \
	X(rounds, TRAFFIC, COUNTER, "turns over its queues")                                       \
	X(sleeps, TRAFFIC, COUNTER, "sleeps in io_uring")                                          \
	X(dgrams_lost, ERRORS, COUNTER,                                                            \
	  "datagrams of AF_VSOCK programs lost, and in no guest's counters")

enum counter_group { COUNTER_TRAFFIC, COUNTER_CONNECTIONS, COUNTER_ERRORS, COUNTER_GROUPS };

enum counter_kind { KIND_COUNTER, KIND_GAUGE };

struct counter {
	const char *name;
	enum counter_group group;
	enum counter_kind kind;
	const char *meaning;
};

#define COUNTER_FIELD(field, group, kind, meaning) uint64_t field;
struct guest_counters {
	GUEST_COUNTERS(COUNTER_FIELD)
};
struct lcore_counters {
	LCORE_COUNTERS(COUNTER_FIELD)
};

#define COUNTER_NUMBER(field, group, kind, meaning) +1
enum {
	N_QUEUE_COUNTERS = 0 QUEUE_COUNTERS(COUNTER_NUMBER),
	N_GUEST_COUNTERS = 0 GUEST_COUNTERS(COUNTER_NUMBER),
	N_LCORE_COUNTERS = 0 LCORE_COUNTERS(COUNTER_NUMBER),
};

/* The tables as arrays: entry i describes the i-th uint64_t of struct zv_queue_stats, struct
 * guest_counters and struct lcore_counters. */
extern const struct counter queue_counters[N_QUEUE_COUNTERS], guest_counters[N_GUEST_COUNTERS],
	lcore_counters[N_LCORE_COUNTERS];

#endif
