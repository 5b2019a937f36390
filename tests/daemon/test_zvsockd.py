#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd as a program: command line, start, reload, log, and the end (zvd_program.py).

usage: test_zvsockd.py ZVSOCKD ECHO_CLIENT
"""
import fcntl
import glob
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import tty

sys.dont_write_bytecode = True

from zvd_program import GUEST, LIMIT, Skip, case, main, reload, run

ECHO_CLIENT = sys.argv[2]


# ---- the command line

@case
def applications_alone_need_no_file(w):
    if os.path.exists('/etc/zvsock/zvsock.conf'):
        raise Skip('this machine has a /etc/zvsock/zvsock.conf')
    rc, out, err = run('--check', '-s', 'applications=' + w.path('clients'))
    assert rc == 0 and 'clients' in out, (rc, out, err)
    rc, _, err = run('--check', '-s', 'log_level=debug')
    assert rc == 2 and '/etc/zvsock/zvsock.conf' in err, (rc, err)


@case
def command_line(w):
    rc, out, err = run('--version')
    assert (rc, err) == (0, '') and re.fullmatch(r'zvsockd \d+\.\d+\.\d+\n', out), (rc, out, err)
    rc, out, err = run('--help')
    assert (rc, err) == (0, '') and 'Examples:' in out, (rc, out, err)
    assert max(map(len, out.splitlines())) <= 100, out
    for args in (['--nonsense'], ['-c'], ['a', 'b'], ['-c', 'a', 'b']):
        rc, out, err = run(*args)
        assert (rc, out) == (2, '') and err, (args, rc, out, err)


@case
def check_of_a_good_file(w):
    conf = w.write('c', GUEST)
    for args in (['--check', conf], ['--check', '-c', conf], [conf, '--check']):
        rc, out, err = run(*args)
        assert (rc, err) == (0, '') and f'any other: Unix socket {w.dir}/web.vsock_PORT' in out, out
    rc, by_words, err = run('--check', '-g', f'name=web,cid=3,socket={w.dir}/web.sock,'
                            f'unix={w.dir}/web.vsock', '--set', 'web.builtin=echo:7')
    assert (rc, err, by_words) == (0, '', out), (rc, err, by_words)
    assert sorted(os.listdir(w.dir)) == ['c', 'notify'], 'a check makes nothing'


@case
def check_of_a_bad_file(w):
    conf = w.write('c', '[daemon]\nspin_usec = 3\n' + GUEST + 'cid = 4\n')
    for args in (['--check', conf], [conf]):  # and it does not start with it
        rc, out, err = run(*args)
        assert (rc, out) == (2, ''), (rc, out)
        assert err == (f'{conf}:2: spin_usec is an unknown key; did you mean spin_us?\n'
                       f'{conf}:8: cid is given twice, first in line 4; keep one\n'), err
    rc, out, err = run('--nonsense')
    assert rc == 2 and err.startswith("zvsockd: unrecognized option '--nonsense'"), err
    rc, out, err = run('-c', w.path('none'))
    assert rc == 2 and err.count('\n') == 1 and 'No such file' in err, err


# ---- start and end

@case
def dpdk_without_a_directory(w):
    """It cannot make its runtime directory, and needs none: one line about it, which is no error."""
    d = w.up('-g', f'name=web,cid=3,socket={w.dir}/web.sock,unix={w.dir}/web.vsock', env={'RUNTIME_DIRECTORY': w.path('none/below')})
    lines = [line for line in w.log().splitlines() if 'none/below' in line]
    assert len(lines) == 1 and 'level=info' in lines[0] and 'XDG_RUNTIME_DIR' in lines[0], w.log()
    assert 'dpdk: EAL' not in w.log(), w.log()
    w.end(d)


@case
def starts_and_cleans_up(w):
    d = w.up('-g', f'name=web,cid=3,socket={w.dir}/web.sock,unix={w.dir}/web.vsock,socket_mode=0660',
             '-s', f'control={w.dir}/control.sock')
    for name, mode in (('web.sock', 0o660), ('web.vsock', 0o660), ('control.sock', 0o600)):
        st = os.stat(w.path(name))
        assert stat.S_ISSOCK(st.st_mode) and stat.S_IMODE(st.st_mode) == mode, (name, oct(st.st_mode))
    w.wait_told('STATUS=guests: 1 of 1, lcores: 1', d)
    d.send_signal(signal.SIGTERM)
    w.wait_told('STOPPING=1', d)
    assert d.wait(LIMIT) == 0
    assert sorted(os.listdir(w.dir)) == ['log', 'notify'], os.listdir(w.dir)


@case
def ends_by_ctrl_c(w):
    w.end(w.up('-c', w.write('c', GUEST)), signal.SIGINT)


@case
def second_daemon_is_refused(w):
    conf = w.write('c', GUEST)
    first = w.up(conf)
    second = w.start(conf, log='log2')
    assert second.wait(LIMIT) == 1
    assert 'the socket is in use' in w.log('log2') and 'stop its owner' in w.log('log2'), w.log('log2')
    assert os.path.exists(w.path('web.sock')) and os.path.exists(w.path('web.sock.lock'))
    w.end(first)


@case
def stale_sockets_are_taken_over(w):
    conf = w.write('c', GUEST)
    w.end(w.up(conf), signal.SIGKILL, -signal.SIGKILL)
    assert os.path.exists(w.path('web.sock')) and os.path.exists(w.path('web.vsock'))
    w.told = ''
    w.end(w.up(conf))
    assert not os.path.exists(w.path('web.sock'))


@case
def directories_are_made(w):
    d = w.up('-g', f'name=a,cid=3,socket={w.dir}/closed/s', '-g',
             f'name=b,cid=4,socket={w.dir}/open/s,socket_mode=0660')
    for name, mode in (('closed', 0o700), ('open', 0o711)):
        assert stat.S_IMODE(os.stat(w.path(name)).st_mode) == mode, name
    w.end(d)


@case
def parents_are_not_made(w):
    d = w.start('-g', f'name=a,cid=3,socket={w.dir}/no/where/s')
    assert d.wait(LIMIT) == 1
    assert re.search(r'level=err guest=a cid=3 msg="the directory .*/no/where of the socket cannot be made: '
                     r'No such file or directory; make it with', w.log()), w.log()
    assert not os.path.exists(w.path('no'))


# ---- reload

def sockets(w):
    return sorted(os.path.basename(p) for p in glob.glob(w.path('*.sock')))


@case
def reload_adds_and_removes(w):
    other = '[guest db]\ncid = 4\nsocket = DIR/db.sock\n'
    d = w.up('-c', w.write('c', GUEST))
    before = os.stat(w.path('web.sock'))
    reload(w, d, GUEST + other, 'guests: 2 of 2')
    assert sockets(w) == ['db.sock', 'web.sock']
    reload(w, d, GUEST + '[guest far]\ncid = 4\nsocket = DIR/far.sock\n', 'guests: 2 of 2')
    assert sockets(w) == ['far.sock', 'web.sock']
    reload(w, d, '# nothing else\n\n' + GUEST, 'guests: 1 of 1')
    after = os.stat(w.path('web.sock'))
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns), 'it was touched'
    reload(w, d, other, 'guests: 1 of 1')
    assert sockets(w) == ['db.sock']
    w.end(d)


@case
def reload_replaces_a_changed_guest(w):
    d = w.up('-c', w.write('c', GUEST))
    reload(w, d, GUEST.replace('web.sock', 'new.sock').replace('cid = 3', 'cid = 5'), 'guests: 1 of 1')
    assert sockets(w) == ['new.sock']
    assert re.search(r'guest=web cid=5 msg="serving CID 5', w.log()), w.log()
    w.end(d)


@case
def reload_of_a_bad_file_changes_nothing(w):
    d = w.up('-c', w.write('c', GUEST))
    reload(w, d, GUEST + 'nonsense = 1\ncid = 2\n', 'wrong configuration')
    assert f'level=err msg="{w.path("c")}:6: nonsense is an unknown key' in w.log(), w.log()
    assert f'level=err msg="{w.path("c")}:7: cid is given twice' in w.log(), w.log()
    assert sockets(w) == ['web.sock']
    os.unlink(w.path('c'))
    w.told = ''
    d.send_signal(signal.SIGHUP)
    w.wait_told('READY=1', d)
    assert sockets(w) == ['web.sock']
    w.end(d)


@case
def reload_names_what_needs_a_restart(w):
    d = w.up('-c', w.write('c', GUEST))
    reload(w, d, '[daemon]\nspin_us = 7\nlog_level = debug\ncontrol = DIR/c.sock\n' + GUEST, 'guests: 1')
    assert 'only after a restart: spin_us, control"' in w.log(), w.log()
    w.end(d)


# ---- with a guest

class Guest:
    """A guest with one connection, to the built-in echo. Its output is a terminal: a line goes out at once."""

    def __init__(self, w):
        self.out, theirs = os.openpty()
        tty.setraw(theirs)
        w.files.append(self.out)
        self.proc = subprocess.Popen([ECHO_CLIENT, 'vhost-user:' + w.path('web.sock')],
                                     stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.DEVNULL)
        os.close(theirs)
        w.procs.append(self.proc)

    def echo(self, line):
        self.proc.stdin.write(line + b'\n')
        self.proc.stdin.flush()
        got = b''
        while not got.endswith(b'\n'):
            assert select.select([self.out], [], [], LIMIT)[0], f'no echo of {line}, got {got}'
            got += os.read(self.out, 100)
        assert got == line + b'\n', got

    def end(self):
        self.proc.stdin.close()
        assert self.proc.wait(LIMIT) == 0


@case
def reload_leaves_others_alone(w):
    """A connection goes on while guests come, go and change beside it, and while the file is wrong."""
    d = w.up('-c', w.write('c', GUEST))
    g = Guest(w)
    g.echo(b'one')
    reload(w, d, GUEST + '[guest db]\ncid = 4\nsocket = DIR/db.sock\n', 'guests: 2 of 2')
    g.echo(b'two')
    reload(w, d, GUEST + '[guest db]\ncid = 5\nsocket = DIR/db.sock\n', 'guests: 2 of 2')
    g.echo(b'three')
    reload(w, d, 'wrong', 'wrong configuration')
    g.echo(b'four')
    reload(w, d, GUEST, 'guests: 1 of 1')
    g.echo(b'five')
    g.end()
    w.end(d)


@case
def drains_until_the_last_connection_ends(w):
    d = w.up('-c', w.write('c', '[daemon]\ndrain_ms = 600000\n' + GUEST))
    g = Guest(w)
    g.echo(b'before')
    d.send_signal(signal.SIGTERM)
    w.wait_told('STOPPING=1', d)
    g.echo(b'still there')
    g.end()
    assert d.wait(LIMIT) == 0
    assert 'still open' not in w.log(), w.log()


class Control:
    """A client of the control socket."""

    def __init__(self, w):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(LIMIT)
        self.sock.connect(w.path('control.sock'))
        self.lines = self.sock.makefile('rw', encoding='utf-8')

    def ask(self, cmd, **more):
        self.lines.write(json.dumps({'v': 1, 'cmd': cmd, **more}) + '\n')
        self.lines.flush()
        return json.loads(self.lines.readline())

    def close(self):
        self.lines.close()
        self.sock.close()


@case
def a_draining_daemon_says_what_it_waits_for(w):
    d = w.up('-c', w.write('c', '[daemon]\ndrain_ms = 600000\ncontrol = DIR/control.sock\n' + GUEST))
    g = Guest(w)
    g.echo(b'before')
    early = Control(w)
    d.send_signal(signal.SIGTERM)
    w.wait_told('STOPPING=1', d)
    d.send_signal(signal.SIGHUP)  # ignored from now on
    late = Control(w)
    for c in (early, late):
        conns = c.ask('list')['connections']
        assert [(i['guest'], i['endpoint']) for i in conns] == [('web', 'echo')], conns
        assert c.ask('stats', guest='web')['guests'][0]['name'] == 'web'
        assert c.ask('guests')['guests'][0]['connections'] == 1
    early.close()
    g.echo(b'still there')
    g.end()
    assert d.wait(LIMIT) == 0
    assert late.lines.readline() == ''
    late.close()
    assert 'reading the configuration' not in w.log(), w.log()
    assert not os.path.exists(w.path('control.sock'))


@case
def requests_during_a_reload_are_answered_behind_it(w):
    """A removed guest is not there any more, and who asks for it is told."""
    more = '[guest db]\ncid = 4\nsocket = DIR/db.sock\n'
    text = '[daemon]\ncontrol = DIR/control.sock\n' + GUEST
    d = w.up('-c', w.write('c', text + more))
    c = Control(w)
    assert c.ask('list', guest='db')['connections'] == []
    reload(w, d, text, 'guests: 1 of 1')
    answer = c.ask('list', guest='db')
    assert (answer['ok'], answer['code']) == (False, 'guest'), answer
    assert [i['name'] for i in c.ask('guests')['guests']] == ['web']
    reload(w, d, text + more, 'guests: 2 of 2')
    assert c.ask('stats', guest='db')['ok']
    c.close()
    w.end(d)


@case
def second_signal_ends_at_once(w):
    d = w.up('-c', w.write('c', '[daemon]\ndrain_ms = 600000\n' + GUEST))
    g = Guest(w)
    g.echo(b'before')
    d.send_signal(signal.SIGTERM)
    w.wait_told('STOPPING=1', d)
    w.end(d)
    assert 'connections are still open' in w.log(), w.log()
    assert not os.path.exists(w.path('web.sock'))


# ---- the log

@case
def log_lines(w):
    d = w.up('-c', w.write('c', GUEST))
    w.end(d)
    for line in w.log().splitlines():
        assert re.fullmatch(r'ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=(err|warn|info|debug) '
                            r'(guest=web cid=3 )?msg="[^"\\]*(\\.[^"\\]*)*"', line), line


@case
def log_to_the_journal(w):
    w.write('log', '')
    st = os.stat(w.path('log'))
    d = w.up('-c', w.write('c', GUEST), env={'JOURNAL_STREAM': f'{st.st_dev}:{st.st_ino}'})
    w.end(d)
    assert re.search(r'^<6>level=info guest=web cid=3 msg="serving', w.log(), re.M), w.log()
    assert 'ts=' not in w.log()


@case
def log_that_nobody_reads(w):
    """Standard error is a pipe that is full: the daemon starts, serves, reloads and ends all the same."""
    out, into = os.pipe()
    w.files += [out, into]
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
    os.write(into, b'x' * 4096)
    text = '[daemon]\nlog_level = debug\n' + GUEST
    d = w.start('-c', w.write('c', text), stderr=into)
    w.wait_told('READY=1', d)
    for i in range(50):
        done = subprocess.run([ECHO_CLIENT, f'vhost-user:{w.dir}/web.sock'], input=b'%d' % i, capture_output=True,
                              timeout=LIMIT, check=True)
        assert done.stdout == b'%d' % i, done
    reload(w, d, text + '[guest db]\ncid = 4\nsocket = DIR/db.sock\n', 'guests: 2 of 2')
    w.end(d)


if __name__ == '__main__':
    sys.exit(main())
