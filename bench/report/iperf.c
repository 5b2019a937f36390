/* SPDX-License-Identifier: BSD-3-Clause */
#include "iperf.h"

#include "core/far_end.h"
#include "core/target.h"
#include "json_set.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <zvsock.h>

#define STREAM 1 /* the number of our one stream */

/* As iperf3 does it: three digits, and units that go by @step. */
static const char *scaled(char *buf, size_t len, double v, double step)
{
	static const char units[] = " KMGT";
	unsigned u = 0;

	while (v >= step && u + 2 < sizeof(units)) {
		v /= step;
		u++;
	}
	snprintf(buf, len,
		 v < 9.995   ? "%4.2f %.1s"
		 : v < 99.95 ? "%4.1f %.1s"
			     : "%4.0f %.1s",
		 v, u ? &units[u] : "");
	return buf;
}

void iperf_head(FILE *f)
{
	fputs("[ ID] Interval           Transfer     Bitrate\n", f);
}

static double rate_of(uint64_t bytes, double seconds)
{
	return seconds > 0 ? (double)bytes * 8 / seconds : 0;
}

void iperf_line(FILE *f, const struct live_interval *i)
{
	char bytes[24], bits[24];

	fprintf(f, "[%3d] %6.2f-%-6.2f sec  %sBytes  %sbits/sec\n", STREAM, i->start, i->end,
		scaled(bytes, sizeof(bytes), (double)i->bytes, 1024),
		scaled(bits, sizeof(bits), rate_of(i->bytes, i->end - i->start), 1000));
	(void)fflush(f);
}

/* What a stream, a sum and a summary have alike. */
static json_t *amount(double start, double end, uint64_t bytes, bool sender)
{
	json_t *j = json_object();

	json_set_num(j, "start", start);
	json_set_num(j, "end", end);
	json_set_num(j, "seconds", end - start);
	json_set_int(j, "bytes", bytes);
	json_set_num(j, "bits_per_second", rate_of(bytes, end - start));
	json_set_bool(j, "sender", sender);
	return j;
}

static json_t *stream_of(json_t *j)
{
	json_set_int(j, "socket", STREAM);
	return j;
}

static json_t *array_of(json_t *only)
{
	json_t *a = json_array();

	json_array_append_new(a, only);
	return a;
}

static json_t *start_object(const struct bench_cell *c, const struct bench_opts *o, long when)
{
	const char *where = o->client_uri ? o->client_uri : target_id(c->target);
	json_t *start = json_object(), *stamp = json_object(), *to = json_object(),
	       *test = json_object(), *conn = json_object();
	char text[160], host[80] = "";
	struct utsname un;
	time_t t = when;
	struct tm tm;

	(void)gethostname(host, sizeof(host) - 1);
	json_set_int(conn, "socket", STREAM);
	json_set_str(conn, "local_host", host);
	json_set_int(conn, "local_port", 0);
	json_set_str(conn, "remote_host", where);
	json_set_int(conn, "remote_port", BENCH_PORT_STREAM);
	json_object_set_new(start, "connected", array_of(conn));
	snprintf(text, sizeof(text), "vsock-bench %s", zv_version());
	json_set_str(start, "version", text);
	if (uname(&un) == 0) {
		snprintf(text, sizeof(text), "%.20s %.40s %.60s %.20s", un.sysname, un.nodename,
			 un.release, un.machine);
		json_set_str(start, "system_info", text);
	}
	if (gmtime_r(&t, &tm) && strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm))
		json_set_str(stamp, "time", text);
	json_set_int(stamp, "timesecs", (uint64_t)when);
	json_object_set_new(start, "timestamp", stamp);
	json_set_str(to, "host", where);
	json_set_int(to, "port", BENCH_PORT_STREAM);
	json_object_set_new(start, "connecting_to", to);
	json_set_str(test, "protocol", c->target->name);
	json_set_int(test, "num_streams", o->queues);
	json_set_int(test, "blksize", c->msg_size);
	json_set_int(test, "omit", 0);
	json_set_num(test, "duration", (double)o->duration_ns / 1e9);
	json_set_int(test, "bytes", 0);
	json_set_int(test, "blocks", 0);
	json_set_int(test, "reverse", c->dir == DIR_H2G);
	json_object_set_new(start, "test_start", test);
	return start;
}

static json_t *intervals_array(const struct live_run *live, bool sender)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < live->n; i++) {
		const struct live_interval *at = &live->at[i];
		json_t *j = json_object(), *sum = amount(at->start, at->end, at->bytes, sender);

		json_set_bool(sum, "omitted", false);
		json_object_set_new(j, "streams", array_of(stream_of(json_deep_copy(sum))));
		json_object_set_new(j, "sum", sum);
		json_array_append_new(all, j);
	}
	return all;
}

static json_t *end_object(const struct bench_cell *c, const struct bench_result *r,
			  const struct bench_opts *o, const struct live_run *live, bool sender)
{
	double seconds = (double)r->elapsed_ns / 1e9;
	/* A side that is elsewhere counts for itself, and what it counted must be what was sent. */
	uint64_t sent = live->sent ? live->sent : r->bytes;
	json_t *end = json_object(), *cpu = json_object(), *stream = json_object();
	enum bench_role us =
		o->client_uri && c->target->io == IO_ZV && strncmp(o->client_uri, "host:", 5) == 0
			? ROLE_HOST
			: ROLE_GUEST;

	json_object_set_new(stream, "sender", stream_of(amount(0, seconds, sent, sender)));
	json_object_set_new(stream, "receiver", stream_of(amount(0, seconds, r->bytes, sender)));
	json_object_set_new(end, "streams", array_of(stream));
	json_object_set_new(end, "sum_sent", amount(0, seconds, sent, sender));
	json_object_set_new(end, "sum_received", amount(0, seconds, r->bytes, sender));
	/* User and system time are not told apart. */
	if (seconds > 0) {
		json_set_num(cpu, "host_total", (double)r->cpu_ns[us] / 1e7 / seconds);
		if (!o->services) /* a service's is not known */
			json_set_num(cpu, "remote_total", (double)r->cpu_ns[!us] / 1e7 / seconds);
	}
	json_object_set_new(end, "cpu_utilization_percent", cpu);
	return end;
}

json_t *iperf_object(const struct bench_cell *c, const struct bench_result *r,
		     const struct bench_opts *o, const struct live_run *live, long when,
		     const char *gone)
{
	const char *why = c->failed[0] ? c->failed : gone;
	bool sender = c->dir == DIR_G2H;
	json_t *top = json_object();
	char text[80];

	json_object_set_new(top, "start", start_object(c, o, when));
	json_object_set_new(top, "intervals", intervals_array(live, sender));
	json_object_set_new(top, "end", why[0] ? json_object() : end_object(c, r, o, live, sender));
	if (why[0]) {
		json_set_str(top, "error", why);
	} else if (r->errors) {
		snprintf(text, sizeof(text), "%llu errors: data was lost, doubled or wrong",
			 (unsigned long long)r->errors);
		json_set_str(top, "error", text);
	}
	return top;
}
