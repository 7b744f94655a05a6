"""The ``openstack`` command line, unmodified (python-openstackclient from PyPI), drives the embedded cloud.

Each command is a process of its own that knows nothing but clouds.yaml. It takes most of a second each, so the tests share one
cloud, use an instance of their own each, and run what does not depend on each other two at a time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devcloud_subject import embedded_cloud, eventually

from jetrun.devcloud.client import Running

pytestmark = pytest.mark.slow


class Cli:
    """The command line with one clouds.yaml."""

    def __init__(self, running: Running, home: Path) -> None:
        self.running = running
        self._home = home

    def start(self, *words: str, cloud: str = "devcloud", **env: str) -> subprocess.Popen[str]:
        program = Path(sys.executable).with_name("openstack")
        around = {"PATH": os.environ["PATH"], "HOME": str(self._home), "LANG": "C.UTF-8", "OS_CLOUD": cloud}
        return subprocess.Popen(
            [program, *words],
            env={**around, "OS_CLIENT_CONFIG_FILE": str(self.running.clouds), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._home,
        )

    @staticmethod
    def end(child: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        with child:
            out, err = child.communicate(timeout=60)
        return child.returncode, out, err

    def __call__(self, *words: str, **more: str) -> None:
        """A command that succeeds and says nothing."""
        assert self.end(self.start(*words, **more)) == (0, "", "")

    def json(self, *words: str, **more: str) -> Any:
        """What a command that succeeds prints."""
        return self._read(self.start(*words, "-f", "json", **more))

    def both(self, one: tuple[str, ...], two: tuple[str, ...]) -> tuple[Any, Any]:
        """Two at a time."""
        first, second = self.start(*one, "-f", "json"), self.start(*two, "-f", "json")
        return self._read(first), self._read(second)

    def _read(self, child: subprocess.Popen[str]) -> Any:
        code, out, err = self.end(child)
        assert (code, err) == (0, "")
        return json.loads(out)

    def refused(self, *words: str, **more: str) -> str:
        """What a command says that fails."""
        code, out, err = self.end(self.start(*words, **more))
        assert code != 0
        assert out == ""
        return err


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with embedded_cloud() as running:
        yield Cli(running, tmp_path_factory.mktemp("home"))


def settled(cli: Cli, name: str, status: str) -> None:
    """Until the instance really is what it was told to be: with zero delays that is at once, but for its process."""
    process = status in {"ACTIVE", "SUSPENDED", "PAUSED"}

    def there() -> bool:
        truth = cli.running.truth(name)
        return (truth["status"], truth["task_state"], truth["process"]) == (status, None, process)

    eventually(there)


def test_an_instance_is_created_driven_through_every_state_and_deleted(cli: Cli) -> None:
    made = cli.json(
        "server", "create", "--image", "devcloud-linux", "--flavor", "m3.tiny", "--network", "auto_allocated_network",
        "--key-name", "devcloud", "--security-group", "default", "--property", "made=here", "--wait", "trial",
    )  # fmt: skip
    assert (made["name"], made["status"], made["OS-EXT-STS:vm_state"]) == ("trial", "ACTIVE", "active")
    assert made["properties"] == {"made": "here"}
    assert made["key_name"] == "devcloud"
    key = made["id"]
    for words, status in (
        (("stop",), "SHUTOFF"),
        (("start",), "ACTIVE"),
        (("suspend",), "SUSPENDED"),
        (("resume",), "ACTIVE"),
        (("pause",), "PAUSED"),
        (("unpause",), "ACTIVE"),
        (("shelve",), "SHELVED_OFFLOADED"),
        (("unshelve",), "ACTIVE"),
        (("reboot", "--soft"), "ACTIVE"),
        (("reboot", "--hard"), "ACTIVE"),
    ):
        cli("server", *words, "trial")
        settled(cli, "trial", status)
        if "reboot" not in words:
            shown = cli.json("server", "show", "trial", "-c", "id", "-c", "status", "-c", "OS-EXT-STS:task_state")
            assert shown == {"id": key, "status": status, "OS-EXT-STS:task_state": None}
    events = cli.json("server", "event", "list", "trial")
    assert [row["Action"] for row in events][::-1] == [
        "create", "stop", "start", "suspend", "resume", "pause", "unpause", "shelve", "unshelve", "reboot", "reboot",
    ]  # fmt: skip
    event = cli.json("server", "event", "show", "trial", events[0]["Request ID"])
    assert event["message"] is None
    assert [one["result"] for one in event["events"]] == ["Success"]
    cli("server", "delete", "--wait", "trial")
    assert "No Server found for trial" in cli.refused("server", "show", "trial")
    assert not (cli.running.folder / "instances" / key).exists()


def test_an_instance_is_locked_unlocked_and_described(cli: Cli) -> None:
    cli.running.do("add", name="kept", user="ada")
    cli("server", "unshelve", "kept")
    settled(cli, "kept", "ACTIVE")
    cli("server", "lock", "--reason", "a run is on it", "kept")
    assert "is locked" in cli.refused("server", "stop", "kept")
    assert cli.running.truth("kept")["status"] == "ACTIVE"
    assert "is locked" in cli.refused("server", "set", "--property", "owner=ada", "kept")
    locked = cli.json("server", "show", "kept")
    assert (locked["locked"], locked["locked_reason"], locked["properties"]) == (True, "a run is on it", {})
    cli("server", "unlock", "kept")
    cli("server", "set", "--property", "owner=ada", "kept")
    assert cli.json("server", "show", "kept", "-c", "properties") == {"properties": {"owner": "ada"}}
    code, log, err = cli.end(cli.start("console", "log", "show", "kept"))
    assert (code, err) == (0, "")
    assert "-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 " in log
    assert cli.json("server", "show", "kept", "-c", "locked") == {"locked": False}


def test_an_action_that_the_state_forbids_fails_in_novas_own_words(cli: Cli) -> None:
    key = cli.running.truth("my-instance")["id"]
    said = cli.refused("server", "stop", "my-instance")
    assert f"Instance {key} is not ready" in said
    assert "409" in said


def test_what_the_cloud_has_is_listed(cli: Cli) -> None:
    flavors, images = cli.both(("flavor", "list"), ("image", "list", "--public"))
    assert [(row["Name"], row["VCPUs"], row["RAM"]) for row in flavors][:2] == [
        ("m3.tiny", 1, 3072),
        ("m3.small", 2, 6144),
    ]
    assert [(row["Name"], row["Status"]) for row in images] == [("devcloud-linux", "active")]
    networks, servers = cli.both(("network", "list"), ("server", "list", "--name", "my-instance"))
    assert {row["Name"]: len(row["Subnets"]) for row in networks} == {"auto_allocated_network": 1, "public": 1}
    (server,) = servers
    assert (server["Name"], server["Status"]) == ("my-instance", "SHELVED_OFFLOADED")
    assert (server["Flavor"], server["Image"]) == ("m3.small", "devcloud-linux")
    (address,) = server["Networks"]["auto_allocated_network"]
    assert address.startswith("127.")


def test_a_shelved_instance_has_its_snapshot_among_the_images(cli: Cli) -> None:
    (row,) = cli.json("image", "list", "--private", "--name", "my-instance-shelved")
    assert row["Status"] == "active"


def test_key_pairs_are_imported_generated_listed_and_deleted(cli: Cli) -> None:
    public = str(cli.running.key.with_suffix(".pub"))
    imported = cli.json("keypair", "create", "--public-key", public, "mine")
    code, private, err = cli.end(cli.start("keypair", "create", "theirs"))
    assert (code, err) == (0, "")
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    listed = {row["Name"]: row["Fingerprint"] for row in cli.json("keypair", "list")}
    assert listed["mine"] == imported["fingerprint"]
    assert set(listed) == {"devcloud", "mine", "theirs"}
    cli("keypair", "delete", "mine", "theirs")
    assert [row["Name"] for row in cli.json("keypair", "list")] == ["devcloud"]


def listens(cli: Cli, address: str) -> bool:
    """Whether an SSH server is at an address."""
    try:
        with socket.create_connection((address, cli.running.ssh_port), timeout=5) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def test_a_floating_ip_leads_to_its_instance_until_it_is_given_back(cli: Cli) -> None:
    cli.running.do("add", name="reached", user="ada")
    cli("server", "unshelve", "reached")
    settled(cli, "reached", "ACTIVE")
    made = cli.json("floating", "ip", "create", "--description", "for a talk", "public")
    address = made["floating_ip_address"]
    assert (made["status"], made["port_id"], made["description"]) == ("DOWN", None, "for a talk")
    cli("server", "add", "floating", "ip", "reached", address)
    rows, server = cli.both(("floating", "ip", "list"), ("server", "show", "reached", "-c", "addresses"))
    (fixed,) = [one for one in server["addresses"]["auto_allocated_network"] if one != address]
    assert [(row["Floating IP Address"], row["Fixed IP Address"]) for row in rows] == [(address, fixed)]
    assert address in server["addresses"]["auto_allocated_network"]
    eventually(lambda: listens(cli, address))
    cli("floating", "ip", "delete", address)
    rows, server = cli.both(("floating", "ip", "list"), ("server", "show", "reached", "-c", "addresses"))
    assert rows == []
    assert server["addresses"] == {"auto_allocated_network": [fixed]}
    eventually(lambda: not listens(cli, address))
    assert listens(cli, fixed)


def test_another_project_sees_none_of_it(cli: Cli) -> None:
    assert cli.json("server", "list", cloud="devcloud-other") == []
    assert "No Server found" in cli.refused("server", "show", "my-instance", cloud="devcloud-other")


def test_an_application_credential_logs_in_until_it_is_deleted(cli: Cli) -> None:
    made = cli.json("application", "credential", "create", "--expiration", "2099-01-02T03:04:05", "for-jetrun")
    shown = cli.json("application", "credential", "show", "for-jetrun")
    assert made["Secret"] not in json.dumps(shown)
    assert shown["Expires At"] == "2099-01-02T03:04:05.000000"
    entry = {
        "OS_CLOUD": "",
        "OS_CLIENT_CONFIG_FILE": "/dev/null",
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": f"{cli.running.url}/identity/v3",
        "OS_APPLICATION_CREDENTIAL_ID": made["ID"],
        "OS_APPLICATION_CREDENTIAL_SECRET": made["Secret"],
    }
    servers = cli.json("server", "list", "--name", "my-instance", **entry)
    assert [row["Name"] for row in servers] == ["my-instance"]
    said = cli.refused("application", "credential", "create", "another", **entry)
    assert "not allowed for managing additional application credentials" in said
    cli("application", "credential", "delete", "for-jetrun")
    assert f"Could not find Application Credential: {made['ID']}" in cli.refused("server", "list", **entry)


def test_an_image_is_registered_listed_and_deleted(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "disk.qcow2"
    data.write_bytes(b"QFI\xfb" + bytes(1020))
    cli.json("image", "create", "--disk-format", "qcow2", "--file", str(data), "--tag", "mine", "spare")
    shown = cli.json("image", "show", "spare", "-c", "status", "-c", "size", "-c", "tags", "-c", "visibility")
    assert shown == {"status": "active", "size": 1024, "tags": ["mine"], "visibility": "private"}
    cli("image", "delete", "spare")
    assert cli.json("image", "list", "--name", "spare") == []
