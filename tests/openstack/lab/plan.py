"""The services of the lab, in the order in which they start; they end in the other."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from lab import place
from lab.services import Service, answers, listens

NOVA_SETTINGS = ("nova/nova-compute.conf", "nova/nova-databases.conf")
NEUTRON_SETTINGS = ("neutron/neutron.conf", "neutron/ml2_conf.ini")


def nova_files(*, databases: bool = True) -> tuple[str, ...]:
    """The --config-file options of Nova's programs."""
    return _files(NOVA_SETTINGS if databases else NOVA_SETTINGS[:1])


def neutron_files(*more: str) -> tuple[str, ...]:
    return _files((*NEUTRON_SETTINGS, *more))


def _files(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--config-file", str(place.ETC / name)))


def _http(port: int, path: str = "/") -> functools.partial[bool]:
    return functools.partial(answers, f"http://127.0.0.1:{port}{path}")


def _port(port: int) -> functools.partial[bool]:
    return functools.partial(listens, port)


def _libvirt() -> bool:
    return (
        subprocess.run(["virsh", "-q", "-c", "qemu:///system", "uri"], capture_output=True, check=False).returncode == 0
    )


def _uwsgi(name: str, port: int, program: str, workers: int) -> tuple[str, ...]:
    # uWSGI's HTTP socket ends each connection after its answer without a word; the header says it to the clients.
    return (
        "uwsgi_python3", "--http-socket", f"0.0.0.0:{port}", "--wsgi-file", program, "--master", "--die-on-term",
        "--processes", str(workers), "--threads", "1", "--enable-threads", "--thunder-lock", "--lazy-apps", "--need-app",
        "--no-orphans", "--buffer-size", "65535", "--listen", "100", "--add-header", "Connection: close",
        "--disable-logging", "--log-5xx", "--procname-prefix", f"lab-{name} ",
    )  # fmt: skip


def _rabbit() -> dict[str, str]:
    home = place.STATE / "rabbitmq"
    return {
        "HOME": str(home),
        "RABBITMQ_NODENAME": "lab@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": "5672",
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
    }


BASE = (
    Service(
        name="mariadb",
        command=("mariadbd", f"--defaults-file={place.ETC}/mariadb.cnf"),
        ready=_port(3306),
        settings=("mariadb.cnf",),
    ),
    Service(name="epmd", command=("epmd", "-address", "127.0.0.1"), ready=_port(4369)),
    Service(
        name="memcached", command=("memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", "11211"), ready=_port(11211)
    ),
    Service(name="virtlogd", command=("virtlogd",)),
    Service(
        name="libvirtd",
        command=("libvirtd", "-f", f"{place.ETC}/libvirtd.conf"),
        ready=_libvirt,
        settings=("libvirtd.conf",),
    ),
    Service(name="rabbitmq", command=("/usr/lib/rabbitmq/bin/rabbitmq-server",), ready=_port(5672), environ=_rabbit()),
)

IDENTITY = (
    Service(
        name="keystone",
        command=_uwsgi("keystone", 5000, "/usr/bin/keystone-wsgi-public", 2),
        ready=_http(5000, "/v3"),
        environ={"OS_KEYSTONE_CONFIG_FILES": f"{place.ETC}/keystone/keystone.conf"},
        settings=("keystone/keystone.conf",),
    ),
)

OPENSTACK = (
    Service(
        name="placement",
        command=_uwsgi("placement", 8778, "/usr/bin/placement-api", 1),
        ready=_http(8778),
        environ={"OS_PLACEMENT_CONFIG_DIR": f"{place.ETC}/placement"},
        settings=("placement/placement.conf",),
    ),
    Service(
        name="glance-api",
        command=("glance-api", "--config-file", f"{place.ETC}/glance/glance-api.conf"),
        ready=_http(9292),
        settings=("glance/glance-api.conf",),
    ),
    Service(
        name="neutron-server",
        command=("neutron-server", *neutron_files()),
        ready=_http(9696),
        settings=NEUTRON_SETTINGS,
    ),
    Service(name="nova-conductor", command=("nova-conductor", *nova_files()), settings=NOVA_SETTINGS),
    Service(name="nova-scheduler", command=("nova-scheduler", *nova_files()), settings=NOVA_SETTINGS),
    Service(name="nova-api", command=("nova-api", *nova_files()), ready=_http(8774), settings=NOVA_SETTINGS),
    Service(name="nova-compute", command=("nova-compute", *nova_files(databases=False)), settings=NOVA_SETTINGS[:1]),
)

AGENTS = (
    Service(
        name="neutron-linuxbridge",
        command=("neutron-linuxbridge-agent", *neutron_files("neutron/linuxbridge_agent.ini")),
        environ={"PATH": f"{place.HERE}/conf/bin:{place.PATH}"},
        settings=(*NEUTRON_SETTINGS, "neutron/linuxbridge_agent.ini"),
    ),
    Service(
        name="neutron-dhcp",
        command=("neutron-dhcp-agent", *neutron_files("neutron/dhcp_agent.ini")),
        settings=(*NEUTRON_SETTINGS, "neutron/dhcp_agent.ini"),
    ),
    Service(
        name="neutron-l3",
        command=("neutron-l3-agent", *neutron_files("neutron/l3_agent.ini")),
        settings=(*NEUTRON_SETTINGS, "neutron/l3_agent.ini"),
    ),
)

SERVICES = (*BASE, *IDENTITY, *OPENSTACK, *AGENTS)


def service(name: str) -> Service:
    """The service of that name.

    Raises:
        KeyError: there is none.
    """
    return {one.name: one for one in SERVICES}[name]


def prepare_folders() -> None:
    """What the services expect to find."""
    for name in ("glance/images", "glance/staging", "nova/instances", "neutron", "keystone", "rabbitmq/log", "mysql"):
        (place.STATE / name).mkdir(parents=True, exist_ok=True)
    place.STATE.chmod(0o755)
    # mariadb, which is not root, keeps its socket here.
    place.RUN.chmod(0o1777)
    Path("/run/mysqld").mkdir(exist_ok=True)
    Path("/run/mysqld").chmod(0o1777)
