/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's log: one structured line to standard error for one event.
 *
 *	ts=2026-03-01T12:00:00.123Z level=warn guest=web cid=3 msg="..."
 *
 * Under systemd (JOURNAL_STREAM names our standard error) the time, which the journal knows, gives
 * way to sd-daemon(3)'s "<4>" prefix. Any thread may log, and none waits (log_out.h). Each
 * guest gets LOG_BURST lines of each level a second, so that no peer can fill the disk, nor push
 * warnings out by what it does otherwise; how many were left out is said with its next line, or by
 * log_tick().
 */
#ifndef ZVD_LOG_H
#define ZVD_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <zvsock.h>

#define LOG_BURST	 10u   /* lines of a guest in a second, of each level */
#define LOG_BURST_DAEMON 200u  /* those that concern no guest */
#define LOG_BURST_DEBUG	 1000u /* lines at debug */

/* Looks where standard error goes, takes the library's lines too (zv_set_log). */
void log_init(void);
void log_set_level(enum zv_log_level max);

/* From now on lines about @guest carry @cid (0: as before), and call it @kind: "guest", "device";
 * static storage. It is identified by its name and is never forgotten. */
void log_guest(const char *kind, const char *guest, uint64_t cid);
/*
 * From now on the library's lines that begin with @path, or "host:" and @path, and ": ", are about
 * @guest. For each of its vhost-user sockets, and for each way in which the library names its
 * devices.
 */
void log_guest_socket(const char *guest, const char *path);

/* True if lines of @level are written. */
bool log_wants(enum zv_log_level level);

/* Limits lines that peers can cause at any rate: true once a second; *left_out (may be NULL) gets
 * how often it was false since then. Zeroed memory is a fresh one. Any thread. */
struct log_once {
	uint64_t second; /* atomic */
	uint32_t left_out;
};
bool log_once(struct log_once *o, uint32_t *left_out);

/* @guest NULL: the line is about the daemon. Without a final newline. */
void log_line(enum zv_log_level level, const char *guest, const char *fmt, ...) ZV_PRINTF(3, 4);

/* Writes how many lines were left out in seconds that are over. True: call again in a second. */
bool log_tick(void);

#endif
