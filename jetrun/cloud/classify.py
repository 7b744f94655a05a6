"""What a failed call to a cloud means: transient, permanent or ambiguous. By class and HTTP status, never by text.

The problem: an answer that does not come says nothing about the effect. What does not work: retrying (garm#79 made two
instances), or believing a 5xx (seen with effect and without, openstack-lab notes). The way taken: everything about a
write that is not a clear refusal is *ambiguous*, and is resolved by observing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient

NO_EFFECT_LATER = frozenset({409, 429})
"""A write answered so had no effect, and the same call may work later."""

NO_EFFECT_NEVER = frozenset({400, 401, 403, 404, 405, 406, 410, 411, 412, 413, 414, 415, 422, 501, 505})
"""A write answered so had no effect, and the same call will be refused again."""


def by_status(status: int, *, writes: bool) -> type[CloudError]:
    """The class of an answer with that HTTP status."""
    if status in NO_EFFECT_NEVER:
        return CloudPermanent
    if writes:
        return CloudTransient if status in NO_EFFECT_LATER else CloudAmbiguous
    return CloudPermanent if 300 <= status < 500 and status not in {408, 425, *NO_EFFECT_LATER} else CloudTransient


def of_answer(answer: Any, *, call: str, writes: bool) -> CloudError:
    """The error for an HTTP answer that is no success."""
    status = int(answer.status_code)
    request_id = answer.headers.get("x-openstack-request-id") or answer.headers.get("x-compute-request-id")
    kind = by_status(status, writes=writes)
    unsure = "; it may have taken effect" if kind is CloudAmbiguous else ""
    return kind(
        what=f"{call}: the cloud answered {status}{_message(answer)}{unsure}",
        next="jetrun doctor",
        code=f"cloud-answered-{status}",
        status=status,
        request_id=request_id,
    )


def _message(answer: Any) -> str:
    """The service's own sentence, where its answer has one, cut."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    if isinstance(body, dict):
        inner = next(iter(body.values()), None) if len(body) == 1 else body
        if isinstance(inner, dict):
            text = str(inner.get("message", ""))
            return f" ({text[:200]})" if text else ""
    return ""


def was_never_sent(error: BaseException) -> bool:
    """Whether the connection was refused or the name unknown, so that no byte of the request left this machine."""
    from urllib3.exceptions import NameResolutionError, NewConnectionError  # noqa: PLC0415

    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (NewConnectionError, NameResolutionError)):
            return True
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return False


def of_exception(error: Exception, *, call: str, writes: bool) -> CloudError:
    """The error for an exception of keystoneauth, openstacksdk or requests."""
    from keystoneauth1 import exceptions as ka  # noqa: PLC0415

    if isinstance(error, CloudError):
        return error
    if isinstance(error, ka.HttpError):
        # Only authentication raises these: our own calls take the answer as it is. No request of ours was sent.
        return _of_login(error, call=call)
    if was_never_sent(error):
        return CloudTransient(
            what=f"{call}: the cloud cannot be reached (connection refused, or its name is unknown)",
            code="cloud-not-answering",
        )
    if isinstance(error, (ka.ConnectFailure, ka.ConnectionError)):
        if not writes:
            return CloudTransient(
                what=f"{call}: no connection to the cloud ({type(error).__name__})", code="cloud-not-answering"
            )
        return CloudAmbiguous(
            what=f"{call}: no answer from the cloud ({type(error).__name__}); it may have taken effect",
            code="cloud-not-answering",
        )
    if isinstance(error, (ka.AuthorizationFailure, ka.AuthPluginException, ka.CatalogException, ka.MissingAuthPlugin,
                          ka.DiscoveryFailure, ka.EndpointNotFound, ka.VersionNotAvailable)):  # fmt: skip
        return CloudPermanent(
            what=f"{call}: the cloud's login or service catalog cannot be used ({type(error).__name__}: {error})",
            code="cloud-login-unusable",
        )
    kind = CloudAmbiguous if writes else CloudTransient
    return kind(what=f"{call}: {type(error).__name__}", code="cloud-not-answering")


def _of_login(error: Any, *, call: str) -> CloudError:
    """The error for a refused login."""
    status = int(getattr(error, "http_status", 0) or 0)
    request_id = getattr(error, "request_id", None)
    text = str(error)
    if status == 404:
        return CloudPermanent(
            what=f"{call}: the application credential does not exist (deleted, or of another cloud)",
            next="make a new one: Horizon, Identity, Application Credentials; then put it into clouds.yaml",
            code="credential-gone",
            status=401,
            request_id=request_id,
        )
    if status in {401, 403}:
        stray = "scope" in text
        return CloudPermanent(
            what=f"{call}: the cloud refuses the credential (wrong, expired or revoked)"
            + ("; an application credential must not be given together with a project" if stray else ""),
            next="unset OS_PROJECT_ID OS_PROJECT_NAME OS_PROJECT_DOMAIN_ID OS_PROJECT_DOMAIN_NAME"
            if stray
            else "jetrun doctor",
            code="credential-refused",
            status=401,
            request_id=request_id,
        )
    return CloudTransient(
        what=f"{call}: login: HTTP {status}", code=f"cloud-answered-{status}", status=status, request_id=request_id
    )


@contextmanager
def translated(call: str, *, writes: bool) -> Iterator[None]:
    """Every exception of the vendor libraries in this block as one of the three.

    Raises:
        CloudError: transient, permanent or ambiguous.
    """
    try:
        yield
    except CloudError:
        raise
    except Exception as error:
        raise of_exception(error, call=call, writes=writes) from error
