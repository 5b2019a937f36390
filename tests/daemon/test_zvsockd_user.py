#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd becomes another user: what it may do then, and what belongs to whom (zvd_program.py).

usage: test_zvsockd_user.py ZVSOCKD
"""
import glob
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys

sys.dont_write_bytecode = True

from zvd_program import LIMIT, Skip, ZVSOCKD, case, main, open_folder, reload


def need_root():
    if os.geteuid() != 0:
        raise Skip('only root can become another user')
    if not open_folder():
        raise Skip('other users can enter neither TMPDIR nor /tmp nor /var/tmp')


USER = ('[daemon]\nuser = nobody\ncontrol = DIR/d/control.sock\n'
        '[guest web]\ncid = 3\nsocket = DIR/d/web.sock\nunix = DIR/d/web.vsock\n')


def assert_owner(w, user):
    names = [n + lock for n in ('web.sock', 'web.vsock', 'control.sock') for lock in ('', '.lock')]
    assert sorted(names) == sorted(os.listdir(w.path('d'))), os.listdir(w.path('d'))
    for name in names:
        st = os.stat(w.path('d/' + name))
        assert (st.st_uid, st.st_gid) == (user.pw_uid, user.pw_gid), (name, st)


def copy_for_others(w):
    """A copy of zvsockd and of its own libraries that every user may run: the build directory may be in one that only
    its owner can enter (a home, mode 0700), and its files may be the owner's alone (umask 077)."""
    folder = w.path('program')
    if not os.path.exists(folder):
        os.mkdir(folder)
        ldd = subprocess.run(['ldd', ZVSOCKD], capture_output=True, text=True, timeout=LIMIT, check=True)
        for source in [ZVSOCKD] + re.findall(r'=> (/.*/libzvsock\S*) \(0x', ldd.stdout):
            shutil.copy(source, folder)
            os.chmod(os.path.join(folder, os.path.basename(source)), 0o755)
    return folder


def started_as(w, user):
    """Arguments of Testbed.start() for zvsockd as @user; None: as who runs the test."""
    if not user:
        return {}
    folder = copy_for_others(w)
    return {'user': user.pw_uid, 'group': user.pw_gid, 'extra_groups': [], 'env': {'LD_LIBRARY_PATH': folder},
            'program': os.path.join(folder, os.path.basename(ZVSOCKD))}


@case
def becomes_another_user(w):
    need_root()
    nobody = pwd.getpwnam('nobody')
    d = w.up('-c', w.write('c', USER))
    for task in glob.glob(f'/proc/{d.pid}/task/*/status'):
        with open(task, encoding='utf-8') as f:
            status = f.read()
        assert re.search(rf'^Uid:(\t{nobody.pw_uid}){{4}}$', status, re.M), status
        assert re.search(rf'^Gid:(\t{nobody.pw_gid}){{4}}$', status, re.M), status
        assert re.search(r'^CapPrm:\t0+$', status, re.M), status
        assert re.search(r'^NoNewPrivs:\t1$', status, re.M), status
    st = os.stat(w.path('d'))
    assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (nobody.pw_uid, 0o700), st
    assert_owner(w, nobody)
    reload(w, d, USER + '[guest db]\ncid = 4\nsocket = DIR/d/db.sock\n', 'guests: 2 of 2')
    reload(w, d, USER.replace('cid = 3', 'cid = 7'), 'guests: 1 of 1')
    assert len(os.listdir(w.path('d'))) == 6, os.listdir(w.path('d'))
    w.end(d)
    assert os.listdir(w.path('d')) == [], os.listdir(w.path('d'))
    assert 'will not be removed' not in w.log(), w.log()


@case
def what_a_crash_leaves_is_taken_over(w):
    """In a directory like /tmp, where only its owner may remove a file: by root, by the same user, and by root for
    another one; not by another one alone, who is told why."""
    need_root()
    nobody, other = pwd.getpwnam('nobody'), pwd.getpwnam('daemon')
    os.mkdir(w.path('d'))
    os.chmod(w.path('d'), 0o1777)

    def crashed(text, owner, as_user=None):
        w.told = ''
        d = w.up('-c', w.write('c', text), **started_as(w, as_user))
        assert_owner(w, owner)
        w.end(d, signal.SIGKILL, -signal.SIGKILL)
        assert_owner(w, owner)

    crashed(USER, nobody)
    crashed(USER, nobody)
    crashed(USER, nobody, as_user=nobody)
    d = w.start('-c', w.write('c', USER.replace('nobody', 'daemon')), **started_as(w, other))
    assert d.wait(LIMIT) == 1
    assert 'lock may not be written: run as its owner' in w.log(), w.log()
    assert_owner(w, nobody)
    crashed(USER.replace('nobody', 'daemon'), other)
    w.told = ''
    w.end(w.up('-c', w.write('c', USER)))
    assert os.listdir(w.path('d')) == [], os.listdir(w.path('d'))


@case
def a_closed_directory_is_told(w):
    """Of root alone: the sockets stay, and the next start takes them over."""
    need_root()
    os.mkdir(w.path('d'))
    for _ in range(2):
        w.told = ''
        d = w.up('-c', w.write('c', USER))
        assert_owner(w, pwd.getpwnam('nobody'))
        assert w.log().count('may not write to its directory') == 3, w.log()
        w.end(d)
        assert_owner(w, pwd.getpwnam('nobody'))


@case
def cannot_become_another_user(w):
    need_root()
    nobody = pwd.getpwnam('nobody')
    os.chown(w.dir, nobody.pw_uid, nobody.pw_gid)
    d = w.start('-g', f'name=a,cid=3,socket={w.dir}/s', '-s', 'user=root', **started_as(w, nobody))
    assert d.wait(LIMIT) == 1
    assert 'only root can become user root; start zvsockd as root or take' in w.log(), w.log()


@case
def needs_no_privilege(w):
    need_root()
    nobody = pwd.getpwnam('nobody')
    os.chown(w.dir, nobody.pw_uid, nobody.pw_gid)
    d = w.up('-g', f'name=a,cid=3,socket={w.dir}/s,unix={w.dir}/u', **started_as(w, nobody))
    w.end(d)


if __name__ == '__main__':
    sys.exit(main())
