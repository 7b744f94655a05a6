"""Which rows a query of Neutron's means, and which page of them. Pure.

Source: Neutron 21, api/api_common.py with the extension filter-validation, which is on by default; extensions/tagging.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.network_ports import LONGEST, bad_request

Row = dict[str, Any]

TAGS = frozenset({"tags", "tags-any", "not-tags", "not-tags-any"})

NOT_FILTERS = frozenset({"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"})


def selected(rows: Iterable[Row], query: Mapping[str, list[str]], *, among: Iterable[str] = ()) -> list[Row]:
    """The rows that have what *query* wants: those after ``marker``, ``limit`` of them at most.

    Args:
        among: fields that there are, also where no row is there to show them.

    Raises:
        ApiError: 400 for a filter that there is none of.
    """
    rows, fields = list(rows), set(among)
    fields.update(*rows)
    unknown = [key for key in query if key not in fields and key not in TAGS and key not in NOT_FILTERS]
    if unknown and fields:
        raise bad_request(f"{unknown} is invalid attribute for filtering")
    found = [row for row in rows if _fits(row, query)]
    keys = [row["id"] for row in found]
    marker, limit = query.get("marker", [""])[0], query.get("limit", [""])[0]
    start = keys.index(marker) + 1 if marker in keys else 0
    return found[start : start + int(limit)] if limit.isdecimal() and int(limit) else found[start:]


def _fits(row: Row, query: Mapping[str, list[str]]) -> bool:
    """Whether *row* has what the query wants."""
    for key, values in query.items():
        if key in NOT_FILTERS:
            continue
        if key in TAGS:
            if not _tagged(set(row.get("tags", [])), key, {tag for value in values for tag in value.split(",")}):
                return False
        elif not any(_means(row[key], value) for value in values):
            return False
    return True


def _tagged(has: set[str], key: str, wanted: set[str]) -> bool:
    """Whether tags are as one of the four filters wants them."""
    found = bool(wanted & has) if key.endswith("-any") else wanted <= has
    return found != key.startswith("not-")


def _means(value: object, wanted: str) -> bool:
    """Whether a field has the value that a query's text means."""
    if isinstance(value, bool):
        return wanted.lower() in ({"true", "1"} if value else {"false", "0"})
    if isinstance(value, list):  # fixed_ips=ip_address=10.0.0.3, security_groups=ID
        name, _, text = wanted.partition("=")
        return any(one.get(name) == text if isinstance(one, dict) else one == wanted for one in value)
    return wanted == ("" if value is None else str(value))


def check_tags(tags: object) -> list[str]:
    """The tags of a request; ApiError 400 for what cannot be a row's tags."""
    if not isinstance(tags, list) or any(not isinstance(tag, str) or len(tag) > LONGEST for tag in tags):
        raise _bad_tags()
    if len(set(tags)) < len(tags):
        raise _bad_tags()
    return list(tags)


def _bad_tags() -> ApiError:
    return ApiError(400, "InvalidInput", "Invalid input for operation: Invalid tags body.")
