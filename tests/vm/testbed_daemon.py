# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd with one or more stock guests, and host programs beside it."""
import json
import os
import shutil
import signal
import subprocess

import procs
from procs import Failure, LIMIT, Log, Owner, Process, until
from testbed import stock_guest


class Vm:
    """A guest of the daemon: its place in the configuration, and the VM when there is one."""

    def __init__(self, testbed, name, keys):
        self.testbed, self.name, self.keys = testbed, name, dict(keys)
        self.cid = testbed.bench.new_cid()
        self.socket = os.path.join(testbed.folder, f'{name}.sock')
        self.unix = os.path.join(testbed.folder, f'{name}.vsock')
        self.log = testbed.owner.add(Log(testbed.bench.log_path(f'{testbed.name}-{name}')))
        self.guest = self.server = None

    def section(self):
        # On a loaded machine a guest may stand still for seconds.
        keys = {'cid': self.cid, 'socket': self.socket, 'unix': self.unix,
                'connect_timeout_ms': 120000, **self.keys}
        return f'[guest {self.name}]\n' + ''.join(f'{k} = {v}\n' for k, v in keys.items())

    def power_on(self):
        self.guest = stock_guest(self.testbed, self.log, self.socket, self.keys.get('mode') == 'client')

    def boot(self):
        self.power_on()
        self.guest.wait_ready()
        self.serve()

    def serve(self):
        """Starts the conversations' servers in the guest."""
        self.server = self.guest.start('exec vsock_peer serve')
        self.server.expect('serving')

    def peer(self, command, limit=LIMIT):
        """One job of the program in the guest."""
        return self.guest.run(f'exec vsock_peer {command}', limit)

    def start(self, command):
        return self.guest.start(f'exec vsock_peer {command}')

    def rebind(self):
        """The guest's driver sets the device up anew."""
        driver = '/sys/bus/virtio/drivers/vmw_vsock_virtio_transport'
        self.guest.run(f'cd {driver} && d=$(ls -d virtio*) && echo $d > unbind && echo $d > bind')


class DaemonTestbed:
    """@guests: {name: {key: value}}, what the configuration has beyond cid, socket and unix. @kinds: {name:
    class} of those that are no plain Vm."""

    def __init__(self, bench, name, guests, boot=True, kinds=None):
        self.bench, self.name = bench, name
        self.programs = [bench.program(p) for p in ('zvsockd', 'zvsockctl', 'vsock_peer')]
        self.kernel = bench.kernel()
        self.owner = Owner()
        self.folder = bench.new_folder()
        self.log = self.owner.add(Log(bench.log_path(name)))
        self.config = os.path.join(self.folder, 'zvsock.conf')
        self.control = os.path.join(self.folder, 'control.sock')
        self.vms = {n: (kinds or {}).get(n, Vm)(self, n, keys) for n, keys in guests.items()}
        self.daemon = None
        try:
            self.write_config()
            self.start_daemon()
            if boot:
                self.boot_all()
        except BaseException:
            self.close()
            raise

    def boot_all(self):
        for vm in self.vms.values():
            vm.power_on()
        for vm in self.vms.values():
            vm.guest.wait_ready()
            vm.serve()

    def write_config(self, *more):
        with open(self.config, 'w', encoding='utf-8') as f:
            f.write(f'[daemon]\ncontrol = {self.control}\nlog_level = info\n{self.daemon_keys()}')
            f.writelines(vm.section() for vm in [*self.vms.values(), *more])

    def daemon_keys(self):
        return ''

    def start_daemon(self):
        self.daemon = Process(self.owner, [self.programs[0], '-c', self.config], self.log)
        until(self.is_up, 'zvsockd to answer zvsockctl')

    def is_up(self):
        if not self.daemon.alive():
            raise Failure(f'zvsockd ended with {self.daemon.popen.returncode}; see {self.log.path}')
        try:
            return self.ctl('guests') is not None
        except Failure:
            return False

    def reload(self, *more):
        self.write_config(*more)
        self.daemon.kill(signal.SIGHUP)

    def ctl(self, *words):
        """What zvsockctl says, as data."""
        done = subprocess.run([self.programs[1], '--socket', self.control, '--json', *words],
                              text=True, capture_output=True, check=False, timeout=LIMIT,
                              stdin=subprocess.DEVNULL, preexec_fn=procs.die_with_parent)
        if done.returncode:
            raise Failure(f'zvsockctl {" ".join(words)}: {done.stderr.strip()}')
        return json.loads(done.stdout)

    # ---- host programs ----

    def program(self, argv, **kw):
        return Process(self.owner, argv, self.log, **kw)

    def host_server(self, vm):
        """Serves what the guest @vm connects to."""
        server = self.program([self.programs[2], 'serve', vm.unix])
        server.expect('^serving$')
        return server

    def host_start(self, vm, verb, port, *numbers):
        """A job of a host program towards @vm, through its hybrid socket."""
        return self.program([self.programs[2], verb, vm.unix, str(port), *map(str, numbers)])

    def host_peer(self, vm, verb, port, *numbers):
        job = self.host_start(vm, verb, port, *numbers)
        if job.wait():
            raise Failure(f'host: {job.account()}')

    def connections(self):
        """How many the daemon has."""
        return len(self.ctl('list')['connections'])

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)
