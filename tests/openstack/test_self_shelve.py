"""Self-shelve on real virtual machines: the instance asks a real Nova, as nobody but itself, with a credential of a real Keystone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import requests
import truth
from desk import Desk, Running, tells_the_truth
from lab import place
from machine import Machine

JOB = """
script = "job.sh"
inputs = ["in"]
timeout = "20s"
grace = "1s"
[instance]
on = "{on}"
max_lifetime = "{lifetime}"
self_shelve = true
[budget]
boot = "80s"
stage_in = "5s"
stage_out = "5s"
shutdown = "10s"
"""


def begun(desk: Desk, machine: Machine, lifetime: str) -> Running:
    """A run whose script goes on for longer than its lease; the switch looks every ten seconds."""
    desk.bounds = {"switch_tick_s": 10}
    desk.write_clouds()
    machine.be_down()
    (desk.folder / "in").write_text("x")
    desk.script("sleep 600\n")
    (desk.folder / "job.toml").write_text(JOB.format(on=machine.name, lifetime=lifetime))
    run = desk.start("run", "job.toml", "--json")
    truth.eventually(lambda: desk.has_seen("script.started"), 120)
    return run


def kill(run: Running) -> None:
    """The driver's machine is gone, as far as the instance can tell."""
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()


def as_root(desk: Desk, command: str) -> str:
    """What a command says to somebody who has become root on the instance."""
    host = next(one["host"] for one in desk.events() if one["event"] == "instance.reached")
    options = [
        "BatchMode=yes",
        "ConnectTimeout=10",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ]
    words = [word for option in options for word in ("-o", option)]
    return subprocess.run(
        ["ssh", "-i", str(place.STATE / "id_ed25519"), *words, f"debian@{host}", f"sudo {command}"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


def made_by_jetrun(lab: Any, machine: Machine) -> list[str]:
    """The credentials and the access rules that are there for this instance."""
    user = lab.current_user_id
    rules = [one.path for one in lab.identity.access_rules(user) if machine.id in one.path]
    kept = [one for one in lab.identity.application_credentials(user) if machine.id in str(one.description)]
    return [*(one.name for one in kept), *rules]


def test_a_forgotten_instance_shelves_itself_and_whoever_is_root_there_can_act_on_it_alone(
    desk: Desk, lab: Any, machine: Machine
) -> None:
    """With the driver gone for good it ends on no host at all, and nobody outside has asked for it."""
    run = begun(desk, machine, "140s")
    (armed,) = [one for one in desk.events() if one["event"] == "self_shelve.armed"]
    assert "any action on this instance" in armed["risk"]
    assert len(made_by_jetrun(lab, machine)) == 3, "a credential and two rules"
    stolen = Stolen(desk)
    kill(run)
    stolen.can_act_on_this_instance_alone(lab, machine)
    truth.eventually(lambda: truth.state(machine.id)[0] == "shelved_offloaded", 260)
    found = truth.row(machine.id)
    assert found.is_down, found
    truth.eventually(lambda: truth.row(machine.id).host is None, 30)
    newest = next(iter(lab.compute.server_actions(machine.id)))
    assert newest.action == "shelve"
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.is_verified, str(ended)
    assert tells_the_truth(ended, machine.id).vm_state == "shelved_offloaded"
    assert made_by_jetrun(lab, machine) == []
    assert stolen.login().status_code in {401, 404}, (
        "what was stolen ends with the run; Keystone knows nothing of it any more"
    )


class Stolen:
    """What somebody who has become root on the instance can take from there."""

    def __init__(self, desk: Desk) -> None:
        self.kept = json.loads(as_root(desk, "cat /var/lib/jetrun/shelve.json"))
        assert as_root(desk, "stat -c %a:%U /var/lib/jetrun/shelve.json").strip() == "600:root"

    def login(self) -> requests.Response:
        """Keystone's answer."""
        key = {"id": self.kept["id"], "secret": self.kept["secret"]}
        login = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": key}}}
        return requests.post(f"{self.kept['auth_url']}/auth/tokens", json=login, timeout=30)

    def can_act_on_this_instance_alone(self, lab: Any, machine: Machine) -> None:
        """The price, as docs/decisions/0007 states it: rules look at the path, and every action has the same one."""
        token = {"X-Auth-Token": self.login().headers["X-Subject-Token"]}
        one = f"{place.NOVA}/servers/{machine.id}"

        def status(method: str, url: str, **more: Any) -> int:
            return requests.request(method, url, headers=token, timeout=30, **more).status_code

        user = f"{place.KEYSTONE}/users/{lab.current_user_id}"
        refused = [
            status("GET", f"{place.NOVA}/servers"),
            status("GET", f"{place.NOVA}/servers/detail"),
            status("DELETE", one),
            status("POST", f"{one}/metadata", json={"metadata": {"a": "b"}}),
            status("POST", f"{place.NOVA}/servers/00000000-0000-4000-8000-000000000000/action", json={"os-stop": None}),
            status("GET", f"{place.GLANCE}/v2/images"),
            status("GET", f"{place.NEUTRON}/v2.0/ports"),
        ]
        assert refused == [401] * len(refused)
        wish = {"application_credential": {"name": "wider", "unrestricted": True}}
        assert status("POST", f"{user}/application_credentials", json=wish) in {401, 403}
        assert status("GET", one) == 200
        # Of the actions, two that leave no trace; forceDelete was accepted as well (docs/decisions/0007).
        assert [status("POST", f"{one}/action", json={action: None}) for action in ("lock", "unlock")] == [202, 202]
