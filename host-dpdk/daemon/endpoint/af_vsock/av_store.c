/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs may have: descriptors, and datagrams that wait for them. The limits are for
 * all together. Of the room for datagrams a sender takes no more than it leaves for others, and a
 * user whose programs do not read them a quarter of what that leaves. Of a user's sockets for peers
 * a sender takes no more than it leaves for others as well. So nobody who sends to many ports, or
 * reads none of many, keeps others from theirs.
 */
#include "av_dgram.h"

#include "core/fds.h"

#include <stdlib.h>

#define FREED_AT_ONCE 64u

static uint32_t programs_fds; /* of all spaces; atomic */

unsigned av_sender_group(const struct av_space *s, uint64_t sender, unsigned n)
{
	return (unsigned)(sender * s->seed >> 40) % n;
}

/* ---- datagrams that wait ---- */

bool av_store_add(struct av_mail *m, struct av_user *u, uint64_t sender, uint32_t bytes)
{
	uint32_t *of = &m->of_sender[av_sender_group(m->space, sender, AV_SENDERS)];
	const uint32_t left = MAIL_BYTES - m->bytes;

	if (bytes > left || *of + bytes > left - bytes || u->waiting + bytes > (left - bytes) / 4)
		return false;
	m->bytes += bytes;
	*of += bytes;
	u->waiting += bytes;
	return true;
}

static void left_to(struct av_mail *m, struct av_user *u, uint64_t sender, uint32_t bytes)
{
	m->of_sender[av_sender_group(m->space, sender, AV_SENDERS)] -= bytes;
	u->waiting -= bytes;
}

void av_store_remove(struct av_mail *m, struct av_user *u, uint64_t sender, uint32_t bytes)
{
	left_to(m, u, sender, bytes);
	m->bytes -= bytes;
}

static void free_one(struct av_mail *m)
{
	struct av_waiting *w = STAILQ_FIRST(&m->dropped);

	STAILQ_REMOVE_HEAD(&m->dropped, link);
	m->bytes -= w->len + INBOX_COST;
	free(w);
}

static bool free_some(struct av_move *v)
{
	struct av_mail *m = (struct av_mail *)(void *)((char *)v - offsetof(struct av_mail, drop));

	for (unsigned i = 0; i < FREED_AT_ONCE && !STAILQ_EMPTY(&m->dropped); i++)
		free_one(m);
	return !STAILQ_EMPTY(&m->dropped);
}

void av_store_drop(struct av_mail *m, struct av_user *u, uint64_t sender, uint32_t bytes,
		   struct av_waiting_list *list)
{
	if (STAILQ_EMPTY(list))
		return;
	left_to(m, u, sender, bytes);
	STAILQ_CONCAT(&m->dropped, list);
	av_move_wait(m, &m->dropper, &m->drop);
}

void av_store_init(struct av_mail *m)
{
	STAILQ_INIT(&m->dropped);
	m->drop.run = free_some;
	av_mover_init(&m->dropper);
}

void av_store_end(struct av_mail *m)
{
	while (!STAILQ_EMPTY(&m->dropped))
		free_one(m);
}

/* ---- descriptors ---- */

bool av_fd_take(struct av_user *u, unsigned part)
{
	const uint32_t most = fds_max();

	if (u->uid && u->fds >= most / part)
		return false;
	if (__atomic_add_fetch(&programs_fds, 1, __ATOMIC_RELAXED) > most / 2) {
		__atomic_sub_fetch(&programs_fds, 1, __ATOMIC_RELAXED);
		return false;
	}
	u->fds++;
	return true;
}

uint32_t av_fd_left(const struct av_user *u, unsigned part)
{
	const uint32_t all = __atomic_load_n(&programs_fds, __ATOMIC_RELAXED), most = fds_max();
	const uint32_t left = all < most / 2 ? most / 2 - all : 0, own = most / part;

	if (!u->uid)
		return left;
	return u->fds >= own ? 0 : own - u->fds < left ? own - u->fds : left;
}

void av_fd_give(struct av_user *u)
{
	u->fds--;
	__atomic_sub_fetch(&programs_fds, 1, __ATOMIC_RELAXED);
}

bool av_peer_take(const struct av_space *s, struct av_user *u, uint64_t sender)
{
	uint32_t *of = &u->peers[av_sender_group(s, sender, AV_PEER_SENDERS)];

	if (sender == AV_SENDER_NONE)
		return av_fd_take(u, AV_FDS_PEERS_SHARE);
	if (*of >= av_fd_left(u, AV_FDS_PEERS_SHARE) || !av_fd_take(u, AV_FDS_PEERS_SHARE))
		return false;
	(*of)++;
	return true;
}

void av_peer_give(const struct av_space *s, struct av_user *u, uint64_t sender)
{
	if (sender != AV_SENDER_NONE)
		u->peers[av_sender_group(s, sender, AV_PEER_SENDERS)]--;
	av_fd_give(u);
}
