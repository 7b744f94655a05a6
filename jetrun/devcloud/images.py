"""Images and the snapshots that shelving makes: as much of Glance as jetrun needs. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]


class ImageModel:
    """All images as plain rows, in Glance's own field names."""

    def __init__(self, *, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.images: dict[str, Row] = {}

    def create(
        self, name: str, owner: str, now: datetime, *, status: str = "active", public: bool = False, **more: Any
    ) -> Row:
        """A new image."""
        key = self._new_id()
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        row: Row = {
            "id": key, "name": name, "owner": owner, "status": status, "visibility": "public" if public else "private",
            "protected": False, "min_disk": 0, "min_ram": 0, "size": 0 if status == "active" else None, "tags": [],
            "container_format": "bare", "disk_format": "qcow2", "checksum": None, "created_at": at, "updated_at": at,
            "file": f"/v2/images/{key}/file", "self": f"/v2/images/{key}", "schema": "/v2/schemas/image", "os_hidden": False,
            "virtual_size": None, **more,
        }  # fmt: skip
        self.images[key] = row
        return row

    def visible(self, caller: Caller) -> list[Row]:
        """The images that *caller* may see."""
        return [
            row
            for row in self.images.values()
            if row["visibility"] == "public" or row["owner"] == caller.project_id or caller.is_admin
        ]

    def get(self, caller: Caller, key: str) -> Row:
        """One image; ApiError 404 for what is not there or not the caller's."""
        row = self.images.get(key)
        if row is None or row not in self.visible(caller):
            raise ApiError(404, "Not Found", f"No image found with ID {key}")
        return row

    def delete(self, key: str) -> None:
        """Remove an image if it is there."""
        self.images.pop(key, None)

    def to_state(self) -> Row:
        """Everything, as plain data."""
        return {"images": self.images}

    def from_state(self, state: Row) -> None:
        """What ``to_state`` gave, taken back."""
        self.images = state["images"]
