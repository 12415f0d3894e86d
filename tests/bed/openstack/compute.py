"""In place of Nova, in Octavia's process: there are no virtual machines, but the ports of amphorae are real ones of Neutron, bound and released as Nova would.

Octavia's own driver without Nova is the base. Files in AMPHORAE, a folder, tell it what goes wrong: `fail-build`: no host can be found for a new amphora; `boot-seconds`: how long a
new one takes to boot.
"""

import itertools
import os
import time
import types

from octavia.common import clients, constants, data_models, exceptions
from octavia.compute.drivers.noop_driver import driver
from oslo_utils import uuidutils

AMPHORAE = os.environ.get("AMPHORAE", "")
born = {}
# What else ends with an amphora; called with its compute id.
on_delete = []
numbers = itertools.count(1)


def network():
    return clients.NeutronAuth.get_neutron_client().network


def boot_seconds():
    try:
        with open(f"{AMPHORAE}/boot-seconds") as file:
            return float(file.read())
    except (OSError, ValueError):
        return 0.0


class Compute(driver.NoopComputeDriver):
    def build(self, *arguments, **named):
        if os.path.exists(f"{AMPHORAE}/fail-build"):
            raise exceptions.ComputeBuildException(fault="No valid host was found")
        compute_id = uuidutils.generate_uuid()
        born[compute_id] = time.monotonic() + boot_seconds()
        return compute_id

    def get_amphora(self, compute_id, management_network_id=None):
        up = time.monotonic() >= born.get(compute_id, 0)
        number = next(numbers) % 65000
        amphora = data_models.Amphora(
            compute_id=compute_id,
            status=constants.ACTIVE if up else "BUILD",
            lb_network_ip=f"10.250.{number // 250}.{number % 250 + 1}",
        )
        return amphora, None

    def attach_network_or_port(self, compute_id, network_id=None, ip_address=None, port_id=None):
        neutron = network()
        if port_id is None:
            fixed = {"fixed_ips": [{"ip_address": ip_address}]} if ip_address else {}
            port_id = neutron.create_port(network_id=network_id, **fixed).id
        port = neutron.update_port(port_id, device_id=compute_id, device_owner="compute:nova")
        return types.SimpleNamespace(
            port_id=port.id,
            net_id=port.network_id,
            mac_addr=port.mac_address,
            port_state=port.status,
            fixed_ips=port.fixed_ips,
        )

    def detach_port(self, compute_id, port_id):
        neutron = network()
        if neutron.find_port(port_id):
            neutron.update_port(port_id, device_id="", device_owner="")

    def delete(self, compute_id):
        born.pop(compute_id, None)
        for tell in on_delete:
            tell(compute_id)


def stand_in():
    def forget_nothing(self):
        self.computeconfig = {}
        self.engine = None

    # The base opens a database of its own for what it was told; nobody reads it.
    driver.NoopManager.__init__ = forget_nothing
    driver.NoopComputeDriver = Compute
