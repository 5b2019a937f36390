/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints sizes and offsets of the public structures, for bindings that repeat them. */
#include <stddef.h>
#include <stdio.h>
#include <zvsock.h>

#define SIZE(t)	 printf(#t " %zu\n", sizeof(struct t))
#define AT(t, m) printf(#t "." #m " %zu\n", offsetof(struct t, m))

int main(void)
{
	SIZE(zv_opts);
	SIZE(zv_buf);
	SIZE(zv_event);
	SIZE(zv_conn_info);
	AT(zv_opts, size);
	AT(zv_opts, queues);
	AT(zv_opts, ring_size);
	AT(zv_opts, rx_buf);
	AT(zv_opts, tx_buf);
	AT(zv_opts, buf_alloc);
	AT(zv_opts, max_conns);
	AT(zv_opts, flags);
	AT(zv_opts, connect_timeout_ns);
	AT(zv_opts, close_timeout_ns);
	AT(zv_opts, hello_timeout_ns);
	AT(zv_opts, spin_ns);
	AT(zv_opts, rx_memory);
	AT(zv_opts, tx_timeout_ns);
	AT(zv_buf, data);
	AT(zv_buf, len);
	AT(zv_buf, capacity);
	AT(zv_buf, flags);
	AT(zv_buf, cookie);
	AT(zv_buf, serial);
	AT(zv_event, conn);
	AT(zv_event, user);
	AT(zv_event, events);
	AT(zv_event, port);
	AT(zv_event, err);
	AT(zv_event, queue);
	AT(zv_conn_info, size);
	AT(zv_conn_info, local_cid);
	AT(zv_conn_info, peer_cid);
	AT(zv_conn_info, local_port);
	AT(zv_conn_info, peer_port);
	AT(zv_conn_info, type);
	AT(zv_conn_info, queue);
	AT(zv_conn_info, tx_credit);
	AT(zv_conn_info, rx_unread);
	AT(zv_conn_info, state);
	AT(zv_conn_info, tx_bytes);
	AT(zv_conn_info, rx_bytes);
	AT(zv_conn_info, opened_ns);
	AT(zv_conn_info, peer_buf_alloc);
	AT(zv_conn_info, tx_unacked);
	AT(zv_conn_info, flags);
	AT(zv_conn_info, reserved);
	AT(zv_conn_info, user);
	return 0;
}
