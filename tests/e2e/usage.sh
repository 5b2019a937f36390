# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# For the scripts beside it, which source it: --help, and words that do not fit the script's line "# usage: NAME WORD...", are
# answered before the script does anything.
usage=$(sed -n 's/^# usage: /usage: /p' "$0")
for word in "$@"; do
	case $word in
	-h | --help) printf '%s\n' "$usage"; exit 0 ;;
	-*) printf 'unknown option %s\n%s\n' "$word" "$usage" >&2; exit 2 ;;
	esac
done
if [ $# != $(($(wc -w <<<"$usage") - 2)) ]; then
	printf '%d arguments are wanted, not %d\n%s\n' $(($(wc -w <<<"$usage") - 2)) $# "$usage" >&2
	exit 2
fi
