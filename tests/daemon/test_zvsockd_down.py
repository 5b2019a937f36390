#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd whose guests cannot all be started or used, and with very large configurations (zvd_program.py).

usage: test_zvsockd_down.py ZVSOCKD ZVSOCKCTL
"""
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys

sys.dont_write_bytecode = True

from zvd_program import GUEST, LIMIT, Skip, case, main, reload, run, until

ZVSOCKCTL = sys.argv[2]
CONTROL = '[daemon]\ncontrol = DIR/control\n'
OTHER = '[guest db]\ncid = 4\nsocket = DIR/db.sock\nunix = DIR/db.vsock\n'


def guests(w):
    """What zvsockctl knows of each guest."""
    done = subprocess.run([ZVSOCKCTL, '-s', w.path('control'), '--json', 'guests'], capture_output=True,
                          text=True, timeout=LIMIT, check=True)
    answer = json.loads(done.stdout)
    return {g['name']: g for g in answer['guests']}, answer['failed']


def is_down(w, name, why):
    of, failed = guests(w)
    assert failed == 1 and of[name]['state'] == 'failed' and why in of[name]['error'], of
    assert all(g['state'] == 'down' and 'error' not in g for n, g in of.items() if n != name), of
    shown = subprocess.run([ZVSOCKCTL, '-s', w.path('control'), 'guests'], capture_output=True, text=True,
                           timeout=LIMIT, check=True).stdout
    assert f'{name} is not started: ' in shown and why in shown, shown
    stats = subprocess.run([ZVSOCKCTL, '-s', w.path('control'), 'stats', name], capture_output=True, text=True,
                           timeout=LIMIT, check=False)
    assert stats.returncode == 1 and f'guest "{name}" is not started' in stats.stderr, stats


# ---- one guest that cannot be started

def one_is_down(w, why, mend):
    """web cannot be started; db is; web is when @mend has run and a reload came."""
    d = w.start('-c', w.write('c', CONTROL + GUEST + OTHER))
    w.wait_told('guests: 1 of 2, lcores: 1; not started: web', d)
    assert f'level=err guest=web cid=3 msg="not started: ' in w.log() and why in w.log(), w.log()
    assert os.path.exists(w.path('db.sock')) and os.path.exists(w.path('db.vsock'))
    is_down(w, 'web', why)
    mend()
    reload(w, d, CONTROL + GUEST + OTHER, 'guests: 2 of 2')
    assert guests(w)[1] == 0
    w.end(d)
    assert not os.path.exists(w.path('web.sock')) and not os.path.exists(w.path('web.vsock'))


@case
def a_file_in_the_way_of_a_vhost_user_socket(w):
    w.write('web.sock', 'precious')
    one_is_down(w, 'a file that is no socket is in the way', lambda: os.unlink(w.path('web.sock')))


@case
def a_file_in_the_way_of_a_hybrid_socket(w):
    w.write('web.vsock', 'precious')
    one_is_down(w, 'a file that is no socket is in the way', lambda: os.unlink(w.path('web.vsock')))


@case
def a_directory_in_the_way_of_a_lock(w):
    os.mkdir(w.path('web.sock.lock'))
    one_is_down(w, 'cannot create the lock file', lambda: os.rmdir(w.path('web.sock.lock')))


@case
def a_directory_that_is_missing(w):
    text = CONTROL + OTHER + '[guest web]\ncid = 3\nsocket = DIR/no/where/web.sock\n'
    d = w.start('-c', w.write('c', text))
    w.wait_told('guests: 1 of 2', d)
    is_down(w, 'web', 'its directory does not exist')
    os.makedirs(w.path('no/where'))
    reload(w, d, text, 'guests: 2 of 2')
    w.end(d)


@case
def a_held_lock_that_is_let_go(w):
    """Nobody reloads: it is tried again by itself."""
    lock = os.open(w.write('web.sock.lock', ''), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    d = w.start('-c', w.write('c', CONTROL + GUEST + OTHER))
    w.wait_told('guests: 1 of 2', d)
    is_down(w, 'web', 'is locked')
    os.unlink(w.path('web.sock.lock'))
    os.close(lock)
    w.wait_told('guests: 2 of 2', d)
    assert w.log().count('not started') == 1, w.log()  # tries that change nothing are not told
    w.end(d)


@case
def a_guest_that_a_reload_brings(w):
    d = w.up('-c', w.write('c', CONTROL + OTHER))
    w.write('web.sock', 'precious')
    reload(w, d, CONTROL + GUEST + OTHER, 'guests: 1 of 2, lcores: 1; not started: web')
    is_down(w, 'web', 'in the way')
    reload(w, d, CONTROL + OTHER, 'guests: 1 of 1')
    assert guests(w)[1] == 0
    w.end(d)
    assert os.path.exists(w.path('web.sock')), 'what was in the way has been removed'


@case
def a_host_that_cannot_be_resolved(w):
    """No name server is asked about a name that is no name."""
    wrong = CONTROL + GUEST + 'tcp = 80=bad..name:80, 81=127.0.0.1:80\n' + OTHER
    rc, out, err = run('--check', w.write('c', wrong))
    assert rc == 1 and 'TCP to bad..name:80' in out, (rc, out)
    assert err.startswith(f'{w.dir}/c:3: guest web cannot be started: tcp: the host of "bad..name:80" cannot be '
                          'resolved: ') and err.endswith('; mend the name or write an address\n'), err
    d = w.start('-c', w.path('c'))
    w.wait_told('guests: 1 of 2', d)
    is_down(w, 'web', 'cannot be resolved')
    reload(w, d, wrong.replace('bad..name', 'localhost'), 'guests: 2 of 2')
    w.end(d)


@case
def a_running_guest_keeps_its_addresses(w):
    """A reload while the names of a guest cannot be resolved does not touch the guest."""
    text = CONTROL + GUEST + 'tcp = 80=localhost:80\n'
    d = w.up('-c', w.write('c', text))
    before = os.stat(w.path('web.sock'))
    reload(w, d, text + OTHER + 'tcp = 80=bad..name:80\n', 'guests: 1 of 2, lcores: 1; not started: db')
    assert os.stat(w.path('web.sock')).st_ino == before.st_ino
    w.end(d)


@case
def with_user_too(w):
    """Who gives sockets and locks away passes the guest that has none by."""
    if os.geteuid() != 0:
        raise Skip('only root can become another user')
    lock = os.open(w.write('web.sock.lock', ''), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.chmod(w.dir, 0o777)
    d = w.start('-c', w.write('c', CONTROL + 'user = nobody\n' + GUEST + OTHER))
    w.wait_told('guests: 1 of 2', d)
    assert os.fstat(lock).st_uid == 0, 'the lock of somebody else has been given away'
    assert 'cannot be given to the new user' not in w.log(), w.log()
    os.close(lock)
    w.end(d)


# ---- none can

@case
def none_can_be_started(w):
    """Exit status 1: the service manager tries again."""
    w.write('web.sock', 'precious')
    d = w.start('-c', w.write('c', GUEST))
    assert d.wait(LIMIT) == 1
    assert 'none of the guests could be started' in w.log() and 'in the way' in w.log(), w.log()
    d = w.start('-g', f'name=web,cid=3,socket={w.dir}/s,tcp=80=bad..name:80')
    assert d.wait(LIMIT) == 1
    assert 'cannot be resolved' in w.log(), w.log()


@case
def a_reload_leaves_none(w):
    """It goes on, and tries again."""
    d = w.up('-c', w.write('c', CONTROL + OTHER))
    w.write('web.sock', 'precious')
    reload(w, d, CONTROL + GUEST, 'guests: 0 of 1, lcores: 1; not started: web')
    os.unlink(w.path('web.sock'))
    w.wait_told('guests: 1 of 1', d)
    w.end(d)


# ---- one whose VMM starts no queue

@case
def a_vmm_that_starts_no_queue(w):
    """It is told from a guest without a VMM, and the hint of what may be wrong waits for half a minute."""
    d = w.up('-c', w.write('c', CONTROL + GUEST + OTHER))
    with socket.socket(socket.AF_UNIX) as vmm:
        vmm.settimeout(LIMIT)
        vmm.connect(w.path('web.sock'))
        vmm.sendall(struct.pack('=III', 1, 1, 0))  # GET_FEATURES
        assert len(vmm.recv(20)) == 20
        of, failed = guests(w)
        assert failed == 0 and (of['web']['state'], of['db']['state']) == ('attached', 'down'), of
        assert of['web']['queues_up'] == 0 and of['web']['attached_ns'] > 0 and 'attached_ns' not in of['db'], of
    until(lambda: guests(w)[0]['web']['state'] == 'down', 'the VMM to be gone')
    w.end(d)


# ---- very large ones: what takes n * n steps does not come to its end within the time limit

def check(w, text, rc=0):
    done = run('--check', w.write('c', text))
    assert done[0] == rc, done[2][:2000]
    return done


@case
def many_ports(w):
    n = 50000
    for key, value in (('tcp', '{}=127.0.0.1:80'), ('vsock', '{}'), ('builtin', 'echo:{}')):
        out = check(w, GUEST + ''.join(f'{key} = {value.format(1000 + 2 * i)}\n' for i in range(n)))[1]
        assert out.count('\n  port ') == n + 2, out[:500]


@case
def many_ports_that_overlap(w):
    n = 50000
    err = check(w, GUEST + ''.join(f'vsock = {1000 + i}-{1000000 + i}\n' for i in range(n)), 2)[2]
    assert err.count(' is served by vsock already') == n - 1, err[:500]


def many(n, more=''):
    """@n guests, in the group all and in pairs."""
    return ''.join(f'[guest g{i}]\ncid = {i + 3}\nsocket = DIR/g{i}.sock\nunix = DIR/g{i}.vsock\nmax_conns = 8\n'
                   f'groups = all, p{i // 2}\n{more}' for i in range(n))


@case
def many_guests(w):
    n = 30000
    _, out, err = check(w, many(n))
    assert 'vm.max_map_count' in err, err[:500]
    assert out.count('\nguest g') == n and out.count('and others of its groups') == n, out[:500]
    text = many(n).replace('cid = ', 'cid = 3 ; ')
    assert check(w, text, 2)[2].count('CID 3 is that of guest g0 already') == n - 1


@case
def many_guests_start_and_reload(w):
    n = 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 20 * n:
        raise Skip(f'the limit of descriptors is {hard}; {20 * n} are needed')
    text = CONTROL + many(n)
    d = w.start('-c', w.write('c', text))
    w.wait_told(f'guests: {n} of {n}', d)
    reload(w, d, text + OTHER.replace('= 4', '= 100000'), f'guests: {n + 1} of {n + 1}')
    reload(w, d, text, f'guests: {n} of {n}')
    w.end(d)
    assert w.log().count('serving CID') == n + 1


if __name__ == '__main__':
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())
