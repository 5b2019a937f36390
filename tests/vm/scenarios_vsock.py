# SPDX-License-Identifier: BSD-3-Clause
"""`vsock:`: programs of the library in a stock guest, over the kernel's AF_VSOCK."""
import statistics

from procs import Failure, LIMIT, until
from scenarios_bench import FIGURES, RUNS, SECONDS, SERVICE_KEY, SERVICE_LIST, figure, runs_of
from scenarios_daemon import until_quiet
from scenarios_pmd import refused
from testbed import ECHO, ENDS, SEQ, XFER, both_kernels, every_kernel
from testbed_daemon import DaemonTestbed
from testbed_pmd import App
from testbed_vsock import VsockVm, vsock_testbed

MIB = 1 << 20
TESTS = 'throughput,rtt,echo,connrate'
SHIFT = 1000  # of the second process's ports


def fails(app, job, *words):
    """@job of @app ends badly, and with one of @words."""
    try:
        text = app.wait(job, LIMIT)
    except Failure as why:
        if not any(w in str(why) for w in words):
            raise
    else:
        raise Failure(f'it went well: {text}')


def plain(bench):
    return vsock_testbed(bench, 'vsock')


@every_kernel
def vsock_64mib(bench):
    """64 MiB with their hash each way between vsock: in the guest and a host program."""
    testbed = plain(bench)
    vm = testbed.vms['a']
    vm.app.run(f'xfer 2 {XFER} {64 * MIB} {64 * MIB}')
    testbed.host_peer(vm, 'xfer', XFER, 64 * MIB, 64 * MIB)
    until_quiet(testbed)


@every_kernel
def vsock_messages(bench):
    """Messages with their boundaries and marks: to a host program, and by every CID that leads back here."""
    testbed = plain(bench)
    vm = testbed.vms['a']
    for where in ('1', str(vm.cid), '2'):
        vm.app.run(f'msg {where} {SEQ} 200')
    vm.app.run(f'seq 1 {SEQ} 200')
    until_quiet(testbed)


@every_kernel
def vsock_200_parallel(bench):
    """200 connections at once with data both ways, of the guest's program and of host programs."""
    testbed = plain(bench)
    vm = testbed.vms['a']
    vm.app.run(f'parallel 2 {ECHO} 200 20000')
    testbed.host_peer(vm, 'parallel', ECHO, 200, 20000)
    until_quiet(testbed)


@every_kernel
def vsock_1000_connects(bench):
    """1,000 connections in a row, from either side."""
    testbed = plain(bench)
    vm = testbed.vms['a']
    vm.app.run(f'row 2 {ECHO} 1000')
    testbed.host_peer(vm, 'row', ECHO, 1000)
    until_quiet(testbed)


@every_kernel
def vsock_two_processes(bench):
    """Two processes of a guest at once: each serves and connects to the host, to the other and to itself."""
    testbed = plain(bench)
    vm = testbed.vms['a']
    other = App(vm, 'vsock:', f'shift={SHIFT}', 'queues=3', fifo='/tmp/other')
    jobs = [(app, app.start(f'{verb} {where} {port} {count}'))
            for app in (vm.app, other) for where, port in (('2', ECHO), ('1', ECHO), ('1', ECHO + SHIFT))
            for verb, count in (('row', 50), ('parallel', '50 20000'))]
    for app, job in jobs:
        app.wait(job)
    testbed.host_peer(vm, 'xfer', XFER + SHIFT, MIB, MIB)
    other.run(f'msg 1 {SEQ} 100')
    other.quit()
    until_quiet(testbed)


@every_kernel
def vsock_ends(bench):
    """Who is not there refuses; a host program that is killed ends its connection, as does zvsockd, with ECONNRESET."""
    testbed = vsock_testbed(bench, None, shared=False)
    vm = testbed.vms['a']
    fails(vm.app, vm.app.start('echo 2 999 100'), 'refused')
    job = vm.app.start(f'echo 2 {ECHO} forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    testbed.server.kill()
    fails(vm.app, job, *ENDS)
    fails(vm.app, vm.app.start(f'echo 2 {ECHO} 100'), 'refused')
    testbed.host_server(vm)
    vm.app.run(f'echo 2 {ECHO} 100000')
    until_quiet(testbed)


# Not in User-mode Linux, whose reset of a device tells the device nothing: it goes on writing to buffers that the driver
# has freed, until the queues are deleted (docs/qemu.md). Under traffic the guest's kernel dies of that now and then.
@both_kernels
def vsock_driver_goes(bench):
    """The guest's driver is unbound and bound under traffic: connections end with ECONNRESET, ports are served on."""
    testbed = vsock_testbed(bench, None, shared=False)
    vm = testbed.vms['a']
    job = vm.app.start(f'echo 2 {ECHO} forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    vm.rebind()
    fails(vm.app, job, *ENDS)
    until(lambda: testbed.ctl('guests')['guests'][0]['state'] == 'up', 'the driver to be back')
    vm.app.run(f'echo 2 {ECHO} 100000')
    testbed.host_peer(vm, 'echo', ECHO, 100000)


@every_kernel
def vsock_bad_input(bench):
    """What a user can get wrong ends in one line that says how to mend it."""
    testbed = plain(bench)
    vm = testbed.vms['a']
    refused(vm, 'vsock:2', 'nothing may follow vsock:')
    refused(vm, 'vsock:', 'port 5007 is taken on this machine')
    vm.guest.run('mv /dev/vsock /dev/gone')
    try:
        refused(vm, 'vsock:', '/dev/vsock', 'readable')
    finally:
        vm.guest.run('mv /dev/gone /dev/vsock')


@both_kernels
def vsock_bench(bench):
    """vsock-bench by vsock: beside the same by plain AF_VSOCK, in one VM: all reports are right; the ratios are printed."""
    kinds = {'a': VsockVm}
    testbed = bench.own(DaemonTestbed, {'a': {'builtin': SERVICE_KEY}}, boot=False, kinds=kinds)
    vm = testbed.vms['a']
    vm.power_on()
    vm.guest.wait_ready()

    def measure(uri, target, size):
        text = vm.guest.run(f'exec vsock-bench-guest --client {uri} --services {SERVICE_LIST} --test {TESTS} '
                            f'--size {size} --duration {SECONDS} --repeat 1 --json - 2>/dev/null')
        return runs_of(text, target, TESTS)

    lines = []
    for size in ('64', '4K', '64K'):
        rounds = [(measure('vsock:', 'zvsock', size), measure('af_vsock:2', 'af_vsock', size)) for _ in range(RUNS)]
        for what, place in FIGURES.items():
            pairs = [figure(ours, *place) / figure(plain_, *place) for ours, plain_ in rounds]
            lines.append(f'{size} {what}: {statistics.median(pairs):.3g}')
    return 'of plain AF_VSOCK: ' + ', '.join(lines)
