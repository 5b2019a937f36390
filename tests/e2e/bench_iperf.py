#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vsock-bench --iperf-json and --intervals beside what iperf3 3.12 prints (iperf3 -c 127.0.0.1 -t 2 -J, recorded).

usage: bench_iperf.py VSOCK_BENCH
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..'))
import usage  # noqa: E402  pylint: disable=wrong-import-position

BENCH = os.path.abspath(usage.arguments()[0])

SUM = {'start': 0, 'end': 1.003649, 'seconds': 1.0036489963531494, 'bytes': 855900160, 'bits_per_second': 6822306707.7035227,
       'retransmits': 1, 'omitted': False, 'sender': True}
STREAM = {**SUM, 'socket': 5, 'snd_cwnd': 3405116, 'snd_wnd': 32965632, 'rtt': 366, 'rttvar': 430, 'pmtu': 65535}
TOTAL = {'start': 0, 'end': 2.004869, 'seconds': 2.004869, 'bytes': 1650196480, 'bits_per_second': 6584755333.141468, 'retransmits': 1,
         'sender': True}
RECORDED = {
    'start': {
        'connected': [{'socket': 5, 'local_host': '127.0.0.1', 'local_port': 59188, 'remote_host': '127.0.0.1', 'remote_port': 5999}],
        'version': 'iperf 3.12', 'system_info': 'Linux vm 6.1.0 #1 SMP x86_64',
        'timestamp': {'time': 'Sat, 28 Nov 2026 17:02:59 GMT', 'timesecs': 1795885379},
        'connecting_to': {'host': '127.0.0.1', 'port': 5999}, 'cookie': 'pkiwzkixh6j6as5wmegabgyjr4ywbff57gte', 'tcp_mss_default': 32768,
        'target_bitrate': 0, 'sock_bufsize': 0, 'sndbuf_actual': 16384, 'rcvbuf_actual': 131072,
        'test_start': {'protocol': 'TCP', 'num_streams': 1, 'blksize': 131072, 'omit': 0, 'duration': 2, 'bytes': 0, 'blocks': 0,
                       'reverse': 0, 'tos': 0, 'target_bitrate': 0}},
    'intervals': [{'streams': [STREAM], 'sum': SUM}],
    'end': {
        'streams': [{'sender': {**TOTAL, 'socket': 5, 'max_snd_cwnd': 3405116, 'max_snd_wnd': 32965632, 'max_rtt': 461, 'min_rtt': 366,
                                'mean_rtt': 413},
                     'receiver': {**TOTAL, 'socket': 5}}],
        'sum_sent': TOTAL, 'sum_received': TOTAL,
        'cpu_utilization_percent': {'host_total': 17.5, 'host_user': 1.2, 'host_system': 16.4, 'remote_total': 16.6, 'remote_user': 0,
                                    'remote_system': 16.6},
        'sender_tcp_congestion': 'bbr', 'receiver_tcp_congestion': 'bbr'}}
# What TCP alone has, and what we do not know; all else is there.
LACKS = {'retransmits', 'snd_cwnd', 'snd_wnd', 'rtt', 'rttvar', 'pmtu', 'max_snd_cwnd', 'max_snd_wnd', 'max_rtt', 'min_rtt', 'mean_rtt',
         'cookie', 'tcp_mss_default', 'target_bitrate', 'sock_bufsize', 'sndbuf_actual', 'rcvbuf_actual', 'tos', 'host_user',
         'host_system', 'remote_user', 'remote_system', 'sender_tcp_congestion', 'receiver_tcp_congestion'}
LINES = '''\
[ ID] Interval           Transfer     Bitrate         Retr  Cwnd
[  5]   0.00-1.00   sec   712 MBytes  5.96 Gbits/sec   11    895 KBytes
[  5]   0.00-2.01   sec  1.27 GBytes  5.42 Gbits/sec                  receiver
[  5]   1.00-2.00   sec  16.2 KBytes   133 Kbits/sec    3   1023 KBytes
'''.splitlines()
LINE = re.compile(r'^\[ *\d+\] +(\d+\.\d\d)-(\d+\.\d\d) +sec  ([ \d.]{4}) [KMGT]?Bytes  ([ \d.]{4}) [KMGT]?bits/sec')


def same_shape(ours, theirs, where=''):
    """Each name of ours is one of iperf3's, with a value of the same kind; each of theirs is there but for LACKS."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert set(ours) <= set(theirs), f'{where}: iperf3 has no {set(ours) - set(theirs)}'
        assert set(theirs) - LACKS <= set(ours), f'{where}: lacks {set(theirs) - LACKS - set(ours)}'
        for name in ours:
            same_shape(ours[name], theirs[name], f'{where}.{name}')
    elif isinstance(theirs, list):
        assert isinstance(ours, list) and ours, where
        for item in ours:
            same_shape(item, theirs[0], f'{where}[]')
    elif isinstance(theirs, bool) or isinstance(theirs, str):
        assert isinstance(ours, type(theirs)), f'{where}: {ours!r}'
    else:
        assert isinstance(ours, (int, float)) and not isinstance(ours, bool), f'{where}: {ours!r}'


def transfer(*args):
    done = subprocess.run([BENCH, '--iperf-json', '--cpus', '1cpu', *args], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    same_shape(report, RECORDED)
    return report


def adds_up(report, sender):
    end, parts = report['end'], [i['sum'] for i in report['intervals']]
    assert end['sum_received']['bytes'] > 0
    assert end['sum_sent']['bytes'] == end['sum_received']['bytes'] == sum(p['bytes'] for p in parts), (end, parts)
    assert parts[0]['start'] == 0 and all(a['end'] == b['start'] for a, b in zip(parts, parts[1:])), parts
    for part in (*parts, end['sum_sent'], end['sum_received']):
        assert abs(part['end'] - part['start'] - part['seconds']) < 1e-6 and part['sender'] is sender
        assert abs(part['bytes'] * 8 / part['seconds'] - part['bits_per_second']) <= 1e-6 * part['bits_per_second'] + 1, part


def fields_are_those_of_iperf3():
    report = transfer('--duration', '0.25', '--intervals', '0.1', '--size', '4K')
    adds_up(report, True)
    assert len(report['intervals']) >= 2
    assert report['start']['test_start'] == {'protocol': 'zvsock', 'num_streams': 1, 'blksize': 4096, 'omit': 0, 'duration': 0.25,
                                             'bytes': 0, 'blocks': 0, 'reverse': 0}
    assert report['end']['cpu_utilization_percent']['host_total'] > 0
    report = transfer('--duration', '0.1', '--direction', 'h2g', '--zero-copy')
    adds_up(report, False)
    assert report['start']['test_start']['reverse'] == 1 and report['start']['test_start']['blksize'] == 131072
    for target in ('af_unix', 'tcp'):
        adds_up(transfer('--target', target, '--duration', '0.1'), True)


def a_server_elsewhere_counts_for_itself():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 's.sock')
        with subprocess.Popen([BENCH, '--server', f'host:{path},cid=3'], stderr=subprocess.PIPE, text=True) as server:
            try:
                assert 'serving' in server.stderr.readline()
                for direction, sender in (('g2h', True), ('h2g', False)):
                    adds_up(transfer('--client', f'vhost-user:{path}', '--duration', '0.1', '--direction', direction), sender)
            finally:
                server.terminate()


def lines_are_those_of_iperf3():
    assert all(LINE.match(line) for line in LINES[1:])
    done = subprocess.run([BENCH, '--target', 'af_unix', '--test', 'throughput', '--size', '64', '--intervals', '0.1', '--duration',
                           '0.25', '--repeat', '1'], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = lines.index(LINES[0][:len('[ ID] Interval           Transfer     Bitrate')])
    found = [m for m in map(LINE.match, lines[at + 1:]) if m]
    assert len(found) >= 2 and found[0][1] == '0.00' and found[1][1] == found[0][2] == '0.10', lines
    assert any('AF_UNIX' in line for line in lines[at:]), 'the table is there as well'


def they_come_while_it_runs():
    """The first line is there long before the transfer has ended."""
    with tempfile.TemporaryFile('w+') as err, \
            subprocess.Popen([BENCH, '--target', 'af_unix', '--test', 'throughput', '--size', '64', '--intervals', '0.1', '--duration', '60',
                              '--repeat', '1'], stdout=subprocess.PIPE, stderr=err, text=True) as run:
        begin, lines = time.monotonic(), []
        for line in run.stdout:
            lines.append(line)
            if LINE.match(line):
                break
        else:
            err.seek(0)
            raise AssertionError(f'it ended after {time.monotonic() - begin:.0f} s with {run.wait()}, without a line: {lines} {err.read()[-2000:]}')
        assert time.monotonic() - begin < 55
        run.terminate()


def mistakes_are_told():
    for args in (['--iperf-json', '--json', '-'], ['--iperf-json', '--test', 'rtt'], ['--intervals', '0'], ['--intervals', 'x']):
        done = subprocess.run([BENCH, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.count('\n') == 1, (args, done.stderr)


fields_are_those_of_iperf3()
a_server_elsewhere_counts_for_itself()
lines_are_those_of_iperf3()
they_come_while_it_runs()
mistakes_are_told()
