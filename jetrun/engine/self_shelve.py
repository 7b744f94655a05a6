"""Self-shelve: the switch gets a credential that is good for this instance alone, so that a forgotten one ends free of charge.

An extra on top of the switch: whatever fails here is told and changes nothing else, for the power goes off without it too.
Opt-in, because root on the instance has the credential: every action on this instance, its deletion included.
"""

from __future__ import annotations

from datetime import timedelta

from jetrun.cloud.interface import ShelveKey, ShelveKeys
from jetrun.engine.context import RunContext
from jetrun.errors import CloudError, CloudTransient, RemoteError, UsageError
from jetrun.guarantee.lifecycle import Kind

OUTLIVES_S = 900.0
"""How long the credential lives after the deadline: the switch's tick, its minute of asking, and clocks apart, ten times over."""

POWER_OFF_COVERS = "at the deadline the switch powers the instance off instead, and nobody is told"

RISK = "root on the instance can use it for any action on this instance, deleting it included"


def check(context: RunContext) -> None:
    """Before anything spends: can there be such a credential?

    Raises:
        UsageError: there cannot.
    """
    if context.shelve_keys is None:
        return
    until_at = context.cloud_now() + timedelta(seconds=context.job.max_lifetime_s + OUTLIVES_S)
    try:
        context.shelve_keys.check(context.state.instance, until_at=until_at)
    except CloudError as error:
        raise UsageError(code=error.code, what=f"instance.self_shelve: {error.what}", next=error.next) from error


def arm(context: RunContext) -> None:
    """Make the credential, give it to the armed switch, and say what it can do. Never raises but for the journal.

    A credential of an earlier arming goes first: its secret is in no process any more, or its end is too early.
    """
    if context.shelve_keys is None:
        return
    end(context)
    try:
        key = _key(context, context.shelve_keys)
        why_not = context.remote.arm_self_shelve(key)
    except (CloudError, RemoteError) as error:
        why_not = error.what
    if why_not:
        context.screen.event("self_shelve.unavailable", what=why_not, instead=POWER_OFF_COVERS)
    else:
        expires_at = key.expires_at.isoformat() if key.expires_at else None
        context.screen.event("self_shelve.armed", id=key.key_id, expires_at=expires_at, risk=RISK)


def _key(context: RunContext, keys: ShelveKeys) -> ShelveKey:
    """A credential; intent first, so that one whose making nobody saw the end of is deleted all the same.

    Raises:
        CloudError: there is none.
    """
    name = f"jetrun-{context.run}"
    if not keys.makes:
        return keys.make(context.instance, name=name, expires_at=context.deadline_at())
    if context.state.credential is not None:
        raise CloudTransient(what=f"the credential {name} of an earlier arming cannot be removed")
    expires_at = context.deadline_at() + timedelta(seconds=context.clock_skew_s + OUTLIVES_S)
    about = {"name": name, "expires_at": expires_at.isoformat()}
    context.record(Kind.CREDENTIAL_INTENDED, **about, id=None)
    key = keys.make(context.instance, name=name, expires_at=expires_at)
    context.record(Kind.CREDENTIAL_MADE, **about, id=key.key_id)
    return key


def end(context: RunContext) -> None:
    """Delete the credential of this run, with its access rules; what stays is named."""
    made = context.state.credential
    if made is None or context.shelve_keys is None:
        return
    try:
        context.shelve_keys.remove(context.instance, name=made["name"])
    except CloudError as error:
        context.screen.event("leftover.kept", what="application credential", id=made["name"], why=error.what)
    else:
        context.record(Kind.CREDENTIAL_REMOVED)
