# SPDX-License-Identifier: BSD-3-Clause
"""`zvsockctl capture` beside a stock guest's traffic, read by us and by tshark."""
import collections
import json
import os
import shutil
import signal
import struct
import subprocess

from procs import Failure, LIMIT
from scenarios_daemon import hybrid_connect, trio, until_quiet
from testbed import ECHO, XFER, also_in_uml, scenario

MIB = 1 << 20
HOST, REFUSED = 2, 4999
ECHOED, BODY, REPLY = 100000, MIB, MIB // 4  # all of it fits into the capture's buffer: none is dropped
XFER_EXTRA = 16  # bytes of head and tail around a transfer (peer/peer.h)
REQUEST, RESPONSE, RST, SHUTDOWN, RW = range(1, 6)
SEND = 2  # flag of SHUTDOWN
FIELDS = ('src_cid', 'dst_cid', 'src_prot', 'dst_prot', 'len', 'op', 'flags')

Packet = collections.namedtuple('Packet', 'src dst src_port dst_port len op flags payload')


def read_pcap(path):
    with open(path, 'rb') as f:
        data = f.read()
    magic, _, _, _, link = struct.unpack_from('<IIQII', data)
    if (magic, link) != (0xa1b23c4d, 271):
        raise Failure(f'magic {magic:x}, link type {link}')
    at, packets = 24, []
    while at < len(data):
        kept, whole = struct.unpack_from('<8xII', data, at)
        src, dst, sport, dport, size, _, op, flags = struct.unpack_from('<QQIIIHHI', data, at + 48)
        if kept != whole or whole != 76 + size:
            raise Failure(f'packet {len(packets) + 1}: {kept} of {whole} bytes, payload {size}')
        packets.append(Packet(src, dst, sport, dport, size, op, flags,
                              data[at + 92:at + 92 + size]))
        at += 16 + kept
    return packets


def traffic(testbed, vm):
    """Both directions, a half-close by each side, a refusal by each side."""
    vm.peer(f'echo {HOST} {ECHO} {ECHOED}')
    testbed.host_peer(vm, 'echo', ECHO, ECHOED)
    vm.peer(f'xfer {HOST} {XFER} {BODY} {REPLY}')
    testbed.host_peer(vm, 'xfer', XFER, BODY, REPLY)
    if vm.start(f'echo {HOST} {REFUSED} 1').wait() == 0:
        raise Failure('the guest was connected to a port that nobody serves')
    try:
        hybrid_connect(vm, REFUSED).close()
    except ConnectionRefusedError:
        return
    raise Failure('the host was connected to a port that nobody serves')


def one_connection(packets, client, port):
    """What @client sent on its only connection to @port, and all of that connection."""
    every = [p for p in packets if p.src_port == port or p.dst_port == port]
    opened = [p for p in every if p.op == REQUEST and p.src == client and p.dst_port == port]
    if len(opened) != 1:
        raise Failure(f'{len(opened)} requests of CID {client} to port {port}')
    other = opened[0].src_port
    return [p for p in every if other in (p.src_port, p.dst_port)]


def payload(packets, sender):
    return b''.join(p.payload for p in packets if p.op == RW and p.src == sender)


def check_echo(packets, client, server):
    flow = one_connection(packets, client, ECHO)
    there, back = payload(flow, client), payload(flow, server)
    if len(there) != ECHOED or there != back:
        raise Failure(f'echo to {server}: {len(there)} bytes there, {len(back)} back, or others')


def check_half_close(packets, client, server):
    """The server's direction goes on, with all that it has to say, after the client's end."""
    flow = one_connection(packets, client, XFER)
    ends = [i for i, p in enumerate(flow)
            if p.op == SHUTDOWN and p.src == client and p.flags & SEND]
    if not ends:
        raise Failure(f'no SHUTDOWN of CID {client}')
    there, back = payload(flow[:ends[0]], client), payload(flow[ends[0]:], server)
    if (len(there), len(back)) != (BODY + XFER_EXTRA, REPLY + XFER_EXTRA):
        raise Failure(f'transfer to {server}: {len(there)} bytes before the end, {len(back)} after')


def check_refused(packets, client, server):
    ops = [(p.op, p.src) for p in one_connection(packets, client, REFUSED)]
    if ops != [(REQUEST, client), (RST, server)]:
        raise Failure(f'refused by {server}: {ops}')


def check_tshark(path, packets):
    """tshark sees the same, and nothing malformed."""
    argv = ['tshark', '-n', '-r', path, '-T', 'fields', '-e', '_ws.malformed',
            '-e', '_ws.expert.severity']
    for field in FIELDS:
        argv += ['-e', f'vsock.virtio.{field}']
    done = subprocess.run(argv, text=True, capture_output=True, check=False, timeout=LIMIT,
                          stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Failure(f'tshark: {done.stderr.strip()}')
    rows = [line.split('\t') for line in done.stdout.splitlines()]
    if len(rows) != len(packets):
        raise Failure(f'tshark sees {len(rows)} of {len(packets)} packets')
    for number, (row, packet) in enumerate(zip(rows, packets), 1):
        if row[:2] != ['', '']:
            raise Failure(f'tshark: packet {number} is malformed: {row}')
        if [int(v, 0) for v in row[2:]] != list(packet[:7]):
            raise Failure(f'tshark: packet {number} is {row}, and not {packet[:7]}')


@also_in_uml
@scenario
def daemon_capture(bench):
    """A capture has every byte of both directions, half-closes and refusals; tshark agrees."""
    testbed = trio(bench)
    vm = testbed.vms['a']
    until_quiet(testbed)
    path = os.path.join(testbed.folder, 'a.pcap')
    capture = testbed.program(['sh', '-c', 'exec "$0" "$@" 2>&1', testbed.programs[1], '--socket',
                             testbed.control, '--json', 'capture', path, vm.name])
    capture.expect('capturing 1 guest')
    traffic(testbed, vm)
    until_quiet(testbed)
    capture.kill(signal.SIGINT)
    if capture.wait():
        raise Failure(f'zvsockctl capture: {capture.account()}')
    result = json.loads(capture.output())
    packets = read_pcap(path)
    if result['dropped'] or result['packets'] != len(packets):
        raise Failure(f'{len(packets)} packets in the file, and {result}')
    if strangers := {c for p in packets for c in (p.src, p.dst)} - {HOST, vm.cid}:
        raise Failure(f'packets of CIDs {strangers}')
    if missing := {REQUEST, RESPONSE, RST, SHUTDOWN, RW} - {p.op for p in packets}:
        raise Failure(f'no packet with the operations {missing}')
    for client, server in ((vm.cid, HOST), (HOST, vm.cid)):
        check_echo(packets, client, server)
        check_half_close(packets, client, server)
        check_refused(packets, client, server)
    if not shutil.which('tshark'):
        return f'{len(packets)} packets; tshark is not installed here, so it did not read them'
    check_tshark(path, packets)
    return f'{len(packets)} packets'
