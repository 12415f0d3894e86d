"""In place of the heartbeats that amphorae send: every few seconds Octavia hears from each haproxy which members are up and how much has passed. What it hears goes through Octavia's own
bookkeeping of health, so that `operating_status` and statistics are what they are anywhere.
"""

import json
import logging
import os
import threading
import time

from compute import AMPHORAE

SECONDS = float(os.environ.get("HEARTBEAT_SECONDS", "1"))
LOG = logging.getLogger(__name__)
COUNTERS = {"rx": "bin", "tx": "bout", "totconns": "stot", "ereq": "ereq"}


class Sender:
    def __init__(self):
        from octavia.amphorae.drivers.health import heartbeat_udp

        self.update = heartbeat_udp.UpdateHealthDb()
        self.update_statistics = heartbeat_udp.update_stats
        self.sequence = 0
        # Octavia wants what came since the last time.
        self.counted = {}

    def since(self, frontend, row):
        before = self.counted.setdefault(frontend, {})
        stats = {"conns": int(row["scur"] or 0)}
        for name, column in COUNTERS.items():
            value = int(row[column] or 0)
            # A haproxy that was started anew counts from nothing.
            known = before.get(column, 0)
            stats[name] = value - known if value >= known else value
            before[column] = value
        return stats

    def message(self, load_balancer, amphora):
        from octavia.amphorae.backends.utils import haproxy_query

        message = {
            "id": amphora,
            "seq": self.sequence,
            "listeners": {},
            "pools": {},
            "ver": 3,
            "recv_time": time.time(),
        }
        asked = f"{AMPHORAE}/{load_balancer}.sock"
        if os.path.exists(asked):
            query = haproxy_query.HAProxyQuery(asked)
            for row in query.show_stat():
                if row["svname"] == "FRONTEND":
                    message["listeners"][row["pxname"]] = {
                        "status": row["status"],
                        "stats": self.since(row["pxname"], row),
                    }
            for pool, state in query.get_pool_status().items():
                message["pools"][pool] = {"status": state["status"], "members": state["members"]}
        return message

    def datagrams(self, session, load_balancer, message):
        """Listeners that haproxy does not serve, with what traffic.py has found of their members."""
        from octavia.db import repositories

        found = repositories.LoadBalancerRepository().get(session, id=load_balancer)
        health = datagram_health()
        for listener in found.listeners if found else []:
            if listener.protocol not in ("UDP", "SCTP") or not listener.enabled:
                continue
            message["listeners"][listener.id] = {
                "status": "OPEN",
                "stats": {"tx": 0, "rx": 0, "conns": 0, "totconns": 0, "ereq": 0},
            }
            for pool in listener.pools:
                states = health.get(pool.id)
                members = {}
                for member in pool.members:
                    up = "no check" if states is None else "UP" if states.get(member.id, True) else "DOWN"
                    members[member.id] = up
                served = not members or any(state != "DOWN" for state in members.values())
                message["pools"][f"{pool.id}:{listener.id}"] = {
                    "status": "UP" if served else "DOWN",
                    "members": members,
                }

    def beat(self):
        from octavia.db import api, repositories

        self.sequence += 1
        with api.session().begin() as session:
            served = [
                (amphora.load_balancer_id, amphora.id)
                for amphora in repositories.AmphoraRepository().get_all(session, show_deleted=False)[0]
                if amphora.load_balancer_id
            ]
        for load_balancer, amphora in served:
            try:
                message = self.message(load_balancer, amphora)
                with api.session().begin() as session:
                    self.datagrams(session, load_balancer, message)
                if message["listeners"] or message["pools"]:
                    self.update.update_health(message, ("127.0.0.1", 0))
                    self.update_statistics(message)
            except Exception as error:  # A haproxy that is being started or stopped: the next beat will tell.
                LOG.info("no heartbeat of %s: %s", load_balancer, error)

    def go_on(self):
        while True:
            time.sleep(SECONDS)
            try:
                self.beat()
            except Exception as error:  # The database may be away for a moment.
                LOG.warning("no heartbeats: %s", error)


def datagram_health():
    try:
        with open(os.path.join(os.path.dirname(AMPHORAE), "datagram-health.json")) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def start():
    threading.Thread(target=Sender().go_on, daemon=True, name="heartbeats").start()
