/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_flow.h"

#include <errno.h>
#include <sys/socket.h>

uint8_t flow_byte(uint32_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void guest_turn(struct flow *f, uint8_t *buf, uint32_t room)
{
	uint32_t len = FLOW_BYTES - f->g_sent < f->chunk ? FLOW_BYTES - f->g_sent : f->chunk;
	ssize_t n = -EAGAIN;

	for (uint32_t i = 0; i < len; i++)
		buf[i] = flow_byte(f->g_sent + i);
	if (len)
		n = zv_send(f->c->c, buf, len, 0);
	f->g_sent += n > 0 ? (uint32_t)n : 0;
	f->ok &= n > 0 || n == -EAGAIN;
	if (f->turn % f->g_lazy)
		return;
	n = zv_recv(f->c->c, buf, room, NULL);
	for (ssize_t i = 0; i < n; i++)
		f->ok &= buf[i] == flow_byte(f->g_got + (uint32_t)i);
	f->g_got += n > 0 ? (uint32_t)n : 0;
	f->ok &= n > 0 || n == -EAGAIN;
}

static void host_turn(struct flow *f, uint8_t *buf, uint32_t room)
{
	uint32_t len = FLOW_BYTES - f->h_sent < f->chunk ? FLOW_BYTES - f->h_sent : f->chunk;
	ssize_t n = 0;

	for (uint32_t i = 0; i < len; i++)
		buf[i] = flow_byte(f->h_sent + i);
	if (len)
		n = send(f->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	f->ok &= n >= 0 || errno == EAGAIN;
	f->h_sent += n > 0 ? (uint32_t)n : 0;
	if (f->turn % f->h_lazy)
		return;
	n = recv(f->fd, buf, room, MSG_DONTWAIT);
	f->ok &= n > 0 || (n < 0 && errno == EAGAIN);
	for (ssize_t i = 0; i < n; i++)
		f->ok &= buf[i] == flow_byte(f->h_got + (uint32_t)i);
	f->h_got += n > 0 ? (uint32_t)n : 0;
}

bool flow_done(void *arg)
{
	static uint8_t buf[200000];
	struct flow *f = arg;

	f->turn++;
	guest_turn(f, buf, 30011);
	host_turn(f, buf, 30011);
	return !f->ok || (f->g_got == FLOW_BYTES && f->h_got == FLOW_BYTES);
}
