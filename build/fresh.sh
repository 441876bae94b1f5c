#!/usr/bin/env bash
# Fails when a generated file is not what its sources make of it today. The files in question are left as generated.
set -euo pipefail
cd "$(dirname "$0")/.."

state() { find . -path ./.git -prune -o -path ./bin -prune -o -path ./data -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; }

before=$(state)
${GO:-go} generate ./...
if ! changed=$(diff <(echo "$before") <(state)); then
	echo "Generated files were stale and have been written again:" >&2
	echo "$changed" | awk '/^>/ { print "  " $3 }' >&2
	exit 1
fi
