"""What the cloud holds before anybody uses it; every step looks first, so that it can be done again."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lab import place
from lab.services import ServiceError

FLAVORS = (("m1.tiny", 384, 1, 1), ("m1.small", 512, 1, 2), ("m1.medium", 1536, 1, 4))
"""Name, MB of memory, virtual CPUs, GB of disk."""

ENDPOINTS = (
    ("placement", "placement", place.PLACEMENT),
    ("glance", "image", place.GLANCE),
    ("nova", "compute", place.NOVA),
    ("neutron", "network", place.NEUTRON),
)
PEOPLE = (("lab", "lab"), ("bob", "lab"), ("other", "other"))
"""User and project; each is a member."""


class GuestImage(Protocol):
    """What the guest image's builder hands over."""

    kernel: Path
    initrd: Path
    root: Path
    version: str


def connect(cloud: str) -> Any:
    """openstacksdk for one entry of the lab's clouds.yaml."""
    import openstack
    import openstack.config
    import openstack.warnings

    with warnings.catch_warnings():
        # openstacksdk warns of its own support for InfluxDB, whether it is used or not.
        warnings.simplefilter("ignore", openstack.warnings.RemovedInSDK60Warning)
        files = {"config_files": [str(place.STATE / "clouds.yaml")], "load_envvars": False}
        return openstack.connection.Connection(config=openstack.config.OpenStackConfig(**files).get_one(cloud))


def identity() -> None:
    """Projects, users, roles, the catalog."""
    keystone = connect("lab-admin").identity
    roles = {
        name: keystone.find_role(name) or keystone.create_role(name=name) for name in ("member", "admin", "service")
    }

    def project(name: str) -> Any:
        return keystone.find_project(name) or keystone.create_project(name=name, domain_id="default")

    def user(name: str, **more: Any) -> Any:
        found = keystone.find_user(name)
        return found or keystone.create_user(name=name, password=place.PASSWORD, domain_id="default", **more)

    staff = project("service")
    for name in ("placement", "glance", "nova", "neutron"):
        for role in ("admin", "service"):
            keystone.assign_project_role_to_user(staff, user(name), roles[role])
    for name, home in PEOPLE:
        where = project(home)
        keystone.assign_project_role_to_user(where, user(name, default_project_id=where.id), roles["member"])
    for name, kind, url in ENDPOINTS:
        service = next(keystone.services(type=kind), None) or keystone.create_service(name=name, type=kind)
        there = {endpoint.interface for endpoint in keystone.endpoints(service_id=service.id)}
        for interface in {"public", "internal", "admin"} - there:
            keystone.create_endpoint(service_id=service.id, interface=interface, url=url, region_id="RegionOne")


def image(built: GuestImage, command_line: str) -> None:
    """The guest image, kernel and initrd apart; one of an older version makes way."""
    glance = connect("lab-admin").image
    have = glance.find_image("lab-debian")
    if have is not None:
        if have.properties.get("lab_version") == built.version:
            return
        glance.update_image(have, name=f"lab-debian-{have.properties.get('lab_version')}", visibility="private")

    def add(name: str, file: Path, form: str, container: str, **more: Any) -> Any:
        return glance.create_image(
            name, filename=str(file), disk_format=form, container_format=container, visibility="public", wait=True,
            allow_duplicates=True, validate_checksum=False, timeout=300, lab_version=built.version, **more,
        )  # fmt: skip

    kernel = add(f"lab-kernel-{built.version}", built.kernel, "aki", "aki")
    initrd = add(f"lab-initrd-{built.version}", built.initrd, "ari", "ari")
    add(
        "lab-debian", built.root, "qcow2", "bare", kernel_id=kernel.id, ramdisk_id=initrd.id, hw_rng_model="virtio",
        os_distro="debian", os_type="linux", min_disk=1, os_command_line=command_line,
    )  # fmt: skip


def content(public_key: Path) -> None:
    """Flavors, quota, networks, the router, security groups and key pairs."""
    admin, lab, other = connect("lab-admin"), connect("lab"), connect("lab-other")
    for name, ram, vcpus, disk in FLAVORS:
        if admin.compute.find_flavor(name) is None:
            admin.compute.create_flavor(name=name, ram=ram, vcpus=vcpus, disk=disk)
    _networks(admin, lab)
    for connection in (lab, other):
        project = connection.current_project_id
        admin.network.update_quota(
            admin.network.get_quota(project),
            ports=200,
            networks=50,
            subnets=50,
            security_groups=50,
            security_group_rules=200,
        )
        if connection.network.find_security_group("lab-ssh", project_id=project) is None:
            group = connection.network.create_security_group(name="lab-ssh", description="SSH and ICMP from anywhere")
            for protocol, port in (("tcp", 22), ("icmp", None)):
                connection.network.create_security_group_rule(
                    security_group_id=group.id, direction="ingress", ethertype="IPv4", protocol=protocol,
                    port_range_min=port, port_range_max=port,
                )  # fmt: skip
        if connection.compute.find_keypair("lab-key") is None:
            connection.compute.create_keypair(name="lab-key", public_key=public_key.read_text().strip())


def _networks(admin: Any, lab: Any) -> None:
    """Flat, external and tenant network. The agents must have reported: a network made before is never given an address server."""
    agents = until("Neutron's agents", lambda: _agents(admin))
    dhcp = next(agent for agent in agents if agent.agent_type == "DHCP agent")

    def network(owner: Any, name: str, cidr: str, gateway: str, *, addresses: bool = True, **more: Any) -> Any:
        found = owner.network.find_network(name) or owner.network.create_network(name=name, **more)
        base = cidr.rpartition(".")[0]
        if next(owner.network.subnets(network_id=found.id), None) is None:
            owner.network.create_subnet(
                network_id=found.id, name=name, ip_version=4, cidr=cidr, gateway_ip=gateway, enable_dhcp=addresses,
                allocation_pools=[{"start": f"{base}.50", "end": f"{base}.250"}],
            )  # fmt: skip
        if addresses and not list(admin.network.network_hosting_dhcp_agents(found.id)):
            admin.network.add_dhcp_agent_to_network(dhcp, found)
        return found

    flat = {"provider_network_type": "flat"}
    network(
        admin, "lab-net", place.FLAT_RANGE, place.FLAT_GATEWAY, shared=True, provider_physical_network="lab", **flat
    )
    external = network(
        admin, "lab-ext", place.EXTERNAL_RANGE, place.EXTERNAL_GATEWAY, addresses=False, is_router_external=True,
        is_default=True, provider_physical_network="ext", **flat,
    )  # fmt: skip
    tenant = network(lab, "lab-tenant", place.TENANT_RANGE, place.TENANT_GATEWAY)
    if lab.network.find_router("lab-router") is None:
        router = lab.network.create_router(name="lab-router", external_gateway_info={"network_id": external.id})
        lab.network.add_interface_to_router(router, subnet_id=next(lab.network.subnets(network_id=tenant.id)).id)
    if admin.network.find_subnet_pool("lab-pool") is None:
        admin.network.create_subnet_pool(
            name="lab-pool", prefixes=[place.POOL_RANGE], default_prefixlen=24, is_shared=True, is_default=True
        )


def _agents(admin: Any) -> list[Any]:
    alive = [agent for agent in admin.network.agents() if agent.is_alive]
    return alive if len({agent.agent_type for agent in alive}) >= 3 else []


def _ready(admin: Any) -> bool:
    # Neutron 21 answers 500 to every list of ports until anything else was listed once: its tables are tied together by then.
    list(admin.network.networks())
    hosts = [one for one in admin.compute.services() if one.binary == "nova-compute"]
    ports = [one for one in admin.network.ports() if one.device_owner in {"network:dhcp", "network:router_interface",
             "network:router_gateway"}]  # fmt: skip
    return (
        bool(hosts)
        and all(host.state == "up" for host in hosts)
        and len([one for one in ports if one.device_owner == "network:dhcp"]) >= 2
        and all(port.status == "ACTIVE" for port in ports)
        and any(admin.placement.resource_providers())
        and bool(_agents(admin))
    )


def wait(seconds: float = 120) -> None:
    """Until instances can be made and get an address.

    Raises:
        ServiceError: not within *seconds*.
    """
    admin = connect("lab-admin")
    until("nova-compute and the networks' own ports", lambda: _ready(admin), seconds)


def hears_of_ports(seconds: float = 30) -> None:
    """See that a new port reaches the address server: the states of ports may be those of before a restart.

    Raises:
        ServiceError: it does not, within *seconds*.
    """
    admin = connect("lab-admin")
    network = admin.network.find_network("lab-net")
    port = admin.network.create_port(network_id=network.id, name="lab-probe")
    hosts = place.STATE / "neutron" / "dhcp" / network.id / "host"
    try:
        until("the address server", lambda: hosts.exists() and port.mac_address in hosts.read_text(), seconds)
    finally:
        admin.network.delete_port(port)


def until(what: str, look: Callable[[], Any], seconds: float = 120) -> Any:
    """What *look* says once it is true.

    Raises:
        ServiceError: not within *seconds*.
    """
    from openstack.exceptions import HttpException, SDKException

    def seen() -> Any:
        try:
            return look()
        except HttpException as error:
            # A service that has just begun may stumble over two first requests at once.
            if error.status_code is not None and error.status_code < 500:
                raise
            return None
        except SDKException:
            return None

    end = time.monotonic() + seconds
    while not (answer := seen()):
        if time.monotonic() > end:
            raise ServiceError(f"{what}: not ready after {seconds:.0f} s; look at {place.LOG}")
        time.sleep(0.5)
    return answer
