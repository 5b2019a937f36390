# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK programs under zvsock-run on both sides: of the host, and in a guest whose device zvsockd-guest has through
vfio-pci or uio_pci_generic. socat and ncat are preloaded, the guest's own static program is supervised."""
from procs import Failure, until
from scenarios_device import AF_VSOCK, DeviceVm
from scenarios_dropin import MIB, PORT, DropinTestbed, ended, serves, to_guest, to_host
from testbed import ECHO, SEQ, XFER, scenario

UNDER = f'env ZVSOCK_AF_VSOCK={AF_VSOCK} zvsock-run'
LIBRARY = '/preload/libzvsock-preload.so'  # where zvsock-run in /bin looks for it first


class DropinVm(DeviceVm):
    def serve(self):
        self.start_daemon()
        self.guest.run(f'mkdir /preload && ln -s /bin/libzvsock-preload.so {LIBRARY}')
        self.server = self.guest.start(f'exec {UNDER} --mode seccomp vsock_peer serve')
        self.server.expect('serving')


def testbed_with(bench, how):
    kinds = {'dev': lambda *args: DropinVm(*args, how=how, devices=1)}
    return bench.shared(DropinTestbed, f'dropin-{how}', {'dev': {}}, kinds=kinds)


def both_ways(bench, how, port):
    testbed = testbed_with(bench, how)
    for name, listen, send in (
            ('socat', 'socat -u VSOCK-LISTEN:{port} -', 'socat -u - VSOCK-CONNECT:{cid}:{port}'),
            ('ncat', 'ncat --vsock --recv-only -l -p {port}', 'ncat --vsock --send-only {cid} {port}')):
        under = f'{UNDER} --mode {"preload" if name == "socat" else "auto"} '
        to_host(testbed, port, listen.format(port=port), under + send.format(cid=2, port=port) + ' </tmp/data', 'dev')
        to_guest(testbed, port, under + listen.format(port=port), send.format(cid='{cid}', port=port), 'dev')
        port += 1
    static(testbed, testbed.vms['dev'], port)


def static(testbed, vm, port):
    """Bytes, messages and 200 at once, by a program that makes its own system calls, from either side."""
    testbed.peer('xfer', vm.cid, XFER, 4 * MIB, 4 * MIB)
    testbed.peer('msg', vm.cid, SEQ, 100)
    testbed.peer('parallel', vm.cid, ECHO, 200, 20000)
    job = serves(testbed.python('echo_threads', port, 200), port)
    vm.guest.run(f'exec {UNDER} vsock_peer parallel 2 {port} 200 20000')
    ended(job)
    until(lambda: not testbed.connections(), 'the connections to end')
    if testbed.daemon.popen.poll() is not None:
        raise Failure('zvsockd has ended')


@scenario
def dropin_vfio_guest(bench):
    """socat, ncat and a static program, unmodified, in a guest without kernel vsock (vfio-pci): 16 MiB each way by hash, 200 at once."""
    both_ways(bench, 'vfio', PORT + 20)


@scenario
def dropin_uio_guest(bench):
    """The same with uio_pci_generic."""
    both_ways(bench, 'uio', PORT + 30)
