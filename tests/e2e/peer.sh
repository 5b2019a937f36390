#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# vsock-bench --peer against zvsockd: two of its guests as two peers in one run.
# usage: peer.sh ZVSOCKD VSOCK_BENCH ZVSOCKCTL
set -uo pipefail

# shellcheck source=tests/e2e/usage.sh
. "$(dirname -- "$0")/usage.sh"
zvsockd=$1 bench=$2 zvsockctl=$3
dir=$(mktemp -d)
daemon='' dies=''

end() {
	[ -z "$dies" ] || kill -TERM "$dies" 2>/dev/null
	[ -z "$daemon" ] || { kill -TERM "$daemon" 2>/dev/null; wait "$daemon"; }
	rm -rf -- "$dir"
}
trap end EXIT

fail() {
	echo "$*"
	cat "$dir/zvsockd.log" "$dir/bench.err" 2>/dev/null
	exit 1
}

guest() { echo "name=$1,cid=$2,socket=$dir/$1.sock,unix=$dir/$1.vsock"; }
peer() { echo "name=$1,vhost-user:$dir/$1.sock,uds=$dir/$1.vsock"; }

# --foreground: no SIGCONT, see examples.sh
timeout --foreground -k 60 560 "$zvsockd" -g "$(guest a 3)" -g "$(guest b 4)" >"$dir/zvsockd.log" 2>&1 &
daemon=$!
for _ in $(seq 1200); do
	! grep -q 'zvsockd .* is up' "$dir/zvsockd.log" || break # its sockets exist before it listens there
	kill -0 "$daemon" 2>/dev/null || break
	sleep 0.05
done
[ -S "$dir/a.vsock" ] && [ -S "$dir/b.vsock" ] || fail 'zvsockd made no sockets'

# A whole run, on any machine; 5000 is no multiple of a receive buffer.
timeout 240 "$bench" --peer "$(peer a)" --peer "$(peer b)" --cpus 1cpu --size 64,5000,64K \
	--rx-buf 4K --duration 0.03 --repeat 2 --json "$dir/json" >"$dir/table" 2>"$dir/bench.err" ||
	fail "vsock-bench ended with $?"
grep -q 'xa ' "$dir/table" || fail "no ratio to the first peer in: $(cat "$dir/table")"
python3 - "$dir/json" <<'END' || fail 'the JSON is not what it should be'
import json
import sys

runs = [r for r in json.load(open(sys.argv[1]))['runs'] if 'absent' not in r]
peers = [r for r in runs if r['target'] == 'vhost-user']
want = {('throughput', d, s) for d in ('g2h', 'h2g') for s in (64, 5000, 65536)}
want |= {('rtt', 'both', 64), ('connrate', 'g2h', None), ('connrate', 'h2g', None)}
for name in 'a', 'b':
    mine = [r for r in peers if r['name'] == name]
    assert {(r['test'], r['direction'], r.get('msg_size')) for r in mine} == want, mine
    for r in mine:
        assert r['path'] == 'relay' and r['rx_buf'] == 4096, r
        assert r['errors'] == 0 and r.get('verified', True) and r['cpu_s']['daemon'] > 0, r
        assert max(r['per_queue_msgs']) > 0, r
assert {r['target'] for r in runs} == {'vhost-user', 'af_unix'}
# A B A B
order = [r['name'] for r in peers if r['test'] == 'rtt']
assert order == ['a', 'b', 'a', 'b'], order
END

# The copying calls, one way, without the baseline.
timeout 240 "$bench" --peer "$(peer a)" --copy --test throughput --direction h2g --size 1000 \
	--no-baselines --cpus free --duration 0.03 --repeat 1 >"$dir/table" 2>"$dir/bench.err" ||
	fail "vsock-bench --copy ended with $?"

# The wrong hybrid socket: one line that names it.
timeout 240 "$bench" --peer "vhost-user:$dir/a.sock,uds=$dir/no.vsock" >"$dir/table" 2>"$dir/bench.err" &&
	fail 'a wrong uds= was accepted'
[ "$(wc -l <"$dir/bench.err")" = 1 ] && grep -q "no.vsock" "$dir/bench.err" ||
	fail 'no clear word about a wrong uds='

# One of two peers dies in the middle: its rows fail, those of the other are measured to the end.
timeout --foreground -k 60 560 "$zvsockd" -g "$(guest c 3)" -s control="$dir/control" >"$dir/dies.log" 2>&1 &
dies=$!
for _ in $(seq 1200); do
	! grep -q 'zvsockd .* is up' "$dir/dies.log" || break
	kill -0 "$dies" 2>/dev/null || break
	sleep 0.05
done
timeout 240 "$bench" --peer "$(peer a)" --peer "$(peer c)" --test throughput --size 64K --cpus free \
	--no-baselines --duration 1 --repeat 3 --json "$dir/json" >"$dir/table" 2>"$dir/bench.err" &
running=$!
received() { "$zvsockctl" -s "$dir/control" --json stats | grep -c '"rx_bytes": [0-9]\{7\}'; }
until [ "$(received)" != 0 ]; do # in its first row
	kill -0 "$running" 2>/dev/null || fail 'the run was over before its peer was killed'
	sleep 0.05
done
read -r child _ <"/proc/$dies/task/$dies/children"
kill -KILL "$child"
wait "$dies"
dies=''
wait "$running"
rc=$?
[ "$rc" = 1 ] || fail "with a peer that died vsock-bench ended with $rc"
grep -q '^vsock-bench: c: given up: ' "$dir/bench.err" || fail 'the peer that died is not named'
python3 - "$dir/json" <<'END' || fail "of two peers, one of which died: $(cat "$dir/table")"
import json
import sys

runs = [r for r in json.load(open(sys.argv[1]))['runs'] if r['target'] == 'vhost-user']
by = {n: [r for r in runs if r['name'] == n] for n in ('a', 'c')}
assert len(by['a']) == 6 and not any('failed' in r for r in by['a']), by['a']
assert [r['direction'] for r in by['c'] if 'failed' in r] in (['g2h', 'h2g'], ['h2g', 'g2h']), by['c']
END

# Nothing of the host program's is left behind.
[ -z "$(find "$dir" -name '*.vsock_*')" ] || fail "left behind: $(ls "$dir")"
kill -TERM "$daemon"
wait "$daemon" || fail "zvsockd ended with $?"
daemon=''
