"""HTTP to the cloud's services through openstacksdk's session: endpoints, microversion, time limits, one attempt a call.

Direct calls, because openstacksdk's waits, retries and proxies are not fit for this (PEERS.md 5.d): no time limit by
default, a read time-out retried for any method, a wait that may return without a read.
"""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime
from typing import Any

from jetrun.cloud.classify import of_answer, translated
from jetrun.cloud.credentials import CloudChoice
from jetrun.errors import CloudPermanent

CONNECT_S = 10.0
"""For the TCP connection alone; the whole call has the profile's ``api_timeout_s``."""

WANTED_MINOR = 90
"""Nova microversion asked for where the cloud has it: 2.73 shows why it is locked, 2.58 and 2.51 the log's times and events."""

_SUFFIX = {"network": "/v2.0", "image": "/v2"}


class Wire:
    """One cloud's services."""

    def __init__(self, choice: CloudChoice) -> None:
        self._choice = choice
        self._region = choice.region
        self._timeout_s = choice.profile.bounds.api_timeout_s
        self._session: Any = None
        self._endpoints: dict[str, str] = {}
        self._minor: int | None = None
        self.clock_skew_s = 0.0

    @property
    def session(self) -> Any:
        """The authenticated session, made on first use."""
        if self._session is None:
            self._session = self._region.get_session()
            self._session.timeout = self._timeout_s
            self._session.additional_user_agent = [("jetrun", "0.1")]
        return self._session

    def endpoint(self, service: str) -> str:
        """The service's URL by the catalog, or as clouds.yaml overrides it. No discovery: the paths are known.

        Raises:
            CloudPermanent: the cloud has no such service.
        """
        if service not in self._endpoints:
            override = self._region.get_endpoint(service)
            found = override or self.session.auth.get_endpoint(
                self.session,
                service_type=service,
                interface=self._region.get_interface(service) or "public",
                region_name=self._region.get_region_name(service) or None,
                skip_discovery=True,
            )
            if not found:
                raise CloudPermanent(
                    what=f"the cloud's catalog has no {service} service here",
                    next="jetrun doctor",
                    code="no-such-service",
                )
            url = str(found).rstrip("/")
            suffix = _SUFFIX.get(service, "")
            self._endpoints[service] = url if url.endswith(suffix) else url + suffix
        return self._endpoints[service]

    def call(
        self,
        method: str,
        service: str,
        path: str,
        *,
        doing: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        good: tuple[int, ...] = (200,),
    ) -> Any:
        """One call, once: the answer.

        Args:
            doing: the act in words, for messages. good: statuses that are a success.

        Raises:
            CloudError: transient, permanent or ambiguous; ambiguous only for writes.
        """
        writes = method != "GET"
        with translated(doing, writes=False):
            # Logging in and finding the service is a read: whatever fails here, the call itself was not sent.
            url = self.endpoint(service) + path
            self.session.auth.get_access(self.session)
        sent = {"Accept": "application/json", **(headers or {})}
        if service == "compute":
            sent["OpenStack-API-Version"] = f"compute 2.{self.minor()}"
        began = datetime.now(UTC)
        with translated(doing, writes=writes):
            answer = self.session.request(
                url,
                method,
                json=body,
                headers=sent,
                params=params,
                raise_exc=False,
                redirect=False,
                connect_retries=0,
                status_code_retries=0,
                timeout=(min(CONNECT_S, self._timeout_s), self._timeout_s),
            )
        self._note_clock(answer, began)
        if answer.status_code not in good:
            raise of_answer(answer, call=doing, writes=writes)
        return answer

    def minor(self) -> int:
        """The Nova microversion to ask for, found out once.

        Raises:
            CloudError: Nova's version document cannot be read.
        """
        if self._minor is None:
            self._minor = 1
            try:
                answer = self.call("GET", "compute", "/", doing="reading Nova's version")
                newest = str(answer.json()["version"]["version"] or "2.1")
                self._minor = min(WANTED_MINOR, int(newest.partition(".")[2] or 1))
            except (KeyError, ValueError, TypeError) as error:
                self._minor = None
                raise CloudPermanent(
                    what="Nova's version document cannot be understood", code="nova-version-odd"
                ) from error
            except BaseException:
                self._minor = None
                raise
        return self._minor

    def _note_clock(self, answer: Any, began: datetime) -> None:
        """How far the cloud's clock is from ours, by the answer's Date and the middle of the call."""
        at = email.utils.parsedate_to_datetime(answer.headers["Date"]) if "Date" in answer.headers else None
        if at is None:
            return
        ended = datetime.now(UTC)
        middle = began + (ended - began) / 2
        # Date has whole seconds, cut: on the average half a second is missing.
        skew_s = (at - middle).total_seconds() + 0.5
        self.clock_skew_s = 0.0 if abs(skew_s) < 1.0 else skew_s

    def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            inner = getattr(self._session, "session", None)
            if inner is not None:
                inner.close()
