"""Nova's HTTP face: what is done to a server, and the log of it. Source: Compute API reference; words: the contract's real cloud."""

from __future__ import annotations

from typing import Any

from jetrun.devcloud import orders
from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.errors import bad_request, conflict, forbidden, not_found
from jetrun.devcloud.http_nova import server_of

Row = dict[str, Any]

ACTIONS = {
    "os-start": "start", "os-stop": "stop", "shelve": "shelve", "shelveOffload": "shelveOffload", "unshelve": "unshelve",
    "suspend": "suspend", "resume": "resume", "pause": "pause", "unpause": "unpause",
}  # fmt: skip


def action_point(body: Any) -> str:
    """The name of an action for faults: ``nova.shelve``, ``nova.reboot`` ..."""
    word = next(iter(body), "action") if isinstance(body, dict) else "action"
    return f"nova.{ACTIONS.get(word, word)}"


def routes() -> list[Route]:
    """Nova's routes about actions."""
    server = "/compute/v2.1/servers/{key}"
    log = f"{server}/os-instance-actions"
    return [
        Route(method="POST", path=f"{server}/action", handler=_act, point=action_point, service="compute", writes=True),
        Route(method="GET", path=log, handler=_actions, point="nova.actions", service="compute"),
        Route(method="GET", path=f"{log}/{{request}}", handler=_action, point="nova.action", service="compute"),
    ]


def check_mapped(call: Call) -> None:
    """Nova's 404 for an instance that never was, where it looks for its cell first: at start, stop and tags."""
    if call.path["key"] not in call.cloud.nova.servers:
        raise not_found(f"Instance {call.path['key']} has no mapping to a cell.")


def _act(call: Call) -> Answer:
    """An action of any kind."""
    word = next(iter(call.body or {}), "")
    argument = (call.body or {}).get(word)
    wish: Row = argument if isinstance(argument, dict) else {}
    nova, key, about = call.cloud.nova, call.path["key"], {"request_id": call.request_id, "now": call.now}
    if word not in {*ACTIONS, *HANDLERS}:
        raise bad_request(f"There is no such action: {word}")
    if word in {"os-start", "os-stop"}:
        check_mapped(call)
    if word in ACTIONS:
        nova.act(call.caller, key, ACTIONS[word], request_id=call.request_id, now=call.now)
        return 202, None
    return HANDLERS[word](call, key, wish, about)


def _reboot(call: Call, key: str, wish: Row, about: Row) -> Answer:
    kind = "hard reboot" if str(wish.get("type", "SOFT")).upper() == "HARD" else "reboot"
    call.cloud.nova.act(call.caller, key, kind, **about)
    return 202, None


def _lock(call: Call, key: str, wish: Row, about: Row) -> Answer:
    orders.lock(call.cloud.nova, call.caller, key, wish.get("locked_reason"), **about)
    return 202, None


def _unlock(call: Call, key: str, _wish: Row, about: Row) -> Answer:
    orders.unlock(call.cloud.nova, call.caller, key, **about)
    return 202, None


def _image(call: Call, key: str, wish: Row, about: Row) -> Answer:
    made = orders.image(call.cloud.nova, call.caller, key, str(wish.get("name") or ""), **about)
    if call.microversion[1] >= 45:
        return 202, {"image_id": made}
    call.answer_headers["Location"] = f"{call.base}/image/images/{made}"
    return 202, None


def _force_delete(call: Call, key: str, _wish: Row, about: Row) -> Answer:
    call.cloud.nova.delete(call.caller, key, **about)
    return 202, None


def _console(call: Call, key: str, wish: Row, _about: Row) -> Answer:
    """The end of the console log; a guest that does not run has no console, whatever it wrote before."""
    server = call.cloud.nova.find(call.caller, key)
    if server.host is None:
        raise conflict(f"Instance {key} is not ready")
    if server.vm_state == "building":
        raise not_found(f"Instance {key} could not be found.")
    if not server.really_on or server.vm_state == "suspended":
        raise not_found("Guest does not have a console available.")
    return 200, {"output": call.cloud.console(server, wish.get("length"))}


def _reset(call: Call, key: str, wish: Row, about: Row) -> Answer:
    server = call.cloud.nova.find(call.caller, key)
    if not call.caller.is_admin:
        raise forbidden("Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed.")
    orders.reset_state(call.cloud.nova, server.id, wish["state"], by=call.caller, **about)
    return 202, None


HANDLERS = {
    "reboot": _reboot, "lock": _lock, "unlock": _unlock, "createImage": _image, "forceDelete": _force_delete,
    "os-getConsoleOutput": _console, "os-resetState": _reset,
}  # fmt: skip


# --- the log ---


def _action_row(call: Call, row: Row, *, events: bool) -> Row:
    """One entry as it is shown at the call's microversion, and to whom."""
    minor = call.microversion[1]
    shown = {key: value for key, value in row.items() if key not in {"events", "updated_at"}}
    if minor >= 58:
        shown["updated_at"] = row["updated_at"]
    if events and minor >= 51:
        staff = {"traceback": None, "host": "devcloud-host", "details": None} if call.caller.is_admin else {}
        host = {"hostId": f"{row['project_id'] or ''}"[:24] + "a" * 32} if minor >= 62 else {}
        shown["events"] = [{**one, **staff, **host} for one in row["events"]]
    return shown


def _actions(call: Call) -> Answer:
    rows = [_action_row(call, row, events=False) for row in reversed(server_of(call, deleted=True).actions)]
    return 200, {"instanceActions": rows}


def _action(call: Call) -> Answer:
    for row in server_of(call, deleted=True).actions:
        if row["request_id"] == call.path["request"]:
            return 200, {"instanceAction": _action_row(call, row, events=True)}
    raise not_found(f"Action {call.path['request']} not found")
