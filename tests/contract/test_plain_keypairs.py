"""Key pairs: made, imported, refused and deleted, on the model, over HTTP and on a real Nova."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from plain_subjects import PUBLIC_KEY, PlainSubject

PAIRS = "/os-keypairs"
NAME = "contract key"


@pytest.fixture
def pair(plain: PlainSubject) -> Iterator[dict[str, str]]:
    """An imported key pair, deleted afterwards if it is still there."""
    wish = {"keypair": {"name": NAME, "public_key": PUBLIC_KEY, "type": "ssh"}}
    reply = plain.cloud.call("compute", "POST", PAIRS, wish)
    assert reply.status == 201, reply
    yield reply.body["keypair"]
    assert plain.cloud.call("compute", "DELETE", f"{PAIRS}/contract%20key").status in {204, 404}


def test_an_imported_key_is_told_with_its_fingerprint_and_no_private_half(
    plain: PlainSubject, pair: dict[str, str]
) -> None:
    assert pair == {
        "name": NAME,
        "type": "ssh",
        "public_key": PUBLIC_KEY,
        "fingerprint": "c5:5c:e7:0e:a5:93:7a:79:35:54:23:79:84:a1:ef:81",
        "user_id": plain.cloud.me()["user"]["id"],
    }
    found = plain.cloud.get("compute", f"{PAIRS}/contract%20key")["keypair"]
    assert found.items() >= pair.items()
    assert "private_key" not in found


def test_a_made_key_tells_its_private_half_once(plain: PlainSubject) -> None:
    reply = plain.cloud.call("compute", "POST", PAIRS, {"keypair": {"name": "contract-made", "type": "ssh"}})
    try:
        assert reply.status == 201
        assert "PRIVATE KEY-----" in reply.body["keypair"]["private_key"]
        assert reply.body["keypair"]["public_key"].startswith("ssh-")
        assert "private_key" not in plain.cloud.get("compute", f"{PAIRS}/contract-made")["keypair"]
    finally:
        assert plain.cloud.call("compute", "DELETE", f"{PAIRS}/contract-made").status == 204


def test_a_name_that_is_there_is_a_conflict(plain: PlainSubject, pair: dict[str, str]) -> None:
    again = plain.cloud.call("compute", "POST", PAIRS, {"keypair": {"name": NAME, "public_key": PUBLIC_KEY}})
    assert again.told() == "409 Key pair 'contract key' already exists."
    assert again.form == "conflictingRequest(code,message)"


@pytest.mark.parametrize("key", ["nonsense", "ssh-ed25519 !!!!", "ssh-ed25519 AAAA", ""])
def test_a_text_that_is_no_key_is_refused(plain: PlainSubject, key: str) -> None:
    reply = plain.cloud.call("compute", "POST", PAIRS, {"keypair": {"name": "contract-bad", "public_key": key}})
    assert reply.told() == "400 Keypair data is invalid: failed to generate fingerprint"


def test_a_name_has_letters_digits_spaces_dashes_and_underscores_only(plain: PlainSubject) -> None:
    reply = plain.cloud.call("compute", "POST", PAIRS, {"keypair": {"name": "a/b$", "public_key": PUBLIC_KEY}})
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    words = "400 An invalid 'name' value was provided. The name must be: Only expected characters: "
    assert reply.told() == f"{words}[_- {letters}]"
    nameless = plain.cloud.call("compute", "POST", PAIRS, {"keypair": {}})
    words = "400 Invalid input for field/attribute keypair. Value: {}. 'name' is a required property"
    assert nameless.told() == words


def test_a_deleted_key_is_not_found(plain: PlainSubject, pair: dict[str, str]) -> None:
    me = plain.cloud.me()["user"]["id"]
    assert plain.cloud.call("compute", "DELETE", f"{PAIRS}/contract%20key").status == 204
    for method in ("GET", "DELETE"):
        reply = plain.cloud.call("compute", method, f"{PAIRS}/contract%20key")
        assert reply.told(ME=me) == "404 Keypair contract key not found for user ME"


def test_a_key_belongs_to_its_user_and_not_to_the_project(plain: PlainSubject, pair: dict[str, str]) -> None:
    """A colleague cannot launch with it, and does not see it."""
    assert plain.cloud.call("compute", "GET", f"{PAIRS}/contract%20key", as_="colleague").status == 404
