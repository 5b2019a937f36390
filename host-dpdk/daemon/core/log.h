/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's log: one structured line to standard error for each event.
 *
 * 	ts=2026-03-01T12:00:00.123Z level=warn guest=web cid=3 msg="..."
 *
 * Under systemd (JOURNAL_STREAM identifies our standard error) the time, which the journal records,
 * is replaced by the "<4>" prefix of sd-daemon(3). Any thread may log, and none waits (log_out.h).
 * Each guest may log LOG_BURST lines of each level per second, so that no peer can fill the disk,
 * or crowd out warnings with lines of another level. The number of lines left out is logged with
 * the guest's next line, or by log_tick().
 */
#ifndef ZVD_LOG_H
#define ZVD_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <zvsock.h>

#define LOG_BURST	 10u   /* lines of a guest per second and level */
#define LOG_BURST_DAEMON 200u  /* lines that concern no guest */
#define LOG_BURST_DEBUG	 1000u /* lines at debug */

/* Finds out where standard error goes, and takes over the library's log lines (zv_set_log). */
void log_init(void);
void log_set_level(enum zv_log_level max);

/* From now on lines about @guest have @cid (0: unchanged), and call it @kind: "guest", "device";
 * static storage. It is identified by its name and is never forgotten. */
void log_guest(const char *kind, const char *guest, uint64_t cid);
/*
 * From now on the library's lines that begin with @path, or "host:" and @path, and ": ", count as
 * lines about @guest. To be called for each of its vhost-user sockets, and for each name that the
 * library uses for its devices.
 */
void log_guest_socket(const char *guest, const char *path);

/* True if lines of @level are written. */
bool log_wants(enum zv_log_level level);

/* Limits lines that peers can cause at any rate: true once per second; *suppressed (may be NULL) is
 * how often it was false since then. Zeroed memory is initialised. Any thread. */
struct log_once {
	uint64_t second; /* atomic */
	uint32_t suppressed;
};
bool log_once(struct log_once *o, uint32_t *suppressed);

/* @guest: NULL for a line about the daemon. @fmt has no final newline. */
void log_line(enum zv_log_level level, const char *guest, const char *fmt, ...) ZV_PRINTF(3, 4);

/* Logs how many lines were left out in past seconds. True: call again in a second. */
bool log_tick(void);

#endif
