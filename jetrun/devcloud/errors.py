"""The one error that the models raise: an HTTP status with the service's own words."""

from __future__ import annotations


class ApiError(Exception):
    """A refusal as the real service words it.

    Attributes:
        kind: Nova's key of the body (``conflictingRequest``, ``itemNotFound`` ...), or Neutron's error type.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def conflict(message: str) -> ApiError:
    """Nova's 409."""
    return ApiError(409, "conflictingRequest", message)


def not_found(message: str) -> ApiError:
    """Nova's 404."""
    return ApiError(404, "itemNotFound", message)


def forbidden(message: str) -> ApiError:
    """Nova's 403."""
    return ApiError(403, "forbidden", message)


def bad_request(message: str) -> ApiError:
    """Nova's 400."""
    return ApiError(400, "badRequest", message)
