"""Images and the snapshots that shelving makes: as much of Glance as jetrun and the openstack command need. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]

OF_ITS_OWN = frozenset({
    "id", "owner", "status", "size", "virtual_size", "checksum", "created_at", "updated_at", "file", "self", "schema",
    "os_hash_algo", "os_hash_value",
})  # fmt: skip
"""Fields that Glance writes, nobody else."""

FIELDS = (
    "name",
    "visibility",
    "protected",
    "min_disk",
    "min_ram",
    "container_format",
    "disk_format",
    "tags",
    "os_hidden",
)
"""Fields with a meaning of their own; every other one is a property of the image, a text."""


class ImageModel:
    """All images as plain rows, in Glance's own field names."""

    def __init__(self, *, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.images: dict[str, Row] = {}

    def create(
        self, name: str, owner: str, now: datetime, *, status: str = "active", public: bool = False, **more: Any
    ) -> Row:
        """A new image: ``queued`` until its data is there."""
        key = self._new_id()
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        row: Row = {
            "id": key, "name": name, "owner": owner, "status": status, "visibility": "public" if public else "private",
            "protected": False, "min_disk": 0, "min_ram": 0, "size": 0 if status == "active" else None, "tags": [],
            "container_format": "bare", "disk_format": "qcow2", "checksum": None, "created_at": at, "updated_at": at,
            "file": f"/v2/images/{key}/file", "self": f"/v2/images/{key}", "schema": "/v2/schemas/image", "os_hidden": False,
            "virtual_size": None, "os_hash_algo": None, "os_hash_value": None, **more,
        }  # fmt: skip
        self.images[key] = row
        return row

    def register(self, caller: Caller, wish: Mapping[str, Any], now: datetime) -> Row:
        """An image of the caller's that has no data yet. Source: Image API, POST /v2/images.

        Raises:
            ApiError: 403 for a field that is Glance's own, or for a public image by who is not of the staff.
        """
        for key in wish:
            if key in OF_ITS_OWN - {"id", "owner"}:
                raise ApiError(403, "Forbidden", f"Attribute '{key}' is read-only.")
        public = wish.get("visibility") == "public"
        owner = str(wish.get("owner") or caller.project_id)
        if not caller.is_admin and (public or owner != caller.project_id):
            raise ApiError(403, "Forbidden", "You are not authorized to complete publicize_image action.")
        properties = {key: str(value) for key, value in wish.items() if key not in FIELDS and key not in OF_ITS_OWN}
        given = {key: wish[key] for key in FIELDS if key in wish and key != "name"}
        return self.create(str(wish.get("name", "")), owner, now, status="queued", public=public, **given, **properties)

    def activate(self, key: str, size_bytes: int, now: datetime) -> None:
        """The data of an image is there."""
        row = self.images[key]
        row |= {"status": "active", "size": size_bytes, "updated_at": now.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def upload(self, caller: Caller, key: str, size_bytes: int, now: datetime) -> None:
        """Take the data of an image that waits for it. Only its size is kept: every instance boots the same.

        Raises:
            ApiError: 409 for an image that has its data, 404 for one that is not the caller's.
        """
        row = self.get(caller, key)
        if row["status"] != "queued":
            words = f"Image status transition from {row['status']} to saving is not allowed"
            raise ApiError(409, "Conflict", words)
        self.activate(key, size_bytes, now)

    def visible(self, caller: Caller) -> list[Row]:
        """The images that *caller* may see, newest first."""
        rows = [row for row in reversed(self.images.values()) if _may_see(caller, row)]
        rows.sort(key=lambda row: str(row["created_at"]), reverse=True)
        return rows

    def get(self, caller: Caller, key: str) -> Row:
        """One image; ApiError 404 for what is not there or not the caller's."""
        row = self.images.get(key)
        if row is None or not _may_see(caller, row):
            raise ApiError(404, "Not Found", f"No image found with ID {key}")
        return row

    def remove(self, caller: Caller, key: str) -> None:
        """Delete an image as *caller* may; a snapshot that a shelved instance needs too, as Glance does.

        Raises:
            ApiError: 403 for a protected one or for another project's, 404 for one that is not to be seen.
        """
        row = self.images.get(key)
        if row is None or not _may_see(caller, row):
            raise ApiError(404, "Not Found", f"Failed to find image {key} to delete")
        if row["owner"] != caller.project_id and not caller.is_admin:
            raise ApiError(403, "Forbidden", "You do not own this image")
        if row["protected"]:
            raise ApiError(403, "Forbidden", f"Image {key} is protected and cannot be deleted.")
        del self.images[key]

    def delete(self, key: str) -> None:
        """Remove an image if it is there, as Nova does with a snapshot that it needs no more."""
        self.images.pop(key, None)

    def to_state(self) -> Row:
        """Everything, as plain data."""
        return {"images": self.images}

    def from_state(self, state: Row) -> None:
        """What ``to_state`` gave, taken back."""
        self.images = state["images"]


def _may_see(caller: Caller, row: Row) -> bool:
    """Whether *caller* may see an image."""
    return caller.is_admin or row["owner"] == caller.project_id or row["visibility"] in {"public", "community"}
