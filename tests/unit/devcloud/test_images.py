"""Glance's model: who sees an image, who may delete it, and which images a query means."""

from __future__ import annotations

import json

import pytest
from model_lab import ADA, BOB, EVE, STAFF, Counter, Lab

from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.images import ImageModel


def test_an_image_is_seen_by_its_project_a_public_one_by_all(lab):
    mine = lab.images.register(ADA, {"name": "mine"}, lab.now)
    seen = {who.user_name: {row["name"] for row in lab.images.visible(who)} for who in (ADA, BOB, EVE, STAFF)}
    everything = {"devcloud-linux", "mine"}
    assert seen == {"ada": everything, "bob": everything, "eve": {"devcloud-linux"}, "admin": everything}
    with pytest.raises(ApiError, match=f"No image found with ID {mine['id']}") as error:
        lab.images.get(EVE, mine["id"])
    assert error.value.status == 404


def test_a_registered_image_waits_for_its_data(lab):
    row = lab.images.register(ADA, {"name": "mine", "min_disk": 4, "os_distro": "debian", "tags": ["a"]}, lab.now)
    assert (row["status"], row["size"], row["owner"]) == ("queued", None, "lab")
    assert (row["min_disk"], row["os_distro"], row["tags"], row["visibility"]) == (4, "debian", ["a"], "private")
    lab.images.upload(ADA, row["id"], 1024, lab.now)
    assert (row["status"], row["size"]) == ("active", 1024)
    with pytest.raises(ApiError, match="from active to saving is not allowed") as error:
        lab.images.upload(ADA, row["id"], 1, lab.now)
    assert (error.value.status, row["size"]) == (409, 1024)


@pytest.mark.parametrize(
    "wish", [{"visibility": "public"}, {"owner": "other"}, {"status": "active"}, {"checksum": "0"}]
)
def test_what_only_glance_or_the_staff_may_say_is_refused(lab, wish):
    before = dict(lab.images.images)
    with pytest.raises(ApiError) as error:
        lab.images.register(ADA, {"name": "mine", **wish}, lab.now)
    assert error.value.status == 403
    assert lab.images.images == before


def test_the_staff_make_public_images(lab):
    row = lab.images.register(STAFF, {"name": "Featured", "visibility": "public"}, lab.now)
    assert lab.images.get(EVE, row["id"])["visibility"] == "public"


def test_an_image_is_deleted_by_its_project_only(lab):
    mine = lab.images.register(ADA, {"name": "mine"}, lab.now)["id"]
    with pytest.raises(ApiError) as unseen:
        lab.images.remove(EVE, mine)
    with pytest.raises(ApiError) as public:
        lab.images.remove(ADA, lab.image)
    assert (unseen.value.status, public.value.status) == (404, 403)
    lab.images.remove(BOB, mine)
    assert list(lab.images.images) == [lab.image]


def test_a_protected_image_stays(lab):
    row = lab.images.register(ADA, {"name": "mine", "protected": True}, lab.now)
    with pytest.raises(ApiError, match="is protected and cannot be deleted") as error:
        lab.images.remove(ADA, row["id"])
    assert error.value.status == 403


def test_a_tidy_colleague_can_delete_the_snapshot_that_a_shelved_instance_needs(lab):
    """Glance does not know of it. The instance is lost then: unshelving it ends in ERROR."""
    server = lab.done(lab.active(), "shelve")
    (snapshot,) = [row for row in lab.images.visible(BOB) if row["name"] == "box-shelved"]
    assert (snapshot["status"], snapshot["owner"], snapshot["visibility"]) == ("active", "lab", "private")
    assert snapshot["instance_uuid"] == server.id
    lab.images.remove(BOB, snapshot["id"])
    lab.done(server, "unshelve")
    assert server.status == "ERROR"


def test_images_are_listed_newest_first(lab):
    for name in ("one", "two"):
        lab.passes(1)
        lab.images.register(ADA, {"name": name}, lab.now)
    lab.images.register(ADA, {"name": "three"}, lab.now)
    assert [row["name"] for row in lab.images.visible(ADA)] == ["three", "two", "one", "devcloud-linux"]


def test_everything_survives_its_own_state(lab: Lab):
    lab.images.register(ADA, {"name": "mine"}, lab.now)
    again = ImageModel(new_id=Counter())
    again.from_state(json.loads(json.dumps(lab.images.to_state())))
    assert again.visible(ADA) == lab.images.visible(ADA)
