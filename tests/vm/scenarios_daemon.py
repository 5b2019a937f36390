# SPDX-License-Identifier: BSD-3-Clause
"""Stock Linux guests, zvsockd, and host programs that know only Unix sockets."""
import hashlib
import os
import signal
import socket
import time

from procs import Failure, until
from testbed import ECHO, ENDS, SEQ, XFER, also_in_uml, every_kernel, scenario
from testbed_daemon import DaemonTestbed, Vm

MIB = 1 << 20
SHUT_RD = 5010  # port of peer/shut_rd.c
GUESTS = {'a': {'groups': 'left'}, 'b': {'groups': 'left'}, 'c': {'groups': 'right'}}


def trio(bench):
    """Guests a and b of one group, c of another; a host server for a."""
    testbed = bench.shared(DaemonTestbed, 'trio', GUESTS)
    if not hasattr(testbed, 'server'):
        testbed.server = testbed.host_server(testbed.vms['a'])
    return testbed


def until_quiet(testbed):
    try:
        until(lambda: testbed.connections() == 0, 'the last connection to end')
    except Failure as why:
        left = [f'\n  {c}' for c in testbed.ctl('list')['connections'][:16]]
        raise Failure(str(why) + ''.join(left)) from None


def until_open(testbed, forever, other, its=1):
    """@forever connections that stay are open, and @its of the job @other, unless it has ended: guests are quick."""
    until(lambda: testbed.connections() >= forever + (0 if other.ended() else its), 'the connections')


# ---- hybrid Unix sockets ----------------------------------------------------------------------

@every_kernel
def daemon_64mib_guest_to_host(bench):
    """64 MiB from a guest reach a program behind a Unix socket with their hash."""
    trio(bench).vms['a'].peer(f'xfer 2 {XFER} {64 * MIB} 0')


@every_kernel
def daemon_64mib_host_to_guest(bench):
    """64 MiB from a program behind a Unix socket reach a guest with their hash."""
    testbed = trio(bench)
    testbed.host_peer(testbed.vms['a'], 'xfer', XFER, 64 * MIB, 0)


@every_kernel
def daemon_half_close_by_guest(bench):
    """After the guest has ended its direction, 4 MiB more come from the host program."""
    trio(bench).vms['a'].peer(f'xfer 2 {XFER} {MIB} {4 * MIB}')


@every_kernel
def daemon_half_close_by_host(bench):
    """After the host program has ended its direction, 4 MiB more come from the guest."""
    testbed = trio(bench)
    testbed.host_peer(testbed.vms['a'], 'xfer', XFER, MIB, 4 * MIB)


@every_kernel
def daemon_200_parallel(bench):
    """200 connections of the guest are open at once, then all of them carry data both ways."""
    trio(bench).vms['a'].peer(f'parallel 2 {ECHO} 200 20000')


@also_in_uml
@scenario
def daemon_200_parallel_from_host(bench):
    """200 connections of host programs are open at once, then all carry data both ways."""
    testbed = trio(bench)
    testbed.host_peer(testbed.vms['a'], 'parallel', ECHO, 200, 20000)


@every_kernel
def daemon_1000_in_a_row(bench):
    """1,000 connections from the guest, one after the other, each with data both ways."""
    trio(bench).vms['a'].peer(f'row 2 {ECHO} 1000')


@also_in_uml
@scenario
def daemon_1000_in_a_row_from_host(bench):
    """1,000 connections from the host, one after the other, each with data both ways."""
    testbed = trio(bench)
    testbed.host_peer(testbed.vms['a'], 'row', ECHO, 1000)


# Counters that zvsockctl shows under "errors" and that ends could raise.
END_ERRORS = ('rst_dropped', 'rx_no_conn', 'rx_bad_state', 'rx_bad_credit', 'rx_overrun')


def end_errors(testbed, vm):
    queues = testbed.ctl('stats', vm.name)['guests'][0]['queues']
    return {e: sum(q['counters'][e] for q in queues) for e in END_ERRORS}


@every_kernel
def daemon_clean_ends_are_no_errors(bench):
    """Hundreds of connections that end in order, whoever closes first, raise no error counter."""
    testbed = trio(bench)
    a = testbed.vms['a']
    before = end_errors(testbed, a)
    a.peer(f'row 2 {ECHO} 300')
    testbed.host_peer(a, 'row', ECHO, 300)
    a.peer(f'parallel 2 {ECHO} 50 20000')
    a.peer(f'row {testbed.vms["b"].cid} {ECHO} 100')
    until_quiet(testbed)
    if (after := end_errors(testbed, a)) != before:
        raise Failure(f'before: {before}, after: {after}')


@every_kernel
def daemon_messages(bench):
    """SEQPACKET of the guest reaches a SOCK_SEQPACKET socket; boundaries are kept both ways."""
    trio(bench).vms['a'].peer(f'msg 2 {SEQ} 400')


@scenario
def daemon_4096_open(bench):
    """4,096 connections of one guest are open at once, and all of them carry data both ways."""
    trio(bench).vms['a'].peer(f'parallel 2 {ECHO} 4096 100')


# ---- programs that nobody has changed ---------------------------------------------------------

def hybrid_connect(vm, port):
    """A socket to @port of the guest, as any client of a hybrid socket gets one."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(vm.unix)
    s.sendall(f'CONNECT {port}\n'.encode())
    answer = b''
    while not answer.endswith(b'\n'):
        got = s.recv(1)
        if not got:
            s.close()
            raise ConnectionRefusedError(f'closed instead of OK: {answer!r}')
        answer += got
    if not answer.startswith(b'OK '):
        raise Failure(f'the hybrid socket answered {answer!r}')
    return s


def timeouts(testbed, vm):
    """How often zvsockd gave up waiting for a guest's answer."""
    guest = testbed.ctl('stats', vm.name)['guests'][0]
    return sum(q['counters']['conns_timedout'] for q in guest['queues'])


def serve_one(testbed, vm, port, command):
    """(job, socket): @command in the guest takes one connection, on @port, and this is it.

    zvsockd waits two seconds for a guest's answer. A guest that is held up for longer, as happens on
    a busy machine, takes the connection when nobody wants it any more, and the program ends without
    a word. Then it is started again; a program that ends without that reason has failed.
    """
    def attempt():
        try:
            return hybrid_connect(vm, port)
        except ConnectionRefusedError:
            return job.ended()

    while True:
        before = timeouts(testbed, vm)
        job = vm.guest.start(command)
        got = until(attempt, f'the guest to listen on {port}')
        if got is not True:
            return job, got
        if timeouts(testbed, vm) == before:
            raise Failure(f'"{command}" took no connection and ended with {job.status}: {job.output}')


def guest_to_host(bench, port, command):
    """@command in the guest sends /tmp/data to a socat on the host; the hashes are compared."""
    testbed = trio(bench)
    vm = testbed.vms['a']
    digest = vm.guest.run('dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null; '
                          'sha256sum </tmp/data').split()[0]
    path, where = f'{vm.unix}_{port}', os.path.join(testbed.folder, f'got-{port}')
    server = testbed.program(['socat', '-u', f'UNIX-LISTEN:{path}', f'CREATE:{where}'])
    until(lambda: os.path.exists(path), 'socat to listen')
    vm.guest.run(command)
    if server.wait():
        raise Failure('socat on the host failed')
    with open(where, 'rb') as f:
        if hashlib.sha256(f.read()).hexdigest() != digest:
            raise Failure('what has arrived has another hash')
    vm.guest.run('rm /tmp/data')


def host_to_guest(bench, port, command):
    """@command in the guest listens and prints what a host program sends, as a hash."""
    testbed = trio(bench)
    data = os.urandom(16 * MIB)
    job, s = serve_one(testbed, testbed.vms['a'], port, f'{command} | sha256sum')
    with s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        job.wait()
    if hashlib.sha256(data).hexdigest() not in job.output:
        raise Failure(f'what has arrived has another hash: {job.output}')


@also_in_uml
@scenario
def daemon_socat_guest_to_host(bench):
    """socat in the guest sends 16 MiB to socat on the host; sha256 is the same."""
    guest_to_host(bench, 6001, 'socat -u OPEN:/tmp/data VSOCK-CONNECT:2:6001')


@also_in_uml
@scenario
def daemon_socat_host_to_guest(bench):
    """A host program sends 16 MiB to socat in the guest; sha256 is the same."""
    host_to_guest(bench, 6002, 'socat -u VSOCK-LISTEN:6002 -')


@also_in_uml
@scenario
def daemon_ncat_guest_to_host(bench):
    """ncat in the guest sends 16 MiB to socat on the host; sha256 is the same."""
    guest_to_host(bench, 6003, 'ncat --vsock --send-only 2 6003 </tmp/data')


@also_in_uml
@scenario
def daemon_ncat_host_to_guest(bench):
    """A host program sends 16 MiB to ncat in the guest; sha256 is the same."""
    host_to_guest(bench, 6004, 'ncat --vsock --recv-only -l -p 6004')


@also_in_uml
@scenario
def daemon_request_and_answer(bench):
    """`socat - UNIX-CONNECT` with a request and its end gets the whole answer: half-close."""
    testbed = trio(bench)
    _, s = serve_one(testbed, testbed.vms['a'], 6005, "socat -t 60 VSOCK-LISTEN:6005 SYSTEM:'sha256sum'")
    with s:
        s.sendall(b'request')
        s.shutdown(socket.SHUT_WR)
        answer = b''
        while got := s.recv(4096):
            answer += got
    if hashlib.sha256(b'request').hexdigest().encode() not in answer:
        raise Failure(f'the answer was {answer!r}')


# ---- refusals ---------------------------------------------------------------------------------

@every_kernel
def daemon_refused(bench):
    """A port of host or guest that nobody listens on, a CID that is none or reserved: refused."""
    testbed = trio(bench)
    vm = testbed.vms['a']
    for where in ('2 4999', '4294900000 4999', '0 4999', '1 4999'):
        job = vm.start(f'echo {where} 1')
        if job.wait() == 0 or 'Connection reset' not in job.output:
            raise Failure(f'guest to {where}: {job.output}')
    try:
        hybrid_connect(vm, 4999).close()
    except ConnectionRefusedError:
        return
    raise Failure('the hybrid socket said OK for a port that nobody listens on')


@also_in_uml
@scenario
def daemon_groups_are_walls(bench):
    """Guests without a common group cannot reach each other; each is up all the same."""
    testbed = trio(bench)
    a, c = testbed.vms['a'], testbed.vms['c']
    for one, other in ((a, c), (c, a)):
        job = one.start(f'echo {other.cid} {ECHO} 1')
        if job.wait() == 0 or 'connect' not in job.output:
            raise Failure(f'{one.name} to {other.name}: {job.output}')
    testbed.host_peer(c, 'echo', ECHO, 1000)


# ---- siblings ---------------------------------------------------------------------------------

@every_kernel
def siblings_64mib_each_way(bench):
    """64 MiB with their hash from each of two guests to the other."""
    testbed = trio(bench)
    a, b = testbed.vms['a'], testbed.vms['b']
    a.peer(f'xfer {b.cid} {XFER} {64 * MIB} 0')
    b.peer(f'xfer {a.cid} {XFER} {64 * MIB} 0')


@every_kernel
def siblings_half_close(bench):
    """After one guest has ended its direction, 4 MiB more come from the other."""
    testbed = trio(bench)
    a, b = testbed.vms['a'], testbed.vms['b']
    a.peer(f'xfer {b.cid} {XFER} {MIB} {4 * MIB}')
    b.peer(f'xfer {a.cid} {XFER} {MIB} {4 * MIB}')


def shut_rd(server, client, reader, late=False):
    """@server and @client start the program with what they are; @reader is the one that reads no more."""
    write = 'write-late' if late else 'write'
    listening = server(f'listen {{where}} {SHUT_RD}', 'read' if reader == 'server' else write)
    listening.expect('^listening$')
    job = client(f'connect {{where}} {SHUT_RD}', 'read' if reader == 'client' else write)
    for name, side in (('client', job), ('server', listening)):
        if side.wait():
            output = side.output() if callable(side.output) else side.output
            raise Failure(f'{name}: {output.strip()[-300:]}')


def in_guest(vm, cid):
    """The program in @vm, towards @cid."""
    return lambda what, role: vm.guest.start(f'exec shut_rd {what.format(where=cid)} {role}')


def beside(testbed, vm):
    """The program on the host, on the hybrid socket of @vm."""
    program = testbed.bench.program('shut_rd')
    return lambda what, role: testbed.program([program, *what.format(where=vm.unix).split(), role])


@every_kernel
def siblings_shut_rd(bench):
    """A guest that receives no more tells a sibling's next write, whichever of them has connected."""
    testbed = trio(bench)
    a, b = testbed.vms['a'], testbed.vms['b']
    for x, y in ((a, b), (b, a)):
        for reader in ('client', 'server'):
            shut_rd(in_guest(x, y.cid), in_guest(y, x.cid), reader)


@every_kernel
def daemon_shut_rd_by_guest(bench):
    """A guest that receives no more tells a host program's next write."""
    testbed = trio(bench)
    a = testbed.vms['a']
    shut_rd(beside(testbed, a), in_guest(a, 2), 'client')
    shut_rd(in_guest(a, 2), beside(testbed, a), 'server')


@every_kernel
def daemon_shut_rd_by_host(bench):
    """A host program that receives no more makes a guest's writes fail."""
    testbed = trio(bench)
    a = testbed.vms['a']
    shut_rd(beside(testbed, a), in_guest(a, 2), 'server', late=True)
    shut_rd(in_guest(a, 2), beside(testbed, a), 'client', late=True)


@every_kernel
def siblings_messages(bench):
    """SEQPACKET between two guests: each message keeps its boundaries and its MSG_EOR."""
    testbed = trio(bench)
    a, b = testbed.vms['a'], testbed.vms['b']
    a.peer(f'seq {b.cid} {SEQ} 400')
    b.peer(f'seq {a.cid} {SEQ} 400')


@also_in_uml
@scenario
def siblings_many(bench):
    """200 connections between two guests at once, then 300 in a row."""
    testbed = trio(bench)
    a, b = testbed.vms['a'], testbed.vms['b']
    a.peer(f'parallel {b.cid} {ECHO} 200 20000')
    b.peer(f'row {a.cid} {ECHO} 300')


@also_in_uml
@scenario
def siblings_refused(bench):
    """A port of the sibling that nobody listens on is refused."""
    testbed = trio(bench)
    job = testbed.vms['a'].start(f'echo {testbed.vms["b"].cid} 4999 1')
    if job.wait() == 0 or 'reset' not in job.output:
        raise Failure(job.output)


# ---- what ends without a word -----------------------------------------------------------------

@also_in_uml
@scenario
def daemon_guest_program_killed(bench):
    """kill -9 of a guest program in full flow ends its connections to host and sibling only."""
    testbed = trio(bench)
    until_quiet(testbed)
    a, b = testbed.vms['a'], testbed.vms['b']
    other = a.start(f'xfer 2 {XFER} {32 * MIB} {MIB}')
    victims = [a.start(f'echo {cid} {ECHO} forever') for cid in (2, b.cid)]
    until_open(testbed, 3, other)
    for victim in victims:
        victim.kill(signal.SIGKILL)
        victim.wait()
    if other.wait():
        raise Failure(f'the other connection: {other.output}')
    until_quiet(testbed)


@also_in_uml
@scenario
def daemon_host_program_killed(bench):
    """kill -9 of a host program, as server and as client, reaches the guest; others go on."""
    testbed = trio(bench)
    until_quiet(testbed)
    a, b = testbed.vms['a'], testbed.vms['b']
    other = a.start(f'echo {b.cid} {ECHO} 20000000')
    victim = a.start(f'echo 2 {ECHO} forever')
    client = testbed.host_start(a, 'echo', ECHO, 'forever')
    until_open(testbed, 2, other, 2)
    testbed.server.kill()
    client.kill()
    if victim.wait() == 0:
        raise Failure(f'the endless echo has ended well: {victim.output}')
    if other.wait():
        raise Failure(f'the other connection: {other.output}')
    until_quiet(testbed)
    testbed.server = testbed.host_server(a)
    a.peer(f'echo 2 {ECHO} 100000')


@also_in_uml
@scenario
def siblings_vm_killed(bench):
    """A VM is killed: its sibling and the host programs are told, and a new VM takes its place."""
    testbed = trio(bench)
    until_quiet(testbed)
    a, b = testbed.vms['a'], testbed.vms['b']
    told = a.start(f'echo {b.cid} {ECHO} forever')
    client = testbed.host_start(b, 'echo', ECHO, 'forever')
    other = a.start(f'xfer 2 {XFER} {32 * MIB} {MIB}')
    until_open(testbed, 3, other)
    b.guest.kill()
    if told.wait() == 0 or not any(end in told.output for end in ENDS):
        raise Failure(f'sibling: {told.output}')
    if client.wait() == 0:
        raise Failure(f'host program: {client.account()}')
    if other.wait():
        raise Failure(f'the other connection: {other.output}')
    b.boot()
    a.peer(f'echo {b.cid} {ECHO} 1000000')
    testbed.host_peer(b, 'echo', ECHO, 1000000)


@also_in_uml
@scenario
def daemon_vm_restarted_behind_its_back(bench):
    """A VM dies and the next one connects while zvsockd gets no CPU: it follows, and is served."""
    testbed = trio(bench)
    until_quiet(testbed)
    b = testbed.vms['b']

    def connections():
        with open('/proc/net/unix', encoding='utf-8') as f:
            return sum(line.rstrip().endswith(' ' + b.socket) for line in f)

    testbed.daemon.kill(signal.SIGSTOP)
    try:
        before = connections()
        b.guest.kill()
        b.power_on()
        until(lambda: connections() > before, 'the next VM to connect')
    finally:
        testbed.daemon.kill(signal.SIGCONT)
    b.guest.wait_ready()
    b.serve()
    testbed.host_peer(b, 'echo', ECHO, 1000000)


@also_in_uml
@scenario
def daemon_reload_under_traffic(bench):
    """SIGHUP adds a guest and takes it away again; traffic of the others does not notice."""
    testbed = trio(bench)
    a, b = testbed.vms['a'], testbed.vms['b']
    d = Vm(testbed, 'd', {'groups': 'left'})

    def names():
        return {g['name'] for g in testbed.ctl('guests')['guests']}

    jobs = [a.start(f'xfer 2 {XFER} {64 * MIB} {64 * MIB}'),
            a.start(f'xfer {b.cid} {XFER} {32 * MIB} {32 * MIB}')]
    testbed.reload(d)
    until(lambda: 'd' in names(), 'guest d to be there')
    d.boot()
    d.peer(f'echo {a.cid} {ECHO} 100000')
    testbed.host_peer(d, 'echo', ECHO, 100000)
    testbed.reload()
    until(lambda: 'd' not in names(), 'guest d to be gone')
    d.guest.kill()
    for job in jobs:
        if job.wait():
            raise Failure(f'traffic that had nothing to do with it: {job.output}')
    if names() != {'a', 'b', 'c'} or os.path.exists(d.unix) or os.path.exists(d.socket):
        raise Failure(f'left behind: {names()}, {os.listdir(testbed.folder)}')


@scenario
def daemon_killed_and_restarted(bench):
    """zvsockd is killed under live guests: both live on; one whose VMM listens comes back."""
    testbed = bench.own(DaemonTestbed, {'served': {}, 'listens': {'mode': 'client'}})
    served, listens = testbed.vms['served'], testbed.vms['listens']
    clients = [testbed.host_start(vm, 'echo', ECHO, 'forever') for vm in (served, listens)]
    until(lambda: testbed.connections() == 2, 'the connections')
    testbed.daemon.kill()
    for client in clients:
        if client.wait() == 0:
            raise Failure(f'host program: {client.account()}')
    testbed.start_daemon()
    begin = time.monotonic()
    for vm in (served, listens):
        vm.guest.run('true')
    listens.rebind()

    def answered():
        job = testbed.host_start(listens, 'echo', ECHO, 10000)
        return job.wait() == 0

    until(answered, 'the guest to be reached again')
    note = f'guest back {time.monotonic() - begin:.1f} s after zvsockd, its driver rebound'
    served.guest.kill()
    served.boot()
    testbed.host_peer(served, 'echo', ECHO, 10000)
    return note


@scenario
def daemon_ends_well(bench):
    """SIGTERM ends zvsockd with exit code 0; its sockets are gone, the guests live on."""
    testbed = bench.own(DaemonTestbed, {'a': {}})
    a = testbed.vms['a']
    testbed.host_peer(a, 'echo', ECHO, 10000)
    testbed.daemon.kill(signal.SIGTERM)
    if code := testbed.daemon.wait():
        raise Failure(f'zvsockd ended with {code}')
    left = [n for n in os.listdir(testbed.folder) if n in ('a.sock', 'a.vsock', 'control.sock')]
    if left:
        raise Failure(f'left behind: {left}')
    a.guest.run('true')
