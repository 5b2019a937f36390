/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names and meanings of the counters that zvsockctl shows, once for the daemon and for the tool.
 *
 * X(field, GROUP, meaning), in the order of struct zv_queue_stats. control_answer.c asserts that
 * nothing of that structure is left out: who adds a counter there adds a line here.
 */
#ifndef ZVD_COUNTERS_H
#define ZVD_COUNTERS_H

#define QUEUE_COUNTERS(X)                                                                          \
	X(rx_packets, TRAFFIC, "packets received")                                                 \
	X(rx_bytes, TRAFFIC, "payload bytes received")                                             \
	X(tx_packets, TRAFFIC, "packets sent")                                                     \
	X(tx_bytes, TRAFFIC, "payload bytes sent")                                                 \
	X(rx_copied, TRAFFIC, "packets copied because of the loan limits")                         \
	X(tx_no_buffer, TRAFFIC, "times no receive buffer of the guest was free")                  \
	X(tx_no_credit, TRAFFIC, "times the peer's socket had no room")                            \
	X(kicks, TRAFFIC, "notifications sent to the guest")                                       \
	X(wakeups, TRAFFIC, "sleeps in zv_wait; an lcore has its own, below")                      \
	X(conns_opened, CONNECTIONS, "started by the host")                                        \
	X(conns_accepted, CONNECTIONS, "started by the guest and accepted")                        \
	X(conns_refused, CONNECTIONS, "refused")                                                   \
	X(conns_reset, CONNECTIONS, "ended by a reset")                                            \
	X(conns_timedout, CONNECTIONS, "timed out")                                                \
	X(rst_sent, CONNECTIONS, "RST sent: the end of a connection, a refusal, nobody there")     \
	X(rst_dropped, ERRORS, "RST to stray packets lost: too many waited")                       \
	X(rx_bad_hdr, ERRORS, "header too short, unknown operation, bad length")                   \
	X(rx_bad_cid, ERRORS, "forged source or foreign destination CID")                          \
	X(rx_bad_type, ERRORS, "unknown socket type, or not the connection's")                     \
	X(rx_no_conn, ERRORS, "packets for no connection and no listener")                         \
	X(rx_bad_state, ERRORS, "packets that the connection's state forbids")                     \
	X(rx_overrun, ERRORS, "payload beyond the credit given")                                   \
	X(rx_bad_credit, ERRORS, "credit counters that ran backwards")                             \
	X(rx_bad_chain, ERRORS, "descriptor chains refused")                                       \
	X(ring_broken, ERRORS, "times a ring was declared broken")                                 \
	X(sessions, TRAFFIC, "times the rings were started")                                       \
	X(rx_late, CONNECTIONS, "packets that crossed the end of their connection")                \
	X(rx_promised, TRAFFIC, "bytes of rx_memory promised to open connections, now")            \
	X(rx_private, TRAFFIC, "bytes of memory that hold payload not yet taken, now")

#endif
