"""Makes what every cloud starts from: databases with their schemas, users, networks, flavors.

    snapshot.py WORK OUT

Runs as the first process of network, pid and mount namespaces of its own (openstack.sh sees to that), so that its ports are nobody else's and all it started ends with it. WORK is
an empty folder; OUT/amphora and OUT/ovn are what is made.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request

import configure

HERE = os.path.dirname(os.path.abspath(__file__))
ENVIRONMENT = os.path.dirname(os.path.dirname(sys.executable))
# On a machine with other work to do.
PATIENCE = 300
DATABASES = ("database", "nb", "sb")
# Of the API, of servers that were never placed, and of the only cell.
NOVA_DATABASES = ("nova_api", "nova_cell0", "nova")


def run(command, log, **named):
    with open(log, "a") as out:
        done = subprocess.run(command, stdout=out, stderr=out, check=False, **named)
    if done.returncode:
        with open(log) as text:
            tail = "".join(text.readlines()[-15:])
        raise SystemExit(f"{' '.join(command)} failed:\n{tail}")


def program(name):
    return f"{ENVIRONMENT}/bin/{name}"


class Work:
    """A folder in which services run."""

    def __init__(self, folder):
        self.folder = folder
        self.daemons = {}
        self.environment = os.environ | {
            "OS_KEYSTONE_CONFIG_DIR": f"{folder}/etc",
            "OS_KEYSTONE_CONFIG_FILES": "keystone.conf",
            "OS_NEUTRON_CONFIG_DIR": f"{folder}/etc",
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2.conf",
            "HOME": f"{folder}/home",
            "AMPHORAE": f"{folder}/run/amphorae",
            "ASGI_WORKERS": "1",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": HERE,
        }
        for each in ("log", "run"):
            os.makedirs(f"{folder}/{each}", exist_ok=True)

    def log(self, name):
        return f"{self.folder}/log/{name}.log"

    def start(self, name, command):
        out = open(self.log(name), "a")
        self.daemons[name] = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.environment
        )

    def stop(self, *names):
        """Databases are told to end, and put everything in its place first; others have nothing to lose."""
        for name in names:
            daemon = self.daemons.pop(name)
            if name in DATABASES:
                daemon.terminate()
            else:
                daemon.kill()
            daemon.wait(PATIENCE)

    def wait(self, name, look):
        end = time.monotonic() + PATIENCE
        while not look():
            if self.daemons[name].poll() is not None or time.monotonic() > end:
                with open(self.log(name)) as text:
                    raise SystemExit(f"{name} did not start:\n" + "".join(text.readlines()[-15:]))
            time.sleep(0.05)

    def python(self, script, *arguments):
        run([sys.executable, f"{HERE}/{script}", *arguments], self.log(script), env=self.environment)

    def tool(self, name, *arguments):
        run([program(name), *arguments], self.log(name), env=self.environment)

    def configure(self, provider):
        with open(f"{self.folder}/settings.json", "w") as file:
            json.dump({"provider": provider, "data_plane": False}, file)
        configure.write(self.folder)

    def start_database(self):
        self.start("database", database(self.folder))
        look = [*self.sql(), "--execute=select 1"]
        self.wait("database", lambda: subprocess.run(look, capture_output=True, check=False).returncode == 0)

    def sql(self):
        return ["mariadb", "--no-defaults", f"--socket={self.folder}/run/database.sock", "--user=root"]

    def start_service(self, service):
        kind = {"keystone": "identity", "neutron": "network", "octavia": "load-balancer"}[service]
        port = str(configure.PORTS[kind])
        command = [sys.executable, f"{HERE}/serve.py", port, service]
        if service == "octavia":
            command += ["--no-traffic", "--", "--config-file", f"{self.folder}/etc/octavia.conf"]
        self.start(service, command)
        path = "/v3" if service == "keystone" else "/"
        self.wait(service, lambda: answers(f"{configure.local(kind)}{path}"))


def database(folder):
    """The command of a MariaDB that is fast and forgets the last second if the machine falls over. src/openstack/services.rs starts it in the same way."""
    return [
        "mariadbd",
        "--no-defaults",
        "--user=root",
        f"--datadir={folder}/database",
        f"--socket={folder}/run/database.sock",
        f"--port={configure.DATABASE_PORT}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--max-connections=500",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=8M",
    ]


def answers(url):
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


# Each step needs the one before it.
NOVA_SCHEMAS = """
"$1" "$2" api_db sync
"$1" "$2" cell_v2 map_cell0 --database_connection "$3"
"$1" "$2" db sync
"$1" "$2" cell_v2 create_cell --name=cell1
"""


def cell0():
    return configure.database("nova_cell0")["connection"]


def schemas(work):
    """Empty databases with their tables, and the first user."""
    folder = work.folder
    os.makedirs(f"{folder}/database")
    run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={folder}/database",
            "--auth-root-authentication-method=normal",
            "--user=root",
        ],
        work.log("install-db"),
    )
    work.start_database()
    statements = "".join(
        f"create database {name} character set utf8;"
        f"create user '{name}'@'%' identified by '{configure.PASSWORD}';"
        f"grant all on {name}.* to '{name}'@'%';"
        for name in ("keystone", "neutron", "octavia", "barbican", *NOVA_DATABASES)
    )
    subprocess.run(work.sql(), input=statements, text=True, check=True)
    configured = [f"--config-file={folder}/etc/neutron.conf", f"--config-file={folder}/etc/ml2.conf"]
    migrations = [
        [program("neutron-db-manage"), *configured, "upgrade", "heads"],
        [program("octavia-db-manage"), f"--config-file={folder}/etc/octavia.conf", "upgrade", "head"],
        [program("barbican-manage"), "db", "upgrade", "-v", "head"],
        ["sh", "-ec", NOVA_SCHEMAS, "sh", program("nova-manage"), f"--config-file={folder}/etc/nova.conf", cell0()],
    ]
    running = []
    for command in migrations:
        out = open(work.log(os.path.basename(command[0])), "a")
        running.append((command, subprocess.Popen(command, stdout=out, stderr=out, env=work.environment)))
    keystone = f"--config-file={folder}/etc/keystone.conf"
    for keys in ("fernet", "credential"):
        os.makedirs(f"{folder}/{keys}", mode=0o700)
    work.tool("keystone-manage", keystone, "db_sync")
    for keys in ("fernet_setup", "credential_setup"):
        work.tool("keystone-manage", keystone, keys, "--keystone-user=root", "--keystone-group=root")
    public = f"{configure.PUBLIC}:{configure.PORTS['identity']}/v3"
    work.tool(
        "keystone-manage",
        keystone,
        "bootstrap",
        f"--bootstrap-password={configure.PASSWORD}",
        "--bootstrap-username=admin",
        "--bootstrap-project-name=admin",
        "--bootstrap-role-name=admin",
        "--bootstrap-service-name=keystone",
        f"--bootstrap-region-id={configure.REGION}",
        f"--bootstrap-public-url={public}",
        f"--bootstrap-internal-url={public}",
        f"--bootstrap-admin-url={configure.local('identity')}/v3",
    )
    for command, process in running:
        if process.wait(PATIENCE):
            raise SystemExit(f"{' '.join(command)} failed: see {work.folder}/log")


def start_ovn(work):
    ovn = f"{work.folder}/ovn"
    os.makedirs(ovn, exist_ok=True)
    for short, port in (("nb", configure.OVN_NORTHBOUND), ("sb", configure.OVN_SOUTHBOUND)):
        run(["ovsdb-tool", "create", f"{ovn}/{short}.db", f"/usr/share/ovn/ovn-{short}.ovsschema"], work.log(short))
        work.start(short, ovn_database(ovn, short, port))
        work.wait(short, lambda short=short: os.path.exists(f"{ovn}/{short}.sock"))
    run(["ovn-nbctl", f"--db=unix:{ovn}/nb.sock", "init"], work.log("nb"))
    run(["ovn-sbctl", f"--db=unix:{ovn}/sb.sock", "init"], work.log("sb"))


def ovn_database(ovn, short, port):
    return [
        "ovsdb-server",
        f"{ovn}/{short}.db",
        f"--remote=punix:{ovn}/{short}.sock",
        f"--remote=ptcp:{port}:127.0.0.1",
        f"--unixctl={ovn}/{short}.ctl",
    ]


def fill(work, provider):
    """Networks, flavors. Keystone and the database run."""
    if provider == "ovn":
        start_ovn(work)
    work.configure(provider)
    work.start_service("neutron")
    work.python("seed.py", "network", f"{work.folder}/seed.json")
    # Flavors need no OVN, whose driver would wait for an agent.
    work.configure("amphora")
    work.start_service("octavia")
    work.python("seed.py", "load-balancer")
    work.stop("octavia", "neutron")


def keep(work, out, parts):
    """What was made, databases at rest. The folder is new, or is not there at all."""
    work.stop("database")
    os.makedirs(out)
    for part in parts:
        source = f"{work.folder}/{part}"
        if os.path.isdir(source):
            shutil.copytree(source, f"{out}/{part}", ignore=shutil.ignore_patterns("*.sock", "*.ctl", "*.pid", ".*.lock"))
        else:
            shutil.copy(source, out)


def main():
    work, out = Work(sys.argv[1]), sys.argv[2]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    work.configure("amphora")
    configure.authority(work.folder)
    schemas(work)
    work.start_service("keystone")
    work.python("seed.py", "identity")
    # Both clouds begin with the same users and tables.
    identity = ["database", "fernet", "credential", "certificates"]
    work.stop("keystone")
    keep(work, f"{work.folder}/common", identity)
    for provider in ("amphora", "ovn"):
        shutil.rmtree(f"{work.folder}/database")
        shutil.copytree(f"{work.folder}/common/database", f"{work.folder}/database")
        work.start_database()
        work.start_service("keystone")
        fill(work, provider)
        work.stop("keystone")
        if provider == "ovn":
            work.stop("nb", "sb")
        keep(work, f"{out}/{provider}", identity + ["seed.json"] + (["ovn"] if provider == "ovn" else []))


if __name__ == "__main__":
    main()
