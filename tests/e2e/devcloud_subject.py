"""An embedded cloud of a test's own: a process with zero delays in a short folder, ended and checked for leftovers."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import openstack
import pytest

from jetrun.devcloud import client
from jetrun.devcloud.client import Running


@contextmanager
def embedded_cloud(*arguments: str, timings: str = "zero") -> Iterator[Running]:
    """A running embedded cloud. Its folder is short: a socket's path holds 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="dc"))
    running = client.start(folder, timings=timings, arguments=arguments)
    try:
        yield running
    finally:
        again = client.find(folder)
        if again is not None:
            client.stop(again)
        shutil.rmtree(folder)


@pytest.fixture
def devcloud() -> Iterator[Running]:
    with embedded_cloud() as running:
        yield running


@contextmanager
def connection(running: Running, cloud: str = "devcloud", **more: Any) -> Iterator[Any]:
    """openstacksdk, as it comes."""
    with warnings.catch_warnings():
        # openstacksdk warns of its own InfluxDB support whenever it is configured.
        warnings.simplefilter("ignore", openstack.warnings.RemovedInSDK60Warning)
        config = openstack.config.OpenStackConfig(config_files=[str(running.clouds)])
        opened = openstack.connection.Connection(config=config.get_one(cloud, **more))
    with closing(opened):
        yield opened


def eventually(claim: Callable[[], Any], within_s: float = 10) -> Any:
    """Waits for what another process does: what *claim* says once it is true."""
    until = time.monotonic() + within_s
    while not (found := claim()):
        assert time.monotonic() < until, f"not within {within_s:.0f} s"
        time.sleep(0.02)
    return found
