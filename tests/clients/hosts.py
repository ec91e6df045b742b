"""Hosts that only say that they are there: enough for the API's answers about binding, scheduling
and routers, without a switch or a namespace. Each follows its watch, as an agent does, and reports
every port that it gets as wired and known to DHCP. Usage: hosts.py http://AGENTS_LISTENER
"""

import http.client
import json
import sys
import threading
import time
import urllib.parse

HEARTBEAT = 20  # seconds; a host is held dead after agent_down_time, 75

SWITCH = {
    "type": "Open vSwitch agent",
    "configurations": {
        "bridge_mappings": {"external": "br-ex", "physnet1": "br-physnet1"},
        "tunnel_types": ["vxlan", "gre", "geneve"],
        "l2_population": True,
        "arp_responder_enabled": True,
        "enable_distributed_routing": True,
        "in_distributed_mode": True,
        "ovs_hybrid_plug": False,
        "datapath_type": "system",
    },
}
DHCP = {"type": "DHCP agent", "configurations": {"availability_zone": "nova"}}
METADATA = {"type": "Metadata agent", "configurations": {}}


def router(mode):
    return {"type": "L3 agent", "configurations": {"agent_mode": mode, "availability_zone": "nova"}}


# Ten agents.
HOSTS = {
    "host-1": [SWITCH, DHCP, METADATA, router("dvr_snat")],
    "host-2": [SWITCH, DHCP, METADATA, router("dvr_snat")],
    "host-3": [SWITCH, router("dvr")],
}


class Host:
    def __init__(self, server, name, number, agents):
        self.server, self.name = server, name
        switch = dict(SWITCH, configurations=dict(SWITCH["configurations"], tunneling_ip=f"10.0.0.{number}"))
        self.agents = [switch if agent is SWITCH else agent for agent in agents]
        self.started = True

    def path(self, rest):
        return f"/v1/hosts/{self.name}/{rest}"

    def report(self, **what):
        connection = http.client.HTTPConnection(self.server, timeout=30)
        connection.request("POST", self.path("status"), json.dumps(what))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 204:
            print(f"{self.name}: the report was answered {answer.status}", flush=True)

    def live(self):
        """Says who is here; the first time, that they began."""
        self.report(agents=self.agents, started=self.started)
        self.started = False

    def follow(self):
        connection = http.client.HTTPConnection(self.server, timeout=60)
        connection.request("GET", self.path("watch"))
        news = connection.getresponse()
        put = []
        for line in news:
            event = json.loads(line)
            if event["event"] == "put" and event["item"]["kind"] == "port":
                put.append(event["item"]["value"])
            elif event["event"] == "synced":
                waiting = [port["id"] for port in put if port["status"] != "ACTIVE"]
                put = []
                if waiting:
                    self.report(ports_up=waiting, dhcp_ready=waiting)
            elif event["event"] == "ask":
                self.answer(event["id"])

    def answer(self, question):
        connection = http.client.HTTPConnection(self.server, timeout=30)
        connection.request("POST", self.path(f"answers/{question}"), "{}")
        connection.getresponse().read()

    def always(self, work, pause):
        """Goes on when the server was away."""
        while True:
            try:
                work()
            except (OSError, http.client.HTTPException) as error:
                print(f"{self.name}: {error}", flush=True)
            time.sleep(pause)


def main(url):
    server = urllib.parse.urlsplit(url).netloc
    for number, (name, agents) in enumerate(HOSTS.items(), 1):
        host = Host(server, name, number, agents)
        host.live()
        for work, pause in [(host.live, HEARTBEAT), (host.follow, 1)]:
            threading.Thread(target=host.always, args=(work, pause), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
