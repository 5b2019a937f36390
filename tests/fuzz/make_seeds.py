#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seeds of the fuzz targets to tests/fuzz/seeds/NAME/.

Each seed is an ordinary course of events, from which mutation finds the extraordinary ones. The
bytes mean what fuzz_NAME.c reads; change both together. Files that this script does not know
(reproducers of what was found, named after what must hold) are left alone.

usage: make_seeds.py
"""
import os
import struct
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..'))
import usage  # noqa: E402  pylint: disable=wrong-import-position

HERE = os.path.dirname(os.path.realpath(__file__))
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)


def u8(*values):
    return bytes(v & 0xff for v in values)


def u16(v):
    return struct.pack('<H', v)


def u32(v):
    return struct.pack('<I', v)


def u64(v):
    return struct.pack('<Q', v)


def header(op, length=0, flags=0, kind=1, src=3, dst=2, buf_alloc=65536, fwd=0):
    return struct.pack('<QQIIIHHIII', src, dst, 1024, 80, length, kind, op, flags, buf_alloc, fwd)


def proto():
    start = u64(2) + u64(3) + u16(300)
    honest = 5 + 8 * 7
    def talk(state, *packets):
        return start + u8(state) + b''.join(u8(honest) + p for p in packets)
    yield 'server', talk(0, header(REQUEST), header(RW, 10), header(SHUTDOWN, flags=3))
    yield 'client', talk(1, header(RESPONSE), header(RW, 20, kind=2), header(RW, 7, 3, 2),
                         header(CREDIT_REQUEST), header(CREDIT_UPDATE), header(RST))
    yield 'close', talk(2, header(RW, 5)) + u8(0) + u8(honest) + header(SHUTDOWN, flags=1) + u8(1)
    yield 'messages', talk(2, *[header(RW, 100, 1, 2)] * 5) + u8(3, 3, 3)
    yield 'refused', start + u8(2) + u8(5) + header(9) + u8(5) + header(1, 5) + u8(5) + header(
        3, kind=7) + u8(2, 200, 200, 4, 1)


def credit():
    def start(base, alloc):
        return u32(base) + u32(alloc)
    def send(n, small=0):
        return u8(0) + u32(n) + u8(small)
    def says(alloc, fwd):
        return u8(2) + u32(alloc) + u32(fwd)
    def honest(n):
        return u8(3) + u32(0) + u32(n)
    wrap = 0xfffffff0
    yield 'wrap', start(wrap, 4096) + says(65536, wrap) + send(1000) * 3 + honest(1500) + send(
        64000) + says(65536, wrap - 1) + honest(999999)
    yield 'budget', start(5, 4096) + says(65536, 5) + u8(14) + u16(1024) + send(10) * 40 + honest(
        200) + send(10) * 20 + honest(1 << 30) + u8(6) + send(10)
    yield 'receive', start(wrap, 4096) + says(2048, wrap) + (u8(4) + u16(1000)) * 5 + u8(5) + u32(
        2500) + u8(7) + u8(12) + u32(0xffffffff)
    yield 'shrink', start(0, 4096) + says(65536, 0) + send(60000) + says(100, 0) + send(
        1) + says(0, 60000) + says(65536, 60000)


def ctrl_msg():
    def msg(kind, body, extra=b''):
        return b'ZVSK' + u16(1) + u16(kind) + u32(16 + len(body) + len(extra)) + u32(0) + body + extra
    direction = u32(256) + u32(2) + u32(4096) + u32(32) + u32(65536) + u32(8) + bytes(16)
    grant = (u64(7) + u64(2) + u32(5000) + u32(49152) + u16(1) + u16(1) + u32(1) + u32(3) + u32(0) + u64(4096) +
             u64(1 << 21) + direction + direction)
    yield 'offer', msg(3, u64(1 << 32) + u64(1 << 26))
    yield 'region', msg(4, u64(7) + u64(1 << 26) + u64((1 << 64) - 1) + u32(0) + u32(0))
    yield 'gone', msg(4, u64(7) + u64(0) + u64(0) + u32(1) + u32(0)) + msg(5, u64(7) + u32(0) + u32(0))
    yield 'declined', msg(5, u64(7) + u32(13) + u32(0))
    yield 'grant', msg(6, grant)
    yield 'longer', msg(6, grant, b'bells') + msg(7, u64(7) + u64(4096) + u32(3) + u32(0))
    yield 'claim', msg(8, u32(1025) + u32(5000) + u64(2) + u16(1) + u16(0) + u32(0)) + msg(
        8, u32(99) + bytes(12) + u16(2) + u16(2) + u32(0))
    yield 'release', msg(7, u64(7) + u64(4096) + u32(3) + u32(0))
    yield 'holds', msg(9, u64(7) + u64(4096) + u32(3) + u32(2))


def hello():
    def msg(kind=1, length=44, version=1, pair=0, npairs=2, max_pkt=1 << 20, magic=0x4b53565a):
        return (u32(magic) + u16(version) + u16(kind) + u32(length) + u32(0) + u64(0x1122334455667788)
                + u16(pair) + u16(npairs) + u32(3) + u32(max_pkt) + u32(1) + u32(0))
    yield 'hello', msg()
    yield 'ack', msg(2, pair=1)
    yield 'longer', msg(length=60) + bytes(16) + msg()
    yield 'cut', msg(length=60) + bytes(3)
    yield 'fields', u16(1) + u16(1) + u64(7) + u16(1) + u16(2) + u32(3) + u32(65536) + u32(1)
    yield 'version', msg(version=2)
    yield 'bad', msg(pair=2)


def conn_table():
    def start(limit, stride=1, index=0, lo=50000, width=20):
        return u64(0x1234) + u8(limit, stride - 1, index) + u32(lo) + u8(width)
    def insert(key, port, node):
        return u8(0, key, port, node)
    yield 'grow', start(255) + u8(4, 0, 200) + u8(6 + 8) + u8(4, 0, 200) + u8(6)
    yield 'full', start(9) + b''.join(insert(i, i, i) for i in range(14)) + u8(1, 3, 1, 3, 5, 4)
    yield 'ports', start(255, 2, 1, width=6) + u8(4, 0, 80) + u8(3 + 8 * 2) * 6
    yield 'no_port', start(30, 16, 5, 50000, 3) + u8(3)
    yield 'wrap', start(255, 3, 1, 0xfffffff8, 63) + u8(3) * 9 + insert(1, 8, 1) + u8(3) * 4


def frontend():
    pure = u16(0) + u8(8, 20) + struct.pack('<IIIIII8s', 24, 5, 20, 0, 8, 0, u64(42)) + bytes(56)
    yield 'good', u8(1, 0) + pure + u8(1) * 7
    yield 'descriptors', u8(1, 3) + pure + u8(1) * 7
    yield 'few_queues', u8(15, 0) + pure + u8(1, 1) + u8(0x10) + u64(5) + u8(1) * 4
    yield 'size', u8(1, 0) + pure + u8(1, 1, 1) + u8(0x20) + u32(0xffffffff)
    yield 'cid', u8(1, 0) + pure + u8(1, 1, 1) + u8(0x10) + u32(0) + u32(8) + u32(0) + u64(2)
    yield 'flags', u8(1, 0) + pure + u8(1) + u8(0x40) + u32(1)
    yield 'cut', u8(1, 1) + pure + u8(1, 1, 0, 5) + u8(1, 2, 3, 4, 5)


def vu_rules():
    """Every request as an honest frontend sends it, and one of each kind that is refused."""
    def message(request, payload=b'', nfds=0, size=None, flags=1):
        return (u8(nfds, 8) + u64(1 << 40) + u8(request) + (u8(1) if flags == 1 else u8(0) + u32(flags))
                + u16(len(payload) if size is None else size) + payload + u8(11, 3, 200))
    table = u32(2) + u32(0) + b''.join(u64(a) + u64(1 << 20) + u64(a) + u64(0) for a in (0, 1 << 32))
    state = u32(1) + u32(128)
    for name, request, payload, nfds in (
            ('get_features', 1, b'', 0), ('set_features', 2, u64(3 << 32), 0), ('owner', 3, b'', 0),
            ('table', 5, table, 2), ('num', 8, state, 0), ('addr', 9, u32(1) + u32(0) + u64(4096) * 4, 0),
            ('base', 10, state, 0), ('get_base', 11, state, 0), ('kick', 12, u64(1), 1),
            ('call', 13, u64(0x101), 0), ('queue_num', 17, b'', 0), ('enable', 18, u32(1) + u32(1), 0),
            ('channel', 21, b'', 1), ('config', 24, u32(0) + u32(8) + u32(0) + u64(3), 0)):
        yield name, message(request, payload, nfds)
    yield 'any_size', message(8, u32(1) + u32(100), 130)  # a layout that needs no power of two
    yield 'unknown', message(31, u64(0))
    yield 'long', message(5, size=0xffff)
    yield 'version', message(3, flags=2)
    yield 'missing', message(5, table, 1)


def dev_ring():
    """Opcodes of fuzz_dev_ring.c; the byte after a guest's opcode is the ring (0 rx, 1 tx)."""
    def packet(i, off, length):
        return u8(5, 1, i) + u16(off) + u8(length)
    def buffers(first, n, length):
        return u8(6, 0, first, n, length)
    def desc(ring, i, region, off, flags, length, nxt=0):
        return u8(0, ring, i, region) + u16(off) + u8(flags, length, nxt)  # regions 6 and 7
    burst, publish = u8(8, 32), u8(14)
    def reserve(n, ctrl=0):
        return u8(11, n | 0x40 * ctrl)
    def release(k):
        return u8(10, k)
    def commit(k):
        return u8(12, k)
    def cancel(k):
        return u8(13, k)
    stop, begin, move, pause = u8(17), u8(18), u8(19), u8(20)
    for name, shape in ('heap', 0xc4), ('file', 0xf4), ('plain', 0x03):
        s = u8(shape)
        traffic = (packet(0, 0, 100) + packet(1, 200, 0) + packet(2, 400, 255) + burst + release(0)
                   + release(0) + publish + buffers(0, 12, 200) + reserve(4) + commit(0) + commit(0)
                   + cancel(0) + cancel(0) + reserve(2, 1) + commit(0) + publish)
        yield name + '_traffic', s + traffic * 2
        yield name + '_stop', (s + packet(0, 0, 100) + burst + buffers(0, 12, 200) + reserve(5)
                               + cancel(0) + stop + release(0) + commit(0) + begin + traffic)
        yield name + '_move', (s + packet(0, 0, 100) + burst + buffers(0, 12, 200) + reserve(5)
                               + cancel(0) + move + commit(0) + cancel(0) + reserve(3) + move
                               + release(0) + commit(0) + publish)
        yield name + '_pause', (s + packet(0, 0, 100) + burst + buffers(0, 12, 200) + reserve(5)
                                + cancel(0) + pause + commit(0) + reserve(2) + pause + commit(0)
                                + publish + reserve(3) + commit(2) + commit(0) + buffers(0, 1, 60)
                                + publish + pause + release(0) + cancel(0) + pause + traffic
                                + pause + commit(0) + stop)
    # with an IOMMU: nothing is known, all is, all is forbidden
    miss, know, deny = (u8(21) + u64(m) + u64(d) for m, d in ((2**64 - 1, 0), (0, 0), (0, 2**64 - 1)))
    yield 'iommu_traffic', (u8(0xcc) + packet(0, 0, 100) + packet(1, 200, 0) + miss + burst + u8(15, 0) + know
                            + burst + release(0) + publish + buffers(0, 12, 200) + miss + reserve(4) + know
                            + reserve(4) + commit(0) + cancel(0) + commit(0) + publish + deny + packet(2, 0, 9)
                            + burst + stop + begin + know + traffic)
    straddling = desc(0, 0, 7, 0, 3, 20, 1) + desc(0, 1, 7, 300, 2, 100) + u8(2, 0, 0)
    yield 'iommu_late', (u8(0xcc) + straddling + buffers(2, 4, 200) + reserve(3) + miss + commit(0) + commit(0)
                         + publish + reserve(1) + u8(15, 4) + know + publish + straddling + reserve(1) + miss
                         + commit(1) + pause + know + pause + buffers(4, 4, 200) + publish + commit(0) + stop)
    notify = b''.join(u8(15, i) for i in (4 | 8, 2 | 8, 2 | 4 | 8, 3 | 8, 7 | 8, 0, 1, 4, 1))
    yield 'notify', u8(0xc4) + notify + packet(0, 0, 9) + u8(15, 0) + burst + publish
    # a header in three descriptors, an indirect table, one with too many entries
    chain = (desc(1, 0, 6, 0, 1, 20, 1) + desc(1, 1, 6, 20, 1, 20, 2) + desc(1, 2, 6, 40, 0, 60)
             + u8(2, 1, 0))
    yield 'chain', u8(0x44) + chain + burst + release(0) + publish
    table = (u8(1, 0) + u16(0) + u8(6) + u16(500) + u8(1, 44, 1) + u8(1, 0) + u16(16) + u8(7)
             + u16(0) + u8(0, 80, 0))
    yield 'indirect', u8(0xc4) + table + desc(1, 0, 6, 0, 4, 2) + u8(2, 1, 0) + burst + release(0)
    yield 'straddle', (u8(0xc4) + desc(0, 0, 6, 0, 3, 20, 1) + desc(0, 1, 7, 0, 3, 30, 2)
                       + desc(0, 2, 7, 100, 2, 200) + u8(2, 0, 0) + reserve(1, 1) + commit(0))
    yield 'index', u8(0xc4) + u8(3, 1, 200) + burst + burst + stop + begin + packet(0, 0, 1) + burst


def drv_ring():
    done_rx, done_tx, many = u8(9), u8(11), u8(19)
    def receive(n):
        return u8(0, n)
    def reserve(n, length=100, ctrl=0):
        return u8(1, ctrl, n) + u16(length)
    def commit(token, length):
        return u8(2, token, length)
    publish = u8(5)
    for name, shape in ('event_idx', 0x08), ('plain', 0x06), ('small', 0x00):
        s = u8(shape)
        yield name, (s + (done_rx + u8(60)) * 5 + receive(32) + u8(3, 0, 3, 1, 3, 2) + reserve(4)
                     + commit(15, 10) + commit(14, 64) + commit(13, 0) + u8(4, 12) + publish
                     + done_tx * 3 + u8(8) + u8(6, 1) + u8(7) + publish)
        yield name + '_restart', (s + reserve(6) + commit(15, 1) + u8(18) + commit(14, 1) + u8(16)
                                  + commit(13, 1) + u8(15) + (done_rx + u8(9)) * 3 + receive(9)
                                  + u8(15) + u8(3, 0) + receive(9))
    yield 'many', u8(0x08) + (many + u8(*[33] * 32) + receive(64) + u8(3, 0, 3, 1) + publish) * 6
    yield 'event', u8(0x08) + u8(13, 2, 0, 0, 0, 4) + u8(14, 2) + u16(1) + receive(9) + u8(17)
    yield 'bad_id', u8(0x08) + u8(13, 0, 0, 1) + u32(99) + u8(5) + u8(14, 0) + u16(1) + receive(9)
    yield 'bad_len', u8(0x08) + u8(13, 0, 0, 2, 3) + u32(1 << 31) + u8(14, 0) + u16(1) + receive(9)
    yield 'bad_index', u8(0x08) + u8(14, 1) + u16(0x9000) + reserve(3) + u8(15) + reserve(3)


def socket():
    guest, host = 0, 0x80
    pump = u8(0x30)
    def listen(side, how=0):
        return u8(3 | side, how)
    def connect(side, how=0):
        return u8(2 | side, how)
    def accept(side):
        return u8(4 | side, 2)
    def conn(side, i, op, *args):
        return u8(12 | side, i, op) + b''.join(args)
    def send(side, n, flags=0, i=23):
        return conn(side, i, 0, u8(flags) + u16(n))
    def recv(side, n, i=23):
        return conn(side, i, 1, u8(0) + u16(n))
    def alloc(side, n, length, i=23):
        return conn(side, i, 2, u8(n) + u16(length))
    def borrow(side, n, i=23):
        return conn(side, i, 3, u8(n))
    def shut(side, how, i=23):
        return conn(side, i, 4, u8(how))
    def close(side, i=23):
        return u8(5 | side, i)
    def give_rx(side, k=0, twice=0):
        return u8(6 | side | 16 * twice, k)
    def give_tx(side, k=0, how=0, n=100):
        return u8(7 | side, k, how) + u16(n)
    def transport(how, *args):
        return u8(8, how) + b''.join(args)
    def inject(how, op, i=23, *args):
        return u8(10, how, op, i, 0, 1) + b''.join(args)
    for name, shape, how in ('stream', 0x80, 0), ('stock', 0x81, 0), ('seq', 0x80, 32), (
            'seq_stock', 0xe3, 32), ('tight', 0x5a, 0), ('untidy', 0x20, 0):
        up = u8(shape) + pump + listen(host, how) + connect(guest, how) + pump + accept(host)
        yield name, (up + send(guest, 3000) + pump + recv(host, 5000) + send(host, 100, 4)
                     + send(host, 50) + pump + borrow(guest, 3) + give_rx(guest)
                     + alloc(guest, 4, 200) + give_tx(guest, 0, 0x10) + give_tx(guest, 0, 1) + pump
                     + recv(host, 100) + shut(guest, 1) + pump + recv(host, 9000) + close(host)
                     + pump + close(guest))
        yield name + '_session', (up + alloc(guest, 3, 100) + send(host, 500) + pump
                                  + borrow(guest, 2) + transport(4) + pump + give_tx(guest)
                                  + give_rx(guest) + close(guest) + pump + connect(guest, how)
                                  + pump + transport(0) + pump)
        yield name + '_inject', (up + inject(5, RW, 23, u16(100)) + pump + inject(4, RST) + pump
                                 + inject(1, REQUEST) + pump + inject(37, CREDIT_UPDATE, 23, u32(5))
                                 + pump + inject(5, SHUTDOWN | 0x30) + pump)
        yield name + '_full', (up + transport(0x02) + send(guest, 4000) * 3 + close(guest) + pump
                               + transport(0x12) + pump + transport(1, u16(9000)) + pump)
    yield 'hello', u8(0) + inject(9, REQUEST) + inject(9, RW, 23, u8(3)) + pump
    yield 'flood', u8(0x98) + transport(0x06) + inject(1, RW, 23, u16(9)) * 90 + pump
    yield 'backlog', u8(0x80) + pump + listen(host, 0x40) + connect(guest) * 4 + pump + listen(
        host, 16) + pump
    yield 'timeout', u8(0x80) + pump + transport(0x06) + connect(guest) + transport(
        1, u16(9000)) + pump * 12


def channel():
    start = u8(0x36, 0x36)  # both ways three classes of four slots
    nested = u8(0xf6, 0xb6)  # of the largest, and smaller ones in them
    line, two, slot, control = range(4)

    def peer(kind, length=0, ident=0, offset=0, forged=0):
        return u8(0, kind, length, ident, offset, forged)
    def back(ident, forged=0):
        return u8(1, ident, forged)
    def freed(n):
        return u8(2, n)
    def alloc(n, length):
        return u8(4, n - 1) + u16(length & ~1)
    def reserve(n, length):
        return u8(4, n - 1) + u16(length | 1)
    send, cancel, receive, release = u8(5, 0, 0), u8(5, 0, 1), u8(7, 7), u8(8, 0)
    def copy(length):
        return u8(6, length)
    def bells(how):
        return u8(9, how)

    yield 'receive', start + (peer(line, 60) + peer(two, 100) + peer(slot, 50, 5, 3) + peer(control, 9)
                              + receive + release * 3 + bells(1)) * 8
    yield 'send', start + (alloc(4, 100) + send * 3 + cancel + copy(64) + copy(127) + freed(6) + back(3) + back(2)
                           + bells(0x1f)) * 6
    yield 'nested', nested + (alloc(4, 1400) + send * 3 + alloc(4, 200) + cancel + send * 3 + freed(9) + back(3) + back(89)
                              + alloc(2, 800) + bells(0x1f)) * 6
    yield 'reserve', start + (reserve(3, 64) + copy(1) + send * 3 + freed(255) + reserve(2, 129) + send * 2
                              + freed(5) + bells(1)) * 6
    yield 'held', start + b''.join(peer(slot, 10, i) for i in range(12)) + (receive + release * 2) * 8 + bells(31)
    yield 'full', u8(0x36, 0x37) + copy(8) * 20 + freed(4) + copy(8) * 6 + peer(line, 8) * 36 + receive * 6
    yield 'no_slots', u8(0, 0) + alloc(1, 100) + peer(slot) + receive + copy(9) + bells(31)
    yield 'twice', start + alloc(2, 100) + send * 2 + back(3) + back(3) + bells(16)
    yield 'another', start + alloc(1, 100) + send + back(7) + bells(16)
    yield 'too_long', start + peer(line, 65) + receive + copy(1)
    yield 'too_far', start + peer(slot, 200, 0, 200) + receive + alloc(1, 10)
    yield 'no_such_slot', start + peer(slot, 1, 12) + receive + bells(3)
    yield 'goes_back', start + copy(8) * 3 + freed(3) + bells(16) + u8(2, 199) + bells(16)
    yield 'scribble', start + (peer(line, 5) + u8(3, 3, 8) + u32(1024) + u64(0x100000005) + receive + copy(5)) * 4


def main():
    usage.arguments()
    for target in proto, credit, hello, ctrl_msg, conn_table, frontend, vu_rules, dev_ring, drv_ring, socket, channel:
        folder = os.path.join(HERE, 'seeds', target.__name__)
        os.makedirs(folder, exist_ok=True)
        for name, data in target():
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(data)


if __name__ == '__main__':
    main()
