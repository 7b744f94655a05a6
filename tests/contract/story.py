"""The life of one instance in every state that jetrun meets, lived once a subject, with everything the cloud said on the way.

The tests read from it. On a real cloud it takes a minute and a half.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from plain_cloud import Reply
from plain_subjects import PlainSubject

LOOKS = 100
STEPS = 4000
"""Looks at an instance until it must have settled: minutes on a real cloud."""

BATTERY: dict[str, tuple[str, Any]] = {
    "start": ("os-start", None),
    "stop": ("os-stop", None),
    "shelve": ("shelve", None),
    "unshelve": ("unshelve", None),
    "suspend": ("suspend", None),
    "resume": ("resume", None),
    "pause": ("pause", None),
    "unpause": ("unpause", None),
    "reboot": ("reboot", {"type": "SOFT"}),
    "hard reboot": ("reboot", {"type": "HARD"}),
    "createImage": ("createImage", {"name": "contract-snapshot"}),
    "shelveOffload": ("shelveOffload", None),
    "resetState": ("os-resetState", {"state": "active"}),
    "nonsense": ("nonsense", None),
}
"""What is asked in every state, but what that state accepts: its name here, the API's word, the argument."""

LABELS: dict[str, tuple[str, str, Any]] = {
    "write metadata": ("POST", "/metadata", {"metadata": {"a": "b"}}),
    "write one": ("PUT", "/metadata/c", {"meta": {"c": "d"}}),
    "remove one": ("DELETE", "/metadata/kept", None),
    "remove what is not there": ("DELETE", "/metadata/nothing", None),
    "add a tag": ("PUT", "/tags/new", None),
    "add it again": ("PUT", "/tags/new", None),
    "remove it": ("DELETE", "/tags/new", None),
    "remove it again": ("DELETE", "/tags/new", None),
    "replace all tags": ("PUT", "/tags", {"tags": ["first"]}),
    "remove all tags": ("DELETE", "/tags", None),
}
"""What people write on an instance, in this order."""

PORT = "contract"


@dataclass(kw_only=True)
class State:
    """What the cloud said in one state.

    Attributes:
        refused: status and words of each action asked. labels: the same of each write. console: the same.
        port: (revision before, status of a conditional write, status of a stale one, revision after).
        row: the instance as it was shown.
    """

    refused: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    console: str = ""
    port: tuple[int, int, str, int] = (0, 0, "", 0)
    row: dict[str, Any] = field(default_factory=dict)
    floating: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Passage:
    """One action that was accepted.

    Attributes:
        during: status and words of what was asked while it went on. seen: the states from the answer to the end.
        entry: of the action log, as it is read by its request id.
    """

    reply: Reply
    during: dict[str, str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    entry: dict[str, Any] = field(default_factory=dict)


class Story:
    """One instance and what is known of it.

    Args:
        flavor: the id of its flavor. networks: as in a create.
    """

    def __init__(self, subject: PlainSubject, *, flavor: str, port: str = "") -> None:
        self.subject = subject
        self.cloud = subject.cloud
        self.port = port
        self.floating = ""
        self.states: dict[str, State] = {}
        self.passages: dict[str, Passage] = {}
        body = {
            "name": "contract",
            "imageRef": subject.things["image"],
            "flavorRef": flavor,
            "networks": [{"port": port} if port else {"uuid": subject.things["network"]}],
            "metadata": {"kept": "1"},
            "tags": ["first"],
        }
        reply = self.cloud.call("compute", "POST", "/servers", {"server": body})
        assert reply.status == 202, reply
        self.key = str(reply.body["server"]["id"])
        self.passages["create"] = Passage(reply=reply, seen=[self.written()])

    # --- looking ---

    def told(self, reply: Reply) -> str:
        """Status and words, with the instance's id as I."""
        return reply.told(I=self.key)

    def written(self) -> str:
        """status/vm_state/task_state/power_state, or 404."""
        reply = self.cloud.call("compute", "GET", f"/servers/{self.key}")
        if reply.status == 404:
            return "404"
        row = reply.body["server"]
        words = (row["status"], row["OS-EXT-STS:vm_state"], row["OS-EXT-STS:task_state"], row["OS-EXT-STS:power_state"])
        return "/".join(str(one) if one is not None else "-" for one in words)

    def watch(self, passage: Passage) -> None:
        """Every different state until none is on its way to another."""
        for _ in range(STEPS):
            now = self.written()
            if not passage.seen or passage.seen[-1] != now:
                passage.seen.append(now)
            if now == "404" or ("/-/" in now and not now.startswith(("BUILD", "DELETED"))):
                return
            self.cloud.wait()
        raise AssertionError(f"it does not settle: {passage.seen}")

    def ask(self, *names: str) -> dict[str, str]:
        """What the cloud says to these actions."""
        return {name: self.told(self.cloud.act(self.key, *BATTERY[name])) for name in names}

    def look(self, name: str, *accepts: str) -> State:
        """Ask everything that this state does not accept, write everything, and read the console."""
        state = State(refused=self.ask(*(one for one in BATTERY if one not in accepts)))
        for label, (method, path, body) in LABELS.items():
            reply = self.cloud.call("compute", method, f"/servers/{self.key}{path}", body)
            state.labels[label] = str(reply.status) if reply.status < 300 else self.told(reply)
        self.restore(state)
        console = self.cloud.act(self.key, "os-getConsoleOutput", {"length": 5})
        state.console = "200" if console.status == 200 else self.told(console)
        state.row = (self.cloud.call("compute", "GET", f"/servers/{self.key}").body or {}).get("server", {})
        if self.port:
            state.port = self.write_port(name)
        if self.floating:
            state.floating = self.cloud.get("network", f"/floatingips/{self.floating}")["floatingip"]
        self.states[name] = state
        return state

    def restore(self, state: State) -> None:
        """What was removed is put back where it was."""
        if state.labels["remove one"] == "204":
            self.cloud.call("compute", "POST", f"/servers/{self.key}/metadata", {"metadata": {"kept": "1"}})

    def write_port(self, text: str) -> tuple[int, int, str, int]:
        """A conditional write, and one with the revision from before it; the agents of a real cloud may write between."""
        path = f"/ports/{self.port}"
        for _ in range(5):
            before = self.cloud.get("network", path)["port"]["revision_number"]
            match = {"If-Match": f"revision_number={before}"}
            body = {"port": {"description": text}}
            first = self.cloud.call("network", "PUT", path, body, headers=match)
            if first.status == 200:
                break
        stale = self.cloud.call("network", "PUT", path, {"port": {"description": "stale"}}, headers=match)
        after = self.cloud.get("network", path)["port"]
        assert after["description"] == text
        words = re.sub(rf"\b{before}\b", "N", stale.told())
        words = re.sub(r"revision is \d+$", "revision is M", words)
        return before, first.status, words, after["revision_number"]

    # --- acting ---

    @contextmanager
    def passing(self, name: str) -> Iterator[Passage]:
        """An action that must be accepted; what is done inside happens while it goes on."""
        word, argument = {**BATTERY, "lock": ("lock", {"locked_reason": "why"}), "unlock": ("unlock", None)}[
            name.partition(" of ")[0]
        ]
        passage = Passage(reply=self.cloud.act(self.key, word, argument))
        assert passage.reply.status == 202, (name, self.told(passage.reply))
        yield passage
        self.watch(passage)
        self.passages[name] = passage
        passage.entry = self.entry(passage.reply.request_id)

    def go(self, name: str, *during: str) -> Passage:
        """An action, and others asked while it goes on."""
        with self.passing(name) as passage:
            passage.seen.append(self.written())
            passage.during = self.ask(*during)
        return passage

    def entry(self, request: str) -> dict[str, Any]:
        """The action log's entry of a request, once its last event has ended: Nova writes that a moment after the state."""
        path = f"/servers/{self.key}/os-instance-actions/{request}"
        for _ in range(LOOKS):
            entry = dict(self.cloud.get("compute", path)["instanceAction"])
            if all(one["finish_time"] for one in entry["events"]):
                break
            self.cloud.wait()
        return entry

    def log(self) -> list[dict[str, Any]]:
        """The action log, newest first."""
        return list(self.cloud.get("compute", f"/servers/{self.key}/os-instance-actions")["instanceActions"])

    def delete(self) -> Passage:
        """Delete it, and look until it is gone."""
        reply = self.cloud.call("compute", "DELETE", f"/servers/{self.key}")
        assert reply.status == 204, self.told(reply)
        passage = Passage(reply=reply)
        self.watch(passage)
        self.passages["delete"] = passage
        return passage
