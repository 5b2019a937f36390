# SPDX-License-Identifier: BSD-3-Clause
"""Programs that the RAM disks of the guests do not have: they are sent to guests that are up for other scenarios."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile

import image
import procs
from procs import Failure, LIMIT, until
from scenarios_dropin import MIB, PORT, PROG, ended, serves, testbed_of
from scenarios_dropin_device import UNDER, testbed_with
from testbed import Skip, scenario

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '..', 'e2e', 'dropin'))
# pylint: disable=wrong-import-position
import build  # noqa: E402

SSHD = '/usr/sbin/sshd'


def built(make, *args, **more):
    try:
        return make(*args, **more)
    except build.Lacking as why:
        raise Skip(str(why)) from None
    except RuntimeError as why:
        raise Failure(str(why)) from None


def with_libraries(program):
    """{place: path} of a program of this machine, its loader and its shared libraries."""
    found = re.findall(r'(/\S+) \(0x', image.call('ldd', program).stdout)
    return {program: program, **{path: path for path in found}}


def send(testbed, vm, port, files, under=''):
    """Unpacks @files, {place in the guest: path here}, in the guest."""
    path = os.path.join(testbed.folder, f'files-{port}.tar')
    with tarfile.open(path, 'w') as tar:
        for place, source in files.items():
            tar.add(os.path.realpath(source), place.lstrip('/'))
    job = serves(testbed.zvsock_run('socat', '-u', f'OPEN:{path}', f'VSOCK-LISTEN:{port}', mode='preload'), port)
    vm.guest.run(f'{under} socat -u VSOCK-CONNECT:2:{port} - | tar x -C /')
    ended(job)
    os.remove(path)


# ---- TCP out of a guest -----------------------------------------------------------------------------------------


def http_server(testbed, data):
    """Python's, on this machine's loopback interface: its port. It has @data as /data."""
    folder = os.path.join(testbed.folder, 'http')
    os.makedirs(folder)
    with open(os.path.join(folder, 'data'), 'wb') as f:
        f.write(data)
    server = testbed.program([sys.executable, '-u', '-m', 'http.server', '--bind', '127.0.0.1', '--directory', folder, '0'])
    return int(re.search(r' port (\d+) ', server.expect('^Serving HTTP on'))[1])


@scenario
def dropin_tcp_of_stock_guest(bench):
    """zvsock-run --tcp in a stock guest, over the kernel's AF_VSOCK: socat preloaded, a static Go program supervised."""
    testbed, data = testbed_of(bench), os.urandom(MIB)
    vm, port = testbed.vms['a'], http_server(testbed, data)
    files = {'/bin/zvsock-run': bench.program('zvsock-run'),
             '/preload/libzvsock-preload.so': bench.program('libzvsock-preload.so')}
    try:
        files['/bin/get'] = build.go('get.go', os.path.join(testbed.folder, 'get'), os.path.join(bench.vmdir, 'gocache'))
        note = ''
    except build.Lacking as why:
        note = f'without the Go program: {why}'
    send(testbed, vm, PORT + 40, files)
    # The guest has neither /etc/hosts nor a name server: this machine's loopback interface is a name to it.
    digest = hashlib.sha256(data).hexdigest()
    got = vm.guest.run("printf 'GET /data HTTP/1.0\\r\\n\\r\\n' >/tmp/asked; "
                       f'zvsock-run --tcp socat -t 100 - TCP:localhost:{port} </tmp/asked >/tmp/got; '
                       f'tail -c {MIB} /tmp/got | sha256sum; rm /tmp/got')
    if digest not in got:
        raise Failure(f'socat has got something else: {got}')
    got = vm.guest.run(f'zvsock-run --tcp socat - TCP:192.0.2.1:{port} </dev/null 2>&1 || true')
    if 'Permission denied' not in got:
        raise Failure(f'an address that no rule has: {got}')
    got = vm.guest.run(f'zvsock-run --tcp=1081 socat - TCP:192.0.2.1:{port} </dev/null 2>&1 || true')
    if 'Network is unreachable' not in got:
        raise Failure(f'nobody is at the port of the host: {got}')
    if '/bin/get' in files:
        got = vm.guest.run(f'zvsock-run --tcp get 0x7f.1:{port} /data 4').split()
        if got != [str(MIB)] * 4:
            raise Failure(f'the Go program has got something else: {got}')
    return note


# ---- ssh --------------------------------------------------------------------------------------------------------


def ssh_sessions(testbed, name, port, under=''):
    """Three sessions at once with sshd in the guest @name, behind a socat that runs @under."""
    for program in (SSHD, 'ssh', 'ssh-keygen'):
        if not shutil.which(program):
            raise Skip(f'{program} is not installed: openssh-server, openssh-client')
    vm, folder = testbed.vms[name], os.path.join(testbed.folder, 'ssh')
    os.makedirs(folder)

    def write(file, text):
        with open(os.path.join(folder, file), 'w', encoding='utf-8') as f:
            f.write(text)
    for key in 'host_key', 'user_key':
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', os.path.join(folder, key)], check=True)
    with open(os.path.join(folder, 'host_key.pub'), encoding='ascii') as f:
        write('known', f'vm {f.read()}')
    write('passwd', 'root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n')
    write('sshd_config', 'HostKey /root/host_key\nAuthorizedKeysFile /root/user_key.pub\nStrictModes no\nUsePAM no\n'
          'PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n')
    files = {f'/root/{key}': os.path.join(folder, key) for key in ('host_key', 'user_key.pub', 'sshd_config')}
    send(testbed, vm, port, {**with_libraries(SSHD), **files, '/etc/passwd': os.path.join(folder, 'passwd')}, under)
    vm.guest.run('mkdir -p /run/sshd')
    server = vm.guest.start(f"exec {under} socat VSOCK-LISTEN:22,fork EXEC:'{SSHD} -i -f /root/sshd_config'")
    ssh = ['ssh', '-F', 'none', '-i', os.path.join(folder, 'user_key'), '-o', 'BatchMode=yes', '-o', 'HostKeyAlias=vm', '-o',
           f'UserKnownHostsFile={folder}/known', '-o', f'ProxyCommand={testbed.programs[1]} --socket {testbed.control} connect {name} 22',
           'root@vm']

    def start(command):
        return subprocess.Popen([*ssh, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=procs.die_with_parent)

    def listens():
        if server.ended():
            raise Failure(f'socat in the guest has ended: {server.output}')
        return start('true').communicate(timeout=LIMIT)[1] == b''
    until(listens, 'sshd to answer')
    data = os.urandom(MIB)
    jobs = [start('sha256sum; exit 7') for _ in range(3)]
    for job in jobs:
        out, err = job.communicate(data, timeout=LIMIT)
        if job.returncode != 7 or hashlib.sha256(data).hexdigest().encode() not in out:
            raise Failure(f'ssh ended with {job.returncode}: {out} {err}')


@scenario
def dropin_ssh_stock_guest(bench):
    """ssh to a VM, `zvsockctl connect` being its ProxyCommand: three sessions at once, whose exit status comes back."""
    ssh_sessions(testbed_of(bench), 'a', PORT + 41)


@scenario
def dropin_ssh_vfio_guest(bench):
    """The same in a guest without kernel vsock (vfio-pci)."""
    ssh_sessions(testbed_with(bench, 'vfio'), 'dev', PORT + 46, UNDER)


# ---- Go and Rust ------------------------------------------------------------------------------------------------


def both_ways(testbed, vm, program, port, many=200):
    """@program of the guest is a client of the host, and its server; @many connections at once."""
    job = serves(testbed.python('echo_threads', port, many), port)
    if (got := vm.guest.run(f'exec {UNDER} {program} client {port} {many} 2').split()) != [str(many), 'ok']:
        raise Failure(f'{program}: {got}')
    ended(job)
    server = vm.guest.start(f'exec {UNDER} {program} server {port} {many}')
    server.expect('^listening')
    testbed.peer('parallel', vm.cid, port, many, 20000)
    if server.wait() or len(re.findall(r'^peer (?:cid: )?2\b', server.output, re.M)) != many:
        raise Failure(f'{program}: {server.output}')


@scenario
def dropin_go_vfio_guest(bench):
    """A static Go program on mdlayher's package in a guest without kernel vsock (vfio-pci): client and server, 200 at once."""
    program = built(build.go, 'echo.go', os.path.join(bench.vmdir, 'go-echo'), os.path.join(bench.vmdir, 'gocache'),
                    ['mdlayher/vsock'])
    testbed = testbed_with(bench, 'vfio')
    vm = testbed.vms['dev']
    send(testbed, vm, PORT + 42, {'/bin/go-echo': program}, UNDER)
    both_ways(testbed, vm, 'go-echo', PORT + 43)


@scenario
def dropin_rust_vfio_guest(bench):
    """The same with a static Rust program on the vsock crate, whose backlog is 128: 100 at once."""
    program = built(build.rust, os.path.join(bench.vmdir, 'rust'), static=True)
    testbed = testbed_with(bench, 'vfio')
    vm = testbed.vms['dev']
    send(testbed, vm, PORT + 44, {'/bin/rust-echo': program}, UNDER)
    both_ways(testbed, vm, 'rust-echo', PORT + 45, 100)


# ---- Python -----------------------------------------------------------------------------------------------------

# Prints the files of the modules that asyncio and the programs of the argument need, without OpenSSL.
MODULES = '''
import os, sys
sys.modules['ssl'] = None
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import asyncio
__import__(os.path.basename(sys.argv[1]).removesuffix('.py'))
asyncio.run(asyncio.sleep(0))
for m in list(sys.modules.values()):
    for f in getattr(m, '__file__', None), getattr(m, '__cached__', None):
        if f and os.path.exists(f):
            print(f)
'''
PYTHON, PYTHON_PROG = os.path.realpath(sys.executable), os.path.realpath(PROG)


def python_files():
    """{place: path} of the Python that runs this, and of the programs and what they import, in the same places."""
    done = image.call(PYTHON, '-B', '-S', '-c', MODULES, PYTHON_PROG)
    if done.returncode:
        raise Failure(f'{PYTHON}: {done.stderr}')
    files = with_libraries(PYTHON)
    for path in done.stdout.split('\n')[:-1]:
        files.update(with_libraries(path) if path.endswith('.so') else {path: path})
    return files


@scenario
def dropin_python_vfio_guest(bench):
    """Python's socket module and asyncio in a guest without kernel vsock (vfio-pci), preloaded: client and server, 50 at once."""
    testbed, port, many = testbed_with(bench, 'vfio'), PORT + 47, 50
    vm = testbed.vms['dev']
    send(testbed, vm, port, python_files(), UNDER)
    python = f'exec {UNDER} --mode preload {PYTHON} -S {PYTHON_PROG}'

    def answers(job):
        """The server in the guest listens: a connection of its own, the last one, finds out."""
        if job.ended():
            raise Failure(f'Python in the guest has ended with {job.status}: {job.output}')
        return testbed.zvsock_run('socat', '-u', 'OPEN:/dev/null', f'VSOCK-CONNECT:{vm.cid}:{port}', mode='preload').wait() == 0
    for server, client in ('echo_threads', 'client_threads'), ('echo_asyncio', 'client_asyncio'):
        port += 1
        job = serves(testbed.python(server, port, many), port)
        vm.guest.run(f'{python} {client} 2 {port} {many}')
        ended(job)
        job = vm.guest.start(f'{python} {server} {port} {many + 1}')
        until(lambda job=job: answers(job), 'Python to answer')
        ended(testbed.python(client, vm.cid, port, many))
        if job.wait():
            raise Failure(f'{server}: {job.output}')
