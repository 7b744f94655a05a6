"""The real OpenStack for tests: they run inside its namespaces (``make test-openstack``), or fail; they are never skipped."""

from __future__ import annotations

import contextlib
import secrets
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

import truth
from desk import Desk
from lab import place, seed
from machine import Machine
from smtp_servers import Mailbox, real_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests speak to the cloud through openstacksdk as it comes, which warns of its own next release; jetrun is a process apart."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for kind in ("OpenStackDeprecationWarning", "_RemovedInSDKWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::openstack.warnings.{kind}"))


@pytest.fixture(scope="session", autouse=True)
def inside() -> None:
    """The tests see the lab, from inside."""
    if not Path("/sys/class/net", place.FLAT_LINK).exists():
        pytest.exit("these tests run inside the lab's namespaces: make test-openstack", returncode=2)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with real_server(Mailbox()) as mailbox:
        hers = Desk(folder=tmp_path, mailbox=mailbox)
        yield hers
        hers.leave()


@pytest.fixture(scope="session")
def lab() -> Iterator[Any]:
    """openstacksdk as the researcher."""
    connection = seed.connect("lab")
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def admin() -> Iterator[Any]:
    """openstacksdk as the cloud's staff."""
    connection = seed.connect("lab-admin")
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def machines(lab: Any, admin: Any) -> Iterator[dict[str, Machine]]:
    """What ``machine`` has made, by network; deleted while both connections still stand."""
    del lab, admin
    made: dict[str, Machine] = {}
    yield made
    with warnings.catch_warnings():
        # The last test of the session may be one that is not ours, with warnings as errors.
        warnings.simplefilter("ignore")
        for one in made.values():
            one.delete()


@pytest.fixture
def network() -> str:
    """Where the researcher's instance is: on a network that is reached without a floating IP, unless a file says otherwise."""
    return "lab-net"


@pytest.fixture
def machine(lab: Any, admin: Any, machines: dict[str, Machine], network: str) -> Machine:
    """One instance for all tests of this process; it has booted once. A new one where a test deleted the last."""
    found = machines.get(network)
    if found is None or truth.row(found.id).deleted:
        found = machines[network] = Machine(lab, admin, f"box-{secrets.token_hex(3)}", network=network)
        found.wait("ACTIVE")
        if network != "lab-net":
            found.give_address()
        truth.eventually(lambda: "login:" in machines[network].console(), 120)
        with contextlib.suppress(AssertionError):
            # It runs at the first boot alone: one that is stopped in the middle of it may have no network for ever.
            truth.eventually(lambda: " finished at " in machines[network].console(), 45)
    return found
