/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ss: vsock sockets of this machine's programs, in the style of "ss --vsock -ap" for kernel
 * sockets.
 *
 * The address of an AF_VSOCK program's socket is in its name or its peer's name
 * (api/proto/local/dropin_msg.h), and the kernel knows the rest: state, queues, process. Only for a
 * socket that was bound and then connected must zvsockd be asked for the peer. The daemon lists
 * connections of other endpoints.
 */
#include "ctl.h"
#include "table.h"
#include "unix_diag.h"

#include "proto/local/dropin_msg.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANY	UINT32_MAX
#define NAMES_S 5 /* for an answer */

/* ---- what a socket is ---- */

static bool label_of(const struct unix_socket *u, struct dropin_label *l)
{
	return u && u->name_len > 1 && !u->name[0] &&
	       dropin_label_read(l, u->name + 1, u->name_len - 1u);
}

static json_t *guests; /* that the daemon has */

/* Whoever binds a socket chooses its path, and could make us wait, or connect elsewhere. */
static bool is_the_daemons(const char *dir, size_t len)
{
	json_t *guest;
	size_t i;

	json_array_foreach(guests, i, guest) {
		const char *own = json_string_value(json_object_get(guest, "af_vsock"));

		if (own && strlen(own) == len && memcmp(own, dir, len) == 0)
			return true;
	}
	return false;
}

/* @label, bound and connected to DIR/TYPE, whose path is the name of @peer. */
static bool ask_names(const struct unix_socket *u, const struct unix_socket *peer,
		      struct dropin_label *l)
{
	const struct timeval patience = {.tv_sec = NAMES_S};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct dropin_msg m;
	char *slash;
	bool ok;
	int fd;

	if (!peer || !peer->name_len || peer->name[0] != '/' ||
	    peer->name_len >= sizeof(sa.sun_path))
		return false;
	memcpy(sa.sun_path, peer->name, peer->name_len);
	slash = strrchr(sa.sun_path, '/');
	if (!is_the_daemons(sa.sun_path, (size_t)(slash - sa.sun_path)))
		return false;
	memcpy(slash, "/ask", sizeof("/ask")); /* shorter than "/stream" */
	dropin_msg_init(&m, DROPIN_NAMES);
	memcpy(m.label, u->name + 1, u->name_len - 1u);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	     setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
	     connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0 &&
	     send(fd, &m, sizeof(m), MSG_NOSIGNAL) == (ssize_t)sizeof(m) &&
	     recv(fd, &m, sizeof(m), 0) == (ssize_t)sizeof(m) &&
	     !dropin_msg_refused(&m, sizeof(m)) && m.result == 0;
	if (fd >= 0)
		(void)close(fd);
	if (!ok)
		return false;
	l->connected = true;
	l->local = m.local;
	l->remote = m.remote;
	return true;
}

/* True: @u is an AF_VSOCK program's; *l has its addresses. */
static bool is_program(struct unix_socket *all, size_t n, const struct unix_socket *u,
		       struct dropin_label *l)
{
	const struct unix_socket *peer = unix_socket_find(all, n, u->peer);
	struct dropin_label own, other;
	bool named = label_of(u, &own), told = label_of(peer, &other);

	/* zvsockd's own ends are left out. */
	if (!u->inode || (named ? own.view == 'Z' : !told || other.view != 'Z') ||
	    !dropin_names(l, named ? &own : NULL, told ? &other : NULL))
		return false;
	if (!l->connected && u->state == TCP_ESTABLISHED && u->type != SOCK_DGRAM)
		(void)ask_names(u, peer, l);
	return true;
}

static bool has_label(const struct unix_socket *u)
{
	return u->name_len > 8 && memcmp(u->name, "\0zvsock:", 8) == 0;
}

/* ---- rows ---- */

struct row {
	const char *netid, *state;
	int64_t recv_q, send_q;
	uint32_t cid[2], port[2]; /* local, peer; ANY: none */
	const char *users;	  /* "": not known */
};

static void address(struct table *t, uint32_t cid, uint32_t port)
{
	char c[16] = "*", p[16] = "*";

	if (cid != ANY)
		(void)snprintf(c, sizeof(c), "%" PRIu32, cid);
	if (port != ANY)
		(void)snprintf(p, sizeof(p), "%" PRIu32, port);
	table_add(t, "%s:%s", c, p);
}

static json_t *row_json(const struct row *r)
{
	return json_pack("{ss ss sI sI sI sI sI sI ss}", "netid", r->netid, "state", r->state,
			 "recv_q", (json_int_t)r->recv_q, "send_q", (json_int_t)r->send_q,
			 "local_cid", (json_int_t)r->cid[0], "local_port", (json_int_t)r->port[0],
			 "peer_cid", (json_int_t)r->cid[1], "peer_port", (json_int_t)r->port[1],
			 "users", r->users);
}

static void show(const struct row *r, struct table *t, json_t *list)
{
	if (list) {
		if (json_array_append_new(list, row_json(r)) < 0)
			ctl_die(CTL_FAILED, "out of memory");
		return;
	}
	table_add(t, "%s", r->netid);
	table_add(t, "%s", r->state);
	table_add(t, "%" PRId64, r->recv_q);
	table_add(t, "%" PRId64, r->send_q);
	address(t, r->cid[0], r->port[0]);
	address(t, r->cid[1], r->port[1]);
	table_add(t, "%s%s%s", *r->users ? "users:(" : "", r->users, *r->users ? ")" : "");
}

/* A datagram socket that another one is connected to is "established", too, in the kernel. */
static const char *state_name(uint8_t type, uint8_t state, bool connected)
{
	if (type == SOCK_DGRAM)
		return connected ? "ESTAB" : "UNCONN";
	return state == TCP_LISTEN ? "LISTEN" : state == TCP_ESTABLISHED ? "ESTAB" : "UNCONN";
}

static void show_program(const struct unix_socket *u, const struct dropin_label *l, struct table *t,
			 json_t *list)
{
	struct row r = {.netid = u->type == SOCK_STREAM	 ? "v_str"
				 : u->type == SOCK_DGRAM ? "v_dgr"
							 : "v_seq",
			.state = state_name(u->type, u->state, l->connected),
			.recv_q = u->recv_q,
			.send_q = u->send_q,
			.cid = {l->local.cid, ANY},
			.port = {l->local.port, ANY},
			.users = u->users};

	if (l->connected) {
		r.cid[1] = l->remote.cid;
		r.port[1] = l->remote.port;
	}
	show(&r, t, list);
}

/* Connections that neither come from AF_VSOCK programs nor go to them. */
static void show_others(json_t *connections, struct table *t, json_t *list)
{
	json_t *conn;
	size_t i;

	json_array_foreach(connections, i, conn) {
		const char *endpoint = json_string_value(json_object_get(conn, "endpoint"));
		const char *type = json_string_value(json_object_get(conn, "type"));
		const char *state = json_string_value(json_object_get(conn, "state"));
		struct row r = {.state = state ? state : "-", .users = ""};

		if (!endpoint || !type || strncmp(endpoint, "af_vsock:", 9) == 0)
			continue;
		r.netid = strcmp(type, "stream") == 0 ? "v_str" : "v_seq";
		r.recv_q = json_integer_value(json_object_get(conn, "rx_unread"));
		r.send_q = json_integer_value(json_object_get(conn, "tx_unacked"));
		r.cid[0] = (uint32_t)json_integer_value(json_object_get(conn, "local_cid"));
		r.port[0] = (uint32_t)json_integer_value(json_object_get(conn, "local_port"));
		r.cid[1] = (uint32_t)json_integer_value(json_object_get(conn, "peer_cid"));
		r.port[1] = (uint32_t)json_integer_value(json_object_get(conn, "peer_port"));
		show(&r, t, list);
	}
}

/* ---- the command ---- */

static struct unix_socket *all;
static size_t n_all;

static bool wanted(const struct unix_socket *u)
{
	const struct unix_socket *peer = unix_socket_find(all, n_all, u->peer);

	return has_label(u) || (peer && has_label(peer));
}

int ctl_ss(struct ctl *c)
{
	json_t *guests_answer = ctl_ask(c, "guests"), *answer = ctl_ask(c, "list");
	json_t *list = c->json ? json_array() : NULL;
	struct table *t = NULL;
	struct dropin_label l;

	guests = json_object_get(guests_answer, "guests");
	all = unix_sockets(&n_all);
	if (!all)
		ctl_die(CTL_FAILED,
			"the kernel does not list its Unix sockets: %s; load the module unix_diag",
			strerror(errno));
	unix_socket_users(all, n_all, wanted);
	if (!c->json) {
		t = table_new("llrrrrl");
		table_add(t, "Netid");
		table_add(t, "State");
		table_add(t, "Recv-Q");
		table_add(t, "Send-Q");
		table_add(t, "Local Address:Port");
		table_add(t, "Peer Address:Port");
		table_add(t, "Process");
	}
	for (size_t i = 0; i < n_all; i++)
		if (is_program(all, n_all, &all[i], &l))
			show_program(&all[i], &l, t, list);
	show_others(json_object_get(answer, "connections"), t, list);
	free(all);
	json_decref(answer);
	json_decref(guests_answer);
	if (t)
		table_print(t);
	else
		ctl_print_json(json_pack("{so}", "sockets", list), false);
	return CTL_OK;
}
