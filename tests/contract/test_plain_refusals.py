"""What Nova and the others refuse before any instance is touched, word for word, on the model, over HTTP and on a real cloud."""

from __future__ import annotations

import re
from typing import Any

import pytest
from plain_subjects import PlainSubject

NOBODY = "00000000-0000-4000-8000-000000000000"
FIELD = "400 Invalid input for field/attribute {}. Value: "


def wish(plain: PlainSubject, **more: Any) -> dict[str, Any]:
    things = plain.things
    body = {
        "name": "contract",
        "imageRef": things["image"],
        "flavorRef": things["flavor_small"],
        "networks": [{"uuid": things["network"]}],
    }
    return {"server": body | more}


def told(plain: PlainSubject, service: str, method: str, path: str, body: Any = None, **more: Any) -> str:
    return plain.cloud.call(service, method, path, body, **more).told(NOBODY=NOBODY)


# --- creates ---

CREATES: list[tuple[str, dict[str, Any], str]] = [
    ("a flavor that is not there", {"flavorRef": "nope"}, r"400 Flavor nope could not be found\."),
    ("an image that is not there", {"imageRef": NOBODY}, "400 Can not find requested image"),
    ("an image that is no id", {"imageRef": "nope"}, FIELD.format("imageRef") + "nope. .*not valid under any.*"),
    ("a key that is not there", {"key_name": "nope"}, r"400 Invalid key_name provided\."),
    ("a port that is not there", {"networks": [{"port": NOBODY}]}, r"400 Port id NOBODY could not be found\."),
    ("a network that is not there", {"networks": [{"uuid": NOBODY}]}, r"400 Network NOBODY could not be found\."),
    ("a network that is no id", {"networks": [{"uuid": "nope"}]}, FIELD.format("networks") + ".*not valid under any.*"),
    ("a port twice", {"networks": [{"port": NOBODY}] * 2},
     "400 Port ID 'NOBODY' was specified twice: you cannot attach a port multiple times."),
    ("a group that is not there", {"security_groups": [{"name": "nope"}]},
     "400 Unable to find security_group with name or id 'nope'"),
    ("no name", {"name": ""}, FIELD.format("name") + r"\. '' is too short"),
    ("a name of 256", {"name": "x" * 256}, FIELD.format("name") + "x{256}. 'x{256}' is too long"),
    ("a value of 256", {"metadata": {"k": "v" * 256}}, FIELD.format("k") + "v{256}. 'v{256}' is too long"),
    ("a value that is a number", {"metadata": {"k": 1}}, FIELD.format("k") + "1. 1 is not of type 'string'"),
    ("a key of 256", {"metadata": {"k" * 256: "v"}}, FIELD.format("metadata") + ".* does not match any of the regexes: .*"),
    ("a tag with a comma", {"tags": ["a,b"]}, FIELD.format("0") + r"a,b. 'a,b' does not match '\^\[\^,/\]\*\$'"),
    ("a tag with a slash", {"tags": ["a/b"]}, FIELD.format("0") + r"a/b. 'a/b' does not match '\^\[\^,/\]\*\$'"),
    ("a tag of 61", {"tags": ["x" * 61]}, FIELD.format("0") + "x{61}. 'x{61}' is too long"),
    ("user data of 65536", {"user_data": "QUFB" * 16384}, FIELD.format("user_data") + "(QUFB)+. .*is too long"),
    ("a field that is none", {"nope": 1}, FIELD.format("server") + ".*'nope' was unexpected.*"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "words"), [row[1:] for row in CREATES], ids=[row[0] for row in CREATES])
def test_a_create_is_refused(plain: PlainSubject, more: dict[str, Any], words: str) -> None:
    reply = plain.cloud.call("compute", "POST", "/servers", wish(plain, **more))
    assert re.fullmatch(words, reply.told(NOBODY=NOBODY)), reply
    assert reply.form == "badRequest(code,message)"


def test_a_create_of_nothing_is_refused(plain: PlainSubject) -> None:
    assert told(plain, "compute", "POST", "/servers", {}) == "400 'server' is a required property"
    words = "400 Invalid input for field/attribute server. Value: {}. 'name' is a required property"
    assert told(plain, "compute", "POST", "/servers", {"server": {}}) == words


def test_a_create_beyond_the_quota_is_refused_with_the_figures(plain: PlainSubject) -> None:
    try:
        plain.quota(cores=0)
        cores = plain.cloud.call("compute", "POST", "/servers", wish(plain))
        plain.quota(cores=20, instances=0)
        instances = plain.cloud.call("compute", "POST", "/servers", wish(plain))
    finally:
        plain.quota(cores=20, instances=10)
    assert cores.form == "forbidden(code,message)"
    pattern = r"403 Quota exceeded for {0}: Requested {1}, but already used \d+ of 0 {0}"
    assert re.fullmatch(pattern.format("cores", 2), cores.told())
    assert re.fullmatch(pattern.format("instances", 1), instances.told())


# --- instances that never were ---


@pytest.mark.parametrize("path", ["", "/metadata", "/os-instance-actions"])
def test_what_never_was_is_not_found(plain: PlainSubject, path: str) -> None:
    words = "404 Instance NOBODY could not be found."
    assert told(plain, "compute", "GET", f"/servers/{NOBODY}{path}") == words
    assert told(plain, "compute", "DELETE", f"/servers/{NOBODY}") == words


def test_start_stop_and_tags_look_for_its_cell_first(plain: PlainSubject) -> None:
    words = "404 Instance NOBODY has no mapping to a cell."
    for action in ("os-start", "os-stop"):
        assert told(plain, "compute", "POST", f"/servers/{NOBODY}/action", {action: None}) == words
    for action in ("shelve", "unshelve", "suspend", "resume", "pause", "lock", "shelveOffload"):
        reply = told(plain, "compute", "POST", f"/servers/{NOBODY}/action", {action: None})
        assert reply == "404 Instance NOBODY could not be found.", action
    assert told(plain, "compute", "GET", f"/servers/{NOBODY}/tags") == words
    assert told(plain, "compute", "PUT", f"/servers/{NOBODY}/tags/one") == words


# --- lists, versions, zones ---

LISTS = {
    "all_tenants=1": "403 Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed.",
    f"marker={NOBODY}": "400 marker [NOBODY] not found",
    "limit=x": "400 Invalid input for query parameters limit. Value: x. 'x' does not match '^[0-9]*$'",
    "name=(": "400 Invalid input for query parameters name. Value: (. '(' is not a 'regex'",
    "nonsense=1": "400 'nonsense' does not match any of the regexes: '^_'",
}


@pytest.mark.parametrize("query", LISTS)
def test_a_list_with_such_a_query_is_refused(plain: PlainSubject, query: str) -> None:
    assert told(plain, "compute", "GET", f"/servers/detail?{query}") == LISTS[query]


def test_a_microversion_that_nova_has_not_is_not_acceptable(plain: PlainSubject) -> None:
    reply = plain.cloud.call("compute", "GET", "/servers", headers={"OpenStack-API-Version": "compute 2.999"})
    words = r"406 Version 2\.999 is not supported by the API\. Minimum is 2\.1 and maximum is 2\.\d+\."
    assert re.fullmatch(words, reply.told())
    assert reply.form == "computeFault(code,message)"


def test_a_microversion_that_is_none_is_a_bad_request(plain: PlainSubject) -> None:
    sent = {"OpenStack-API-Version": "compute x"}
    words = "400 API Version String x is of invalid format. Must be of format MajorNum.MinorNum."
    assert told(plain, "compute", "GET", "/servers", headers=sent) == words


def test_zones_are_told_to_all_and_their_hosts_to_the_staff(plain: PlainSubject) -> None:
    zone = {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    assert plain.cloud.get("compute", "/os-availability-zone") == {"availabilityZoneInfo": [zone]}
    words = "403 Policy doesn't allow os_compute_api:os-availability-zone:detail to be performed."
    assert told(plain, "compute", "GET", "/os-availability-zone/detail") == words
    rows = plain.cloud.get("compute", "/os-availability-zone/detail", as_="staff")["availabilityZoneInfo"]
    (nova,) = [row for row in rows if row["zoneName"] == "nova"]
    (services,) = nova["hosts"].values()
    assert set(services["nova-compute"]) == {"available", "active", "updated_at"}


# --- who is nobody, and paths that are none ---

PATHS = {"compute": "/servers", "network": "/ports", "image": "/images", "identity": "/auth/projects"}
AUTHENTICATION = "401 The request you have made requires authentication."


@pytest.mark.parametrize("token", ["", "nonsense"])
@pytest.mark.parametrize("service", ["compute", "network", "identity"])
def test_who_is_nobody_is_told_so_in_keystones_form(plain: PlainSubject, service: str, token: str) -> None:
    """By the middleware before the service, at Nova and Neutron too."""
    reply = plain.cloud.call(service, "GET", PATHS[service], token=token)
    assert (reply.told(), reply.form) == (AUTHENTICATION, "error(code,message,title)")
    assert reply.body["error"]["title"] == "Unauthorized"
    assert reply.headers["www-authenticate"].startswith('Keystone uri="')


@pytest.mark.parametrize("token", ["", "nonsense"])
def test_glance_tells_it_in_a_form_of_its_own(plain: PlainSubject, token: str) -> None:
    reply = plain.cloud.call("image", "GET", "/images", token=token)
    assert (reply.status, reply.form) == (401, "code,message,title")
    assert reply.body["code"] == "401 Unauthorized"
    assert reply.message.startswith("This server could not verify that you are authorized to access the document")


NO_PATH = {
    "compute": ("code,message,title", "404 The resource could not be found.<br /><br />"),
    "network": ("NeutronError(detail,message,type)", "404 The resource could not be found."),
    "image": ("code,message,title", "404 The resource could not be found.<br /><br />"),
}


@pytest.mark.parametrize("service", NO_PATH)
def test_a_path_that_no_service_has_is_not_found(plain: PlainSubject, service: str) -> None:
    reply = plain.cloud.call(service, "GET", "/no-such-thing")
    assert (reply.form, reply.told()) == NO_PATH[service]


# --- images ---

IMAGES = [
    ("GET", f"/images/{NOBODY}", None, "404 No image found with ID NOBODY<br /><br />"),
    ("DELETE", f"/images/{NOBODY}", None, "404 Failed to find image NOBODY to delete<br /><br />"),
    ("GET", f"/images?marker={NOBODY}", None, "400 No image found with ID NOBODY<br /><br />"),
    ("GET", "/images?limit=x", None, "400 limit param must be an integer<br /><br />"),
    ("POST", "/images", {"name": "x", "visibility": "public"},
     "403 You are not authorized to complete publicize_image action.<br /><br />"),
    ("POST", "/images", {"status": "active"}, "403 Attribute 'status' is read-only.<br /><br />"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "words"), IMAGES)
def test_glance_refuses_in_its_own_form(plain: PlainSubject, method: str, path: str, body: Any, words: str) -> None:
    reply = plain.cloud.call("image", method, path, body)
    assert (reply.told(NOBODY=NOBODY), reply.form) == (words, "code,message,title")


def test_somebody_elses_image_cannot_be_deleted(plain: PlainSubject) -> None:
    assert (
        told(plain, "image", "DELETE", f"/images/{plain.things['image']}")
        == "403 You do not own this image<br /><br />"
    )
