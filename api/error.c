/* SPDX-License-Identifier: BSD-3-Clause */
/* Error texts, one per thread, and the log callback. The library itself never prints. */
#include "transport.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static _Thread_local char err_text[512];

static struct {
	zv_log_fn fn;
	void *ctx;
} log_sink;

int zv_err(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(err_text, sizeof(err_text), fmt, ap);
	va_end(ap);
	return err;
}

const char *zv_error_text(void)
{
	return err_text;
}

void zv_set_log(zv_log_fn fn, void *ctx)
{
	/* fn last: a reader that sees it also sees its ctx. */
	__atomic_store_n(&log_sink.fn, NULL, __ATOMIC_SEQ_CST);
	__atomic_store_n(&log_sink.ctx, ctx, __ATOMIC_RELEASE);
	__atomic_store_n(&log_sink.fn, fn, __ATOMIC_RELEASE);
}

static void log_line(enum zv_log_level level, const char *fmt, va_list ap)
{
	zv_log_fn fn = __atomic_load_n(&log_sink.fn, __ATOMIC_ACQUIRE);
	char line[512];

	if (!fn)
		return;
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	fn(__atomic_load_n(&log_sink.ctx, __ATOMIC_ACQUIRE), level, line);
}

void zv_log(enum zv_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(level, fmt, ap);
	va_end(ap);
}

void zv_log_limited(struct zv_log_limit *l, enum zv_log_level level, const char *fmt, ...)
{
	struct timespec now;
	va_list ap;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (l->second != (uint64_t)now.tv_sec) {
		l->second = (uint64_t)now.tv_sec;
		l->lines = 0;
		if (l->left_out)
			zv_log(level, "%u more lines like the last ones were left out",
			       l->left_out);
		l->left_out = 0;
	}
	if (l->lines == ZV_LOG_BURST) {
		l->left_out++;
		return;
	}
	l->lines++;
	va_start(ap, fmt);
	log_line(level, fmt, ap);
	va_end(ap);
}

const char *zv_strerror(int err)
{
	const char *text = strerrordesc_np(err < 0 ? -err : err);

	return text ? text : "unknown error";
}
