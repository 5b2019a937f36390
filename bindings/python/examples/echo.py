#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Echo over zvsock, without a copy on the server's side.

usage: echo.py serve URI PORT          answers every connection, prints "listening" when it is ready
       echo.py send URI CID PORT       sends standard input and prints what comes back

Two programs on one machine, connected by a zvsockd with the client socket /tmp/clients:
    echo.py serve daemon:/tmp/clients 7 &
    echo hello | echo.py send daemon:/tmp/clients 1 7
"""
import sys

import zvsock


def answer(conn):
    """Sends back what has come. False: the connection is over."""
    try:
        received = conn.buf_recv()
        if not received:
            return False
        for buf in received:
            conn.send_all(buf.data)
            buf.release()
    except BlockingIOError:
        pass
    return True


def serve(uri, port):
    with zvsock.open(uri) as dev:
        dev.listen(port)
        print('listening', flush=True)
        queue = dev.queues[0]
        while True:
            for ev in queue.wait():
                if ev.events & zvsock.EV_ACCEPT:
                    queue.accept(ev.port)
                elif not ev.conn.closed and (ev.events & zvsock.EV_ERR or not answer(ev.conn)):
                    ev.conn.close()


def send(uri, cid, port):
    with zvsock.open(uri) as dev, dev.queues[0].connect(cid, port) as conn:
        while data := sys.stdin.buffer.read1(65536):
            conn.send_all(data)
            while data:
                back = conn.recv(len(data))
                if not back:
                    sys.exit('the server left in the middle')
                sys.stdout.buffer.write(back)
                data = data[len(back):]
        sys.stdout.flush()


def main():
    try:
        if len(sys.argv) == 4 and sys.argv[1] == 'serve':
            serve(sys.argv[2], int(sys.argv[3]))
        elif len(sys.argv) == 5 and sys.argv[1] == 'send':
            send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        else:
            sys.exit(__doc__)
    except OSError as e:
        sys.exit(f'echo.py: {e.strerror}')
    except KeyboardInterrupt:
        pass


if __name__ == '__main__':
    main()
