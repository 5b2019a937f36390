#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Runs the examples as a reader of the README would: two processes and a socket between them.
# usage: examples.sh ECHO_SERVER ECHO_CLIENT PIPELINE_CONSUMER PIPELINE_PRODUCER REGISTERED_PRODUCER
set -uo pipefail

# shellcheck source=tests/e2e/usage.sh
. "$(dirname -- "$0")/usage.sh"
echo_server=$1 echo_client=$2 consumer=$3 producer=$4 registered=$5
dir=$(mktemp -d)
server='' failed=0

# timeout passes the signal on to the server, and follows it with SIGKILL. With --foreground, because
# else a SIGCONT comes after each signal, which cancels stop signals: LeakSanitizer stops the threads
# of a process that ends by such, and waits for ever for one that was cancelled.
drop_server() {
	[ -z "$server" ] || { kill -TERM "$server" 2>/dev/null; wait "$server"; }
	server=''
	rm -f -- "$dir/s"
}
trap 'drop_server; rm -rf -- "$dir"' EXIT

# serve PROGRAM: starts it on a socket of its own and waits until it listens there: between bind(2) and
# listen(2) the socket is there and refuses.
serve() {
	timeout --foreground -k 60 500 "$1" "host:$dir/s,cid=3" >"$dir/server.out" 2>"$dir/server.err" &
	server=$!
	for _ in $(seq 1200); do
		! grep -q "^[^ ]* [^ ]* 00000000 00010000 .* $dir/s\$" /proc/net/unix || return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.05
	done
	echo "$1 made no socket:"
	cat "$dir/server.err"
	return 1
}

# Where the threads of a process are.
where_is() {
	local t
	for t in /proc/"$1"/task/*; do
		echo "$(cat "$t/comm"): $(cat "$t/wchan") $(cat "$t/syscall" 2>/dev/null)"
		sed 's/^/    /' "$t/stack" 2>/dev/null
	done
}

# Asks the server to end, as Ctrl-C does; it must do so in peace. timeout kills it after 60 s.
end_server() {
	local rc=0 child
	child=$(pgrep -P "$server")
	kill -TERM "$server"
	for _ in $(seq 500); do
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	kill -0 "$server" 2>/dev/null && { echo "the server does not end:"; where_is "$child"; }
	wait "$server" || rc=$?
	server=''
	rm -f -- "$dir/s"
	[ "$rc" = 0 ] || { echo "the server ended with $rc:"; cat "$dir/server.err"; }
	return "$rc"
}

verdict() { # verdict NAME RC
	if [ "$2" = 0 ]; then
		echo "[       OK ] $1"
	else
		echo "[  FAILED  ] $1"
		failed=1
		drop_server
	fi
}

echo_returns_a_line() {
	serve "$echo_server" || return 1
	printf 'hello, vsock\n' | timeout 120 "$echo_client" "vhost-user:$dir/s" >"$dir/out" || return 1
	[ "$(cat "$dir/out")" = 'hello, vsock' ] || { echo "got: $(cat "$dir/out")"; return 1; }
	end_server
}

echo_returns_a_file_twice() {
	head -c 3000001 /dev/urandom >"$dir/in"
	serve "$echo_server" || return 1
	for _ in 1 2; do
		timeout 120 "$echo_client" "vhost-user:$dir/s" <"$dir/in" >"$dir/out" || return 1
		cmp "$dir/in" "$dir/out" || return 1
	done
	end_server
}

pipeline_loses_no_byte() {
	serve "$consumer" || return 1
	timeout 300 "$producer" "vhost-user:$dir/s" 32 >"$dir/out" || return 1
	end_server || return 1
	cat "$dir/out" "$dir/server.out"
	grep -qxF 'produced 33554432 bytes' "$dir/out" &&
		grep -qxF 'consumed 33554432 bytes, 0 wrong, complete' "$dir/server.out"
}

registered_memory_is_read_in_place() {
	serve "$consumer" || return 1
	timeout 300 "$registered" "vhost-user:$dir/s" 32 >"$dir/out" || return 1
	end_server || return 1
	cat "$dir/out" "$dir/server.out"
	grep -qxF 'produced 33554432 bytes, 0 of them copied' "$dir/out" &&
		grep -qxF 'consumed 33554432 bytes, 0 wrong, complete' "$dir/server.out"
}

# Each mistake of a user: one clear line, and an exit code that is not 0.
mistakes_are_told_in_one_line() {
	local rc=0 uri
	for uri in "vhost-user:$dir/nothing-here" "nonsense:x" "vhost-user" "host:$dir/s"; do
		if timeout 120 "$echo_client" "$uri" </dev/null >"$dir/out" 2>"$dir/err"; then
			echo "$uri: exit code 0"
			rc=1
		fi
		if [ "$(wc -l <"$dir/err")" != 1 ] || ! grep -q '^echo_client: ...' "$dir/err"; then
			echo "$uri: not one clear line:"
			cat "$dir/err"
			rc=1
		fi
		cat "$dir/err"
	done
	return "$rc"
}

usage_is_shown() {
	local rc=0 got program
	for program in "$echo_server" "$echo_client" "$consumer" "$producer" "$registered"; do
		for words in '' --help 'x y z'; do
			got=0
			# shellcheck disable=SC2086 # words
			timeout 120 "$program" $words </dev/null >"$dir/out" 2>"$dir/err" || got=$?
			[ "$got" = 2 ] && grep -q '^usage: ' "$dir/err" && continue
			echo "$program $words: exit code $got:"
			cat "$dir/err"
			rc=1
		done
	done
	return "$rc"
}

for t in echo_returns_a_line echo_returns_a_file_twice pipeline_loses_no_byte registered_memory_is_read_in_place \
	mistakes_are_told_in_one_line usage_is_shown; do
	echo "[ RUN      ] $t"
	rc=0
	$t || rc=$?
	verdict $t $rc
done
exit $failed
