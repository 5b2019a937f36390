#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs "meson test" and ends with one line: N passed, N failed, N skipped.

usage: summary.py BUILDDIR [ARGUMENTS OF meson test...]

What is counted is the test case, not the program: programs print cmocka's lines ("[       OK ]
name"), and the scripts under tests/ print the same. A program without such lines is one case. A
program that ends badly without a failed case (a crash, a sanitizer, a time-out) is a failed case.
Logs of failing programs are shown in full, and the reason of each skip. The lines of the logs that
tell what failed are repeated below them ("failed NAME: ...").
"""
import json
import os
import re
import subprocess
import sys

CASE = re.compile(r'^\[ +(OK|FAILED|SKIPPED) +\] (\S.*)$')
RUN = re.compile(r'^\[ RUN +\] (\S+)')
SKIP_EXIT = 77
# cmocka's verdicts and failed assertions, unittest's, what sanitizers and glibc say.
TELLS = re.compile(r'^\[ +(FAILED|ERROR) +\]|: error: |^(FAIL|ERROR): |^\w*(Error|Exception): |^SUMMARY: |ThreadSanitizer: |'
                   r'AddressSanitizer: |runtime error: |\*\*\* |^Test (setup|teardown) failed')
TELLS_MOST = 20  # lines of a program


def cases(text):
    """({name: verdict}, {name: reason of the skip}) of cmocka's output."""
    verdicts, reasons, since = {}, {}, []
    for line in text.splitlines():
        if RUN.match(line):
            since = []
            continue
        m = CASE.match(line)
        if not m:
            since.append(line.strip())
            continue
        # The summary at the end repeats names: "[  FAILED  ] tests: 2 test(s), listed below:".
        name = m.group(2).strip()
        if 'test(s)' in name or name in verdicts:
            continue
        verdicts[name] = m.group(1)
        if m.group(1) == 'SKIPPED':
            reasons[name] = ' '.join(s for s in since if s and not s.startswith('[')) or 'no reason'
    return verdicts, reasons


def last_line(text):
    lines = [s.strip() for s in text.splitlines() if s.strip()]
    return lines[-1] if lines else 'no reason given'


def judge(test):
    """(passed, failed, skipped, [skip lines]) of one entry of testlog.json."""
    name, code, result = test['name'], test['returncode'], test['result']
    out, err = test.get('stdout') or '', test.get('stderr') or ''
    if result == 'SKIP' or code == SKIP_EXIT:
        return 0, 0, 1, [f'{name}: {last_line(out + err)}']
    verdicts, reasons = cases(out)
    for case, verdict in cases(err)[0].items():
        verdicts.setdefault(case, verdict)
        if verdict == 'FAILED':
            verdicts[case] = verdict
    count = list(verdicts.values()).count
    passed, failed, skipped = count('OK'), count('FAILED'), count('SKIPPED')
    good = result in ('OK', 'EXPECTEDFAIL')
    if not verdicts:
        passed, failed = (1, 0) if good else (0, 1)
    elif not good and not failed:
        failed = 1
    return passed, failed, skipped, [f'{name}/{c}: {why}' for c, why in reasons.items()]


def told(test):
    """The lines of a failed program's log that tell what failed; without any, the last ones."""
    lines = [s.rstrip() for s in (test.get('stdout') or '').splitlines() + (test.get('stderr') or '').splitlines() if s.strip()]
    tells = list(dict.fromkeys(s for s in lines if TELLS.search(s)))
    return tells[:TELLS_MOST] or lines[-5:]


def main():
    build, args = (sys.argv[1:2] or [''])[0], sys.argv[2:]
    if build in ('-h', '--help'):
        print(__doc__.strip())
        return
    if not os.path.isfile(os.path.join(build, 'build.ninja')):
        print(f'{build or "(nothing)"} is not a build directory\nusage: summary.py BUILDDIR [ARGUMENTS OF meson test...]', file=sys.stderr)
        sys.exit(2)
    log = os.path.join(build, 'meson-logs', 'testlog.json')
    if os.path.exists(log):
        os.remove(log)
    rc = subprocess.run(['meson', 'test', '-C', build, '--no-rebuild', *args],
                        stdin=subprocess.DEVNULL, check=False).returncode
    tests = []
    if os.path.exists(log):
        with open(log, encoding='utf-8', errors='replace') as f:
            tests = [json.loads(line) for line in f if line.strip()]
    if not tests:
        print(f'no test was run; names: meson test -C {build} --list', file=sys.stderr)
        sys.exit(rc or 1)

    total, skips, broken = [0, 0, 0], [], []
    for test in tests:
        *numbers, why = judge(test)
        total = [a + b for a, b in zip(total, numbers)]
        skips += why
        if numbers[1]:
            broken.append(test)
    for test in broken:
        print(f'\n---- {test["name"]}: {test["result"]}, exit code {test["returncode"]} ----')
        print((test.get('stdout') or '') + (test.get('stderr') or ''))
    for why in skips:
        print(f'skipped {why}')
    for test in broken:
        print(f'failed {test["name"]}: {test["result"]}, exit code {test["returncode"]}')
        for line in told(test):
            print(f'failed     {line}')
    if rc and not total[1]:  # meson itself failed
        total[1] = 1
    print('{} passed, {} failed, {} skipped'.format(*total))
    sys.exit(1 if total[1] else 0)


if __name__ == '__main__':
    main()
