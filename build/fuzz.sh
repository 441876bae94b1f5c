#!/usr/bin/env bash
# Runs every fuzz target for a while: build/fuzz.sh 60s. A finding ends it and stays in the package's testdata/fuzz, to become a test.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
count=0
for package in $("$go" list ./...); do
	for target in $("$go" test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-60s}" "$package"
		count=$((count + 1))
	done
done
echo "$count fuzz targets, no finding"
