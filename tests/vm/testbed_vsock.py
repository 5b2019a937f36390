# SPDX-License-Identifier: BSD-3-Clause
"""Stock guests in which programs of the library run over the kernel's sockets (`vsock:`), beside zvsockd."""
import os

import image
from guest import Guest, vsock_args
from uml import UmlGuest
from testbed_daemon import DaemonTestbed, Vm
from testbed_pmd import App


def vsock_ramdisk(bench, kernel, *more):
    """With the kernel's own loopback, and what speaks `vsock:`. @more: modules that are not loaded by themselves."""
    path = os.path.join(bench.vmdir, f'initrd-vsock-{kernel.release}')
    if kernel not in bench.vsock_ramdisks:
        programs = [bench.program(p) for p in ('vm_agent', 'vsock_peer', 'vm_pmd_app', 'vsock-bench-guest')]
        image.build(kernel, programs, path, (*kernel.stock_modules, 'vsock_loopback', *more))
        bench.vsock_ramdisks[kernel] = path
    return path


class VsockVm(Vm):
    """Its servers are those of vm_pmd_app, in the process `app`."""

    def __init__(self, testbed, name, keys, options=()):
        super().__init__(testbed, name, keys)
        self.options, self.app = options, None

    def power_on(self):
        testbed, where = self.testbed, (self.testbed.owner, self.testbed.folder, self.log, self.testbed.kernel)
        ramdisk = vsock_ramdisk(testbed.bench, testbed.kernel)
        if isinstance(testbed.kernel, image.UmlKernel):
            self.guest = UmlGuest(*where, ramdisk, self.socket)
        else:
            self.guest = Guest(*where, ramdisk, vsock_args(self.socket))

    def serve(self):
        self.app = App(self, 'vsock:', *self.options)


def vsock_testbed(bench, name, *options, shared=True):
    """zvsockd with the guest "a", and a host program that serves it."""
    bench.program('vm_pmd_app')  # not with a sanitizer: each scenario is skipped, and no testbed comes up in vain
    kinds = {'a': lambda *args: VsockVm(*args, options)}
    args = (DaemonTestbed, name) if shared else (DaemonTestbed,)
    testbed = (bench.shared if shared else bench.own)(*args, {'a': {}}, kinds=kinds)
    if not hasattr(testbed, 'server'):
        testbed.server = testbed.host_server(testbed.vms['a'])
    return testbed
