"""What the four HTTP faces share: routes with names that faults can be set on, answers, and one place where all meet.

A handler is a plain function of a :class:`Call` that gives (status, body) or raises ApiError; nothing in it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from jetrun.devcloud.caller import Caller

if TYPE_CHECKING:
    from jetrun.devcloud.state import CloudState

Row = dict[str, Any]
Answer = tuple[int, Any]


@dataclass(kw_only=True)
class Call:
    """One request on its way through.

    Attributes:
        path: variables of the route. query: of the URL; the first value of each name, all in ``lists``.
        request_id: the cloud's, which an accepted action also has in the log.
        microversion: of Nova, (2, n).
        answer_headers: added to the answer.
    """

    cloud: CloudState
    now: datetime
    request_id: str
    base: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    who: Caller | None = None
    microversion: tuple[int, int] = (2, 1)
    stale: bool = False
    answer_headers: dict[str, str] = field(default_factory=dict)

    @property
    def caller(self) -> Caller:
        """Who asks; only in routes that need a token."""
        assert self.who is not None  # noqa: S101 - the dispatcher has authenticated
        return self.who


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route.

    Attributes:
        point: the name that faults are set on, or a function that gives it from the body.
        writes: the models may change by it.
        service: whose error format and access rules apply.
    """

    method: str
    path: str
    handler: Callable[[Call], Answer]
    point: str | Callable[[Any], str]
    service: str
    public: bool = False
    writes: bool = False


UNAUTHORIZED = "The request you have made requires authentication."
NOT_VERIFIED = (
    "This server could not verify that you are authorized to access the document you requested. Either you supplied the "
    "wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials required."
)
"""What a service says to a token that it does not take. Source: keystonemiddleware; webob, as Glance 25 lets it speak."""


def error_body(service: str, status: int, kind: str, message: str) -> Row:
    """An error in the service's own form; a 401 in that of Keystone's middleware before it, but for Glance's."""
    if status == 401 and service != "image":
        words = UNAUTHORIZED if service != "identity" else message
        return {"error": {"code": 401, "title": "Unauthorized", "message": words}}
    if service == "compute":
        return {kind: {"code": status, "message": message}}
    if service == "network":
        return {"NeutronError": {"type": kind, "message": message, "detail": ""}}
    if service == "image":
        words = NOT_VERIFIED if status == 401 else message
        title = HTTPStatus(status).phrase
        return {"message": f"{words}<br /><br />\n\n\n", "code": f"{status} {title}", "title": title}
    return {"error": {"code": status, "message": message, "title": kind}}


def only(row: Row, query: Mapping[str, list[str]]) -> Row:
    """*row* with only the fields that ``fields=`` names, where it does."""
    wanted = query.get("fields")
    return {key: value for key, value in row.items() if key in wanted} if wanted else row


def matches(row: Row, query: Mapping[str, list[str]], names: tuple[str, ...]) -> bool:
    """Whether *row* has one of the values that the query wants, for each of *names*."""
    return all(str(row.get(name)) in query[name] for name in names if name in query)
