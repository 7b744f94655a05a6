"""HTTP to the cloud's services through openstacksdk's session: endpoints, microversion, time limits, one attempt a call.

Direct calls, because openstacksdk's waits, retries and proxies are not fit for this (PEERS.md 5.d): no time limit by
default, a read time-out retried for any method, a wait that may return without a read.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from jetrun.cloud.blame import login_failed, no_service
from jetrun.cloud.classify import of_answer, translated
from jetrun.cloud.credentials import CloudChoice
from jetrun.errors import CloudError, CloudPermanent

T = TypeVar("T")
Params = Sequence[tuple[str, str]]

CONNECT_S = 10.0
"""For the TCP connection alone; the whole call has the profile's ``api_timeout_s``."""

WANTED_MINOR = 84
"""Nova microversion asked for where the cloud has it: 2.84 details of events, 2.73 why it is locked, 2.58 and 2.51 the log's
times and events, 2.52 tags at create, 2.47 the flavor's shape. None of them is required."""

_SUFFIX = {"network": "/v2.0", "image": "/v2"}


def segment(text: str) -> str:
    """*text* as one segment of a path, whatever is in it."""
    return quote(text, safe="")


def nothing(answer: Any) -> None:
    """For answers without a body that matters."""
    del answer


class Wire:
    """One cloud's services.

    Attributes:
        alive: told before and after each call: whoever waits for an answer is alive.
    """

    def __init__(self, choice: CloudChoice) -> None:
        self.alive: Callable[[], None] = lambda: None
        self._region = choice.region
        self._lines = choice.lines
        api_s = choice.profile.bounds.api_timeout_s
        self._limits_s = (min(CONNECT_S, api_s), api_s)
        self._session: Any = None
        self._endpoints: dict[str, str] = {}
        self._minor: int | None = None

    @property
    def session(self) -> Any:
        """The session, made on first use; it logs in when it must. Its own calls (the login) have the same time limits."""
        if self._session is None:
            self._session = self._region.get_session()
            self._session.timeout = self._limits_s
            self._session.additional_user_agent = [("jetrun", "0.1")]
        return self._session

    def access(self) -> Any:
        """The token and what came with it; logs in where there is none that lasts.

        Raises:
            CloudError: transient or permanent.
        """
        self.alive()
        try:
            with translated("logging in", writes=False):
                return self.session.auth.get_access(self.session)
        except CloudError as error:
            raise login_failed(error, self._lines) from error.__cause__
        finally:
            self.alive()

    def endpoint(self, service: str) -> str:
        """The service's URL by the catalog, or as clouds.yaml overrides it. No discovery: the paths are known.

        Raises:
            CloudError: the cloud has no such service, or the login fails.
        """
        if service not in self._endpoints:
            self.access()
            found = self._region.get_endpoint(service) or self._catalogued(service)
            if not found:
                what, following = no_service(service, self._interface(service), self._lines)
                raise CloudPermanent(what=what, next=following, code="no-such-service")
            url = found.rstrip("/")
            suffix = _SUFFIX.get(service, "")
            self._endpoints[service] = url if url.endswith(suffix) else url + suffix
        return self._endpoints[service]

    def _interface(self, service: str) -> str:
        """Which of a service's addresses is meant."""
        return str(self._region.get_interface(service) or "public")

    def _catalogued(self, service: str) -> str | None:
        """The service's URL by the catalog, None where it has none."""
        from keystoneauth1.exceptions import CatalogException  # noqa: PLC0415 - with the session, not before

        with translated(f"finding the {service} service", writes=False), contextlib.suppress(CatalogException):
            found = self.session.auth.get_endpoint(
                self.session,
                service_type=service,
                interface=self._interface(service),
                region_name=self._region.get_region_name(service) or None,
                skip_discovery=True,
            )
            return str(found) if found else None
        return None

    def call(
        self,
        method: str,
        service: str,
        path: str,
        *,
        doing: str,
        pick: Callable[[Any], T],
        body: Any = None,
        headers: dict[str, str] | None = None,
        params: Params = (),
        good: tuple[int, ...] = (200,),
        writes: bool | None = None,
    ) -> T:
        """One call, once: what *pick* makes of its answer.

        Args:
            doing: the act in words, for messages. good: statuses that are a success.
            writes: whether it changes anything; by default whatever is no GET does.

        Raises:
            CloudError: transient, permanent or ambiguous; ambiguous only for writes.
        """
        changes = method != "GET" if writes is None else writes
        # Logging in and finding the service come first: whatever fails there, the call itself was not sent.
        url = self.endpoint(service) + path
        self.access()
        sent = {"Accept": "application/json", **(headers or {})}
        if service == "compute":
            sent["OpenStack-API-Version"] = f"compute 2.{self.minor()}"
        answer = self._send(method, url, doing=doing, writes=changes, json=body, headers=sent, params=list(params))
        if answer.status_code not in good:
            raise of_answer(answer, call=doing, writes=changes)
        with translated(doing, writes=changes):
            return pick(answer)

    def pages(self, service: str, path: str, key: str, *, doing: str, params: Params = ()) -> list[Any]:
        """Every row of a list, however many pages the service makes of it."""
        rows: list[Any] = []
        marker: list[tuple[str, str]] = []
        while True:
            page, more = self.call(
                "GET",
                service,
                path,
                doing=doing,
                params=[*params, *marker],
                pick=lambda answer: _page(answer.json(), key),
            )
            rows += page
            if not page or not more:
                return rows
            marker = [("marker", str(page[-1]["id"]))]

    def minor(self) -> int:
        """The Nova microversion to ask for, found out once.

        Raises:
            CloudError: Nova's version document cannot be read.
        """
        if self._minor is None:
            self._read_version()
        return self._minor or 1

    def clock_skew_s(self) -> float:
        """The cloud's time minus this machine's, by the ``Date`` of a fresh answer and the middle of the question.

        Returns:
            Seconds; 0.0 for less than one, because ``Date`` has whole seconds only, and where Nova sends none.
        """
        return self._read_version()

    def _read_version(self) -> float:
        """Read Nova's version document, the quickest answer there is: keeps the microversion, gives the clock's skew."""
        doing = "reading Nova's version"
        url = self.endpoint("compute")
        # Old catalogs have the project's id behind the version.
        found = re.match(r"(.*/v2(?:\.\d+)?)(?:/|$)", url)
        began = datetime.now(UTC)
        answer = self._send("GET", (found[1] if found else url) + "/", doing=doing, writes=False)
        ended = datetime.now(UTC)
        if answer.status_code != 200:
            raise of_answer(answer, call=doing, writes=False)
        with translated(doing, writes=False):
            newest = str(answer.json()["version"]["version"] or "2.1")
            self._minor = min(WANTED_MINOR, int(newest.partition(".")[2] or 1))
        return _skew_s(answer.headers.get("Date"), began + (ended - began) / 2)

    def _send(self, method: str, url: str, *, doing: str, writes: bool, **more: Any) -> Any:
        """Send once; the answer, whatever its status."""
        self.alive()
        try:
            with translated(doing, writes=writes):
                return self.session.request(
                    url,
                    method,
                    raise_exc=False,
                    redirect=False,
                    connect_retries=0,
                    status_code_retries=0,
                    timeout=self._limits_s,
                    **more,
                )
        finally:
            self.alive()

    def close(self) -> None:
        """Close connections. Never raises."""
        if self._session is not None:
            with contextlib.suppress(Exception):
                self._session.session.close()


def _page(body: Any, key: str) -> tuple[list[Any], bool]:
    """The rows of one page, and whether another follows. Nova and Neutron say so by links, Glance by ``next``."""
    links = body.get(f"{key}_links") or ()
    return list(body[key]), "next" in body or any(one.get("rel") == "next" for one in links)


def _skew_s(date: str | None, middle: datetime) -> float:
    """How far *date* is ahead of *middle*. A Date is cut to whole seconds: on the average half a second is missing."""
    try:
        skew_s = (email.utils.parsedate_to_datetime(str(date)) - middle).total_seconds() + 0.5
    except (TypeError, ValueError):
        return 0.0
    return 0.0 if abs(skew_s) < 1.0 else skew_s
