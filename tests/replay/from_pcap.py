#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A capture of one guest, as `zvsockctl capture` writes it, as a trace that replay plays: README.md.

usage: from_pcap.py CAPTURE.pcap CID

The trace goes to standard output. Packets that the guest has sent are `send`, those that it was given `receive`. What programs of the host did is not in a
capture: a trace of a connection to one of them needs the sock-... commands added by hand.
"""
import json
import os
import struct
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..'))
import usage  # noqa: E402  pylint: disable=wrong-import-position

LINKTYPE_VSOCK = 271
PCAP_NS = 0xa1b23c4d
OPS = ['INVALID', 'REQUEST', 'RESPONSE', 'RST', 'SHUTDOWN', 'RW', 'CREDIT_UPDATE', 'CREDIT_REQUEST']
TYPES = {1: 'VIRTIO_VSOCK_TYPE_STREAM', 2: 'VIRTIO_VSOCK_TYPE_SEQPACKET'}


def packets(data):
    """(header's fields, payload) of each record."""
    magic, _, _, _, _, _, link = struct.unpack_from('<IHHiIII', data)
    if (magic, link) != (PCAP_NS, LINKTYPE_VSOCK):
        sys.exit('not a capture of zvsockctl')
    at = 24
    while at < len(data):
        _, _, kept, whole = struct.unpack_from('<IIII', data, at)
        if kept != whole:
            sys.exit('packets are cut: capture without a snaplen')
        yield struct.unpack_from('<QQIIIHHIII', data, at + 16 + 32), data[at + 16 + 32 + 44:at + 16 + kept]
        at += 16 + kept


def commands(data, cid):
    def name(c):
        return {cid: 'MY_CID', 2: 'PEER_CID'}.get(c, c)
    for (src, dst, sport, dport, length, kind, op, flags, buf_alloc, fwd_cnt), payload in packets(data):
        command = {'op': 'send' if src == cid else 'receive', 'hdr': {
            'src_cid': name(src), 'src_port': sport, 'dst_cid': name(dst), 'dst_port': dport, 'len': length,
            'type': TYPES.get(kind, kind), 'op': f'VIRTIO_VSOCK_OP_{OPS[op]}' if op < len(OPS) else op,
            'flags': flags, 'buf_alloc': buf_alloc, 'fwd_cnt': fwd_cnt}}
        if payload:
            command['payload'] = payload.hex()
        yield command


if __name__ == '__main__':
    capture, guest = usage.arguments()
    if not guest.isdigit():
        sys.exit(f'{guest} is not a CID')
    try:
        with open(capture, 'rb') as f:
            print(json.dumps(list(commands(f.read(), int(guest))), indent='\t'))
    except OSError as why:
        sys.exit(f'{capture}: {why.strerror}')
