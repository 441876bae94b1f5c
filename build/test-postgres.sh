#!/bin/sh
# Runs Go tests against PostgreSQL 15 as well: starts a temporary cluster of its own, exports its URL, tests, removes it.
# Usage: build/test-postgres.sh [packages and go test flags]; the default is ./storage/... ./tests
# Needs Debian's postgresql-15 (installed through apt, with sudo when not root, if it is missing).
set -eu

bin=${POSTGRES_BIN:-/usr/lib/postgresql/15/bin}
if [ ! -x "$bin/initdb" ]; then
	command -v apt-get >/dev/null || { echo "PostgreSQL 15 is needed in $bin; set POSTGRES_BIN to where it is" >&2; exit 1; }
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -q
	# The package would start a cluster of its own on the standard port; only the programs are wanted.
	[ -e /etc/postgresql-common/createcluster.conf ] || {
		$sudo mkdir -p /etc/postgresql-common
		echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
	}
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y --no-install-recommends postgresql-15
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/hearth-postgres.XXXXXX")
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root
	chown postgres "$dir"
	as() { (cd "$dir" && setpriv --reuid=postgres --regid=postgres --init-groups "$@"); }
fi
stop() {
	as "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

# It listens on a Unix socket in its own directory, which nobody else can enter, so it needs no port and no password.
as "$bin/initdb" -D "$dir/data" -U hearth -A trust -E UTF8 --locale=C.UTF-8 >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
as "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -o "-c listen_addresses='' -k $dir -c fsync=off -c max_connections=300" start >/dev/null || {
	cat "$dir/server.log" >&2
	exit 1
}

HEARTH_TEST_POSTGRES_URL="postgres://hearth@/postgres?host=$dir"
export HEARTH_TEST_POSTGRES_URL
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- ./storage/... ./tests
go test -timeout 30m "$@"
