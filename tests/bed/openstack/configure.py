"""Writes the configuration files of an OpenStack into DIRECTORY/etc.

    configure.py DIRECTORY

Reads DIRECTORY/settings.json, the names of which are those of `Settings` below, and DIRECTORY/seed.json once that is there. Every service listens on
loopback of the cloud's network namespace; clients come through a proxy that has PUBLIC's address and the same ports.
"""

import json
import os
import sys
from dataclasses import dataclass, field

PUBLIC = "http://10.77.0.241"
PORTS = {"identity": 5000, "network": 9696, "load-balancer": 9876, "key-manager": 9311, "compute": 8774}
REGION = "RegionOne"
DATABASE_PORT = 3306
OVN_NORTHBOUND, OVN_SOUTHBOUND = 6641, 6642
# Passwords guard nothing here: the cloud lives as long as its bed, which no packet leaves.
PASSWORD = "secret"


@dataclass
class Settings:
    provider: str = "amphora"
    data_plane: bool = True
    token_seconds: int = 3600
    token_cache_seconds: int = 300
    floating_ips: int = -1
    security_groups: int = -1
    load_balancers: int = -1
    page: int = 0
    environment: str = field(default_factory=lambda: os.path.dirname(os.path.dirname(sys.executable)))


def local(service):
    return f"http://127.0.0.1:{PORTS[service]}"


def ini(sections):
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in values.items()]
        lines.append("")
    return "\n".join(lines)


def credentials(user):
    return {
        "auth_url": local("identity"),
        "auth_type": "password",
        "username": user,
        "password": PASSWORD,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": REGION,
    }


def checks_tokens(user, settings):
    """What a service needs to judge its callers' tokens. It asks Keystone itself, not the proxy, so that only calls of clients are counted there."""
    return credentials(user) | {
        "www_authenticate_uri": f"{PUBLIC}:{PORTS['identity']}",
        "interface": "admin",
        "token_cache_time": settings.token_cache_seconds,
    }


def database(name):
    return {
        "connection": f"mysql+pymysql://{name}:{PASSWORD}@127.0.0.1:{DATABASE_PORT}/{name}?charset=utf8",
        # On a busy machine many calls wait for one another.
        "max_pool_size": 20,
        "max_overflow": 50,
    }


# Standard error is the daemon's log.
LOG = {
    "use_stderr": "true",
    "default_log_levels": "amqp=WARN,sqlalchemy=WARN,oslo_db=WARN,urllib3=WARN,keystonemiddleware=ERROR,taskflow=WARN",
}


def keystone(directory, settings):
    return {
        "DEFAULT": LOG | {"public_endpoint": f"{PUBLIC}:{PORTS['identity']}"},
        "database": database("keystone"),
        "token": {"provider": "fernet", "expiration": settings.token_seconds},
        # The fewest rounds that bcrypt takes.
        "identity": {"password_hash_rounds": 4},
        "fernet_tokens": {"key_repository": f"{directory}/fernet"},
        "credential": {"key_repository": f"{directory}/credential"},
        "cache": {"enabled": "false"},
    }


def neutron(directory, settings):
    ovn = settings.provider == "ovn"
    state = f"{directory}/run/neutron"
    return {
        "DEFAULT": LOG
        | {
            "state_path": state,
            "core_plugin": "ml2",
            "service_plugins": "ovn-router,segments" if ovn else "router",
            "auth_strategy": "keystone",
            "api_paste_config": f"{settings.environment}/etc/neutron/api-paste.ini",
            "transport_url": "fake://",
            "notify_nova_on_port_status_changes": "false",
            "notify_nova_on_port_data_changes": "false",
        }
        | ({"pagination_max_limit": settings.page} if settings.page else {}),
        "database": database("neutron"),
        "keystone_authtoken": checks_tokens("neutron", settings),
        "oslo_concurrency": {"lock_path": state},
        "quotas": {
            "quota_network": -1,
            "quota_subnet": -1,
            "quota_port": -1,
            "quota_router": -1,
            "quota_floatingip": settings.floating_ips,
            "quota_security_group": settings.security_groups,
            "quota_security_group_rule": -1,
        },
    }


def ovn_databases():
    return {
        "ovn_nb_connection": f"tcp:127.0.0.1:{OVN_NORTHBOUND}",
        "ovn_sb_connection": f"tcp:127.0.0.1:{OVN_SOUTHBOUND}",
    }


def ml2(settings):
    common = {"extension_drivers": "port_security"}
    if settings.provider == "ovn":
        return {
            "ml2": common
            | {
                "type_drivers": "flat,geneve",
                "tenant_network_types": "geneve",
                "mechanism_drivers": "ovn",
                "overlay_ip_version": 4,
            },
            "ml2_type_flat": {"flat_networks": "*"},
            "ml2_type_geneve": {"vni_ranges": "1:4000", "max_header_size": 38},
            "ovn": ovn_databases(),
        }
    return {
        "ml2": common
        | {
            "type_drivers": "flat,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": "openvswitch",
        },
        "ml2_type_flat": {"flat_networks": "*"},
        "ml2_type_vxlan": {"vni_ranges": "1:4000"},
    }


def octavia(directory, settings, seed):
    drivers = "amphora:Octavia's own,octavia:another name of amphora"
    if settings.provider == "ovn":
        drivers += ",ovn:OVN"
    sections = {
        "DEFAULT": LOG | {"transport_url": "fake://", "host": "bed"},
        "api_settings": {
            "auth_strategy": "keystone",
            "api_base_uri": f"{PUBLIC}:{PORTS['load-balancer']}",
            "enabled_provider_drivers": drivers,
            "default_provider_driver": settings.provider,
            "healthcheck_enabled": "true",
            "allow_tls_terminated_listeners": "true",
        }
        | ({"pagination_max_limit": settings.page} if settings.page else {}),
        "database": database("octavia"),
        "keystone_authtoken": checks_tokens("octavia", settings),
        "service_auth": credentials("octavia"),
        "neutron": {"endpoint_override": local("network"), "valid_interfaces": "admin"},
        "oslo_messaging": {"topic": "octavia_prov"},
        "controller_worker": {
            "workers": 1,
            "amphora_driver": "amphora_haproxy_rest_driver" if settings.data_plane else "amphora_noop_driver",
            "compute_driver": "compute_noop_driver",
            "network_driver": "allowed_address_pairs_driver",
            "image_driver": "image_noop_driver",
            "volume_driver": "volume_noop_driver",
            "amp_flavor_id": 1,
            "amp_image_tag": "amphora",
            "amp_boot_network_list": seed.get("management_network", ""),
            "amp_secgroup_list": seed.get("management_security_group", ""),
            "amp_active_wait_sec": 1,
            # However long a test lets one boot.
            "amp_active_retries": 300,
            "loadbalancer_topology": "SINGLE",
            "client_ca": f"{directory}/certificates/ca.pem",
        },
        "haproxy_amphora": {
            "base_path": f"{directory}/run/amphorae",
            "base_cert_dir": f"{directory}/run/amphora-certificates",
            "default_connection_limit": 2000,
        },
        "certificates": {
            "cert_manager": "barbican_cert_manager",
            "cert_generator": "local_cert_generator",
            "region_name": REGION,
            "endpoint_type": "adminURL",
            "endpoint": local("key-manager"),
            "ca_certificate": f"{directory}/certificates/ca.pem",
            "ca_private_key": f"{directory}/certificates/ca.key",
            "ca_private_key_passphrase": PASSWORD,
            "server_certs_key_passphrase": "thirty-two-characters-of-no-use-",
        },
        "quotas": {"default_load_balancer_quota": settings.load_balancers},
        "task_flow": {"engine": "parallel"},
    }
    if settings.provider == "ovn":
        sections["driver_agent"] = {
            "enabled_provider_agents": "ovn",
            "status_socket_path": "/var/run/octavia/status.sock",
            "stats_socket_path": "/var/run/octavia/stats.sock",
            "get_socket_path": "/var/run/octavia/get.sock",
        }
        sections["ovn"] = ovn_databases()
    return sections


def barbican(settings):
    return {
        "DEFAULT": LOG
        | {
            "host_href": f"{PUBLIC}:{PORTS['key-manager']}",
            "transport_url": "fake://",
            "db_auto_create": "false",
        },
        "database": database("barbican"),
        "queue": {"enable": "false"},
        "keystone_authtoken": checks_tokens("barbican", settings),
        "secretstore": {"enabled_secretstore_plugins": "store_crypto"},
        "crypto": {"enabled_crypto_plugins": "simple_crypto"},
        # Thirty-two octets, in base64.
        "simple_crypto_plugin": {"kek": "dGhpcnR5LXR3by1jaGFyYWN0ZXJzLW9mLW5vLXVzZS4="},
    }


def nova(directory, settings):
    return {
        "DEFAULT": LOG | {"state_path": f"{directory}/run/nova", "transport_url": "fake://", "default_availability_zone": "az1"},
        "api_database": database("nova_api"),
        "database": database("nova"),
        "keystone_authtoken": checks_tokens("nova", settings),
        # Whose security groups a server has is asked there.
        "neutron": credentials("nova") | {"endpoint_override": local("network"), "valid_interfaces": "admin"},
    }


def authority(directory):
    """The certificate authority by which Octavia signs the certificates of its amphorae."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    os.makedirs(f"{directory}/certificates", exist_ok=True)
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "amphorae of the bed")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    with open(f"{directory}/certificates/ca.pem", "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open(f"{directory}/certificates/ca.key", "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(PASSWORD.encode()),
            )
        )


def read(path):
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def write(directory):
    settings = Settings(**read(f"{directory}/settings.json"))
    seed = read(f"{directory}/seed.json")
    for folder in ("etc", "run/neutron", "run/amphorae", "home/.barbican"):
        os.makedirs(f"{directory}/{folder}", exist_ok=True)
    files = {
        "etc/keystone.conf": keystone(directory, settings),
        "etc/neutron.conf": neutron(directory, settings),
        "etc/ml2.conf": ml2(settings),
        "etc/octavia.conf": octavia(directory, settings, seed),
        "etc/nova.conf": nova(directory, settings),
        # Barbican looks for its configuration in its home alone.
        "home/.barbican/barbican.conf": barbican(settings),
    }
    for name, sections in files.items():
        with open(f"{directory}/{name}", "w") as file:
            file.write(ini(sections))


if __name__ == "__main__":
    write(sys.argv[1])
