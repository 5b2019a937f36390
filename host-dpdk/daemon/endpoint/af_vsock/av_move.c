/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Decides whose datagrams home moves next: those that programs have written to connected sockets,
 * those that wait for a program, and those of guests on other lcores. There may be thousands of
 * each, and each takes a system call or several. So a round moves few, one at a time. Users and
 * guests get turns in rotation, and so do the sockets of a user: whoever opens many sockets, or
 * sends to many ports, delays only itself.
 */
#include "av_dgram.h"

void av_mover_init(struct av_mover *o)
{
	TAILQ_INIT(&o->moves);
}

void av_move_wait(struct av_mail *m, struct av_mover *o, struct av_move *v)
{
	if (v->mover)
		return;
	if (TAILQ_EMPTY(&o->moves))
		TAILQ_INSERT_TAIL(&m->movers, o, link);
	TAILQ_INSERT_TAIL(&o->moves, v, link);
	v->mover = o;
	lcore_defer(m->space->home, &m->turn);
}

void av_move_leave(struct av_mail *m, struct av_move *v)
{
	struct av_mover *o = v->mover;

	if (!o)
		return;
	TAILQ_REMOVE(&o->moves, v, link);
	if (TAILQ_EMPTY(&o->moves))
		TAILQ_REMOVE(&m->movers, o, link);
	v->mover = NULL;
}

bool av_move_next(struct av_mail *m)
{
	struct av_mover *o = TAILQ_FIRST(&m->movers);
	struct av_move *v;

	if (!o)
		return false;
	v = TAILQ_FIRST(&o->moves);
	av_move_leave(m, v);
	if (!TAILQ_EMPTY(&o->moves)) {
		TAILQ_REMOVE(&m->movers, o, link);
		TAILQ_INSERT_TAIL(&m->movers, o, link);
	}
	if (v->run(v)) /* else neither may exist any more */
		av_move_wait(m, o, v);
	return true;
}
