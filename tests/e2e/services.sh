#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# vsock-bench --client --services against the builtin services of zvsockd, streams and messages, two queues.
# usage: services.sh ZVSOCKD VSOCK_BENCH
set -uo pipefail

# shellcheck source=tests/e2e/usage.sh
. "$(dirname -- "$0")/usage.sh"
zvsockd=$1 bench=$2
dir=$(mktemp -d)
daemon=''

end() {
	[ -z "$daemon" ] || { kill -TERM "$daemon" 2>/dev/null; wait "$daemon"; }
	rm -rf -- "$dir"
}
trap end EXIT

fail() {
	echo "$*"
	cat "$dir/zvsockd.log" "$dir/bench.err" 2>/dev/null
	exit 1
}

cat >"$dir/conf" <<END
[guest a]
cid = 3
socket = $dir/a.sock
queues = 2
builtin = echo:7, discard:9, source:19
END

# --foreground: no SIGCONT, see examples.sh
timeout --foreground -k 60 560 "$zvsockd" -c "$dir/conf" >"$dir/zvsockd.log" 2>&1 &
daemon=$!
for _ in $(seq 1200); do
	! grep -q 'zvsockd .* is up' "$dir/zvsockd.log" || break # its sockets exist before it listens there
	kill -0 "$daemon" 2>/dev/null || break
	sleep 0.05
done
[ -S "$dir/a.sock" ] || fail 'zvsockd made no socket'

for type in stream seqpacket; do
	timeout --foreground -k 60 240 "$bench" --client "vhost-user:$dir/a.sock" --queues 2 --type "$type" --cpus free \
		--services echo:7,discard:9,source:19 --test throughput,rtt,echo,connrate --size 64,5000 \
		--duration 0.05 --repeat 1 --json "$dir/json" >"$dir/table" 2>"$dir/bench.err" ||
		fail "$type: vsock-bench ended with $?"
	python3 - "$dir/json" "$type" <<'END' || fail "$type: the JSON is not what it should be"
import json
import sys

runs = [r for r in json.load(open(sys.argv[1]))['runs'] if r['target'] == 'zvsock']
assert {r['test'] for r in runs} == {'throughput', 'rtt', 'echo', 'connrate'}, runs
assert {r['direction'] for r in runs if r['test'] == 'throughput'} == {'g2h', 'h2g'}
for r in runs:
    assert r['errors'] == 0 and r['far_end'] == 'services' and r['type'] == sys.argv[2], r
    assert 'host' not in r['cpu_s'] and min(r['per_queue_msgs']) > 0, r
    # What is thrown away is seen by nobody; connects carry nothing.
    unseen = r['test'] == 'connrate' or (r['test'] == 'throughput' and r['direction'] == 'g2h')
    assert ('verified' in r) != unseen and r.get('verified', True), r
END
done
