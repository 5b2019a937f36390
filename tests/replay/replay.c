/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plays traces of virtio-vsock packets against a vhost-user backend: the guest's packets go on the
 * rings, what comes back is compared. README.md has the format, which is that of QEMU's vhost-vsock
 * qtest. The host's sockets are AF_VSOCK sockets, so this program runs under zvsock-run.
 *
 * usage: replay SOCKET CID split|packed TRACE.json...
 */
#include "hostile/raw.h"
#include "hostile/testbed.h"
#include "sock.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 20000
#define DATA	RAW_DATA

struct play {
	const char *file;
	size_t at;    /* command under way, from 0 */
	bool bad;     /* a fault was told */
	struct raw r; /* the guest */
	uint32_t seen;
	struct sock_set socks;
};

__attribute__((format(printf, 2, 3))) static bool fault(struct play *p, const char *fmt, ...)
{
	va_list ap;

	if (!p->bad)
		printf("%s: command %zu: ", p->file, p->at);
	else
		printf("    ");
	p->bad = true;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	return false;
}

/* ---- members of a command ---- */

static uint64_t number(struct play *p, const json_t *o, const char *key, uint64_t max)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max)
		fault(p, "\"%s\" is to be a number from 0 to %" PRIu64, key, max);
	return (uint64_t)json_integer_value(v);
}

static const char *text(struct play *p, const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s)
		fault(p, "\"%s\" is to be a string", key);
	return s ? s : "";
}

/* One of @names, of which a NULL is the last, or a number. */
static unsigned named(struct play *p, const json_t *o, const char *key, const char *const *names,
		      uint64_t max)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s)
		return (unsigned)number(p, o, key, max);
	for (unsigned i = 0; names[i]; i++)
		if (*names[i] && strcmp(s, names[i]) == 0)
			return i;
	fault(p, "\"%s\": \"%s\" is not known", key, s);
	return 0;
}

static uint64_t cid(struct play *p, const json_t *o, const char *key)
{
	static const char *const names[] = {"MY_CID", "PEER_CID", NULL};

	if (json_is_string(json_object_get(o, key)))
		return named(p, o, key, names, 0) == 0 ? p->r.cid : VSOCK_CID_HOST;
	return number(p, o, key, INT64_MAX);
}

static uint32_t port(struct play *p, const json_t *o, const char *key)
{
	static const char ref[] = "SOCK_PORT_";
	const char *s = json_string_value(json_object_get(o, key));
	uint32_t n = 0;

	if (!s)
		return (uint32_t)number(p, o, key, UINT32_MAX);
	if (strncmp(s, ref, sizeof(ref) - 1) != 0 || !sock_port(&p->socks, s + sizeof(ref) - 1, &n))
		fault(p, "\"%s\": \"%s\" names no socket's port", key, s);
	return n;
}

/* "payload", in hexadecimal digits; none: no bytes. */
static uint32_t payload(struct play *p, const json_t *o, uint8_t *out)
{
	const char *s = json_string_value(json_object_get(o, "payload"));
	uint32_t n = 0;

	for (; s && s[0] && s[1] && n < DATA; s += 2)
		if (sscanf(s, "%2hhx", &out[n++]) != 1)
			break;
	if (s && *s)
		fault(p, "\"payload\" is to be at most %u bytes in hexadecimal digits", DATA);
	return n;
}

static const char *const ops[] = {"VIRTIO_VSOCK_OP_INVALID",
				  "VIRTIO_VSOCK_OP_REQUEST",
				  "VIRTIO_VSOCK_OP_RESPONSE",
				  "VIRTIO_VSOCK_OP_RST",
				  "VIRTIO_VSOCK_OP_SHUTDOWN",
				  "VIRTIO_VSOCK_OP_RW",
				  "VIRTIO_VSOCK_OP_CREDIT_UPDATE",
				  "VIRTIO_VSOCK_OP_CREDIT_REQUEST",
				  NULL};

static struct vsock_hdr header(struct play *p, const json_t *command)
{
	static const char *const types[] = {"", "VIRTIO_VSOCK_TYPE_STREAM",
					    "VIRTIO_VSOCK_TYPE_SEQPACKET", NULL};
	const json_t *o = json_object_get(command, "hdr");

	return (struct vsock_hdr){.src_cid = cid(p, o, "src_cid"),
				  .dst_cid = cid(p, o, "dst_cid"),
				  .src_port = port(p, o, "src_port"),
				  .dst_port = port(p, o, "dst_port"),
				  .len = (uint32_t)number(p, o, "len", UINT32_MAX),
				  .type = (uint16_t)named(p, o, "type", types, UINT16_MAX),
				  .op = (uint16_t)named(p, o, "op", ops, UINT16_MAX),
				  .flags = (uint32_t)number(p, o, "flags", UINT32_MAX),
				  .buf_alloc = (uint32_t)number(p, o, "buf_alloc", UINT32_MAX),
				  .fwd_cnt = (uint32_t)number(p, o, "fwd_cnt", UINT32_MAX)};
}

static int sock_type(struct play *p, const json_t *o)
{
	static const char *const names[] = {"SOCK_STREAM", "SOCK_SEQPACKET", NULL};

	if (!json_object_get(o, "sock_type"))
		return SOCK_STREAM;
	return named(p, o, "sock_type", names, 0) == 0 ? SOCK_STREAM : SOCK_SEQPACKET;
}

/* ---- the guest's side ---- */

static void do_send(struct play *p, const json_t *o)
{
	struct vsock_hdr h = header(p, o);
	uint8_t data[DATA];
	uint32_t n = payload(p, o, data);

	if (!p->bad && !raw_pkt_as(&p->r, &h, data, n))
		fault(p, "the device gives no transmit buffer back");
}

static void compare(struct play *p, const char *field, uint64_t want, uint64_t got)
{
	if (want != got)
		fault(p, "%s is %" PRIu64 ", expected %" PRIu64, field, got, want);
}

/* NULL: none comes. */
static const struct raw_pkt *next_packet(struct play *p)
{
	uint64_t end = raw_now_ms() + WAIT_MS;

	for (raw_pump(&p->r); p->seen == p->r.npkts; raw_pump(&p->r)) {
		if (raw_now_ms() > end) {
			fault(p, "no packet comes");
			return NULL;
		}
		testbed_idle();
	}
	return &p->r.log[p->seen++ % RAW_LOG];
}

/* It is one that "skip" names: how many of these come depends on time. */
static bool skipped(const json_t *o, const struct vsock_hdr *h)
{
	const char *s = json_string_value(json_object_get(o, "skip"));

	return s && h->op <= VSOCK_OP_MAX && strcmp(s, ops[h->op]) == 0;
}

/* What the receiver has read is a matter of time, but for an answer to CREDIT_REQUEST. */
static bool has_read_less(const struct vsock_hdr *h, const struct vsock_hdr *got)
{
	return got->op != VSOCK_OP_CREDIT_UPDATE && got->fwd_cnt < h->fwd_cnt;
}

static void do_receive(struct play *p, const json_t *o)
{
	struct vsock_hdr h = header(p, o);
	uint8_t data[DATA];
	uint32_t n = payload(p, o, data);
	const struct raw_pkt *got;

	if (p->bad)
		return;
	do
		got = next_packet(p);
	while (got && skipped(o, &got->h));
	if (!got)
		return;
#define FIELD(f) compare(p, #f, h.f, got->h.f)
	FIELD(op);
	FIELD(src_cid);
	FIELD(src_port);
	FIELD(dst_cid);
	FIELD(dst_port);
	FIELD(type);
	FIELD(len);
	FIELD(flags);
	FIELD(buf_alloc);
	if (!has_read_less(&h, &got->h))
		FIELD(fwd_cnt);
#undef FIELD
	compare(p, "the used length", VSOCK_HDR_LEN + h.len, got->used_len);
	if (json_object_get(o, "payload") && (n != h.len || memcmp(got->data, data, n) != 0))
		fault(p, "the payload differs");
}

/* ---- the host's side ---- */

/* What sock.c says: NULL, or what is wrong. */
static void told(struct play *p, const json_t *o, const char *wrong)
{
	if (wrong)
		fault(p, "socket \"%s\": %s", text(p, o, "sock_id"), wrong);
}

static void do_connect(struct play *p, const json_t *o)
{
	uint64_t to = cid(p, o, "dst_cid");
	uint32_t at = port(p, o, "dst_port");
	int type = sock_type(p, o);

	if (!p->bad)
		told(p, o, sock_connect(&p->socks, text(p, o, "sock_id"), type, (uint32_t)to, at));
}

static void do_poll(struct play *p, const json_t *o)
{
	static const char *const names[] = {"", "POLLIN", "POLLPRI", "POLLOUT", NULL};
	bool as_name = json_is_string(json_object_get(o, "poll_events"));
	unsigned events = named(p, o, "poll_events", names, INT16_MAX);
	int err = (int)number(p, o, "poll_so_error", INT32_MAX);

	if (as_name) /* bit 0 is POLLIN, and so on */
		events = 1u << (events - 1);
	if (!p->bad)
		told(p, o, sock_poll(&p->socks, text(p, o, "sock_id"), (short)events, err));
}

static void do_listen(struct play *p, const json_t *o)
{
	uint32_t at = (uint32_t)number(p, o, "port", UINT32_MAX);
	int type = sock_type(p, o);

	if (!p->bad)
		told(p, o, sock_listen(&p->socks, text(p, o, "sock_id"), type, at));
}

static void do_accept(struct play *p, const json_t *o)
{
	told(p, o, sock_accept(&p->socks, text(p, o, "sock_id"), text(p, o, "listener")));
}

static void do_sock_send(struct play *p, const json_t *o)
{
	uint8_t data[DATA];
	uint32_t n = payload(p, o, data);

	told(p, o, sock_send(&p->socks, text(p, o, "sock_id"), data, n));
}

static void do_sock_receive(struct play *p, const json_t *o)
{
	uint8_t data[DATA];
	uint32_t n = payload(p, o, data);

	told(p, o, sock_receive(&p->socks, text(p, o, "sock_id"), data, n));
}

static void do_shutdown(struct play *p, const json_t *o)
{
	static const char *const names[] = {"SHUT_RD", "SHUT_WR", "SHUT_RDWR", NULL};

	told(p, o,
	     sock_shutdown(&p->socks, text(p, o, "sock_id"), (int)named(p, o, "how", names, 2)));
}

static void do_close(struct play *p, const json_t *o)
{
	told(p, o, sock_close(&p->socks, text(p, o, "sock_id")));
}

static const struct {
	const char *op;
	void (*act)(struct play *p, const json_t *o);
} acts[] = {
	/* QEMU's */
	{"send", do_send},
	{"receive", do_receive},
	{"sock-async-connect", do_connect},
	{"sock-poll", do_poll},
	/* beyond them */
	{"sock-listen", do_listen},
	{"sock-accept", do_accept},
	{"sock-send", do_sock_send},
	{"sock-receive", do_sock_receive},
	{"sock-shutdown", do_shutdown},
	{"sock-close", do_close},
};

static void act(struct play *p, const json_t *o)
{
	const char *op = text(p, o, "op");

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (strcmp(op, acts[i].op) == 0) {
			acts[i].act(p, o);
			return;
		}
	fault(p, "\"op\": \"%s\" is not known", op);
}

static bool play(struct play *p, const char *where, uint64_t my_cid, unsigned flags)
{
	json_error_t e;
	json_t *trace = json_load_file(p->file, JSON_REJECT_DUPLICATES, &e), *o;

	if (!trace)
		return fault(p, "line %d: %s", e.line, e.text);
	if (!json_is_array(trace) || json_array_size(trace) == 0)
		fault(p, "it is to be an array of commands");
	else if (!raw_open(&p->r, where, my_cid, flags))
		fault(p, "no backend at %s, or it cannot do %s rings", where,
		      flags & RAW_PACKED ? "packed" : "split");
	else
		json_array_foreach(trace, p->at, o) {
			act(p, o);
			if (p->bad)
				break;
		}
	raw_close(&p->r);
	sock_end(&p->socks);
	json_decref(trace);
	return !p->bad;
}

int main(int argc, char **argv)
{
	static struct play p;
	int bad = 0;

	if (argc < 5) {
		fprintf(stderr, "usage: replay SOCKET CID split|packed TRACE.json...\n");
		return 2;
	}
	for (int i = 4; i < argc; i++) {
		memset(&p, 0, sizeof(p));
		p.file = argv[i];
		raw_init(&p.r);
		if (!play(&p, argv[1], strtoull(argv[2], NULL, 10),
			  strcmp(argv[3], "packed") == 0 ? RAW_PACKED : 0))
			bad = 1;
		else
			printf("ok %s\n", argv[i]);
		fflush(stdout);
	}
	return bad;
}
