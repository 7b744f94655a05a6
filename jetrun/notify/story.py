"""What a document of schema 1 says to a tired person: one headline, one verdict, one thing to type. Pure.

Every face (terminal, text, HTML) shows this story; none of them decides anything. The verdict about the instance is
read from the receipt alone: an outcome of "succeeded" never colours an instance that is not proven down.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from jetrun.notify.clean import one_line, tail_lines
from jetrun.notify.instance_verdict import Tone, Verdict, is_unverified, name_of, verdict_of
from jetrun.notify.measures import amount, between, clock, duration, size

OUTPUTS_SHOWN = 20
"""Files that a report names; the rest is a count. More than a screen of names is read by nobody."""

TAIL_LINES = 30
"""Lines of the log in a report: what a phone shows in two screens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A run's end, ready to be shown. Every text is one visible line.

    Attributes:
        headline: what happened, in one sentence. next: a command to paste.
        error: what and state of the error, None without one.
        facts, phases, outputs: pairs for tables of two columns.
        more_outputs: how many files are not named. remarks: warnings and notes, in sentences.
        log_first: the end of the log is what a person looks for first, after the verdict.
    """

    tone: Tone
    subject: str
    headline: str
    verdict: Verdict
    next: str
    error: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    phases: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    more_outputs: int
    remarks: tuple[str, ...]
    log: tuple[str, ...]
    log_first: bool


def story_of(document: Mapping[str, Any], *, zone: tzinfo | None = None) -> Story:
    """The story of a run.

    Args:
        document: schema 1 of DESIGN.md section 5; beside it ``cloud``, ``log_tail``, ``log_path``, ``warnings``,
            ``outputs_missing``, ``outputs_problems``, ``estimate``, ``unproven``, ``next`` and ``kind`` (``report``, ``alarm``,
            ``healed``)
            where known.
        zone: of the reader, for the times beside UTC; None for this machine's.
    """
    tone, headline = _headline(document)
    verdict = verdict_of(document, zone)
    files = document.get("outputs") or []
    error = document.get("error") or {}
    return Story(
        tone=Tone.ALARM if verdict.tone is Tone.ALARM else tone,
        subject=_subject(document, verdict),
        headline=headline,
        verdict=verdict,
        next=_next(document),
        error=tuple((key, one_line(str(error[key]), most=600)) for key in ("what", "state") if error.get(key)),
        facts=tuple(_facts(document, zone)),
        phases=tuple(
            (one_line(str(phase["name"])), duration(between(phase["started_at"], phase["ended_at"])))
            for phase in document.get("phases") or []
        ),
        outputs=tuple(
            (one_line(str(file["path"]), most=120), size(file.get("size_bytes"))) for file in files[:OUTPUTS_SHOWN]
        ),
        more_outputs=max(0, len(files) - OUTPUTS_SHOWN),
        remarks=tuple(one_line(text, most=400) for text in _remarks(document)),
        log=tuple(tail_lines(str(document.get("log_tail") or ""), lines=TAIL_LINES)),
        log_first=document.get("outcome") != "succeeded",
    )


def _headline(document: Mapping[str, Any]) -> tuple[Tone, str]:
    """What happened to the job, in one sentence."""
    name = one_line(str(document.get("name") or "the job"), most=80)
    outcome = one_line(str(document.get("outcome") or "ended"), most=40)
    if document.get("kind") == "healed":
        return Tone.GOOD, f"{name}: the instance is proven down after all"
    words = {
        "succeeded": f"{name} succeeded",
        "failed": f"{name} failed",
        "timed out": f"{name} ran past its timeout",
        "interrupted": f"{name} was interrupted",
        "outputs missing": f"{name} succeeded, but outputs are missing",
        "refused": f"{name} was refused; nothing was begun",
        "not started": f"{name} did not start",
        "in use": f"{name} did not start: the instance is in use",
        "not verified down": f"{name}: the instance is not proven down",
        "jetrun failed": f"{name}: jetrun itself failed",
        "reaped": f"{name}: its lease had run out, and jetrun reap brought its instance down",
        "left to a person": f"{name}: somebody started its instance after it, and has it now",
    }
    sentence = words.get(outcome, f"{name}: {outcome}")
    ending = _script_ending(document)
    if ending and outcome not in {"succeeded", "outputs missing"}:
        sentence += f" ({ending})" if outcome == "failed" else f" (script: {ending})"
    return (Tone.GOOD if outcome == "succeeded" else Tone.WARN), sentence


def _script_ending(document: Mapping[str, Any]) -> str:
    """How the script itself ended, empty where it never ran."""
    script = document.get("script")
    if not script:
        return ""
    code, by = script.get("exit_code"), script.get("signal")
    if by is None and isinstance(code, int) and 128 < code <= 128 + 64:
        by = code - 128
    if by is None:
        return "the script's exit code is not known" if code is None else f"exit code {code}"
    word = one_line(_signal_name(by), most=20)
    hint = ": often a lack of memory" if word == "SIGKILL" and document.get("outcome") == "failed" else ""
    return f"killed by {word}{hint}" if code is None else f"exit code {code}, killed by {word}{hint}"


def _signal_name(by: object) -> str:
    """SIGKILL for 9, and any name as it is."""
    try:
        return signal.Signals(int(str(by))).name
    except ValueError:
        return str(by)


def _facts(document: Mapping[str, Any], zone: tzinfo | None) -> Iterable[tuple[str, str]]:
    """What else a person looks for, in pairs."""
    ending = _script_ending(document)
    script = document.get("script") or {}
    if ending:
        took = between(script.get("started_at"), script.get("ended_at"))
        yield "script", f"{ending}, after {duration(took)}" if took is not None else ending
    if script.get("ended_at"):
        yield "ended", clock(script["ended_at"], zone, date=True)
    cost = document.get("cost") or {}
    if cost:
        spent = amount(cost.get("run"), str(cost.get("unit") or ""))
        yield (
            "cost",
            spent if cost.get("run") is None else f"{spent} {'so far' if is_unverified(document) else 'at most'}",
        )
    if isinstance(document.get("estimate"), int | float):
        yield "estimate", f"{amount(document['estimate'], str(cost.get('unit') or ''))} at worst"
    elif document.get("estimate"):
        yield "estimate", one_line(str(document["estimate"]))
    instance = document.get("instance")
    if instance:
        made = ", launched by this run" if instance.get("launched_by_run") else ""
        yield "instance", f"{name_of(document)} ({one_line(str(instance.get('id')), most=60)}){made}"
    places = (("outputs in", "output_dir"), ("log", "log_path")) if script else ()
    for label, key in (("cloud", "cloud"), ("run", "run_id"), *places):
        if document.get(key):
            yield label, one_line(str(document[key]), most=300)
    if document.get("exit_code") is not None:
        yield "exit code", f"{document['exit_code']}"


def _remarks(document: Mapping[str, Any]) -> Iterable[str]:
    """What is odd, in sentences."""
    yield from (f"missing output: {path}" for path in document.get("outputs_missing") or [])
    yield from (str(text) for text in document.get("outputs_problems") or [])
    yield from (str(text) for text in document.get("warnings") or [])
    yield from (str(text) for text in (document.get("receipt") or {}).get("notes") or [])


def _next(document: Mapping[str, Any]) -> str:
    """What to type next."""
    advised = (document.get("error") or {}).get("next") or document.get("next")
    if advised:
        return one_line(str(advised), most=600)
    run = one_line(str(document.get("run_id") or ""), most=80)
    if is_unverified(document):
        return f"jetrun verify {run}"
    return f"jetrun show {run}" if document.get("outcome") == "succeeded" else f"jetrun logs {run}"


def _subject(document: Mapping[str, Any], verdict: Verdict) -> str:
    """The subject: an alarm names the instance first, everything else the job."""
    job = one_line(str(document.get("name") or "job"), most=50)
    instance = name_of(document, most=50)
    outcome = one_line(str(document.get("outcome") or "ended"), most=40)
    if verdict.tone is Tone.ALARM:
        return f"ALARM: {instance} NOT VERIFIED DOWN ({job})"
    down = verdict.title.startswith("PROVEN")
    if outcome == "left to a person":
        return f"{instance} was started by somebody after {job}: left to them"
    if document.get("kind") == "healed":
        return f"all clear: {instance} is proven down ({job})"
    return f"{job}: {outcome}; {instance} is {'proven down' if down else 'not touched'}"
