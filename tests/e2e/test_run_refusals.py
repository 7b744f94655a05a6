"""What a run refuses, with the real command line: exit 2 (or the documented code), what/state/next, no instance touched (A6).

Mistakes in job files by themselves are in tests/unit/test_job_mistakes.py; here are those that need a cloud or a disk.
"""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import Desk, Ended

from jetrun.devcloud.client import Running


@pytest.fixture
def desk(cloud: Running, tmp_path: Path) -> Desk:
    return Desk(cloud=cloud, folder=tmp_path)


def actions(desk: Desk) -> list[Any]:
    return [row["actions"] for row in desk.cloud.truth()["instances"]]


def refused(desk: Desk, *words: str, code: int = 2) -> Ended:
    """The command line is refused, and nothing in the cloud has changed."""
    before = actions(desk)
    ended = desk.jetrun("run", *words, "--json")
    assert ended.code == code, (ended.code, ended.err)
    error = ended.document["error"]
    assert error["what"]
    assert error["state"]
    assert error["next"]
    assert ended.document["script"] is None
    assert actions(desk) == before
    return ended


def test_an_unknown_instance_is_answered_with_the_nearest(desk: Desk) -> None:
    """A slip of the finger."""
    error = refused(desk, str(desk.script("true\n")), "--on", "my-instanse").document["error"]
    assert error["code"] == "unknown-instance"
    assert "my-instance" in error["next"]


def test_an_ambiguous_name_lists_the_candidates(desk: Desk) -> None:
    """By id only, then."""
    ids = [desk.instance("twin"), desk.instance("twin")]
    error = refused(desk, str(desk.script("true\n")), "--on", "twin").document["error"]
    assert error["code"] == "ambiguous-instance"
    assert all(one in error["what"] for one in ids)


def test_another_projects_instance_does_not_exist_for_us(desk: Desk) -> None:
    """Isolation is the cloud's; the message is ours."""
    key = desk.instance("eves", user="eve")
    assert refused(desk, str(desk.script("true\n")), "--on", key).document["error"]["code"] == "unknown-instance"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--image", "devcloud-linuks", "--flavor", "m3.tiny"], "unknown-name"),
        (["--image", "devcloud-linux", "--flavor", "m3.tny"], "unknown-name"),
        (["--on", "my-instance", "--os-cloud", "devclud"], "unknown-cloud"),
        (["--on", "my-instance", "--disposition", "delete"], "job-invalid"),
        (["--on", "my-instance", "--timeout", "-2h"], "job-invalid"),
        (["--on", "my-instance", "--timeout", "20h"], "lifetime-too-short"),
        (["--on", "my-instance", "--max-lifetime", "unlimited"], "job-invalid"),
        (["--on", "my-instance", "--email", "me at uni"], "job-invalid"),
        (["--on", "my-instance", "-o", "../out"], "job-invalid"),
        (["--on", "my-instance", "-i", "no-such-input"], "file-missing"),
        (["--on", "my-instance", "--ssh-key", "no-such-key"], "file-missing"),
        (["--on", "my-instance", "--env", "NOVALUE"], "env-wrong"),
        (["--on", "my-instance", "--no-such-flag"], "usage"),
        ([], "job-invalid"),
    ],
)
def test_wrong_words_on_the_command_line(desk: Desk, words: list[str], code: str) -> None:
    """Each with the line to type instead."""
    before = actions(desk)
    ended = desk.jetrun("run", str(desk.script("true\n")), *words, "--json")
    assert ended.code == 2, ended.err
    assert f"error: {code}" in ended.err or ended.document["error"]["code"] == code, ended.err
    assert "next:" in ended.err or ended.document["error"]["next"]
    assert actions(desk) == before


def configured(desk: Desk, **auth: Any) -> None:
    """A clouds.yaml of the desk's own, with another way to log in."""
    entry = yaml.safe_load(desk.cloud.clouds.read_text())["clouds"]["devcloud"]
    kind = auth.pop("auth_type", None)
    url = auth.pop("auth_url", entry["auth"]["auth_url"])
    entry["auth"] = {"auth_url": url, **auth} if kind else {**entry["auth"], "auth_url": url, **auth}
    if kind:
        entry["auth_type"] = kind
    (desk.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"devcloud": entry}}))
    desk.extra["OS_CLIENT_CONFIG_FILE"] = str(desk.folder / "clouds.yaml")


def test_a_wrong_password_is_said_in_plain_words(desk: Desk) -> None:
    """And not repeated in the message."""
    configured(desk, password="not-the-password")
    ended = refused(desk, str(desk.script("true\n")), "--on", "my-instance")
    assert ended.document["error"]["code"] == "credential-refused"
    assert "not-the-password" not in ended.err + ended.out


def test_a_cloud_that_does_not_answer_is_said(desk: Desk) -> None:
    """Nothing listens there."""
    configured(desk, auth_url="http://127.0.0.1:9/identity/v3")
    ended = refused(desk, str(desk.script("true\n")), "--on", "my-instance")
    assert ended.document["error"]["code"] == "cloud-not-answering"


def credential(desk: Desk, expires_at: datetime | None) -> dict[str, str]:
    """A new application credential of ada's."""

    def call(method: str, path: str, body: Any, token: str = "") -> tuple[Any, Any]:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{desk.cloud.url}/identity/v3{path}",
            method=method,
            data=json.dumps(body).encode(),
            headers={"X-Auth-Token": token, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read()), answer.headers

    auth = yaml.safe_load(desk.cloud.clouds.read_text())["clouds"]["devcloud"]["auth"]
    user = {"name": auth["username"], "password": auth["password"], "domain": {"name": "Default"}}
    scope = {"project": {"name": auth["project_name"], "domain": {"name": "Default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    answer, headers = call("POST", "/auth/tokens", body)
    wish = {
        "name": f"c-{datetime.now(UTC).timestamp()}",
        "expires_at": expires_at and expires_at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
    }
    key = answer["token"]["user"]["id"]
    made, _ = call(
        "POST", f"/users/{key}/application_credentials", {"application_credential": wish}, headers["X-Subject-Token"]
    )
    row = made["application_credential"]
    return {"application_credential_id": row["id"], "application_credential_secret": row["secret"]}


def test_a_credential_that_ends_before_the_deadline_is_refused(desk: Desk) -> None:
    """The instance could not be brought down after it ended."""
    soon = credential(desk, datetime.now(UTC) + timedelta(hours=2))
    configured(desk, auth_type="v3applicationcredential", **soon)
    words = (str(desk.script("true\n")), "--on", "my-instance")
    assert refused(desk, *words).document["error"]["code"] == "credential-ends-too-soon"
    ended = desk.jetrun("run", *words, "--max-lifetime", "100m", "--json")
    assert ended.code == 0, ended.err


def test_an_expired_credential_is_refused(desk: Desk) -> None:
    """Horizon's form sets today where it is left blank."""
    gone = credential(desk, datetime.now(UTC) + timedelta(seconds=0.5))
    configured(desk, auth_type="v3applicationcredential", **gone)
    desk.cloud.do("skew", seconds=30)
    try:
        error = refused(desk, str(desk.script("true\n")), "--on", "my-instance").document["error"]
    finally:
        desk.cloud.do("skew", seconds=0)
    assert error["code"] == "credential-refused"


def test_a_secret_of_the_wrong_credential_is_never_shown(desk: Desk) -> None:
    """Invariant 9."""
    own = credential(desk, None) | {"application_credential_secret": "a-secret-nobody-should-see"}
    configured(desk, auth_type="v3applicationcredential", **own)
    ended = refused(desk, str(desk.script("true\n")), "--on", "my-instance")
    assert "nobody-should-see" not in ended.err + ended.out


def test_clocks_that_are_apart_are_refused(desk: Desk) -> None:
    """Deadlines would be wrong; 120."""
    desk.cloud.do("skew", seconds=120)
    try:
        error = refused(desk, str(desk.script("true\n")), "--on", "my-instance", code=120).document["error"]
    finally:
        desk.cloud.do("skew", seconds=0)
    assert error["code"] == "clock-skew"


def test_a_locked_instance_is_refused_and_says_how_to_unlock(desk: Desk) -> None:
    """120; nothing was sent."""
    key = desk.instance("locked-one")
    desk.cloud.do("lock", user="admin", instance=key)
    error = refused(desk, str(desk.script("true\n")), "--on", key, code=120).document["error"]
    assert error["code"] == "locked"
    assert "server unlock" in error["next"]


def test_no_root_for_the_switch_is_refused_and_the_instance_is_brought_down(desk: Desk) -> None:
    """Exit 2 with the sudoers line; it had to be started to know, so it is ended and proven down."""
    key = desk.instance("no-sudo")
    desk.cloud.do("refuse-sudo", instance=key)
    ended = desk.run(desk.script("true\n"), on=key)
    assert ended.code == 2, ended.err
    assert ended.document["error"]["code"] == "no-root-for-the-switch"
    assert "NOPASSWD" in ended.document["error"]["next"]
    assert ended.document["receipt"]["verified"]
    assert desk.is_down(key)
    without = desk.run(desk.script("true\n"), "--no-deadman", on=key)
    assert without.code == 0, without.err
