/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include "base/log_out.h"
#include "config/config.h"

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 1024 /* bytes of a message; longer ones are truncated */

/* Counters of lines of one guest, or of the daemon itself. */
struct source {
	struct source *next;
	const char *kind; /* "guest", "device" */
	uint64_t cid;
	uint64_t second; /* of the monotonic clock in which `lines` were counted */
	unsigned lines[ZV_LOG_DEBUG + 1], suppressed, burst;
	char name[]; /* "": the daemon */
};

/* A vhost-user socket of a guest, or a device. */
struct sock_name {
	const struct source *of;
	const char *path;
};

static struct {
	pthread_mutex_t lock;
	struct source *sources;
	void *by_name, *by_path; /* trees of sources and of sock_names */
	enum zv_log_level max;
	bool journal;
	unsigned lost; /* lines that standard error did not accept */
} lg = {.lock = PTHREAD_MUTEX_INITIALIZER, .max = ZV_LOG_INFO};

static const char *const level_names[] = {[ZV_LOG_ERR] = "err",
					  [ZV_LOG_WARN] = "warn",
					  [ZV_LOG_INFO] = "info",
					  [ZV_LOG_DEBUG] = "debug"};
static const int syslog_levels[] = {
	[ZV_LOG_ERR] = 3, [ZV_LOG_WARN] = 4, [ZV_LOG_INFO] = 6, [ZV_LOG_DEBUG] = 7};

static int name_order(const void *a, const void *b)
{
	return strcmp(((const struct source *)a)->name, ((const struct source *)b)->name);
}

static int path_order(const void *a, const void *b)
{
	return strcmp(((const struct sock_name *)a)->path, ((const struct sock_name *)b)->path);
}

/* A new source, or NULL. */
static struct source *add_source(const char *name)
{
	size_t len = strlen(name) + 1;
	struct source *s = calloc(1, sizeof(*s) + len);

	if (!s)
		return NULL;
	memcpy(s->name, name, len);
	s->kind = "guest";
	s->burst = *name ? LOG_BURST : LOG_BURST_DAEMON;
	if (!tsearch(s, &lg.by_name, name_order)) {
		free(s);
		return NULL;
	}
	s->next = lg.sources;
	lg.sources = s;
	return s;
}

static struct source *find_source(const char *name)
{
	union {
		struct source s;
		char room[sizeof(struct source) + CFG_NAME_MAX];
	} key;
	struct source *const *found;
	size_t len = strlen(name);

	if (len >= CFG_NAME_MAX)
		return NULL;
	memcpy(key.s.name, name, len + 1);
	found = tfind(&key.s, &lg.by_name, name_order);
	return found ? *found : add_source(name);
}

/* A quoted value of logfmt; control characters become \xNN. */
static size_t quote(char *to, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + 5 < size; text++) {
		unsigned char ch = (unsigned char)*text;

		if (ch == '"' || ch == '\\')
			to[n++] = '\\';
		if (ch >= 0x20 && ch < 0x7f)
			to[n++] = (char)ch;
		else
			n += (size_t)snprintf(to + n, size - n, "\\x%02x", ch);
	}
	to[n] = 0;
	return n;
}

static size_t stamp(char *to, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(to, size, "ts=%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(to + n, size - n, ".%03ldZ ", now.tv_nsec / 1000000);
}

/* Whom a line is about. */
struct about {
	const char *kind, *name; /* name NULL: the daemon */
	uint64_t cid;
};

/* Under the lock. */
static struct about about(const struct source *s)
{
	return (struct about){s->kind, *s->name ? s->name : NULL, s->cid};
}

/*
 * One write a line, so that lines of several threads do not mix; a pipe takes up to PIPE_BUF bytes
 * as a whole. @cid 0: unknown.
 */
static void put(enum zv_log_level level, const struct about *a, const char *text)
{
	char line[PIPE_BUF];
	size_t n, size = sizeof(line);

	n = lg.journal ? (size_t)snprintf(line, size, "<%d>", syslog_levels[level])
		       : stamp(line, size);
	n += (size_t)snprintf(line + n, size - n, "level=%s ", level_names[level]);
	if (a->name)
		n += (size_t)snprintf(line + n, size - n, "%s=%.64s ", a->kind, a->name);
	if (a->cid)
		n += (size_t)snprintf(line + n, size - n, "cid=%" PRIu64 " ", a->cid);
	n += (size_t)snprintf(line + n, size - n, "msg=\"");
	n += quote(line + n, size - n - 2, text);
	line[n++] = '"';
	line[n++] = '\n';
	if (!log_out(line, n))
		__atomic_fetch_add(&lg.lost, 1, __ATOMIC_RELAXED);
}

static uint64_t this_second(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

/* Takes the count of lines of @s that were left out in a past second. */
static unsigned take_suppressed(struct source *s, uint64_t second)
{
	unsigned n = 0;

	if (s->second != second) {
		n = s->suppressed;
		s->second = second;
		memset(s->lines, 0, sizeof(s->lines));
		s->suppressed = 0;
	}
	return n;
}

static void put_suppressed(const struct about *a, unsigned n)
{
	char text[80];

	if (!n)
		return;
	(void)snprintf(text, sizeof(text), "%u more lines were left out, they came too fast", n);
	put(ZV_LOG_WARN, a, text);
}

bool log_wants(enum zv_log_level level)
{
	return level <= __atomic_load_n(&lg.max, __ATOMIC_RELAXED);
}

bool log_once(struct log_once *o, uint32_t *suppressed)
{
	uint64_t now = this_second() + 1, last = __atomic_load_n(&o->second, __ATOMIC_RELAXED);

	if (last == now || !__atomic_compare_exchange_n(&o->second, &last, now, false,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&o->suppressed, 1, __ATOMIC_RELAXED);
		return false;
	}
	if (suppressed)
		*suppressed = __atomic_exchange_n(&o->suppressed, 0, __ATOMIC_RELAXED);
	return true;
}

void log_line(enum zv_log_level level, const char *guest, const char *fmt, ...)
{
	struct about a = {"guest", guest, 0};
	uint64_t second = this_second();
	unsigned suppressed = 0;
	bool write_it = true;
	char text[TEXT_MAX];
	struct source *s;
	va_list ap;

	if (!log_wants(level))
		return;
	pthread_mutex_lock(&lg.lock);
	s = find_source(guest ? guest : "");
	if (s) {
		suppressed = take_suppressed(s, second);
		a = about(s);
		write_it = s->lines[level]++ < (level == ZV_LOG_DEBUG ? LOG_BURST_DEBUG : s->burst);
		s->suppressed += !write_it;
	}
	pthread_mutex_unlock(&lg.lock);
	put_suppressed(&a, suppressed);
	if (!write_it)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(level, &a, text);
}

bool log_tick(void)
{
	uint64_t second = this_second();
	unsigned lost = __atomic_exchange_n(&lg.lost, 0, __ATOMIC_RELAXED);
	bool more = false;

	pthread_mutex_lock(&lg.lock);
	for (struct source *s = lg.sources; s; s = s->next) {
		const struct about a = about(s);

		put_suppressed(&a, take_suppressed(s, second));
		more |= s->suppressed != 0;
	}
	pthread_mutex_unlock(&lg.lock);
	if (lost) {
		char text[80];

		(void)snprintf(text, sizeof(text), "%u lines were lost, the log took no more",
			       lost);
		put(ZV_LOG_WARN, &(struct about){.name = NULL}, text);
	}
	return more || __atomic_load_n(&lg.lost, __ATOMIC_RELAXED);
}

/* The guest that a line "[host:]PATH: ...", or "SCHEME DEVICE: ...", is about, or NULL. */
static const char *subject(const char *line)
{
	char path[CFG_DEVICE_NAME_MAX];
	const struct sock_name key = {.path = path};

	if (strncmp(line, "host:", 5) == 0)
		line += 5;
	for (const char *end = strstr(line, ": "); end; end = strstr(end + 1, ": ")) {
		size_t len = (size_t)(end - line);
		struct sock_name *const *found;

		if (len >= sizeof(path))
			break;
		memcpy(path, line, len);
		path[len] = 0;
		found = tfind(&key, &lg.by_path, path_order);
		if (found)
			return (*found)->of->name;
	}
	return NULL;
}

static void library_line(void *ctx, enum zv_log_level level, const char *line)
{
	const char *guest;

	(void)ctx;
	if (!log_wants(level))
		return;
	pthread_mutex_lock(&lg.lock);
	guest = subject(line);
	pthread_mutex_unlock(&lg.lock);
	log_line(level, guest, "%s", line); /* sources are never freed */
}

/* True if standard error is the journal: JOURNAL_STREAM is "DEVICE:INODE" of what systemd opened.
 */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

void log_init(void)
{
	lg.journal = is_journal();
	log_out_open();
	zv_set_log(library_line, NULL);
}

void log_set_level(enum zv_log_level max)
{
	__atomic_store_n(&lg.max, max, __ATOMIC_RELAXED);
}

void log_guest(const char *kind, const char *guest, uint64_t cid)
{
	struct source *s;

	pthread_mutex_lock(&lg.lock);
	s = find_source(guest);
	if (s) {
		s->kind = kind;
		s->cid = cid ? cid : s->cid;
	}
	pthread_mutex_unlock(&lg.lock);
}

/* Finds it in the tree, or adds it; it is never removed. NULL: no memory. */
static struct sock_name *find_socket(const char *path)
{
	struct sock_name key = {.path = path}, *const * found, *n;
	char *copy;

	found = tfind(&key, &lg.by_path, path_order);
	if (found)
		return *found;
	copy = strdup(path);
	n = copy ? malloc(sizeof(*n)) : NULL;
	if (n) {
		*n = (struct sock_name){.path = copy};
		if (tsearch(n, &lg.by_path, path_order))
			return n;
	}
	free(n);
	free(copy);
	return NULL;
}

/* The path may have belonged to another guest. */
void log_guest_socket(const char *guest, const char *path)
{
	const struct source *s;
	struct sock_name *n;

	pthread_mutex_lock(&lg.lock);
	s = find_source(guest);
	n = s ? find_socket(path) : NULL;
	if (n)
		n->of = s;
	pthread_mutex_unlock(&lg.lock);
}
