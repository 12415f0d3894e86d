"""In place of the amphora's agent, in Octavia's process: what Octavia's REST driver would send to a virtual machine is done here, in the network namespace of the cloud.

Octavia renders haproxy's configuration as ever; a haproxy per load balancer serves it. Addresses of load balancers, floating IPs, security groups and UDP are traffic.py's
business, which reads them where Neutron and Octavia keep them.
"""

import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess

from octavia.amphorae.drivers.haproxy import rest_api_driver

import compute

AMPHORAE = compute.AMPHORAE
LOG = logging.getLogger(__name__)
# What the bed has no counterpart of: another user, a syslog daemon, a state file that the amphora's service writes.
DROPPED = re.compile(r"^\s*(user nobody|group nogroup|server-state-file .*|log /.*)\n", re.MULTILINE)
# Compute id of the amphora of each load balancer.
served_by = {}


def folder(load_balancer):
    return f"{AMPHORAE}/{load_balancer}"


def pid_of(load_balancer):
    try:
        with open(f"{folder(load_balancer)}/pid") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def stop(load_balancer):
    pid = pid_of(load_balancer)
    if pid is not None:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    shutil.rmtree(folder(load_balancer), ignore_errors=True)
    shutil.rmtree(certificates(load_balancer), ignore_errors=True)


def certificates(load_balancer):
    from oslo_config import cfg

    return f"{cfg.CONF.haproxy_amphora.base_cert_dir}/{load_balancer}"


class Agent(rest_api_driver.AmphoraAPIClientBase):
    """The agents of all amphorae. A call that has no method here would change nothing in the bed: it succeeds."""

    def __init__(self):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **named: None

    def get_api_version(self, amphora, *arguments, **named):
        amphora.api_version = "1.0"
        return {"api_version": "1.0"}

    def get_info(self, amphora, *arguments, **named):
        return {"haproxy_version": "2.6.12", "api_version": "1.0", "hostname": amphora.id}

    def get_details(self, amphora):
        memory = {"total": "1000000", "free": "900000", "buffers": "0", "cached": "0"}
        return {"active_tuned_profiles": "", "cpu_count": "1", "memory": memory}

    def get_interface(self, *arguments, **named):
        return {"interface": "eth0"}

    def plug_vip(self, amphora, vip, information):
        served_by[amphora.compute_id] = amphora.load_balancer_id or amphora.load_balancer.id

    def upload_config(self, amphora, load_balancer, config, timeout_dict=None):
        os.makedirs(folder(load_balancer), exist_ok=True)
        with open(f"{folder(load_balancer)}/amphora", "w") as file:
            file.write(amphora.id)
        with open(f"{folder(load_balancer)}/haproxy.cfg", "w") as file:
            file.write(DROPPED.sub("", config))

    def reload_listener(self, amphora, load_balancer, timeout_dict=None):
        config = f"{folder(load_balancer)}/haproxy.cfg"
        if not os.path.exists(config):
            return
        command = ["haproxy", "-f", config, "-D", "-p", f"{folder(load_balancer)}/pid", "-L", "amphora"]
        before = pid_of(load_balancer)
        if before is not None:
            # The one before goes on until its connections have ended.
            command += ["-sf", str(before)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            LOG.error("haproxy of %s: %s", load_balancer, done.stderr)
            raise RuntimeError(done.stderr)

    start_listener = reload_listener

    def delete_listener(self, amphora, load_balancer):
        stop(load_balancer)

    def get_cert_md5sum(self, amphora, load_balancer, name, ignore=()):
        try:
            with open(f"{certificates(load_balancer)}/{name}", "rb") as file:
                return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
        except OSError:
            return None

    def upload_cert_pem(self, amphora, load_balancer, name, pem):
        os.makedirs(certificates(load_balancer), exist_ok=True)
        with open(f"{certificates(load_balancer)}/{name}", "wb") as file:
            file.write(pem if isinstance(pem, bytes) else pem.encode())

    def delete_cert_pem(self, amphora, load_balancer, name):
        try:
            os.remove(f"{certificates(load_balancer)}/{name}")
        except FileNotFoundError:
            pass


def amphora_deleted(compute_id):
    load_balancer = served_by.pop(compute_id, None)
    if load_balancer:
        stop(load_balancer)


def stand_in():
    os.makedirs(AMPHORAE, exist_ok=True)
    rest_api_driver.AmphoraAPIClientBase = Agent
    rest_api_driver.AmphoraAPIClient1_0 = Agent
    compute.on_delete.append(amphora_deleted)
