/* SPDX-License-Identifier: BSD-3-Clause */
/* vm_first URI: the simplest program there is. It opens a device, and connects before it has
 * polled. */
#include "peer.h"

#include <string.h>
#include <zvsock.h>

#define LIMIT_NS UINT64_C(60000000000)

int main(int argc, char **argv)
{
	static const char text[] = "first";
	struct zv_dev *dev = NULL;
	struct zv_conn *conn;
	char back[sizeof(text)] = "";
	size_t done, got = 0;
	ssize_t n = 1;
	bool good;

	good = argc == 2 && zv_open(&dev, argv[1], NULL) == 0 &&
	       zv_connect_wait(zv_queue(dev, 0), ZV_CID_HOST, PORT_ECHO, ZV_STREAM, LIMIT_NS,
			       &conn) == 0 &&
	       zv_send_all(conn, text, sizeof(text), 0, LIMIT_NS, &done) == 0;
	while (good && got < sizeof(back) && n > 0) {
		(void)zv_conn_wait(conn, ZV_EV_IN, LIMIT_NS);
		n = zv_recv(conn, back + got, sizeof(back) - got, NULL);
		got += n > 0 ? (size_t)n : 0;
	}
	good = good && got == sizeof(back) && memcmp(text, back, got) == 0 &&
	       zv_conn_close(conn) == 0;
	puts(good ? "ok" : zv_error_text());
	if (dev)
		zv_close(dev);
	return good ? 0 : 1;
}
