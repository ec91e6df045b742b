# Sourced by clients.sh and tempest.sh: environments from PyPI, a server, and what stands beside it,
# all on loopback and all ended with the script. Sets `work`, a directory of the run's own.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
nucleon=${NUCLEON:-$repo/target/debug/nucleon}
# PostgreSQL runs as its own user, and has to get here: not below a home directory.
work=$(mktemp -d /tmp/nucleon-clients-XXXXXX)
chmod 755 "$work"
running=()
export LC_ALL=C.UTF-8

# Ends what runs beside.
stop() {
    local pid
    for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    running=()
}

finish() {
    local status=$?
    stop
    if [ "$status" = 0 ]; then
        rm -rf "$work"
    else
        tail -n 20 "$work"/*.log
        echo "the run's files are kept in $work"
    fi
}
trap finish EXIT
trap 'exit 1' INT TERM

# The virtual environment of requirements/NAME.txt, kept between runs: venv NAME
venv() {
    local made=$repo/target/venvs/$1 wanted=$here/requirements/$1.txt
    if ! cmp -s "$wanted" "$made/requirements.txt"; then
        rm -rf "$made"
        python3 -m venv "$made"
        "$made/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
        cp "$wanted" "$made/requirements.txt"
    fi
}

python() { "$repo/target/venvs/$1/bin/python" "${@:2}"; }

# That many ports of loopback that nobody listens on: free_ports NUMBER
free_ports() {
    python3 -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(one.getsockname()[1] for one in held))' "$1"
}

# Runs beside the script, its output in NAME.log: beside NAME COMMAND …
beside() {
    "${@:2}" >"$work/$1.log" 2>&1 &
    running+=($!)
}

# Waits until there is an answer, as long as all that runs beside is alive: await URL SECONDS
await() {
    local pid
    for _ in $(seq "$2"); do
        curl -sf -o "$work/awaited" "$1" && return
        for pid in "${running[@]}"; do kill -0 "$pid" || return; done
        sleep 1
    done
    echo "$1 does not answer after $2 s"
    return 1
}

# A Keystone with the service user and the network endpoint in its catalogue, and the environment
# of its administrator: start_keystone NETWORK_URL
start_keystone() {
    local port pgport
    venv keystone
    venv openstack
    read -r port pgport <<<"$(free_ports 2)"
    keystone=http://127.0.0.1:$port/v3
    beside keystone "$here/keystone.sh" "$repo/target/venvs/keystone" "$work/keystone" "$port" "$pgport"
    await "$keystone" 600
    administrator "$keystone"
    python openstack "$here/driver.py" openstack "$here/keystone.txt" "url=$1"
}

# Whom the clients are from here on: administrator AUTH_URL
administrator() {
    export OS_AUTH_URL=$1 OS_USERNAME=admin OS_PASSWORD=secret OS_PROJECT_NAME=admin \
        OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default OS_IDENTITY_API_VERSION=3 \
        OS_REGION_NAME=RegionOne
}

# A server with that identity and ten agents that only say that they live; sets `api`, its URL:
# start_server embedded|keystone
start_server() {
    local port agents
    read -r port agents <<<"$(free_ports 2)"
    api=http://127.0.0.1:$port
    [ "$1" = embedded ] || start_keystone "$api"
    cat >"$work/$1.toml" <<CONF
listen = "127.0.0.1:$port"
store = "sqlite:$work/$1.db"
identity = "$1"
[agents]
listen = "127.0.0.1:$agents"
[ledger]
network_vlan_ranges = ["external:100:199"]
[embedded]
admin_password = "secret"
[keystone]
url = "${keystone:-}"
username = "nucleon"
password = "secret"
CONF
    beside "server-$1" "$nucleon" server --config "$work/$1.toml"
    await "$api/readyz" 300
    [ "$1" = keystone ] || administrator "$api/identity/v3"
    beside "hosts-$1" python3 "$here/hosts.py" "http://127.0.0.1:$agents"
    for _ in $(seq 100); do
        grep -q ready "$work/hosts-$1.log" && return
        sleep 0.2
    done
    echo "the agents are not taken"
    return 1
}
