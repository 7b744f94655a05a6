"""openrc files and clouds.yaml as users have them, against a real Keystone: what works, and each trap with the line to change."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from desk import Desk, Ended
from lab import place

PASSWORD_RC = f"""#!/usr/bin/env bash
# To use an OpenStack cloud you need to authenticate against the Identity service.
export OS_AUTH_URL={place.KEYSTONE}
export OS_PROJECT_NAME="lab"
export OS_USER_DOMAIN_NAME="Default"
if [ -z "$OS_USER_DOMAIN_NAME" ]; then unset OS_USER_DOMAIN_NAME; fi
export OS_PROJECT_DOMAIN_NAME="Default"
if [ -z "$OS_PROJECT_DOMAIN_NAME" ]; then unset OS_PROJECT_DOMAIN_NAME; fi
unset OS_TENANT_ID
unset OS_TENANT_NAME
export OS_USERNAME="lab"
echo "Please enter your OpenStack Password for project $OS_PROJECT_NAME as user $OS_USERNAME: "
read -sr OS_PASSWORD_INPUT
export OS_PASSWORD=$OS_PASSWORD_INPUT
export OS_REGION_NAME="RegionOne"
if [ -z "$OS_REGION_NAME" ]; then unset OS_REGION_NAME; fi
export OS_INTERFACE=public
export OS_IDENTITY_API_VERSION=3
"""

CREDENTIAL_RC = f"""#!/usr/bin/env bash
export OS_AUTH_TYPE=v3applicationcredential
export OS_AUTH_URL={place.KEYSTONE}
export OS_IDENTITY_API_VERSION=3
export OS_REGION_NAME="RegionOne"
export OS_INTERFACE=public
export OS_APPLICATION_CREDENTIAL_ID=@ID@
export OS_APPLICATION_CREDENTIAL_SECRET=@SECRET@
"""


@pytest.fixture
def credential(lab: Any, tmp_path: Path) -> Iterator[Any]:
    """An application credential of the researcher's."""
    user = lab.current_user_id
    made = lab.identity.create_application_credential(user, name=tmp_path.name)
    yield made
    lab.identity.delete_application_credential(user, made, ignore_missing=True)


def written(desk: Desk, text: str, name: str = "my-openrc.sh") -> Path:
    path = desk.folder / name
    path.write_text(text)
    return path


def of(credential: Any) -> str:
    return CREDENTIAL_RC.replace("@ID@", credential.id).replace("@SECRET@", credential.secret)


def doctor(desk: Desk, path: Path, *, environ: dict[str, str] | None = None, typed: str | None = None) -> Ended:
    """``jetrun doctor`` with an openrc, at a terminal where there is something to type."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "jetrun", "doctor", "--openrc", str(path), "--json"]
    stdin = subprocess.DEVNULL if typed is None else theirs
    # The terminal is the process's own: getpass asks at /dev/tty.
    with subprocess.Popen(
        ["setsid", "--ctty", *words] if typed is not None else words, cwd=desk.folder, env={**desk.environ, **(environ or {})},
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):
            # What is typed before the question is asked is thrown away: the terminal is read first.
            while typed is not None and b"password of" not in shown:
                shown += os.read(ours, 4096)
            if typed is not None:
                os.write(ours, f"{typed}\n".encode())
                while piece := os.read(ours, 4096):
                    shown += piece
        out, err = process.communicate(timeout=60)
    os.close(ours)
    return Ended(code=process.returncode, out=out.decode(), err=err.decode() + shown.decode(), took_s=0)


def clouds(desk: Desk, *words: str) -> Ended:
    return desk.jetrun("clouds", "--json", *words)


def test_a_password_typed_once_opens_the_project_that_the_openrc_names(desk: Desk) -> None:
    ended = doctor(desk, written(desk, PASSWORD_RC), typed=place.PASSWORD)
    assert "password of lab for lab" in ended.err
    assert ended.err.count("password of") == 1
    assert place.PASSWORD not in ended.err + ended.out
    assert ended.code == 0, str(ended)
    assert "lab on project lab" in ended.out, str(ended)


def test_a_wrong_password_is_told_as_one(desk: Desk) -> None:
    ended = doctor(desk, written(desk, PASSWORD_RC), typed="no such word")
    assert ended.code != 0
    assert "password" in (ended.out + ended.err).lower()
    assert "no such word" not in ended.out + ended.err


def test_without_a_terminal_it_is_said_what_to_use_instead(desk: Desk) -> None:
    ended = doctor(desk, written(desk, PASSWORD_RC))
    assert ended.code == 1
    assert "application credential" in ended.err + ended.out


def test_an_application_credentials_openrc_works_among_leftovers_of_another(desk: Desk, credential: Any) -> None:
    """``OS_PROJECT_*`` beside an application credential is refused by Keystone; the file stands alone."""
    stray = {"OS_PROJECT_NAME": "other", "OS_PROJECT_ID": "f" * 32, "OS_USERNAME": "other"}
    ended = doctor(desk, written(desk, of(credential)), environ=stray)
    said = ended.out + ended.err
    assert "count for nothing" in said, str(ended)
    assert "refused" not in said, str(ended)
    assert credential.secret not in said


@pytest.mark.parametrize(
    ("change", "line", "word"),
    [
        (("@SECRET@", "pasted&amp;from"), 8, "HTML escape"),
        (("@SECRET@", "two words"), 8, "space"),
        (("@SECRET@", "dollar$sign"), 8, "dollar sign"),
        (("@SECRET@", "hash #tag"), 8, "#"),
        (("OS_REGION_NAME=", "OS_REGION_NAME ="), 5, "neither an assignment"),
    ],
)
def test_a_line_that_a_shell_would_read_otherwise_is_named(
    desk: Desk, credential: Any, change: tuple[str, str], line: int, word: str
) -> None:
    path = written(desk, of(credential).replace(credential.secret, "@SECRET@").replace(*change))
    ended = doctor(desk, path)
    assert ended.code == 1, str(ended)
    assert f"my-openrc.sh:{line}:" in ended.out, ended.out
    assert word in ended.out, ended.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("RegionOne", "RegionTwo"), ("'RegionTwo'", "my-openrc.sh:5: OS_REGION_NAME")),
        ((place.KEYSTONE, place.KEYSTONE.replace("http:", "https:")), ("https://", "my-openrc.sh:3: OS_AUTH_URL")),
        ((place.KEYSTONE, place.KEYSTONE.replace("5000", "5999")), (":5999", "my-openrc.sh:3: OS_AUTH_URL")),
        ((place.KEYSTONE, place.KEYSTONE.replace("/v3", "/v9")), ("/v9", "my-openrc.sh:3: OS_AUTH_URL")),
        (("_SECRET=", "_SECRET=wrong"), ("refuses the credential", "my-openrc.sh:8: OS_APPLICATION_CREDENTIAL_SECRET")),
        (("_ID=", "_ID=f"), ("my-openrc.sh",)),
    ],
)
def test_what_only_the_cloud_can_tell_is_told_in_its_words(
    desk: Desk, credential: Any, change: tuple[str, str], words: tuple[str, ...]
) -> None:
    ended = doctor(desk, written(desk, of(credential).replace(*change)))
    assert ended.code != 0, str(ended)
    said = ended.out + ended.err
    for word in words:
        assert word in said, said
    assert credential.secret not in said


def test_an_expired_credential_is_called_so_or_refused_as_such(desk: Desk, lab: Any, credential: Any) -> None:
    """Keystone tells no stranger why: an expired credential is refused like a wrong one, and the message says both."""
    user = lab.current_user_id
    soon = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%S")
    gone = lab.identity.create_application_credential(user, name=f"{credential.name}-gone", expires_at=soon)
    try:
        time.sleep(3)
        ended = doctor(desk, written(desk, of(gone)))
    finally:
        lab.identity.delete_application_credential(user, gone, ignore_missing=True)
    assert ended.code != 0
    assert "expired" in ended.out + ended.err, str(ended)


def test_clouds_tells_projects_apart_and_keeps_secrets_of_the_secure_file(desk: Desk, credential: Any) -> None:
    """Two users of one project, one of another, and an application credential whose secret stands in secure.yaml."""
    there = yaml.safe_load((place.STATE / "clouds.yaml").read_text())["clouds"]
    wanted = {name: there[name] for name in ("lab", "lab-bob", "lab-other")}
    auth = {"auth_url": place.KEYSTONE, "application_credential_id": credential.id}
    wanted["mine"] = {"auth_type": "v3applicationcredential", "auth": auth, "region_name": "RegionOne"}
    (desk.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": wanted}))
    secret = {"clouds": {"mine": {"auth": {"application_credential_secret": credential.secret}}}}
    (desk.folder / "secure.yaml").write_text(yaml.safe_dump(secret))
    ended = clouds(desk, "--check")
    assert ended.code == 0, str(ended)
    rows = {row["name"]: row for row in json.loads(ended.out)}
    assert set(rows) == set(wanted)
    assert {name: row["project"] for name, row in rows.items()} == {
        "lab": "lab", "lab-bob": "lab", "lab-other": "other", "mine": "lab",
    }  # fmt: skip
    assert credential.secret not in ended.out + ended.err
