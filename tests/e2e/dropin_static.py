#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""zvsock-run with programs that make their own system calls: static C, Go, Rust; each as client and as server.

A real zvsockd; its guest is zvsockd-guest, which drives the device without a VM: its service echo answers the
programs, and what connects to its Unix socket reaches them.
usage: dropin_static.py ZVSOCKD ZVSOCKD_GUEST ZVSOCK_RUN RAW RAW_DGRAM [CASE...]
"""
import concurrent.futures
import glob
import json
import os
import pwd
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'daemon'), os.path.join(HERE, 'dropin')]
# pylint: disable=wrong-import-position
import build  # noqa: E402
import zvd_program  # noqa: E402
from zvd_program import LIMIT, PATIENT, Skip, case, main  # noqa: E402

ZVSOCKD, GUEST, RUN, RAW, RAW_DGRAM = sys.argv[1:6]


def ended(pid):
    """Its descriptors are closed; whether its parent has seen that or not."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            dead = f.read().rsplit(')', 1)[1].split()[0] == 'Z'
        return dead and len(os.listdir(f'/proc/{pid}/task')) == 1  # its first thread alone may be a zombie
    except OSError:
        return True


class Programs:
    """zvsockd, its guest, and programs under zvsock-run."""

    def __init__(self, w, guest=True, daemon=True, keys=''):
        self.w, self.dir, self.seen = w, w.path('av'), set()
        if not daemon:
            return
        w.write('host.conf', f'[daemon]\naf_vsock = DIR/av\ncontrol = DIR/control\n{keys}'
                        f'[guest web]\ncid = 3\nsocket = DIR/web.sock\n{PATIENT}')
        w.write('guest.conf', f'[device d]\nuri = vhost-user:DIR/web.sock\nbuiltin = echo:7\nunix = DIR/guest\n{PATIENT}')
        self.host = w.up('-c', w.path('host.conf'))
        if guest:
            self.guest = w.up('-c', w.path('guest.conf'), program=GUEST, log='guest.log')

    def args(self, program, *args, mode=None, options=()):
        return [RUN, '--dir', self.dir, *(['--mode', mode] if mode else []), *options, program, *map(str, args)]

    def run(self, program, *args, rc=0, mode=None, options=(), **more):
        """Its lines on standard output, and on standard error."""
        done = subprocess.run(self.args(program, *args, mode=mode, options=options), capture_output=True, text=True,
                              timeout=LIMIT, check=False, **{'stdin': subprocess.DEVNULL, **more})
        assert done.returncode == rc, f'{args} ended with {done.returncode}:\n{done.stdout}{done.stderr}{self.w.log()}'
        return done.stdout.splitlines(), done.stderr.splitlines()

    def start(self, program, *args, mode=None, word='listening', options=(), **more):
        """Started, and it has said @word."""
        proc = subprocess.Popen(self.args(program, *args, mode=mode, options=options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, **more)
        self.w.procs.append(proc)
        line = proc.stdout.readline()
        assert word in line, line + proc.stdout.read()
        return proc

    def from_guest(self, port, text=b'from the guest', read=True):
        """A program of the guest connects to the host's @port; what comes back."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(LIMIT)
        s.connect(self.w.path('guest'))
        f = s.makefile('rwb', buffering=0)
        f.write(b'CONNECT %d\n' % port)
        line = f.readline()
        assert line.startswith(b'OK '), line
        if not read:
            return s
        f.write(text)
        s.shutdown(socket.SHUT_WR)
        back = f.read()
        s.close()
        return back

    def port_is_free(self, port):
        """Until it is: 100 ms after it was given out."""
        end = time.monotonic() + LIMIT
        while subprocess.run(self.args(RAW, 'errno', port), stdout=subprocess.DEVNULL, check=False).returncode:
            assert time.monotonic() < end, 'the port is not free'

    def supervisors(self):
        """Processes that supervise programs of this testbed."""
        found = []
        for path in glob.glob('/proc/[0-9]*'):
            try:
                with open(path + '/comm', encoding='utf-8') as f:
                    name = f.read().strip()
                with open(path + '/cmdline', encoding='utf-8') as f:
                    ours = self.dir in f.read().split('\0')
            except OSError:
                continue
            if name == 'zvsock-super' and ours:
                found.append(int(path.rsplit('/', 1)[1]))
        self.seen.update(found)
        return found

    def no_supervisor(self):
        """Until those that have been seen have ended, and there are no others."""
        end = time.monotonic() + LIMIT
        while self.supervisors() or not all(map(ended, self.seen)):
            assert time.monotonic() < end, f'left behind: {self.seen}'
            time.sleep(0.02)


def rest(proc, rc=0):
    out = proc.communicate(timeout=LIMIT)[0]
    assert proc.returncode == rc, f'{proc.returncode}: {out}'
    return out.splitlines()


# ---- static C -------------------------------------------------------------------------------------------------


@case
def static_client(w):
    p = Programs(w)
    for kind in 'stream', 'seqpacket':
        assert p.run(RAW, 'client', 3, 7, 200, kind)[0] == ['200 ok']
    p.no_supervisor()


@case
def static_server(w):
    p = Programs(w)
    proc = p.start(RAW, 'server', 5000, 20)
    for i in range(20):
        text = b'%d ' % i * 5000
        assert p.from_guest(5000, text) == text
    assert rest(proc) == ['peer 3'] * 20


@case
def fork_and_exec(w):
    assert Programs(w).run(RAW, 'exec', 3, 7)[0] == ['ok']


@case
def registered_with_epoll_before_it_is_connected(w):
    p = Programs(w)
    assert p.run(RAW, 'epoll', 3, 7)[0] == ['ok']
    assert p.run(RAW, 'epoll', 3, 99)[0] == ['SO_ERROR Connection reset by peer']


@case
def threads_that_block(w):
    assert Programs(w, guest=False).run(RAW, 'threads', 6000, 100)[0] == ['ok']


@case
def errors_are_the_kernels(w):
    p = Programs(w)
    expected = ['short address: Bad address', 'bad address: Bad address', 'no descriptor: Bad file descriptor',
                'taken: Address already in use', 'not listening: Invalid argument', 'raw: Socket type not supported',
                'no guest: No such device']
    said = p.run(RAW, 'errno', 5000)[0]
    assert said[:-1] == expected, said
    if os.getuid() == 0:
        assert said[-1] == 'low port: ', said
        said = p.run(RAW, 'drop', 5001)[0]
        assert said[:-1] == expected, said
    assert os.getuid() == 0 and said[-1] == 'low port: Permission denied' or os.getuid(), said


@case
def sockets_of_others(w):
    """AF_UNIX stays what it is; /dev/vsock; no child that the program has not started."""
    try:
        os.close(os.open('/dev/vsock', os.O_RDONLY))
    except OSError:
        print('the machine has no /dev/vsock: open(2) is watched')
    assert Programs(w).run(RAW, 'others')[0] == ['cid 2']


@case
def no_descriptor_left_for_accept(w):
    p = Programs(w)
    proc = p.start(RAW, 'full', 5000, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    with p.from_guest(5000, read=False) as s, s.makefile('rb') as f:  # which says nothing: the program ends at once
        assert f.read() == b'late'
    assert rest(proc) == ['Too many open files', 'ok']


@case
def a_port_is_bound_again_at_once(w):
    """Nobody but the program holds a listener that it has closed."""
    p = Programs(w)
    n = 200
    proc = p.start(RAW, 'again', 5000, n)
    for i in range(n):
        p.from_guest(5000, read=False).close()
        line = proc.stdout.readline()
        assert line == ('listening\n' if i < n - 1 else 'ok\n'), f'{i}: {line}{proc.stdout.read()}'
    assert p.run(RAW, 'rebind', 5001, 5000)[0] == ['ok']


@case
def datagrams(w):
    """With --dgram; without it there are none."""
    p = Programs(w, guest=False)
    proc = p.start(RAW_DGRAM, 'echo', 5000, options=['--dgram'])
    assert p.run(RAW_DGRAM, 'calls', 1, 5000, options=['--dgram'])[0] == ['ok']
    assert rest(proc) == []
    assert p.run(RAW_DGRAM, 'echo', 5000, rc=1)[0] == ['socket: Operation not supported']
    p.no_supervisor()


# ---- signals and deaths ---------------------------------------------------------------------------------------


@case
def a_signal_interrupts_accept(w):
    assert Programs(w).run(RAW, 'accept', 5000, 'interrupt')[0][-1] == 'Interrupted system call after 1'


@case
def a_signal_restarts_accept(w):
    p = Programs(w)
    proc = p.start(RAW, 'accept', 5000, 'restart')
    time.sleep(1)  # for the signal; if it comes later, the connection is there before
    p.from_guest(5000, read=False)
    assert rest(proc)[-1].startswith('accepted after ')


@case
def a_signal_interrupts_connect(w):
    """Which can then be made again, on the same socket."""
    p = Programs(w)
    p.guest.send_signal(signal.SIGSTOP)
    proc = p.start(RAW, 'connect', 3, 7, word='connecting')
    assert proc.stdout.readline() == 'Interrupted system call after 1\n'
    p.guest.send_signal(signal.SIGCONT)
    proc.stdin.write('\n')
    assert rest(proc) == ['ok']


@case
def the_program_is_killed(w):
    p = Programs(w)
    waits = p.start(RAW, 'server', 5000, 1)
    p.guest.send_signal(signal.SIGSTOP)
    connects = p.start(RAW, 'connect', 3, 7, word='connecting')
    assert len(p.supervisors()) == 2
    for proc in waits, connects:
        proc.kill()
        assert proc.wait(LIMIT) == -signal.SIGKILL
    p.no_supervisor()
    p.guest.send_signal(signal.SIGCONT)
    p.port_is_free(5000)
    client_killed(p, RAW, 'client', 3, 5002, 1, 'stream')


@case
def the_supervisor_is_killed(w):
    p = Programs(w)
    proc = p.start(RAW, 'orphan', 3, 7, word='connected')
    one, = p.supervisors()
    os.kill(one, signal.SIGKILL)
    p.no_supervisor()
    proc.stdin.write('\n')
    assert rest(proc) == ['socket: Function not implemented', 'connect: Function not implemented', 'ok']


@case
def a_child_outlives_the_program(w):
    p = Programs(w)
    out, _ = p.run('sh', '-c', f'({RAW} client 3 7 1; sleep 0.2; {RAW} client 3 7 2) & exit 3', rc=3, mode='seccomp')
    assert out == ['1 ok', '2 ok']  # the pipe is closed by the last one
    p.no_supervisor()


@case
def the_process_is_the_programs(w):
    p = Programs(w)
    for mode in 'seccomp', 'preload':
        proc = p.start('sh', '-c', 'echo $$ $PPID; read x; kill -USR1 $$', mode=mode, word=f' {os.getpid()}\n')
        proc.stdin.write('\n')
        assert rest(proc, -signal.SIGUSR1) == []
        p.run('sh', '-c', 'exit 77', rc=77, mode=mode)
        proc = subprocess.Popen(p.args('sleep', LIMIT * 2, mode=mode))
        w.procs.append(proc)
        proc.terminate()
        assert proc.wait(LIMIT) == -signal.SIGTERM
    p.no_supervisor()


# ---- Go and Rust ----------------------------------------------------------------------------------------------


def both_ways(p, program, **more):
    assert p.run(program, 'client', 7, 200, **more)[0] == ['200 ok']
    proc = p.start(program, 'server', 5000, 200, **more)

    def one(i):
        text = b'%d ' % i * 1000
        return p.from_guest(5000, text) == text

    with concurrent.futures.ThreadPoolExecutor(100) as guest:  # the backlog of the Rust program is 128
        good = list(guest.map(one, range(200)))
    said = rest(proc)
    assert all(good) and len(said) == 200 and all(re.match(r'peer (cid: )?3\b', s) for s in said), said


def killed(p, program, **more):
    """kill -9 of a server amid a connection: the guest's end learns it, and the port is free for the next one."""
    for _ in range(2):
        proc = p.start(program, 'server', 5001, 2, **more)
        with p.from_guest(5001, read=False) as held:
            held.sendall(b'held')
            assert held.recv(4, socket.MSG_WAITALL) == b'held'
            proc.kill()
            assert proc.wait(LIMIT) == -signal.SIGKILL
            try:
                assert held.recv(1) == b''
            except ConnectionResetError:
                pass
        p.port_is_free(5001)


def connections(w):
    """Those of zvsockd."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(LIMIT)
        s.connect(w.path('control'))
        s.sendall(b'{"v":1,"cmd":"list"}\n')
        return json.loads(s.makefile().readline())['connections']


def until(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f'waited in vain for {what}'
        time.sleep(0.02)


def client_killed(p, program, *args, **more):
    """kill -9 of a client that waits for an answer: the guest's end learns it, and zvsockd has nothing left of it."""
    with socket.socket(socket.AF_UNIX) as guest:
        guest.settimeout(LIMIT)
        guest.bind(p.w.path('guest_5002'))
        guest.listen(1)
        for _ in range(2):
            before = len(os.listdir(f'/proc/{p.host.pid}/fd'))
            proc = subprocess.Popen(p.args(program, *args, **more), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            p.w.procs.append(proc)
            held, _ = guest.accept()
            with held:
                held.settimeout(LIMIT)
                assert held.recv(1)
                gone = select.poll()
                gone.register(held, 0)
                assert not gone.poll(0), 'it has gone by itself'
                proc.kill()
                assert proc.wait(LIMIT) == -signal.SIGKILL
                assert gone.poll(LIMIT * 1000), 'nothing says that it has gone'
            until(lambda: not connections(p.w), 'its connection to be gone')
            until(lambda before=before: len(os.listdir(f'/proc/{p.host.pid}/fd')) <= before, 'its descriptors to be closed')
        os.unlink(p.w.path('guest_5002'))
    p.no_supervisor()


def built(make, *args, **more):
    try:
        return make(*args, **more)
    except build.Lacking as why:
        raise Skip(str(why)) from None


@case
def go_program(w):
    program = built(build.go, 'echo.go', w.path('echo'), w.path('gocache'), ['mdlayher/vsock'])
    p = Programs(w)
    both_ways(p, program)
    killed(p, program)
    client_killed(p, program, 'client', 5002, 1)


@case
def rust_program(w):
    program = built(build.rust, w.path('rust'))
    p = Programs(w)
    for mode in 'seccomp', 'preload':
        both_ways(p, program, mode=mode)
        killed(p, program, mode=mode)
        client_killed(p, program, 'client', 5002, 1, mode=mode)


# ---- zvsock-run itself ----------------------------------------------------------------------------------------


@case
def one_line_for_each_error(w):
    p = Programs(w)
    w.write('data', 'x')
    w.write('lost', '#!/nowhere/sh\n')
    os.chmod(w.path('lost'), 0o755)
    w.write('foreign', '')
    with open(RAW, 'rb') as f:
        elf = bytearray(f.read())
    elf[18:20] = (243 if elf[18] != 243 else 62).to_bytes(2, sys.byteorder)
    with open(w.path('foreign'), 'wb') as f:
        f.write(elf)
    os.chmod(w.path('foreign'), 0o755)
    for rc, words, args in [
            (127, r'not found in \$PATH', ['no-such-program']),
            (127, 'No such file', ['/nowhere/program']),
            (126, 'Permission denied', [w.path('data')]),
            (127, 'its interpreter /nowhere/sh', [w.path('lost')]),
            (126, 'is for ', [w.path('foreign')]),
            (125, '^zvsock-run: --nonsense is no option; --help', ['--nonsense', 'true']),
            (125, '^zvsock-run: -n is no option', ['--verbose', '-n', 'true']),
            (125, '^zvsock-run: --check=x takes no value', ['--dir', '/x', '--check=x']),
            (125, '^zvsock-run: --dir needs a value', ['--verbose', '--dir']),
            (125, 'not a mode', ['--mode', 'ptrace', 'true']),
            (125, 'nobody', ['--control', w.path('control'), '--guest', 'nobody', 'true']),
            (125, 'no zvsockd at its control socket', ['--control', w.path('none'), '--guest', 'web', 'true']),
            (125, 'give one', ['--dir', '/x', '--guest', 'web', 'true']),
            (125, 'give --guest as well', ['--control', '/x', 'true']),
            (125, 'at most', ['--dir', '/' + 'x' * 100, 'true'])]:
        done = subprocess.run([RUN, *args], capture_output=True, text=True, check=False, timeout=LIMIT)
        assert done.returncode == rc and re.search(words, done.stderr) and done.stderr.count('\n') == 1, (args, done)
    done = subprocess.run([RUN, '--control', w.path('control'), '--guest', 'web', RAW, 'client', '3', '7', '1'],
                          capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.stdout == '1 ok\n' and not done.stderr, done
    p.no_supervisor()


@case
def without_zvsockd(w):
    """A line, and the program finds what it finds without vsock."""
    p = Programs(w, daemon=False)
    for mode in 'seccomp', 'preload':
        out, err = p.run('sh', '-c', 'echo hello', mode=mode)
        assert out == ['hello'] and len(err) == 1 and 'no zvsockd listens there' in err[0], err
    out, err = p.run(RAW, 'client', 3, 7, 1, rc=1)
    assert out == ['socket: Address family not supported by protocol'], out


@case
def who_may_not_use_it(w):
    if os.getuid() != 0:
        raise Skip('not root: no other user to be')
    p = Programs(w)
    nobody = pwd.getpwnam('nobody')
    for f in RUN, RAW:
        if subprocess.run(['setpriv', '--reuid', str(nobody.pw_uid), '--clear-groups', 'test', '-x', f],
                          check=False).returncode:
            raise Skip(f'{f}: nobody may not execute it')
    out, err = p.run(RAW, 'client', 3, 7, 1, rc=1, options=['--verbose'], user=nobody.pw_uid, group=nobody.pw_gid,
                     extra_groups=[])
    assert out == ['socket: Address family not supported by protocol'] and 'permission denied: see af_vsock_mode' in err[1], (
        out, err)


@case
def an_ordinary_user(w):
    """Without privileges the filter needs no_new_privs."""
    if os.getuid() != 0:
        raise Skip('not root: the other cases are run by an ordinary user')
    p, nobody = Programs(w, keys='af_vsock_mode = 0666\n'), pwd.getpwnam('nobody')
    for f in RUN, RAW:
        if subprocess.run(['setpriv', '--reuid', str(nobody.pw_uid), '--clear-groups', 'test', '-x', f],
                          check=False).returncode:
            raise Skip(f'{f}: nobody may not execute it')
    who = {'user': nobody.pw_uid, 'group': nobody.pw_gid, 'extra_groups': []}
    assert p.run(RAW, 'client', 3, 7, 20, **who)[0] == ['20 ok']
    assert p.run(RAW, 'exec', 3, 7, **who)[0] == ['ok']
    assert p.run(RAW, 'errno', 5000, **who)[0][-1] == 'low port: Permission denied'
    assert p.run('grep', 'NoNewPrivs', '/proc/self/status', mode='seccomp', **who)[0] == ['NoNewPrivs:\t1']
    assert p.run('grep', 'NoNewPrivs', '/proc/self/status', mode='seccomp')[0] == ['NoNewPrivs:\t0']


@case
def one_within_another(w):
    """The outer one's supervisor serves both; for another directory there can be no second."""
    p = Programs(w)
    again = [RUN, '--mode', 'seccomp', '--dir']
    assert p.run(*again, p.dir, RAW, 'client', 3, 7, 1, mode='seccomp')[0] == ['1 ok']
    _, err = p.run(*again, w.path('none'), RAW, 'client', 3, 7, 1, mode='seccomp', rc=125)
    assert 'under a supervisor already' in err[-1], err


@case
def check_says_what_works(w):
    p = Programs(w, guest=False)
    for options, rc, words in [(('--control', w.path('control')), 0, ['\n +CID 3: guest web, ']),
                               (('--control', w.path('none')), 0, ['is not known here: .*/none']),
                               ((), 0, ['zvsockd +yes: at .*local CID 2', 'mode seccomp +yes', 'mode preload +yes']),
                               ((RAW,), 0, ['seccomp: .* a static program']),
                               (('sh',), 0, ['preload: .*dynamic'])]:
        done = subprocess.run([RUN, '--dir', p.dir, '--check', *options], capture_output=True, text=True, check=False,
                              timeout=LIMIT)
        assert done.returncode == rc and all(re.search(x, done.stdout) for x in words), done
    p.no_supervisor()
    done = subprocess.run([RUN, '--dir', w.path('none'), '--check'], capture_output=True, text=True, check=False,
                          timeout=LIMIT)
    assert done.returncode == 1 and re.search('zvsockd +no: ', done.stdout), done


if __name__ == '__main__':
    if sys.argv[6:]:
        zvd_program.CASES[:] = [c for c in zvd_program.CASES if c.__name__ in sys.argv[6:]]
    sys.exit(main())
