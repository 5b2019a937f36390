/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detects whether the process of a socket's former frontend is still alive. A frontend that hangs
 * up may come back, and with it everything that its driver holds. If its process has ended, like
 * that of a killed VM, the guest's memory is gone too, and the driver holds nothing.
 *
 * The kernel tells which process connected or listened (SO_PEERCRED), and a pidfd of that process
 * tells when it ends. If it ends while the connection goes on, it was not the frontend: somebody
 * else created the socket and passed it on. In that case, and where the kernel cannot tell, nothing
 * is reported.
 */
#include "vu_server_priv.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A process that has closed all it had open ends at once: this is for a loaded machine. */
#define DEATH_GRACE_NS 10000000000ull

static void died(struct vu_socket *sk)
{
	vu_life_over(sk);
	if (sk->c.ops->died)
		sk->c.ops->died(sk->c.ctx);
}

static void ready(struct vu_source *s, uint32_t events)
{
	struct vu_socket *sk =
		(struct vu_socket *)(void *)((uint8_t *)s - offsetof(struct vu_socket, life));

	(void)events;
	if (!sk->front && vu_in(0) < sk->life_until) {
		died(sk);
		return;
	}
	vu_unwatch_close(s);
	sk->dying = sk->front && vu_hung_up(sk->front);
}

void vu_life_begin(struct vu_socket *sk, int fd)
{
	socklen_t len = sizeof(struct ucred);
	struct ucred who = {0};
	int pidfd;

	vu_life_over(sk);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.pid <= 0)
		return;
	pidfd = (int)syscall(SYS_pidfd_open, who.pid, 0);
	if (pidfd < 0)
		return;
	sk->life = (struct vu_source){ready, pidfd, sk};
	if (vu_watch(&sk->life, EPOLLIN) < 0) {
		(void)close(pidfd);
		sk->life.fd = -1;
	}
}

void vu_life_hung_up(struct vu_socket *sk)
{
	sk->life_until = vu_in(DEATH_GRACE_NS);
	if (sk->dying)
		died(sk);
}

void vu_life_over(struct vu_socket *sk)
{
	vu_unwatch_close(&sk->life);
	sk->dying = false;
}
