"""Servers in the database of a Nova that has no hypervisor: what its API tells of them is its own doing.

    machines.py CHANGES

CHANGES is JSON: `{"set": [{"id", "name", "project", "state": "active" or "stopped", "zone", "flavor", "fixed": [ADDRESS], "floating": ADDRESS or null}], "delete": [ID]}`. Those that are
set are made, or changed to that state.
"""

import json
import os
import sys

from nova import config, context, exception, objects
from nova.network import model
from oslo_utils import timeutils

HOST = "hypervisor"
# As Nova's own code has them: power_state.py.
POWER = {"active": 1, "stopped": 4}


def flavor(admin, name):
    try:
        return objects.Flavor.get_by_flavor_id(admin, name)
    except exception.FlavorNotFound:
        made = objects.Flavor(
            admin, flavorid=name, name=name, memory_mb=2048, vcpus=2, root_gb=10, ephemeral_gb=0, swap=0,
            rxtx_factor=1.0, vcpu_weight=0, disabled=False, is_public=True, extra_specs={},
        )
        made.create()
        return made


def hypervisor(cell):
    """A service that runs there; the API takes servers of one that it does not know for lost."""
    if not objects.ServiceList.get_by_host(cell, HOST):
        objects.Service(
            cell, host=HOST, binary="nova-compute", topic="compute", report_count=1,
            last_seen_up=timeutils.utcnow(),
        ).create()


def network(machine):
    def address(fixed, floating):
        ips = [model.IP(address=floating, type="floating")] if floating else []
        version = 6 if ":" in fixed else 4
        ip = model.FixedIP(address=fixed, version=version, floating_ips=ips)
        return model.Subnet(cidr=f"{fixed}/{128 if version == 6 else 32}", ips=[ip])

    floating = machine.get("floating")
    subnets = [address(fixed, None if ":" in fixed else floating) for fixed in machine["fixed"]]
    of = model.Network(id=machine["id"], label="nodes", subnets=subnets)
    return model.NetworkInfo([model.VIF(id=machine["id"], address="fa:16:3e:00:00:01", network=of)])


def make(admin, mapping, cell, machine):
    kind = flavor(admin, machine["flavor"])
    made = objects.Instance(
        cell, uuid=machine["id"], project_id=machine["project"], user_id="nobody", display_name=machine["name"],
        hostname=machine["name"], vm_state=machine["state"], power_state=POWER[machine["state"]],
        availability_zone=machine["zone"], host=HOST, flavor=kind, old_flavor=None, new_flavor=None,
        instance_type_id=kind.id, memory_mb=kind.memory_mb, vcpus=kind.vcpus, root_gb=kind.root_gb,
        ephemeral_gb=0, system_metadata={}, metadata={}, image_ref="", numa_topology=None, pci_requests=None,
        vcpu_model=None, trusted_certs=None, resources=None,
    )
    made.info_cache = objects.InstanceInfoCache(cell, instance_uuid=machine["id"], network_info=network(machine))
    made.create()
    objects.InstanceMapping(
        admin, instance_uuid=machine["id"], cell_mapping=mapping, project_id=machine["project"], user_id="nobody",
        queued_for_delete=False,
    ).create()


def main():
    changes = json.loads(sys.argv[1])
    conf = f"{os.environ['OS_NOVA_CONFIG_DIR']}/nova.conf"
    config.parse_args(["machines"], default_config_files=[conf])
    objects.register_all()
    admin = context.get_admin_context()
    mapping = next(each for each in objects.CellMappingList.get_all(admin) if not each.is_cell0())
    with context.target_cell(admin, mapping) as cell:
        hypervisor(cell)
        for machine in changes.get("set", []):
            try:
                known = objects.Instance.get_by_uuid(cell, machine["id"])
            except exception.InstanceNotFound:
                make(admin, mapping, cell, machine)
                continue
            known.vm_state, known.power_state = machine["state"], POWER[machine["state"]]
            known.save()
        for gone in changes.get("delete", []):
            objects.Instance.get_by_uuid(cell, gone).destroy()


if __name__ == "__main__":
    main()
