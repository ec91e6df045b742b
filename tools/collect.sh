#!/bin/sh
# Collects what `nucleon walk --snapshot` reads, of the host it runs on: only reads, needs nothing
# of ours, works on any host of a Neutron ML2/Open vSwitch. Run it as root on every host and put
# the folders side by side:
#
#   sh collect.sh DIR              writes DIR/HOSTNAME/
#   sh collect.sh DIR --api URL    writes DIR/api/ too: what Neutron's API says, read from URL
#                                  (http://controller:9696), with the token in $OS_TOKEN if set
#   sh collect.sh DIR --only-api URL   writes DIR/api/ alone
#   sh collect.sh DIR --name NAME  calls the host NAME: what Neutron calls it, if not `hostname`
#
# A command that is not there leaves its file away. docs/walk.md describes the layout.
set -u
umask 077

dir=${1:?"usage: sh collect.sh DIR [--name NAME] [--api URL]"}
shift
name=$(hostname)
api=
while [ $# -gt 0 ]; do
    case $1 in
    --name) name=${2:?"--name wants a name"}; shift 2 ;;
    --only-api) api=${2:?"--only-api wants a URL"}; name=; shift 2 ;;
    --api) api=${2:?"--api wants a URL"}; shift 2 ;;
    *) echo "collect.sh: what is '$1'?" >&2; exit 2 ;;
    esac
done
out=$dir/$name
mkdir -p "$dir" || exit 1

# keep FILE COMMAND...: the command's output, or no file when it fails.
keep() {
    file=$out/$1
    shift
    command -v "$1" >/dev/null 2>&1 || return 0
    mkdir -p "$(dirname "$file")"
    "$@" >"$file" 2>/dev/null || rm -f "$file"
}

switch() {
    keep ovs-vsctl-show.txt ovs-vsctl show
    for table in Open_vSwitch Bridge Port Interface Controller; do
        keep "ovsdb-$table.json" ovs-vsctl --format=json list "$table"
    done
    for bridge in $(ovs-vsctl list-br 2>/dev/null); do
        protocols="-O OpenFlow13"
        ovs-ofctl $protocols show "$bridge" >/dev/null 2>&1 || protocols="-O OpenFlow10"
        # shellcheck disable=SC2086
        {
            keep "flows-$bridge.names.txt" ovs-ofctl $protocols --names --no-stats dump-flows "$bridge"
            keep "groups-$bridge.txt" ovs-ofctl $protocols --names dump-groups "$bridge"
            keep "ofctl-show-$bridge.txt" ovs-ofctl $protocols show "$bridge"
        }
        keep "fdb-$bridge.txt" ovs-appctl fdb/show "$bridge"
    done
}

# namespace FOLDER [PREFIX...]: everything of one namespace, each command after the prefix.
namespace() {
    ns=$1
    shift
    keep "$ns/ip-a.txt" "$@" ip -d address
    keep "$ns/ip-rule.txt" "$@" ip -4 rule
    keep "$ns/ip-route-all.txt" "$@" ip -4 route show table all
    keep "$ns/ip6-rule.txt" "$@" ip -6 rule
    keep "$ns/ip6-route-all.txt" "$@" ip -6 route show table all
    keep "$ns/ip-neigh.txt" "$@" ip neighbour
    keep "$ns/bridge-link.txt" "$@" bridge -d link
    keep "$ns/iptables-save.txt" "$@" iptables-save
    keep "$ns/ip6tables-save.txt" "$@" ip6tables-save
    keep "$ns/ipset-save.txt" "$@" ipset save
    keep "$ns/ss-listen.txt" "$@" ss -lntup
    keep "$ns/conntrack.txt" "$@" conntrack -L
    keep "$ns/sysctl.txt" "$@" sh -c 'sysctl -a 2>/dev/null | grep -E "^net\.(bridge|netfilter\.nf_conntrack_tcp_loose|ipv[46]\.(ip_forward|ip_nonlocal_bind|conf\..*\.(forwarding|proxy_arp|rp_filter|arp_ignore|arp_announce|accept_local|accept_ra|send_redirects|promote_secondaries)))"'
}

# Neutron's files of DHCP and of radvd, wherever its state is.
state_files() {
    # NEUTRON_STATE names another place.
    for state in /var/lib/neutron /var/lib/nucleon /opt/stack/data/neutron "${NEUTRON_STATE:-}"; do
        [ -n "$state" ] || continue
        for network in "$state"/dhcp/*/; do
            id=$(basename "$network")
            for file in host opts addn_hosts interface; do
                [ -r "$network/$file" ] || continue
                mkdir -p "$out/state/dhcp/$id"
                cat "$network/$file" >"$out/state/dhcp/$id/$file"
            done
        done
        for file in "$state"/ra/*.radvd.conf; do
            [ -r "$file" ] || continue
            mkdir -p "$out/state/ra"
            cat "$file" >"$out/state/ra/$(basename "$file")"
        done
    done
}

# get FILE PATH: one collection of the API.
get() {
    if command -v curl >/dev/null 2>&1; then
        curl -fsS ${OS_TOKEN:+-H "X-Auth-Token: $OS_TOKEN"} "$api/v2.0/$2" >"$dir/api/$1.json" ||
            rm -f "$dir/api/$1.json"
    fi
}

# ids FILE: the ids in a collection, one a line.
ids() {
    [ -r "$dir/api/$1.json" ] || return 0
    python3 -c 'import json, sys
for rows in json.load(open(sys.argv[1])).values():
    for row in rows:
        print(row["id"])' "$dir/api/$1.json" 2>/dev/null
}

from_api() {
    mkdir -p "$dir/api"
    for collection in networks subnets ports routers floatingips security-groups \
        security-group-rules address-groups agents; do
        get "$collection" "$collection"
    done
    for id in $(ids networks); do get "network-$id-dhcp-agents" "networks/$id/dhcp-agents"; done
    for id in $(ids routers); do get "router-$id-l3-agents" "routers/$id/l3-agents"; done
}

if [ -z "$name" ]; then
    from_api
    echo "$dir/api"
    exit
fi
mkdir -p "$out" || exit 1
switch
keep netns.txt ip netns list
namespace ns-root
for ns in $(ip netns list 2>/dev/null | cut -d' ' -f1); do
    case $ns in
    qrouter-* | qdhcp-* | snat-* | fip-*) namespace "ns-$ns" ip netns exec "$ns" ;;
    esac
done
keep ps.txt ps -eo pid,ppid,rss,user,args
state_files
[ -n "$api" ] && from_api
echo "$out"
