#!/usr/bin/env bash
# A real Keystone from PyPI for the tests, with PostgreSQL under it (on SQLite it says "database is
# locked" under load). Runs in the foreground; when it ends, both end.
# Usage: keystone.sh VENV DIR KEYSTONE_PORT POSTGRES_PORT
# Afterwards: user admin, password secret, project admin, domain default. PostgreSQL does not run as
# root: then it is the user postgres of Debian's package.
set -euo pipefail
venv=$1 dir=$2 port=$3 pgport=$4
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
chmod 755 "$dir"
if [ "$(id -u)" = 0 ]; then
  owner=postgres
  as_owner=(setpriv --reuid postgres --regid postgres --init-groups)
else
  owner=$(id -un)
  as_owner=()
fi
install -d -o "$owner" "$dir/pg" "$dir/sock"

"${as_owner[@]}" "$bin/initdb" -D "$dir/pg" -A trust -U keystone >"$dir/initdb.log"
"${as_owner[@]}" "$bin/postgres" -D "$dir/pg" -k "$dir/sock" -h 127.0.0.1 -p "$pgport" \
  -c fsync=off -c max_connections=60 >"$dir/postgres.log" 2>&1 &
pg=$!
# SIGINT: without waiting for connections to be given up.
trap 'kill ${web:-} 2>/dev/null; kill -INT $pg; wait' EXIT
trap 'exit 0' INT TERM
for _ in $(seq 100); do
  "$bin/pg_isready" -q -h 127.0.0.1 -p "$pgport" -U keystone && break
  sleep 0.1
done
"$bin/createdb" -h 127.0.0.1 -p "$pgport" -U keystone keystone

mkdir -p "$dir/fernet" "$dir/credential"
chmod 700 "$dir/fernet" "$dir/credential"
cat >"$dir/keystone.conf" <<CONF
[DEFAULT]
use_stderr = true
[database]
connection = postgresql+psycopg2://keystone@127.0.0.1:$pgport/keystone
[fernet_tokens]
key_repository = $dir/fernet
[credential]
key_repository = $dir/credential
[identity]
password_hash_algorithm = bcrypt
password_hash_rounds = 4
[oslo_policy]
enforce_scope = false
CONF
manage() { "$venv/bin/keystone-manage" --config-file "$dir/keystone.conf" "$@" >>"$dir/manage.log" 2>&1; }
manage db_sync
me=$(id -un) group=$(id -gn)
manage fernet_setup --keystone-user "$me" --keystone-group "$group"
manage credential_setup --keystone-user "$me" --keystone-group "$group"
url=http://127.0.0.1:$port/v3
manage bootstrap --bootstrap-password secret --bootstrap-admin-url "$url" \
  --bootstrap-internal-url "$url" --bootstrap-public-url "$url" --bootstrap-region-id RegionOne

# Keystone reads sys.argv itself, so gunicorn gets everything from its file.
cat >"$dir/gunicorn.conf.py" <<CONF
bind = "127.0.0.1:$port"
workers = 2
wsgi_app = "keystone.wsgi.api:application"
CONF
cd "$dir"
OS_KEYSTONE_CONFIG_DIR="$dir" OS_KEYSTONE_CONFIG_FILES=keystone.conf \
  "$venv/bin/gunicorn" >"$dir/gunicorn.log" 2>&1 &
web=$!
wait $web
