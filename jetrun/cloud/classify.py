"""What a failed call to a cloud means: transient, permanent or ambiguous. By class and HTTP status, never by text.

The problem: an answer that does not come says nothing about the effect. What does not work: retrying (garm#79 made two
instances), or believing a 5xx (seen with effect and without, openstack-lab notes). The way taken: everything about a
write that is not a clear refusal is *ambiguous*, and is resolved by observing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient

NO_EFFECT_LATER = frozenset({409, 429})
"""A write answered so had no effect, and the same call may work later."""

NO_EFFECT_NEVER = frozenset({400, 401, 403, 404, 405, 406, 410, 411, 412, 413, 414, 415, 422})
"""A call answered so had no effect, and the same call will be refused again."""

LONG_WORD = re.compile(r"\S{60,}")
"""Nova repeats a refused field in its sentence, user data too: no word of a sentence is that long."""


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
    fault = _fault(answer)
    said = LONG_WORD.sub("...", " ".join(str((fault or {}).get("message", "")).split()))[:200]
    kind = by_status(status, writes=writes)
    what = f"{call}: the cloud answered {status}{f' ({said})' if said else ''}"
    code = f"cloud-answered-{status}"
    if status == 404 and fault is None:
        # A 404 is the proof of a deletion: only the service itself can give it, not a proxy that lost its way.
        kind, code = CloudTransient, "not-the-service"
        what = f"{call}: something between here and the cloud's service answered 404"
    return kind(
        what=f"{what}; it may have taken effect" if kind is CloudAmbiguous else what,
        code=code,
        status=status,
        request_id=request_id_of(answer),
    )


def request_id_of(answer: Any) -> str | None:
    """The cloud's id of the request, None without one."""
    found = answer.headers.get("x-openstack-request-id") or answer.headers.get("x-compute-request-id")
    return str(found) if found else None


def _fault(answer: Any) -> dict[str, Any] | None:
    """An OpenStack service's own error: one key over an object. None for anything else.

    Source: Compute API guide, Faults; seen of Keystone 22, Nova 26 and Neutron 21.
    """
    try:
        body = answer.json()
    except ValueError:
        return None
    inner = next(iter(body.values())) if isinstance(body, dict) and len(body) == 1 else None
    return inner if isinstance(inner, dict) else None


class Meaning(StrEnum):
    """What an exception says about the call that raised it."""

    ANSWERED = "answered"
    UNUSABLE = "unusable"
    SILENT = "silent"
    ODD = "odd"


def meaning(kind: type[BaseException]) -> Meaning | None:
    """What exceptions of that class mean, None for a class that nobody thought about.

    ANSWERED carries an HTTP status. UNUSABLE is raised before anything is sent, and always will be: the configuration,
    the login's form, the catalog. SILENT: nothing is known of the effect. ODD: an answer that cannot be understood.
    """
    import requests.exceptions as rq  # noqa: PLC0415 - heavy, and only where something failed
    from keystoneauth1 import exceptions as ka  # noqa: PLC0415
    from openstack import exceptions as sdk  # noqa: PLC0415

    table: list[tuple[Meaning, tuple[type[BaseException], ...]]] = [
        (Meaning.ANSWERED, (ka.HttpError, sdk.HttpException)),
        (Meaning.ODD, (rq.JSONDecodeError, ka.InvalidResponse, sdk.InvalidResponse)),
        # Without a version document nobody knows whether Keystone is ill or the address wrong.
        (Meaning.SILENT, (ka.DiscoveryFailure, sdk.ServiceDiscoveryException)),
        (Meaning.UNUSABLE, (ka.AuthorizationFailure, ka.MissingAuthMethods, ka.AuthPluginException, ka.CatalogException,
                            ka.ServiceProviderNotFound, ka.ImpliedVersionMismatch)),
        (Meaning.UNUSABLE, (sdk.ConfigException, sdk.EndpointNotFound, sdk.InvalidRequest, sdk.InvalidResourceQuery,
                            sdk.MethodNotSupported, sdk.NotSupported, sdk.ValidationException)),
        (Meaning.UNUSABLE, (rq.MissingSchema, rq.InvalidSchema, rq.InvalidURL, rq.InvalidHeader)),
        (Meaning.SILENT, (ka.ConnectionError, ka.RetriableConnectionFailure, rq.RequestException, rq.RequestsWarning)),
        (Meaning.SILENT, (sdk.DuplicateResource, sdk.ResourceFailure, sdk.ResourceTimeout)),
        (Meaning.ODD, (ValueError, LookupError, TypeError, AttributeError)),
    ]  # fmt: skip
    for found, classes in table:
        if issubclass(kind, classes):
            return found
    return Meaning.SILENT if kind in {ka.ClientException, sdk.SDKException} else None


def was_never_sent(error: BaseException) -> bool:
    """Whether no byte of the request left this machine: connection refused, name unknown, no connection in time.

    Looks exactly where keystoneauth and requests put it. Not along the whole chain of contexts: an exception raised
    while an older one is being handled has that one in its chain, and would be taken for harmless.
    """
    import requests.exceptions as rq  # noqa: PLC0415
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError  # noqa: PLC0415

    inner: Any = error if isinstance(error, rq.RequestException) else error.__cause__ or error.__context__
    if not isinstance(inner, rq.ConnectionError):
        return False
    if isinstance(inner, rq.ConnectTimeout):
        return True
    last = inner.args[0] if inner.args else None
    return isinstance(getattr(last, "reason", None) or last, (NewConnectionError, ConnectTimeoutError))


def of_exception(error: Exception, *, call: str, writes: bool) -> CloudError:
    """The error for an exception of keystoneauth, openstacksdk or requests, or for an answer that cannot be read."""
    if isinstance(error, CloudError):
        return error
    word = type(error).__name__
    found = meaning(type(error)) or Meaning.SILENT
    status = getattr(error, "http_status", None) or getattr(error, "status_code", None)
    if found is Meaning.ANSWERED and isinstance(status, int):
        # Only the login raises these: of our own calls the answer is taken as it is. Nothing else was sent.
        return _of_login(status, request_id=getattr(error, "request_id", None), call=call)
    if found is Meaning.UNUSABLE:
        return CloudPermanent(
            what=f"{call}: the cloud's configuration, login or service catalog cannot be used ({word})",
            code="cloud-login-unusable",
        )
    if was_never_sent(error):
        return CloudTransient(
            what=f"{call}: the cloud cannot be reached (connection refused, or its name is unknown)",
            code="cloud-not-answering",
        )
    kind = CloudAmbiguous if writes else CloudTransient
    unsure = "; it may have taken effect" if writes else ""
    if found is Meaning.ODD:
        return kind(what=f"{call}: the cloud's answer cannot be understood ({word}){unsure}", code="cloud-answer-odd")
    return kind(what=f"{call}: no answer from the cloud ({word}){unsure}", code="cloud-not-answering")


def _of_login(status: int, *, request_id: str | None, call: str) -> CloudError:
    """The error for a refused login. A refused credential is always 401 here: a 404 would look like a gone instance."""
    if status == 404:
        return CloudPermanent(
            what=f"{call}: the application credential does not exist (deleted, or of another cloud), or auth_url is wrong",
            next="make a new one: Horizon, Identity, Application Credentials; then put it into clouds.yaml",
            code="credential-gone",
            status=401,
            request_id=request_id,
        )
    if status in {401, 403}:
        return CloudPermanent(
            what=f"{call}: the cloud refuses the credential (wrong, expired or revoked)",
            code="credential-refused",
            status=401,
            request_id=request_id,
        )
    kind = by_status(status, writes=False)
    return kind(
        what=f"{call}: the cloud's login answered {status}",
        code=f"cloud-answered-{status}",
        status=status,
        request_id=request_id,
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
