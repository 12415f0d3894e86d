"""Fills an empty cloud: who there is, what networks there are.

    seed.py identity        projects, users, roles, the catalog
    seed.py network FILE    networks, the router, security groups; writes their ids to FILE as JSON
    seed.py load-balancer   a flavor and an availability zone

Works as the administrator. The addresses are those of the bed's network: see README.md and src/addresses.rs.
"""

import json
import sys

import openstack
from configure import PASSWORD, PORTS, PUBLIC, REGION, local

SERVICES = {"network": "neutron", "load-balancer": "octavia", "key-manager": "barbican", "compute": "nova"}
USER_ROLES = ["member", "reader", "load-balancer_member", "creator"]
EXTERNAL = [
    ("public-subnet", 4, "203.0.113.0/24", ("203.0.113.10", "203.0.113.250"), ["internet"]),
    ("public-subnet-2", 4, "198.18.0.0/16", ("198.18.0.10", "198.18.255.250"), ["dmz"]),
    ("public-subnet-v6", 6, "2001:db8:113::/64", ("2001:db8:113::10", "2001:db8:113::ffff"), []),
]
NODES = [
    ("nodes-subnet", 4, "10.77.0.0/16", ("10.77.128.0", "10.77.191.250"), "10.77.0.254"),
    ("nodes-subnet-v6", 6, "fd77::/64", ("fd77::1:0:0", "fd77::1:ffff:ffff"), "fd77::254"),
]


def connect():
    return openstack.connect(
        auth_url=local("identity") + "/v3",
        username="admin",
        password=PASSWORD,
        project_name="admin",
        user_domain_id="default",
        project_domain_id="default",
        region_name=REGION,
        interface="admin",
    )


def identity(cloud):
    keystone = cloud.identity
    roles = {role.name: role for role in keystone.roles()}

    def role(name):
        if name not in roles:
            roles[name] = keystone.create_role(name=name)
        return roles[name]

    def user(name, project, names):
        made = keystone.create_user(
            name=name, password=PASSWORD, domain_id="default", default_project_id=project.id
        )
        for each in names:
            keystone.assign_project_role_to_user(project, made, role(each))
        return made

    service = keystone.create_project(name="service", domain_id="default")
    for name in SERVICES.values():
        user(name, service, ["admin", "service"])
    for name in ("k8s", "other"):
        user(name, keystone.create_project(name=name, domain_id="default"), USER_ROLES)
    for name in ("observer", "audit", "load-balancer_observer", "load-balancer_admin"):
        role(name)
    for kind, name in SERVICES.items():
        made = keystone.create_service(name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            # Services use the last one: their own calls do not pass the proxy.
            url = local(kind) if interface == "admin" else f"{PUBLIC}:{PORTS[kind]}"
            keystone.create_endpoint(service_id=made.id, interface=interface, region_id=REGION, url=url)


def network(cloud, file):
    neutron = cloud.network
    projects = {project.name: project.id for project in cloud.identity.projects()}

    def subnet(of, project, name, version, cidr, pool, gateway=None, **more):
        settings = dict(
            network_id=of.id,
            project_id=project,
            name=name,
            ip_version=version,
            cidr=cidr,
            is_dhcp_enabled=False,
            allocation_pools=[{"start": pool[0], "end": pool[1]}],
            **more,
        )
        if gateway:
            settings["gateway_ip"] = gateway
        return neutron.create_subnet(**settings)

    admin, k8s, service = projects["admin"], projects["k8s"], projects["service"]
    public = neutron.create_network(
        name="public",
        project_id=admin,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="public",
    )
    seed = {"projects": projects, "public_network": public.id, "subnets": {}}
    for name, version, cidr, pool, tags in EXTERNAL:
        made = subnet(public, admin, name, version, cidr, pool)
        if tags:
            neutron.set_tags(made, tags)
        seed["subnets"][name] = made.id
    management = neutron.create_network(name="lb-management", project_id=service)
    subnet(management, service, "lb-management", 4, "10.250.0.0/16", ("10.250.0.10", "10.250.255.250"))
    seed["management_network"] = management.id
    group = neutron.create_security_group(name="lb-management", project_id=service)
    seed["management_security_group"] = group.id
    nodes = neutron.create_network(name="nodes", project_id=k8s)
    seed["nodes_network"] = nodes.id
    router = neutron.create_router(
        name="router", project_id=k8s, external_gateway_info={"network_id": public.id}
    )
    seed["router"] = router.id
    for name, version, cidr, pool, gateway in NODES:
        made = subnet(nodes, k8s, name, version, cidr, pool, gateway)
        neutron.add_interface_to_router(router, subnet_id=made.id)
        seed["subnets"][name] = made.id
    seed["nodes_security_group"] = neutron.create_security_group(name="nodes", project_id=k8s).id
    with open(file, "w") as out:
        json.dump(seed, out)


def load_balancer(cloud):
    octavia = cloud.load_balancer
    profile = octavia.create_flavor_profile(
        name="single", provider_name="amphora", flavor_data=json.dumps({"loadbalancer_topology": "SINGLE"})
    )
    octavia.create_flavor(name="single", flavor_profile_id=profile.id, is_enabled=True)
    profile = octavia.create_availability_zone_profile(
        name="az1", provider_name="amphora", availability_zone_data=json.dumps({"compute_zone": "az1"})
    )
    octavia.create_availability_zone(name="az1", availability_zone_profile_id=profile.id, is_enabled=True)


if __name__ == "__main__":
    parts = {"identity": identity, "network": network, "load-balancer": load_balancer}
    parts[sys.argv[1]](connect(), *sys.argv[2:])
