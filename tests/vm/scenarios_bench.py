# SPDX-License-Identifier: BSD-3-Clause
"""vsock-bench in guests: our driver and the kernel's own, against the same daemon and against each other.

Reports must be right: each byte, each message. How fast it was is printed and never judged.
"""
import contextlib
import json
import os
import shutil
import statistics

import image
from guest import Guest, vsock_args
from procs import Failure, LIMIT, Log, Owner, Process, until
from testbed import Skip, both_kernels, scenario
from testbed_compare import NOTE, CompareTestbed, compare
from testbed_daemon import DaemonTestbed, Vm
from testbed_nested import BACKENDS, NestedTestbed
from testbed_pmd import HUGEPAGES, IOMMU

SERVICES = {'echo': 7, 'discard': 9, 'source': 19}
SERVICE_KEY = ', '.join(f'{name}:{port}' for name, port in SERVICES.items())
SERVICE_LIST = ','.join(f'{name}:{port}' for name, port in SERVICES.items())
BONDED = 4
# More runs than the one that shows that all is right, and longer ones, for figures: docs/benchmarking.md.
RUNS = int(os.environ.get('ZV_BENCH_RUNS', '1'))
SECONDS = os.environ.get('ZV_BENCH_SECONDS', '0.1')


def runs_of(text, target, tests):
    """What a report says of @target: each of @tests was run, every byte that is looked at was right."""
    runs = [r for r in json.loads(text[text.index('{'):])['runs'] if r['target'] == target and 'absent' not in r]
    if missing := set(tests.split(',')) - {r['test'] for r in runs}:
        raise Failure(f'{target}: no figures of {missing}')
    for r in runs:
        # A service throws away what it is sent; connects have no payload.
        unseen = r.get('far_end') == 'services' and r['test'] == 'throughput' and r['direction'] == 'g2h'
        verified = True if r.get('touched') and not unseen else None
        if r['errors'] or r.get('verified') != verified or not r.get('messages', r.get('conns_per_s')):
            raise Failure(f'{target}: {r}')
    return runs


def figure(runs, test, direction, calls='copying'):
    """Messages or connects a second, or us: of 64 B; of the copying calls, which both drivers have."""
    mine = [r for r in runs if r['test'] == test and r['direction'] == direction and r.get('in_flight', 1) == 1
            and not r.get('coalesced') and r.get('zero_copy', False) == (calls == 'zero-copy')]
    if len(mine) != 1:
        raise Failure(f'{len(mine)} figures of {test} {direction}')
    return mine[0]['rtt_ns']['p50'] / 1e3 if test == 'rtt' else mine[0].get('msgs_per_s') or mine[0]['conns_per_s']


class Section(Vm):
    """A guest of the daemon that is @devices devices of a VM of which it is not the only one."""

    def __init__(self, testbed, name, keys, devices=1):
        super().__init__(testbed, name, {**keys, 'builtin': SERVICE_KEY})
        self.sockets = [f'{self.socket}.{i}' for i in range(devices)]

    def section(self):
        self.keys['socket'] = ', '.join(self.sockets)
        return super().section()


class TwoDriversTestbed(DaemonTestbed):
    """One VM, one zvsockd, three of its guests in it: the kernel's driver, ours with one queue, ours with four.

    The kernel's driver takes the first vsock device and no other."""

    def __init__(self, bench, name):
        super().__init__(bench, name, {'stock': {}, 'one': {}, 'bonded': {}}, boot=False, kinds={
            'stock': Section, 'one': Section, 'bonded': lambda *args: Section(*args, devices=BONDED)})
        try:
            devices, count = list(IOMMU), 0
            for path in [p for vm in self.vms.values() for p in vm.sockets]:
                devices += [a.replace('id=vsock', f'id=vsock{count}').replace('chardev=vsock', f'chardev=vsock{count}')
                            for a in vsock_args(path)]
                count += 1
            self.guest = Guest(self.owner, self.folder, self.vms['stock'].log, self.kernel,
                               bench.pmd_ramdisk(self.kernel), devices, memory=512,
                               boot=f'intel_iommu=on hugepages={HUGEPAGES}').wait_ready()
            found = [w for w in self.guest.run('zv-bind status').split() if w.startswith('0000:')]
            self.guest.run(f'zv-bind bind {" ".join(found[1:])}')
            self.uris = {'stock': 'af_vsock:2', 'one': f'vfio:{found[1]}', 'bonded': f'vfio:{",".join(found[2:])}'}
        except BaseException:
            self.close()
            raise

    def measure(self, who, tests, *options):
        ours = who != 'stock'
        more = ['--queues', str(len(self.vms[who].sockets)), '--rx-buf', '4K'] if ours else []
        text = self.guest.run(f'exec vsock-bench-guest --client {self.uris[who]} --services {SERVICE_LIST} '
                              f'--test {tests} {" ".join([*more, *options])} --json - 2>/dev/null')
        runs = runs_of(text, 'zvsock' if ours else 'af_vsock', tests)
        if bad := [r for r in runs if r['queues'] != len(self.vms[who].sockets)]:
            raise Failure(f'{who}: {bad}')
        return runs


FIGURES = {'discard': ('throughput', 'g2h'), 'source': ('throughput', 'h2g'), 'echo': ('echo', 'both'),
           'round trip': ('rtt', 'both'), 'connect': ('connrate', 'g2h')}


def ratios(rounds):
    """Medians of the ratios within each round, in words. @rounds: [{who: runs}]"""
    def ratio(what, who, to, calls, to_calls):
        pairs = [figure(r[who], *FIGURES[what], calls) / figure(r[to], *FIGURES[what], to_calls) for r in rounds]
        spread = f' [{min(pairs):.3g} .. {max(pairs):.3g}]' if len(pairs) > 1 else ''
        return f'{statistics.median(pairs):.3g}{spread}'

    lines = []
    for what in FIGURES:
        for calls in ('copying',) if what == 'connect' else ('copying', 'zero-copy'):
            lines.append(f'{what}, {calls}: {ratio(what, "one", "stock", calls, "copying")} of the kernel driver; '
                         f'{BONDED} queues {ratio(what, "bonded", "one", calls, calls)} of one')
    return '\n  '.join([f'64 B, {len(rounds)} rounds of {SECONDS} s:', *lines])


def alone_on_a_cpu(process, which):
    """All threads of @process to themselves on CPU number @which of ours, before all others where we may."""
    cpus, pid = sorted(os.sched_getaffinity(0)), process.popen.pid
    with contextlib.suppress(OSError), open(f'/proc/{pid}/autogroup', 'w', encoding='ascii') as f:
        f.write('-20')
    for thread in map(int, os.listdir(f'/proc/{pid}/task')):
        os.sched_setaffinity(thread, {cpus[which % len(cpus)]})
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, -19)


@scenario
def bench_drivers_beside_each_other(bench):
    """The kernel's driver and ours, with one queue and four, in one VM against one zvsockd: all reports are right."""
    testbed = bench.own(TwoDriversTestbed)
    if RUNS > 1:
        alone_on_a_cpu(testbed.guest.vmm, 0)
        alone_on_a_cpu(testbed.daemon, 1)
    options = ('--size', '64', '--duration', SECONDS, '--repeat', '1')
    return ratios([{who: testbed.measure(who, 'throughput,rtt,echo,connrate', *options) for who in testbed.uris}
                   for _ in range(RUNS)])


class StockTestbed:
    """A stock guest with vsock-bench in it; its device is on a socket that vsock-bench on the host makes."""

    def __init__(self, bench, name):
        self.bench, self.cid = bench, bench.new_cid()
        self.owner, self.folder = Owner(), bench.new_folder()
        self.log = self.owner.add(Log(bench.log_path(name)))
        self.socket = os.path.join(self.folder, 'vsock.sock')
        self.host_uri = f'host:{self.socket},cid={self.cid}'

    def host_bench(self, *args):
        process = Process(self.owner, [self.bench.program('vsock-bench'), '--cpus', 'free', *args], self.log)
        until(lambda: os.path.exists(self.socket), 'vsock-bench to listen')
        return process

    def boot(self):
        kernel = self.bench.kernel()
        self.guest = Guest(self.owner, self.folder, self.log, kernel, self.bench.pmd_ramdisk(kernel),
                           vsock_args(self.socket)).wait_ready()

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@both_kernels
def bench_stock_guest_against_a_server(bench):
    """`--client af_vsock:2` in a stock guest against `--server host:`: streams and messages, both directions."""
    testbed = bench.own(StockTestbed)
    testbed.host_bench('--server', testbed.host_uri)
    testbed.boot()
    count = 0
    for kind in ('stream', 'seqpacket'):
        text = testbed.guest.run('exec vsock-bench-guest --client af_vsock:2 --test throughput,rtt,echo,connrate '
                               f'--type {kind} --size 64,5000,64K --duration 0.1 --repeat 1 --json - 2>/dev/null')
        runs = runs_of(text, 'af_vsock', 'throughput,rtt,echo,connrate')
        if bad := [r for r in runs if r['type'] != kind and 'msg_size' in r]:
            raise Failure(f'not {kind}: {bad}')
        count += len(runs)
    return f'{count} runs, each byte verified'


@scenario
def bench_stock_guest_serves(bench):
    """`--server af_vsock:` in a stock guest and `--client host:` on the host."""
    testbed = bench.own(StockTestbed)
    report = os.path.join(testbed.folder, 'report.json')
    client = testbed.host_bench('--client', testbed.host_uri, '--test', 'throughput,rtt,echo,connrate', '--size', '64,5000',
                              '--duration', '0.1', '--repeat', '1', '--json', report)
    testbed.boot()
    testbed.guest.start('exec vsock-bench-guest --server af_vsock:').expect('serving')
    if code := client.wait():
        raise Failure(f'the client ended with {code}; see {testbed.log.path}')
    with open(report, encoding='utf-8') as f:
        runs = runs_of(f.read(), 'zvsock', 'throughput,rtt,echo,connrate')
    return f'{len(runs)} runs, each byte verified'


def written(got, options, want, tests, words):
    """Writes the report. Each target of @want was measured, with all of @tests and each byte right; the page says @words."""
    compare.write(got, options)
    if got.failed or got.figures.errors or not want <= set(got.figures.measured()):
        raise Failure(f'{got.failed}, {got.figures.errors} errors, without {want - set(got.figures.measured())}')
    for who in want:
        if missing := tests - {k.test for k in got.figures.select(id=who)}:
            raise Failure(f'{who}: no figures of {missing}')
    if bad := [r for runs in got.figures.cells.values() for r in runs.values() if r.get('verified', True) is not True]:
        raise Failure(f'not verified: {bad[0]}')
    with open(os.path.join(options.out, 'report.html'), encoding='utf-8') as f:
        if words not in f.read():
            raise Failure(f'the report does not say "{words}"')
    return f'{len(got.figures.cells)} cells of {len(want)} targets'


@scenario
def bench_compare_in_a_vm(bench):
    """./run vmcompare, shortly: vhost-vsock, vsock_loopback, the kernel's guest driver and zvsock in one run and one report."""
    testbed = bench.own(CompareTestbed)
    options = compare.parse(['--rounds', '1', '--duration', '0.02', '--size', '64,5000', '--queues', '1,2', '--conns', '1,5',
                             '--cpus', '1cpu', '--no-cost', '--note', NOTE, '--out', os.path.join(testbed.folder, 'report')])
    want = {'zvsock', 'zvsock-relay', 'vhost-kernel', 'vsock_loopback', 'af_vsock', 'zvsockd-hybrid', 'af_unix', 'af_unix-seqpacket',
            'tcp', 'raw', 'raw-split', 'raw-packed'}
    return written(testbed.measure(options), options, want, {'throughput', 'rtt'}, 'emulation')


@scenario
def bench_compare_nested_guests(bench):
    """The stock guests of ./run vmcompare --nested, shortly: each byte verified, a table and figures of their own."""
    if not os.environ.get('ZV_NESTED'):
        raise Skip('two VMs in a VM take two minutes to boot, and more than ten on a busy machine: ZV_NESTED=1 runs it')
    testbed = bench.own(NestedTestbed)
    options = compare.parse(['--rounds', '1', '--duration', '0.02', '--size', '64,5000', '--cpus', '1cpu',
                             '--out', os.path.join(testbed.folder, 'report')])
    got = compare.Collected(options, compare.head_of(options))
    testbed.measure(options, got)
    return written(got, options, set(BACKENDS), {'throughput', 'rtt', 'connrate'}, 'How many times better stock-zvsockd is')


class KernelsOwnTestbed:
    """A VM without a vsock device, whose kernel has @module; both sides of vsock-bench run in it."""

    def __init__(self, bench, name, module):
        kernel = bench.kernel()
        self.owner, self.folder = Owner(), bench.new_folder()
        log = self.owner.add(Log(bench.log_path(name)))
        ramdisk = os.path.join(self.folder, 'initrd')
        try:
            image.build(kernel, [bench.program(p) for p in ('vm_agent', 'vsock-bench-guest')], ramdisk,
                        ('virtio_pci', 'virtio_console', module))
            self.guest = Guest(self.owner, self.folder, log, kernel, ramdisk, [], memory=512).wait_ready()
            self.guest.start('exec vsock-bench-guest --server af_vsock:').expect('serving')
        except BaseException:
            self.close()
            raise

    def measure(self, uri, target, *options):
        tests = 'throughput,rtt,echo,connrate'
        text = self.guest.run(f'exec vsock-bench-guest --client {uri} --test {tests} --size 64,5000 --duration 0.1 '
                              f'--repeat 1 {" ".join(options)} --json - 2>/dev/null', 2 * LIMIT)
        return f'{len(runs_of(text, target, tests))} runs, each byte verified'

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@both_kernels
def bench_loopback(bench):
    """`af_vsock:1`: both sides on one kernel with vsock_loopback, streams and messages."""
    testbed = bench.own(KernelsOwnTestbed, 'vsock_loopback')
    return [testbed.measure('af_vsock:1', 'af_vsock', '--type', kind) for kind in ('stream', 'seqpacket')][-1]


@scenario
def bench_vhost_kernel(bench):
    """Our driver on a kernel's vhost-vsock against `--server af_vsock:`."""
    return bench.own(KernelsOwnTestbed, 'vhost_vsock').measure('vhost-kernel:cid=42', 'zvsock')
