"""Which cloud is meant, and every way in which its files can be wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from openstack.config import loader

from jetrun.cloud.credentials import CloudChoice, choose
from jetrun.errors import UsageError

AUTH = {
    "auth_url": "https://cloud.uni.edu:5000/v3",
    "username": "ada",
    "password": "hunter2",
    "project_name": "lab",
    "user_domain_name": "Default",
    "project_domain_name": "Default",
}
SECRET = {"application_credential_id": "1", "application_credential_secret": "hunter2"}
URL = {"auth_url": AUTH["auth_url"]}


class Desk:
    """A home, a folder to stand in, and an environment."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.here, self.home, self._patch = root / "here", root / "home", patch
        for one in (self.here, self.home):
            one.mkdir()
        for name in [name for name in os.environ if name.startswith("OS_")]:
            patch.delenv(name)
        patch.chdir(self.here)
        for kind in ("CONFIG", "SECURE"):
            name = {"CONFIG": "clouds", "SECURE": "secure"}[kind]
            patch.setattr(loader, f"{kind}_FILES", [str(one / f"{name}.yaml") for one in (self.here, self.home)])

    def write(self, clouds: Any, name: str = "clouds.yaml", *, folder: Path | None = None) -> Path:
        path = (folder or self.home) / name
        path.write_text(clouds if isinstance(clouds, str) else json.dumps({"clouds": clouds}))
        return path

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def choose(self, wanted: str | None = None) -> CloudChoice:
        return choose(wanted, os.environ)

    def refused(self, wanted: str | None = None) -> UsageError:
        with pytest.raises(UsageError) as caught:
            self.choose(wanted)
        assert "hunter2" not in caught.value.render()
        return caught.value


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def test_the_only_cloud_is_meant(desk: Desk) -> None:
    desk.write({"uni": {"auth": AUTH}})
    assert desk.choose().name == "uni"


def test_the_command_line_wins_over_the_environment(desk: Desk) -> None:
    desk.write({"uni": {"auth": AUTH}, "js2": {"auth": AUTH}, "lab": {"auth": AUTH}})
    desk.set(OS_CLOUD="js2", OS_AUTH_URL="https://x/v3", OS_USERNAME="u", OS_PASSWORD="p")
    assert desk.choose("lab").name == "lab"
    assert desk.choose().name == "js2"


def test_an_openrc_that_was_sourced_is_meant(desk: Desk) -> None:
    """As by the openstack command line; who sources one has just decided."""
    desk.write({"uni": {"auth": AUTH}})
    desk.set(
        **{
            f"OS_{key.upper()}": value
            for key, value in {**AUTH, "auth_url": "https://js2.jetstream-cloud.org:5000/v3"}.items()
        }
    )
    chosen = desk.choose()
    assert (chosen.name, chosen.profile.name) == ("envvars", "jetstream2")
    assert not chosen.can_be_reloaded, "another process, later, has no such environment"
    desk.set(OS_CLOUD="uni")
    assert desk.choose("envvars").region.config["auth"]["auth_url"].startswith("https://js2."), "asked for by name"
    assert desk.choose().name == "uni"


def test_several_clouds_are_a_question(desk: Desk) -> None:
    desk.write({"uni": {"auth": AUTH}, "js2": {"auth": AUTH}})
    error = desk.refused()
    assert (error.code, error.next) == ("which-cloud", "--os-cloud js2")


def test_an_unknown_cloud_has_a_nearest_name_and_a_file(desk: Desk) -> None:
    path = desk.write({"jetstream2": {"auth": AUTH}, "uni": {"auth": AUTH}})
    error = desk.refused("jetstraem2")
    assert (error.code, error.next) == ("unknown-cloud", "--os-cloud jetstream2")
    assert str(path) in error.what
    assert desk.refused("envvars").code == "unknown-cloud", "there are no OS_* variables"


def test_no_cloud_at_all_leads_to_the_first_step(desk: Desk) -> None:
    error = desk.refused()
    assert error.code == "no-cloud"
    assert "jetrun demo" in error.next


def test_the_secret_may_be_in_a_file_of_its_own(desk: Desk) -> None:
    desk.write({"uni": {"auth": {key: value for key, value in AUTH.items() if key != "password"}}})
    desk.write({"uni": {"auth": {"password": "hunter2"}}}, "secure.yaml")
    chosen = desk.choose()
    assert chosen.region.config["auth"]["password"] == "hunter2"
    assert chosen.can_be_reloaded


@pytest.mark.parametrize(
    ("entry", "kind", "reloads"),
    [
        ({"auth": AUTH}, "password", True),
        ({"auth_type": "v3applicationcredential", "auth": {**URL, **SECRET}}, "applicationcredential", True),
        ({"auth_type": "v3token", "auth": {**URL, "token": "t", "project_id": "p"}}, "token", False),
    ],
)
def test_what_a_later_process_can_log_in_with(desk: Desk, entry: Any, kind: str, *, reloads: bool) -> None:
    """A token ends by itself, and only a person gets a new one: refused for what runs later (DESIGN.md section 3)."""
    desk.write({"uni": entry})
    chosen = desk.choose()
    assert (chosen.auth_type, chosen.can_be_reloaded) == (kind, reloads)


def test_a_password_needs_no_discovery_where_user_and_project_are_clear(desk: Desk) -> None:
    """One request less, and Keystone's illness does not look like a wrong address."""
    desk.write({"uni": {"auth": AUTH}, "old": {"auth": {k: v for k, v in AUTH.items() if not k.startswith("project")}}})
    assert desk.choose("uni").region.config["auth_type"] == "v3password"
    assert desk.choose("old").region.config["auth_type"] == "password"


def test_openstacksdk_never_repeats_a_request(desk: Desk) -> None:
    desk.write({"uni": {"auth": AUTH, "connect_retries": 5, "status_code_retries": 5}})
    config = desk.choose().region.config
    assert (config["connect_retries"], config["status_code_retries"]) == (0, 0)


@pytest.mark.parametrize("key", ["project_id", "project_name", "tenant_name"])
def test_a_project_beside_an_application_credential_is_refused_before_keystone_does(desk: Desk, key: str) -> None:
    """Keystone says 401 'cannot request a scope', which helps nobody; leftovers of another openrc are the usual cause."""
    desk.write({"uni": {"auth_type": "v3applicationcredential", "auth": {**URL, **SECRET, key: "lab"}}})
    error = desk.refused()
    assert error.code == "credential-and-project"
    assert "clouds.yaml" in error.what


def test_a_project_left_over_in_the_environment_has_a_command_to_remove_it(desk: Desk) -> None:
    desk.set(
        OS_AUTH_TYPE="v3applicationcredential",
        OS_AUTH_URL="https://cloud.uni.edu:5000/v3",
        OS_APPLICATION_CREDENTIAL_ID="1",
        OS_APPLICATION_CREDENTIAL_SECRET="hunter2",
        OS_PROJECT_NAME="lab",
    )
    assert desk.refused().next.startswith("unset OS_PROJECT_ID OS_PROJECT_NAME ")


def test_a_file_with_a_mistake_is_named_with_its_line(desk: Desk) -> None:
    """openstacksdk passes it over and takes the next file: another cloud, or none."""
    desk.write({"uni": {"auth": AUTH}})
    broken = desk.write("clouds:\n  uni:\n    auth:\n      password: hunter2: x\n", folder=desk.here)
    error = desk.refused()
    assert error.code == "cloud-config-unreadable"
    assert f"{broken} is no YAML: line 4" in error.what


def test_a_broken_file_of_secrets_is_named(desk: Desk) -> None:
    desk.write({"uni": {"auth": AUTH}})
    broken = desk.write("clouds: [hunter2", "secure.yaml")
    assert str(broken) in desk.refused().what


@pytest.mark.parametrize(
    "text",
    ["", "- a\n", "hunter2\n", "clouds:\n- uni\n", "clouds:\n  uni: hunter2\n", "clouds:\n  uni:\n    auth: 7\n"],
)
def test_a_file_of_an_odd_shape_is_an_error_and_no_accident(desk: Desk, text: str) -> None:
    desk.write(text)
    assert desk.refused("uni").code in {"cloud-config-unreadable", "unknown-cloud"}


def test_a_file_that_the_environment_names_must_be_there(desk: Desk) -> None:
    """Or the run would go to the cloud of some other file."""
    desk.write({"uni": {"auth": AUTH}})
    desk.set(OS_CLIENT_CONFIG_FILE=str(desk.here / "gone.yaml"))
    error = desk.refused()
    assert (error.code, error.next) == ("cloud-config-missing", "unset OS_CLIENT_CONFIG_FILE")


def test_a_file_in_this_folder_that_hides_the_users_own_is_said(desk: Desk) -> None:
    desk.write({"uni": {"auth": AUTH}})
    assert desk.choose().warnings == ()
    here = desk.write({"theirs": {"auth": AUTH}}, folder=desk.here)
    chosen = desk.choose()
    assert chosen.name == "theirs"
    assert chosen.warnings == (f"{here} in this folder hides {desk.home / 'clouds.yaml'}",)


def test_a_missing_option_is_named(desk: Desk) -> None:
    desk.write({"uni": {"auth": {key: value for key, value in AUTH.items() if key != "auth_url"}}})
    error = desk.refused()
    assert error.code == "cloud-config-unreadable"
    assert "auth_url" in error.what


def test_a_missing_certificate_is_named(desk: Desk) -> None:
    """requests notices at the first call, as an error of the operating system."""
    desk.write({"uni": {"auth": AUTH, "cacert": "/nowhere/ca.pem"}})
    error = desk.refused()
    assert error.code == "cloud-certificate-missing"
    assert "/nowhere/ca.pem" in error.what


def test_a_mistake_under_jetrun_is_named_with_its_cloud(desk: Desk) -> None:
    path = desk.write({"uni": {"auth": AUTH, "jetrun": {"shelved_is_down": "false"}}})
    error = desk.refused()
    assert error.code == "cloud-profile-wrong"
    assert f"{path}: uni: jetrun: shelved_is_down" in error.what


def test_numbers_and_dashes_under_jetrun_are_as_they_are_written(desk: Desk) -> None:
    """openstacksdk's loader makes texts of numbers, and underscores of dashes in keys."""
    own = {"bounds": {"shelve_s": 1800, "verify_gap_s": 7.5}, "rates": {"c-gpu": 2}, "ssh_port": 2200}
    desk.write({"uni": {"auth": AUTH, "jetrun": own}})
    profile = desk.choose().profile
    assert (profile.bounds.shelve_s, profile.bounds.verify_gap_s, profile.ssh_port) == (1800.0, 7.5, 2200)
    assert profile.rate_per_hour("c-gpu.big", 4, "ACTIVE") == 8.0
