/* SPDX-License-Identifier: BSD-3-Clause */
#include "notify.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>

static void notify_send(const char *text)
{
	(void)sd_notify(0, text); /* there is no other place to report it */
}
#else
static void notify_send(const char *text)
{
	(void)text;
}
#endif

void notify_ready(const char *fmt, ...)
{
	char status[200], text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(status, sizeof(status), fmt, ap);
	va_end(ap);
	(void)snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
	notify_send(text);
}

void notify_reloading(void)
{
	char text[96];

	(void)snprintf(text, sizeof(text),
		       "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=reloading",
		       now_ns() / 1000);
	notify_send(text);
}

void notify_stopping(unsigned patience_ms)
{
	char text[128];

	/* Some seconds for what comes after the drain. */
	(void)snprintf(
		text, sizeof(text),
		"STOPPING=1\nSTATUS=waiting for connections to end\nEXTEND_TIMEOUT_USEC=%" PRIu64,
		((uint64_t)patience_ms + 10000) * 1000);
	notify_send(text);
}
