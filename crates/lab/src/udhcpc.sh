#!/bin/sh
# Sets what a guest's DHCP client was given, and writes every option down for whoever asks.
set -eu
case "$1" in
deconfig)
    ip -4 addr flush dev "$interface"
    ip link set "$interface" up
    ;;
bound | renew)
    ip -4 addr replace "$ip/$mask" broadcast "${broadcast:-+}" dev "$interface"
    if [ -n "${mtu:-}" ]; then ip link set "$interface" mtu "$mtu"; fi
    # Classless routes, where given, stand in for the router (RFC 3442).
    if [ -n "${staticroutes:-}" ]; then
        # shellcheck disable=SC2086
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            if [ "$2" = 0.0.0.0 ]; then
                ip route replace "$1" dev "$interface"
            else
                ip route replace "$1" via "$2" dev "$interface" onlink
            fi
            shift 2
        done
    elif [ -n "${router:-}" ]; then
        ip route replace default via "${router%% *}" dev "$interface"
    fi
    env | grep -E '^(ip|mask|subnet|broadcast|router|dns|domain|hostname|lease|mtu|serverid|siaddr|staticroutes|msstaticroutes|ntpsrv|search|opt[0-9]+)=' \
        | sort >"$LEASE"
    ;;
esac
