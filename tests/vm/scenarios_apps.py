# SPDX-License-Identifier: BSD-3-Clause
"""Applications of the host that attach themselves to zvsockd (`daemon:`), and guests with either driver."""
import os

from procs import until
from scenarios_bench import TwoDriversTestbed, runs_of
from testbed import scenario

TESTS = 'throughput,rtt,echo,connrate'


class AppsTestbed(TwoDriversTestbed):
    """One VM with the kernel's driver and ours, and a vsock-bench on the host that is an application of zvsockd."""

    def write_config(self, *more):
        self.apps = os.path.join(self.folder, 'apps.sock')
        super().write_config(*more)
        with open(self.config, encoding='utf-8') as f:
            text = f.read()
        with open(self.config, 'w', encoding='utf-8') as f:
            f.write(text.replace('[daemon]\n', f'[daemon]\napplications = {self.apps}\n', 1))

    def serve(self):
        server = self.program([self.bench.program('vsock-bench'), '--cpus', 'free', '--server', f'daemon:{self.apps}'])
        until(self.attached, 'the application to be attached')
        return server

    def attached(self):
        return any(g['kind'] == 'application' and g['state'] == 'up' for g in self.ctl('guests')['guests'])

    def measure_all(self, who, target, kind):
        text = self.guest.run(f'exec vsock-bench-guest --client {self.uris[who]} --test {TESTS} --type {kind} '
                              '--size 64,5000,64K --duration 0.1 --repeat 1 --json - 2>/dev/null')
        return len(runs_of(text, target, TESTS))


@scenario
def apps_serve_both_drivers(bench):
    """Streams and messages, both directions, each byte checked; the application is killed and comes back."""
    testbed = bench.own(AppsTestbed)
    server, count = testbed.serve(), 0
    for kind in ('stream', 'seqpacket'):
        count += testbed.measure_all('stock', 'af_vsock', kind)
        count += testbed.measure_all('one', 'zvsock', kind)
    server.kill()
    until(lambda: not testbed.attached(), 'zvsockd to miss the application')
    testbed.serve()
    count += testbed.measure_all('stock', 'af_vsock', 'stream')
    return f'{count} runs, each byte verified'
