#!/usr/bin/env bash
# tempest's tempest.api.network with a real Keystone beside a server of its own. tempest.txt has the
# tests that must pass: those that pass with Neutron 29, without metering. They are counted, since a
# missing extension is no failure to tempest but a skip.
# Usage: tempest.sh [REGEX]: which tests are run, all when left out; every listed one must be run.
set -euo pipefail
. "$(dirname "$0")/rig.sh"
wanted=${1:-'^tempest\.api\.network\.'}

venv tempest
start_server keystone
openstack() { "$repo/target/venvs/openstack/bin/openstack" "$@"; }
openstack network create public --external --default \
    --provider-network-type flat --provider-physical-network external >"$work/public.out"
openstack subnet create public --network public --no-dhcp --subnet-range 172.24.0.0/16 \
    --gateway 172.24.0.1 >>"$work/public.out"
public=$(openstack network show public -f value -c id)
# What the server announces, and l3-ha: one listed test wants it to make a router with ha=false.
extensions=$(openstack extension list --network -f value -c Alias | paste -sd,),l3-ha

mkdir "$work/run"
cd "$work/run"
mkdir locks
packages=$(python tempest -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cat >.stestr.conf <<CONF
[DEFAULT]
test_path = $packages/tempest/test_discover
top_dir = $packages
group_regex = ([^\.]*\.)*
CONF
cat >tempest.conf <<CONF
[DEFAULT]
log_file = $work/run/tempest.log
[oslo_concurrency]
lock_path = $work/run/locks
[auth]
use_dynamic_credentials = true
admin_username = admin
admin_password = secret
admin_project_name = admin
admin_domain_name = Default
tempest_roles = member
[identity]
auth_version = v3
uri_v3 = $keystone
region = RegionOne
[service_available]
neutron = true
nova = false
glance = false
cinder = false
swift = false
horizon = false
[network]
public_network_id = $public
floating_network_name = public
[network-feature-enabled]
api_extensions = $extensions
ipv6 = true
ipv6_subnet_attributes = true
port_security = true
CONF
"$repo/target/venvs/tempest/bin/tempest" run --config-file tempest.conf --concurrency 2 \
    --regex "$wanted" | tee "$work/tempest.out" || true

sed -nE 's/^\{[0-9]+\} (tempest\.[^ ]+) \[[0-9.]+s\] \.\.\. ok$/\1/p' "$work/tempest.out" | sort >"$work/passed.txt"
# The output has no ids.
grep -E "$wanted" "$here/tempest.txt" | sed 's/\[.*//' | sort >"$work/wanted.txt"
missing=$(comm -13 "$work/passed.txt" "$work/wanted.txt")
[ -z "$missing" ] || printf 'not passed, and must be:\n%s\n' "$missing"
echo "tempest: $(comm -12 "$work/passed.txt" "$work/wanted.txt" | wc -l) of the $(wc -l <"$work/wanted.txt") listed passed, $(wc -l <"$work/passed.txt") in all"
[ -z "$missing" ]
