"""Who a request comes from, as Keystone's token says it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The owner of a token.

    Attributes:
        access_rules: of an application credential: (service type, method, path) patterns; None for no restriction.
    """

    user_id: str
    user_name: str
    project_id: str
    project_name: str
    roles: frozenset[str]
    token: str
    expires_at: datetime
    app_credential_id: str | None = None
    access_rules: tuple[dict[str, Any], ...] | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it has the role admin."""
        return "admin" in self.roles
