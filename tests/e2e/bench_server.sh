#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# vsock-bench --server and --client: all tests, with the client in the guest and with the client on the host.
# usage: bench_server.sh VSOCK_BENCH
set -uo pipefail

# shellcheck source=tests/e2e/usage.sh
. "$(dirname -- "$0")/usage.sh"
bench=$1
dir=$(mktemp -d)
server='' client=''

end() {
	for pid in $server $client; do
		kill -TERM "$pid" 2>/dev/null
		wait "$pid"
	done
	rm -rf -- "$dir"
}
trap end EXIT

fail() {
	echo "$*"
	cat "$dir/server.err" "$dir/client.err" 2>/dev/null
	exit 1
}

# --foreground: no SIGCONT, see examples.sh
start_server() {
	timeout --foreground -k 60 200 "$bench" --server "$1" --queues 2 >"$dir/server.out" 2>"$dir/server.err" &
	server=$!
}

start_client() {
	timeout --foreground -k 60 150 "$bench" --client "$1" --queues 2 --threads 2 \
		--test throughput,rtt,connrate,idle,fairness --size 64,5000 --conns 40 --duration 0.03 \
		--repeat 1 --cpus free --json "$dir/json" >"$dir/table" 2>"$dir/client.err" &
	client=$!
}

# wait_socket PATH PID: until somebody listens there. The socket exists before that.
wait_socket() {
	for _ in $(seq 1200); do
		! grep -q "^[^ ]* [^ ]* 00000000 00010000 .* $1\$" /proc/net/unix || return 0
		kill -0 "$2" 2>/dev/null || break
		sleep 0.05
	done
	fail "no socket $1"
}

# The client's figures, then the server's end.
check() {
	wait "$client" || fail "$1: the client ended with $?"
	client=''
	python3 - "$dir/json" <<'END' || fail "$1: the JSON of the client is not what it should be"
import json
import sys

runs = json.load(open(sys.argv[1]))['runs']
mine = [r for r in runs if r['target'] == 'zvsock']
assert {r['test'] for r in mine} == {'throughput', 'rtt', 'connrate', 'idle', 'fairness'}, mine
for r in mine:
    assert r['errors'] == 0 and r.get('verified', True), r
    if r['test'] in ('throughput', 'connrate'):
        assert len(r['per_queue_msgs']) == 2 and min(r['per_queue_msgs']) > 0, r
assert {r['direction'] for r in mine if r['test'] == 'throughput'} == {'g2h', 'h2g'}
assert {r['target']: r['absent'] for r in runs if 'absent' in r}['tcp'] == '--client'
END
	kill -TERM "$server"
	wait "$server" || fail "$1: the server ended with $?"
	server=''
}

# The host side makes the socket, so it is first, whatever its part.
start_server "host:$dir/a.sock,cid=3"
wait_socket "$dir/a.sock" "$server"
start_client "vhost-user:$dir/a.sock"
check 'client in the guest'

start_client "host:$dir/b.sock,cid=3"
wait_socket "$dir/b.sock" "$client"
start_server "vhost-user:$dir/b.sock"
check 'client on the host'
