/* SPDX-License-Identifier: BSD-3-Clause */
/* Error texts, one per thread, and the log callback. The library itself never prints. */
#include "transport.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SUPPRESSED_MAX 96 /* of a line: how many were left out before it */

static _Thread_local char err_line[512];
/* What zv_error_text() returns: err_line, or a sentence that needs no formatting. */
static _Thread_local const char *err_text __attribute__((tls_model("initial-exec"))) = "";

/*
 * Where lines go. A line counts itself in `users` of the round that it found, and zv_set_log begins
 * another round and waits for those of the one before; so it returns when nobody is in the old
 * function, or will be, with whatever context. `on` spares the lock while there is none.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t left;
	zv_log_fn fn;
	void *ctx;
	unsigned round, users[2];
	bool on;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER};

static _Thread_local unsigned in_sink; /* calls of the log function that this thread is in */

int zv_err(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(err_line, sizeof(err_line), fmt, ap);
	va_end(ap);
	err_text = err_line;
	return err;
}

int zv_fail(int err, const char *text)
{
	err_text = text;
	return err;
}

const char *zv_error_text(void)
{
	return err_text;
}

void zv_set_log(zv_log_fn fn, void *ctx)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	unsigned old;

	if (!in_sink) /* else it may be waited for by whoever has it */
		pthread_mutex_lock(&one);
	pthread_mutex_lock(&sink.lock);
	sink.fn = fn;
	sink.ctx = ctx;
	__atomic_store_n(&sink.on, fn != NULL, __ATOMIC_RELAXED);
	if (!in_sink) {
		old = sink.round;
		sink.round = !old;
		while (sink.users[old])
			pthread_cond_wait(&sink.left, &sink.lock);
	}
	pthread_mutex_unlock(&sink.lock);
	if (!in_sink)
		pthread_mutex_unlock(&one);
}

/* @suppressed: lines like it that were left out before it. */
static void log_line(enum zv_log_level level, uint32_t suppressed, const char *fmt, va_list ap)
{
	char line[512];
	size_t n, room = suppressed ? sizeof(line) - SUPPRESSED_MAX : sizeof(line);
	unsigned round;
	zv_log_fn fn;
	void *ctx;

	if (!__atomic_load_n(&sink.on, __ATOMIC_RELAXED))
		return;
	n = (size_t)vsnprintf(line, room, fmt, ap);
	n = n < room ? n : room - 1;
	if (suppressed)
		(void)snprintf(line + n, sizeof(line) - n,
			       " (and %" PRIu32
			       " lines before this one, left out as they came too fast)",
			       suppressed);
	pthread_mutex_lock(&sink.lock);
	fn = sink.fn;
	ctx = sink.ctx;
	round = sink.round;
	sink.users[round]++;
	pthread_mutex_unlock(&sink.lock);
	in_sink++;
	if (fn)
		fn(ctx, level, line);
	in_sink--;
	pthread_mutex_lock(&sink.lock);
	if (--sink.users[round] == 0)
		pthread_cond_broadcast(&sink.left);
	pthread_mutex_unlock(&sink.lock);
}

void zv_log(enum zv_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(level, 0, fmt, ap);
	va_end(ap);
}

/* The number is part of the next line, so that it says whom it is about. */
void zv_log_limited(struct zv_log_limit *l, enum zv_log_level level, const char *fmt, ...)
{
	struct timespec now;
	va_list ap;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (l->second != (uint64_t)now.tv_sec) {
		l->second = (uint64_t)now.tv_sec;
		l->lines = 0;
	}
	if (l->lines == ZV_LOG_BURST) {
		l->suppressed++;
		return;
	}
	l->lines++;
	va_start(ap, fmt);
	log_line(level, l->suppressed, fmt, ap);
	va_end(ap);
	l->suppressed = 0;
}

const char *zv_strerror(int err)
{
	const char *text = strerrordesc_np(err < 0 ? -err : err);

	return text ? text : "unknown error";
}
