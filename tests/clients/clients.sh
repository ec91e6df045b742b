#!/usr/bin/env bash
# What the unchanged clients from PyPI do (openstack.txt, neutron.txt) against a server of its own.
# Usage: clients.sh embedded|keystone …: with which identities, one after the other.
set -euo pipefail
. "$(dirname "$0")/rig.sh"

venv openstack
venv neutron
passed=0 failed=0
for identity in "$@"; do
    began=$SECONDS
    start_server "$identity"
    for client in openstack neutron; do
        echo "$client with identity $identity"
        log=$work/$client-$identity.out
        python "$client" "$here/driver.py" "$client" "$here/$client.txt" | tee "$log" || true
        read -r good _ bad _ <<<"$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" || echo 0 passed, 1 failed)"
        passed=$((passed + good)) failed=$((failed + bad))
    done
    stop
    echo "identity $identity took $((SECONDS - began)) s"
done
echo "clients: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
