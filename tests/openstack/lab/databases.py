"""The databases, made once: MariaDB's own, and one for each service, all at the same time."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lab import place
from lab.plan import neutron_files, nova_files
from lab.services import ServiceError

NAMES = ("keystone", "placement", "glance", "nova_api", "nova", "nova_cell0", "neutron")


def _run(log: str, *command: str, text: str | None = None) -> str:
    """One command of a step; what it says goes to the step's log.

    Raises:
        ServiceError: it failed; with its last lines.
    """
    with (place.LOG / f"{log}.log").open("a") as out:
        ended = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, stderr=out, text=True, check=False,
            env={"PATH": place.PATH, "LC_ALL": "C.UTF-8", "HOME": str(place.STATE)},
        )  # fmt: skip
        out.write(ended.stdout)
    if ended.returncode != 0:
        last = "\n".join((place.LOG / f"{log}.log").read_text(errors="replace").splitlines()[-15:])
        raise ServiceError(f"{' '.join(command[:3])} ended with {ended.returncode}\n{last}")
    return ended.stdout


def found() -> None:
    """MariaDB's own tables, before its first start."""
    # Its temporary tables are named by its process id, which is the same in the namespaces of every lab: not in /tmp.
    spare = place.STATE / "mysql-tmp"
    spare.mkdir(parents=True, exist_ok=True)
    shutil.chown(spare, "mysql", "mysql")
    if place.is_done("mariadb"):
        return
    data = place.STATE / "mysql"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    shutil.chown(data, "mysql", "mysql")
    _run(
        "mariadb-install", "mariadb-install-db", f"--defaults-file={place.ETC}/mariadb.cnf", "--user=mysql",
        f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db",
    )  # fmt: skip
    place.mark_done("mariadb")


def fill() -> None:
    """Every service's tables, with MariaDB up."""
    if not place.is_done("databases"):
        text = "".join(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4;\n" for name in NAMES)
        text += (
            f"CREATE USER IF NOT EXISTS 'lab'@'%' IDENTIFIED BY '{place.PASSWORD}'; GRANT ALL ON *.* TO 'lab'@'%';\n"
        )
        _run(
            "databases",
            "mariadb",
            "--defaults-file=/dev/null",
            "-u",
            "root",
            "-S",
            f"{place.RUN}/mysql.sock",
            text=text,
        )
        place.mark_done("databases")
    steps = {"keystone": _keystone, "nova": _nova, "placement": _placement, "glance": _glance, "neutron": _neutron}
    with ThreadPoolExecutor() as pool:
        for ending in [pool.submit(_once, name, step) for name, step in steps.items()]:
            ending.result()


def _once(name: str, step: Callable[[], None]) -> None:
    if not place.is_done(f"tables-{name}"):
        step()
        place.mark_done(f"tables-{name}")


def _keystone() -> None:
    manage = ("keystone-manage", "--config-file", f"{place.ETC}/keystone/keystone.conf")
    _run("tables-keystone", *manage, "db_sync")
    for keys in ("fernet_setup", "credential_setup"):
        _run("tables-keystone", *manage, keys, "--keystone-user", "root", "--keystone-group", "root")
    urls = [word for kind in ("admin", "internal", "public") for word in (f"--bootstrap-{kind}-url", place.KEYSTONE)]
    _run(
        "tables-keystone", *manage, "bootstrap", "--bootstrap-password", place.PASSWORD,
        "--bootstrap-region-id", "RegionOne", *urls,
    )  # fmt: skip


def _nova() -> None:
    manage = ("nova-manage", *nova_files())
    cell0 = f"mysql+pymysql://lab:{place.PASSWORD}@127.0.0.1:3306/nova_cell0?charset=utf8mb4"
    _run("tables-nova", *manage, "api_db", "sync")
    _run("tables-nova", *manage, "cell_v2", "map_cell0", "--database_connection", cell0)
    if " cell1 " not in _run("tables-nova", *manage, "cell_v2", "list_cells"):
        _run("tables-nova", *manage, "cell_v2", "create_cell", "--name", "cell1")
    _run("tables-nova", *manage, "db", "sync")


def _placement() -> None:
    _run("tables-placement", "placement-manage", "--config-file", f"{place.ETC}/placement/placement.conf", "db", "sync")


def _glance() -> None:
    _run("tables-glance", "glance-manage", "--config-file", f"{place.ETC}/glance/glance-api.conf", "db_sync")


def _neutron() -> None:
    _run("tables-neutron", "neutron-db-manage", *neutron_files(), "upgrade", "heads")


def discover_host() -> bool:
    """Whether Nova's cell knows the one compute host; asks it to look."""
    if place.is_done("host"):
        return True
    _run("discover", "nova-manage", *nova_files(), "cell_v2", "discover_hosts")
    if place.HOSTNAME in _run("discover", "nova-manage", *nova_files(), "cell_v2", "list_hosts"):
        place.mark_done("host")
        return True
    return False
