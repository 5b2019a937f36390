#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Traces of virtio-vsock packets are played against zvsockd; and what it captures is such a trace.

usage: test_replay.py ZVSOCKD ZVSOCK-RUN REPLAY ZVSOCKCTL [TRACE.json...]

With TRACES these are played in place of those in traces/: QEMU's own, for example.
"""
import glob
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path += [os.path.join(HERE, '..', 'daemon')]

import from_pcap  # noqa: E402
from zvd_program import LIMIT, case, main  # noqa: E402

ZVSOCK_RUN, REPLAY, ZVSOCKCTL = sys.argv[2:5]
TRACES = sys.argv[5:] or sorted(glob.glob(os.path.join(HERE, 'traces', '*.json')))
CID = 3
CONF = (f'[daemon]\ncontrol = DIR/ctl\naf_vsock = DIR/af_vsock\n[guest vm]\ncid = {CID}\nsocket = DIR/vm.sock\n'
        'builtin = echo:7\n')


def play(w, rings, *traces):
    """What replay prints, and how it ends."""
    done = subprocess.run([ZVSOCK_RUN, '--mode', 'seccomp', REPLAY, w.path('vm.sock'), str(CID), rings, *traces], check=False,
                          env={**os.environ, 'ZVSOCK_AF_VSOCK': w.path('af_vsock')}, stdout=subprocess.PIPE,
                          timeout=LIMIT * 4, text=True)
    return done.stdout, done.returncode


def all_of(rings):
    def run(w):
        w.up('-c', w.write('c', CONF))
        said, rc = play(w, rings, *TRACES)
        print(said, end='')
        assert rc == 0 and len(TRACES) > 0 and said.count('ok ') == len(TRACES)
    run.__name__ = f'traces_on_{rings}_rings'
    return case(run)


all_of('split')
all_of('packed')


@case
def differences_are_told(w):
    """A trace that does not fit what the backend does fails, and says where."""
    w.up('-c', w.write('c', CONF))
    header = {'src_cid': 'MY_CID', 'src_port': 1024, 'dst_cid': 'PEER_CID', 'dst_port': 1024, 'len': 0,
              'type': 'VIRTIO_VSOCK_TYPE_STREAM', 'op': 'VIRTIO_VSOCK_OP_REQUEST', 'flags': 0, 'buf_alloc': 0, 'fwd_cnt': 0}
    answer = {**header, 'src_cid': 'PEER_CID', 'dst_cid': 'MY_CID', 'op': 'VIRTIO_VSOCK_OP_RESPONSE'}
    for trace, text in (
            ([{'op': 'send', 'hdr': header}, {'op': 'receive', 'hdr': answer}], 'command 1: op is 3, expected 2'),
            ([{'op': 'send', 'hdr': {**header, 'op': 'VIRTIO_VSOCK_OP_NONE'}}], '"VIRTIO_VSOCK_OP_NONE" is not known'),
            ([{'op': 'send', 'hdr': {**header, 'len': -1}}], '"len" is to be a number'),
            ([{'op': 'send', 'hdr': {**header, 'src_port': 'SOCK_PORT_none'}}], 'names no socket'),
            ([{'op': 'jump'}], '"jump" is not known'),
            ([], 'array of commands')):
        said, rc = play(w, 'split', w.write('t.json', json.dumps(trace)))
        assert rc == 1 and text in said, said


@case
def a_capture_is_a_trace(w):
    """What zvsockctl has captured while a trace was played is that trace, and can be played."""
    echo = [t for t in TRACES if t.endswith('echo.json')]
    if not echo:
        return
    w.up('-c', w.write('c', CONF))
    with open(echo[0], encoding='utf-8') as f:
        played = json.load(f)
    played[0].pop('_description')
    capture = subprocess.Popen([ZVSOCKCTL, '--socket', w.path('ctl'), 'capture', '--count', str(len(played)), w.path('pcap')],
                               stderr=subprocess.PIPE)
    w.procs.append(capture)
    end = time.monotonic() + LIMIT
    while not os.path.exists(w.path('pcap')) or os.path.getsize(w.path('pcap')) < 24:
        assert time.monotonic() < end and capture.poll() is None, 'no capture'
        time.sleep(0.02)
    said, rc = play(w, 'split', *echo)
    assert rc == 0, said
    assert capture.wait(LIMIT) == 0, capture.stderr.read()
    with open(w.path('pcap'), 'rb') as f:
        captured = list(from_pcap.commands(f.read(), CID))
    for got, expected in zip(captured, played):
        if got['op'] == 'receive' and got['hdr']['fwd_cnt'] < expected['hdr']['fwd_cnt']:
            expected['hdr']['fwd_cnt'] = got['hdr']['fwd_cnt'] # read a moment later
    assert captured == played, json.dumps(captured, indent=1)
    said, rc = play(w, 'packed', w.write('again.json', json.dumps(captured)))
    assert rc == 0, said


if __name__ == '__main__':
    sys.exit(main())
