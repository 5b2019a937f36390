# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd with a hostile guest and a stock one beside it.

The program hostile_guest (tests/hostile) plays the cases in its VM and judges them there. What it wants to
know of the host side, it asks here, over a virtio-serial port of its own (tests/hostile/testbed_vm.c): a
line with a question, a line with the answer.
"""
import os
import pwd
import re
import select
import socket
import tempfile
import time

from guest import Guest, QEMU, vsock_args
from procs import Failure, LIMIT, Stream
from testbed import XFER
from testbed_daemon import DaemonTestbed, Vm
from testbed_pmd import HUGEPAGES, IOMMU, one_device

MEMORY = 512  # MiB
MIB = 1 << 20
# tests/hostile/testbed.h: CIDs, credit, limits, and what the host does on each port.
VICTIM, BYSTANDER = 3, 4
PORTS = {'builtin': 'echo:1, echo:2, discard:4, source:10', 'buf_alloc': '64K', 'max_conns': 512}
MUTE = {3: socket.SOCK_STREAM, 7: socket.SOCK_SEQPACKET}  # there is a queue, and nobody takes from it


class Hostile(Vm):
    """The guest: its device is vfio-pci's, its memory two regions that meet in the middle; its rings are split or
    packed, as each case wants. @whole: a device that hands over the event virtqueue too, which takes a newer QEMU."""

    def __init__(self, testbed, name, keys, whole=False):
        self.whole, self.qemu = whole, testbed.bench.newer_qemu() if whole else (QEMU,)
        super().__init__(testbed, name, {**PORTS, 'low_port_users': pwd.getpwuid(os.getuid()).pw_name, **keys})
        self.cid, self.host, self.line = VICTIM, None, None
        for port, kind in MUTE.items():
            listener = testbed.owner.add(socket.socket(socket.AF_UNIX, kind))
            listener.bind(f'{self.unix}_{port}')
            listener.listen(4096)

    def power_on(self):
        testbed = self.testbed
        where = tempfile.mktemp(suffix='.ask', dir=testbed.folder)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(where)
            listener.listen(1)
            self.guest = Guest(testbed.owner, testbed.folder, self.log, testbed.kernel,
                               testbed.bench.hostile_ramdisk(testbed.kernel),
                               [*IOMMU, *self.device(),
                                '-chardev', f'socket,id=ask,path={where}',
                                '-device', 'virtserialport,chardev=ask', '-smp', '2'],
                               memory=MEMORY, halves=True, qemu=self.qemu, boot=f'intel_iommu=on hugepages={HUGEPAGES}')
            self.line = testbed.owner.add(listener.accept()[0])

    def device(self):
        if self.whole:
            return one_device(self.socket, 1)
        *args, device = vsock_args(self.socket)
        return [*args, f'{device},packed=on']

    def serve(self):
        """The device goes to the program; which comes with play()."""

    # ---- what the program asks ----

    def counters(self):
        queue, = self.testbed.ctl('stats', self.name)['guests'][0]['queues']
        return queue['counters']

    def ask_stats(self):
        return ' '.join(f'{name} {value}' for name, value in self.counters().items())

    def ask_up(self):
        return self.testbed.ctl('guests', self.name)['guests'][0]['queues_up']

    def ask_heap(self):
        """Memory of zvsockd that is backed by nothing but itself, in bytes."""
        with open(f'/proc/{self.testbed.daemon.popen.pid}/status', encoding='ascii') as f:
            return int(re.search(r'RssAnon:\s+(\d+) kB', f.read())[1]) << 10

    def ask_bystander(self):
        return self.testbed.vms['bystander'].progress()

    def ask_connect(self, port):
        """A host program connects to @port of the guest."""
        if self.host:
            self.host.close()
        self.host = socket.socket(socket.AF_UNIX)
        self.host.settimeout(LIMIT)
        self.host.connect(self.unix)
        self.host.sendall(f'CONNECT {port}\n'.encode())
        return 0

    def ask_result(self):
        """0: the guest has accepted; -1: it has not."""
        answer = b''
        while not answer.endswith(b'\n') and (got := self.host.recv(1)):
            answer += got
        return 0 if answer.startswith(b'OK ') else -1

    def answer(self, question):
        verb, *args = question.split()
        return f'{getattr(self, f"ask_{verb}")(*args)}\n'.encode()

    # ---- the program ----

    def play(self, names=''):
        """Runs the cases; what the program printed, and its exit code."""
        bdf, = [w for w in self.guest.run('zv-bind status').split() if w.startswith('0000:')]
        self.guest.run(f'zv-bind bind {bdf}')
        job = self.guest.start(f'HOSTILE_BDF={bdf} HOSTILE_PORT=/dev/vport0p2 HOSTILE_BORDER={MEMORY // 2 * MIB} '
                               f'HOSTILE_END={MEMORY * MIB} {"HOSTILE_WHOLE=1" if self.whole else "HOSTILE_PACKED=1"} '
                               f'exec hostile_guest {names}')
        questions = Stream(self.line.fileno())
        deadline = time.monotonic() + 4 * LIMIT
        while not job.ended():
            if time.monotonic() > deadline:
                raise Failure(f'hostile_guest did not end: {job.output[-400:]}')
            select.select([questions.fd, self.guest.stream.fd], [], [], 1)
            while questions.waiting():
                question = questions.line(deadline)
                self.line.sendall(self.answer(question))
        return job.output, job.status


class Bystander(Vm):
    """A stock guest that sends and receives 4 MiB with their hashes, again and again."""

    def __init__(self, testbed, name, keys):
        super().__init__(testbed, name, keys)
        self.cid, self.job = BYSTANDER, None

    def serve(self):
        self.host_server = self.testbed.host_server(self)
        self.job = self.guest.start(f'until [ -e /tmp/enough ]; do vsock_peer xfer 2 {XFER} {4 * MIB} {4 * MIB} '
                                    '|| exit 1; done')

    def progress(self):
        """Bytes that it has moved; 0 when it has failed."""
        if self.job.ended():
            return 0
        queue, = self.testbed.ctl('stats', self.name)['guests'][0]['queues']
        return queue['counters']['rx_bytes'] + queue['counters']['tx_bytes']

    def finish(self):
        """The transfer under way ends as it should."""
        self.guest.run('touch /tmp/enough')
        if self.job.wait():
            raise Failure(f'the stock guest beside it: {self.job.output}')


class HostileTestbed(DaemonTestbed):
    def __init__(self, bench, name, whole=False):
        super().__init__(bench, name, {'hostile': {}, 'bystander': {}}, kinds={
            'hostile': lambda *args: Hostile(*args, whole=whole), 'bystander': Bystander})
