"""The cloud's network, in place of Neutron's agents and of what an amphora does below TCP: addresses of load balancers, floating IPs, security groups, UDP and SCTP.

    traffic.py DIRECTORY

Runs in the cloud's network namespace. Again and again it reads what Neutron and Octavia have in their databases, and tells the kernel: addresses of load balancers lie on eth0, one nftables table
has everything else. `Picture`, `rules` and `stale` are pure.
"""

import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pymysql
from configure import DATABASE_PORT, PASSWORD

# Seconds between two looks.
INTERVAL = 0.3
TABLE = "openstack"
TRANSPORTS = ("tcp", "udp", "sctp")


@dataclass
class Picture:
    """What has to be in force. Lists are sorted, so that equal pictures are equal."""

    # Addresses of load balancers.
    addresses: list = field(default_factory=list)
    # Floating IP, the address it stands for.
    floating: list = field(default_factory=list)
    # Guarded address -> (protocol, first port, last port, source or None).
    allowed: dict = field(default_factory=dict)
    # (protocol, port, addresses, members as (address, port, weight), sticky).
    datagrams: list = field(default_factory=list)


def family(address):
    return "ip6" if ":" in address else "ip"


def turns(members):
    """Members as often as their weights say, at most 256 entries."""
    smallest = min((weight for _, _, weight in members if weight), default=1)
    entries = []
    for address, port, weight in members:
        entries += [(address, port)] * max(0, round(weight / smallest))
    return entries[:256]


def concat(address, port):
    return f"{address} . {port}"


def rules(picture):
    """The whole table as nft reads it."""
    of = {}
    for outside, inside in picture.floating:
        of.setdefault(inside, []).append(outside)
    nat, guard = [], []
    for protocol, port, addresses, members, sticky in picture.datagrams:
        for vip in addresses:
            ip = family(vip)
            entries = turns([member for member in members if family(member[0]) == ip])
            if not entries:
                continue
            choices = ", ".join(f"{index} : {concat(*entry)}" for index, entry in enumerate(entries))
            pick = f"jhash {ip} saddr" if sticky else "numgen inc"
            for address in [vip] + of.get(vip, []):
                nat.append(
                    f"{ip} daddr {address} {protocol} dport {port} dnat {ip} addr . port to {pick} mod {len(entries)} map {{ {choices} }}"
                )
    for outside, inside in picture.floating:
        nat.append(f"ip daddr {outside} dnat ip to {inside}")
    for vip, allowed in sorted(picture.allowed.items()):
        for address in [vip] + of.get(vip, []):
            ip = family(address)
            for protocol, first, last, source in allowed:
                ports = f"{first}" if first == last else f"{first}-{last}"
                only = f"{ip} saddr {source} " if source else ""
                guard.append(f"{only}{ip} daddr {address} {protocol} dport {ports} accept")
            guard.append(f"{ip} daddr {address} meta l4proto {{ {', '.join(TRANSPORTS)} }} drop")
    # Between connection tracking and the translation of addresses: what the client has sent is what is judged.
    chains = [
        ("guard", "filter hook prerouting priority dstnat - 10", ["ct state established,related accept"] + guard),
        ("destination", "nat hook prerouting priority dstnat", nat),
        ("source", "nat hook postrouting priority srcnat", ["ct status dnat meta l4proto { udp, sctp } masquerade"]),
    ]
    text = f"add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
    for name, hook, lines in chains:
        text += f"  chain {name} {{\n    type {hook}; policy accept;\n"
        text += "".join(f"    {line}\n" for line in lines) + "  }\n"
    return text + "}\n"


def flows(picture):
    """Who serves datagrams to (protocol, address, port): members, or the load balancer itself, which refuses them, where there is none."""
    of = {}
    for outside, inside in picture.floating:
        of.setdefault(inside, []).append(outside)
    found = {}
    for protocol, port, addresses, members, _ in picture.datagrams:
        for vip in addresses:
            up = {(address, at) for address, at, weight in members if weight and family(address) == family(vip)}
            for address in [vip] + of.get(vip, []):
                found[protocol, address, port] = up or {(vip, port)}
    return found


def stale(before, now):
    """Flows that go where nobody serves them any more, sorted: connection tracking would lead them there for as long as the client goes on. An amphora's IPVS forgets them
    (net.ipv4.vs.expire_nodest_conn)."""
    current = flows(now)
    return sorted(
        (*flow, *member)
        for flow, members in flows(before).items()
        for member in members - current.get(flow, set())
    )


class Database:
    def __init__(self):
        self.connection = None

    def rows(self, statement):
        if self.connection is None:
            self.connection = pymysql.connect(
                host="127.0.0.1", port=DATABASE_PORT, user="root", autocommit=True, charset="utf8"
            )
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


def look(database, health):
    """The picture of now."""
    picture = Picture()
    vips = {}
    for balancer, address in database.rows(
        "select l.id, v.ip_address from octavia.load_balancer l join octavia.vip v on v.load_balancer_id = l.id"
        " where v.ip_address is not null and l.provisioning_status != 'DELETED'"
        " union select l.id, v.ip_address from octavia.load_balancer l join octavia.additional_vip v"
        " on v.load_balancer_id = l.id where v.ip_address is not null and l.provisioning_status != 'DELETED'"
    ):
        vips.setdefault(balancer, set()).add(str(ipaddress.ip_address(address)))
    picture.addresses = sorted(set().union(*vips.values()) if vips else set())
    # Routers' own addresses outside are no floating IPs of anybody.
    picture.floating = sorted(
        (outside, inside)
        for outside, inside in database.rows(
            "select floating_ip_address, fixed_ip_address from neutron.floatingips where fixed_ip_address is not null"
        )
        if inside in picture.addresses
    )
    guarded = {}
    for balancer, protocol, first, last, version, source in database.rows(
        "select substring(g.name, 4), r.protocol, r.port_range_min, r.port_range_max, r.ethertype, r.remote_ip_prefix"
        " from neutron.securitygroups g left join neutron.securitygrouprules r"
        " on r.security_group_id = g.id and r.direction = 'ingress' where g.name like 'lb-%'"
    ):
        guarded.setdefault(balancer, set())
        if protocol in TRANSPORTS and first is not None:
            guarded[balancer].add((version, protocol, first, last, source))
    for balancer, entries in guarded.items():
        for vip in vips.get(balancer, ()):
            version = "IPv6" if family(vip) == "ip6" else "IPv4"
            picture.allowed[vip] = sorted(
                (entry[1:] for entry in entries if entry[0] == version), key=lambda entry: (*entry[:3], entry[3] or "")
            )
    members = {}
    for pool, member, address, port, weight, at, at_port in database.rows(
        "select pool_id, id, ip_address, protocol_port, weight, monitor_address, monitor_port from octavia.member where enabled"
    ):
        members.setdefault(pool, []).append((member, address, port, weight, at or address, at_port or port))
    health.follow(database, members)
    for listener, balancer, protocol, port, pool, sticky in database.rows(
        "select l.id, l.load_balancer_id, lower(l.protocol), l.protocol_port, p.id,"
        " exists (select * from octavia.session_persistence s where s.pool_id = p.id) or p.lb_algorithm like 'SOURCE%'"
        " from octavia.listener l join octavia.pool p on p.id = l.default_pool_id"
        " where l.protocol in ('UDP', 'SCTP') and l.enabled and p.enabled order by l.id"
    ):
        up = sorted((m[1], m[2], m[3]) for m in members.get(pool, []) if m[3] and health.up(pool, m[0]))
        picture.datagrams.append((protocol, port, sorted(vips.get(balancer, ())), up, bool(sticky)))
    return picture


class Health:
    """Checks of members behind UDP and SCTP, which haproxy does not make. DIRECTORY/run/datagram-health.json has for each pool its members, true if they are up."""

    def __init__(self, file):
        self.file = file
        self.monitors = {}
        self.states = {}
        self.next = {}
        self.pending = {}
        self.written = None
        self.workers = ThreadPoolExecutor(32)

    def up(self, pool, member):
        return pool not in self.monitors or self.states.get((pool, member), (True, 0))[0]

    def follow(self, database, members):
        self.monitors = {
            row[0]: row[1:]
            for row in database.rows(
                "select m.pool_id, m.type, m.delay, m.timeout, m.rise_threshold, m.fall_threshold, m.url_path, m.expected_codes"
                " from octavia.health_monitor m join octavia.pool p on p.id = m.pool_id"
                " where p.protocol in ('UDP', 'SCTP') and m.enabled"
            )
        }
        now = time.monotonic()
        known = set()
        for pool, monitor in self.monitors.items():
            for member, _, _, _, address, port in members.get(pool, []):
                key = (pool, member)
                known.add(key)
                if key in self.pending:
                    if self.pending[key].done():
                        self.note(key, self.pending.pop(key).result(), monitor)
                elif now >= self.next.get(key, 0):
                    self.next[key] = now + monitor[1]
                    self.pending[key] = self.workers.submit(check, monitor, address, port)
        self.states = {key: state for key, state in self.states.items() if key in known}
        report = {}
        for pool, member in sorted(known):
            report.setdefault(pool, {})[member] = self.up(pool, member)
        if report != self.written:
            with open(self.file + ".new", "w") as file:
                json.dump(report, file)
            os.replace(self.file + ".new", self.file)
            self.written = report

    def note(self, key, success, monitor):
        """A check has ended: a member changes its state after as many checks in a row as the monitor says; the first one counts at once."""
        if key not in self.states:
            self.states[key] = (success, 0)
            return
        up, against = self.states[key]
        against = 0 if success == up else against + 1
        needed = monitor[3] if success else monitor[4]
        self.states[key] = (success, 0) if against >= needed else (up, against)


def check(monitor, address, port):
    kind, _, timeout, _, _, path, codes = monitor
    to = (socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))
    try:
        if kind in ("UDP-CONNECT", "SCTP"):
            # Only a port that nobody listens at is noticed: its host says so.
            with socket.socket(to[0], socket.SOCK_DGRAM) as probe:
                probe.settimeout(min(timeout, 1))
                probe.connect(to[1])
                probe.send(b"\0")
                try:
                    probe.recv(1)
                except socket.timeout:
                    pass
            return True
        with socket.socket(to[0], socket.SOCK_STREAM) as probe:
            probe.settimeout(timeout)
            probe.connect(to[1])
            if kind != "HTTP":
                return True
            probe.sendall(f"GET {path or '/'} HTTP/1.0\r\n\r\n".encode())
            return probe.recv(64).split(b" ")[1].decode() in expected(codes)
    except (OSError, IndexError):
        return False


def expected(codes):
    """`200`, `200,202`, `200-204`."""
    found = set()
    for part in (codes or "200").split(","):
        first, _, last = part.strip().partition("-")
        found |= {str(code) for code in range(int(first), int(last or first) + 1)}
    return found


class Kernel:
    """What the kernel was told so far."""

    def __init__(self):
        self.addresses = set()
        self.rules = ""
        self.picture = Picture()

    def tell(self, picture):
        wanted = set(picture.addresses)
        lines = [f"addr del {each}/{length(each)} dev eth0" for each in sorted(self.addresses - wanted)]
        # Deprecated at once: no connection of the cloud's own begins from an address that a load balancer may lose.
        for each in sorted(wanted - self.addresses):
            more = " preferred_lft 0 nodad" if ":" in each else ""
            lines.append(f"addr add {each}/{length(each)} dev eth0{more}")
        if lines:
            feed(["ip", "-force", "-batch", "-"], "\n".join(lines) + "\n")
        self.addresses = wanted
        text = rules(picture)
        if text != self.rules:
            feed(["nft", "-f", "-"], text)
            self.rules = text
        for protocol, address, port, member, at in stale(self.picture, picture):
            which = ["-p", protocol, "--orig-dst", address, "--orig-port-dst", port, "--reply-src", member, "--reply-port-src", at]
            # It fails if there was none.
            command = ["conntrack", "-D", "-f", "ipv6" if family(address) == "ip6" else "ipv4", *map(str, which)]
            subprocess.run(command, capture_output=True, check=False)
        self.picture = picture


def length(address):
    return 128 if ":" in address else 32


def feed(command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr}\n{text}", file=sys.stderr, flush=True)


def main():
    directory = sys.argv[1]
    database, kernel = Database(), Kernel()
    health = Health(f"{directory}/run/datagram-health.json")
    while True:
        try:
            kernel.tell(look(database, health))
        except pymysql.Error as error:
            print(f"reading what there is: {error}", file=sys.stderr, flush=True)
            database.connection = None
        time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
