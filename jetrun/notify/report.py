"""The report of a run as people read it: on a terminal, in a mail's text and HTML, and in its subject. Pure.

On a terminal the last lines are what a person sees, in a mail the first: so the verdict stands at the end of the one
and at the head of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from jetrun.notify.clean import cells, cut
from jetrun.notify.instance_verdict import Tone
from jetrun.notify.outgoing import InlineImage
from jetrun.notify.page import page
from jetrun.notify.story import Story, story_of

_SGR = {Tone.GOOD: "32", Tone.PLAIN: "36", Tone.WARN: "33", Tone.ALARM: "1;37;41"}
_BOX = ("┏", "━", "┓", "┃", "┗", "┛")
_PLAIN_BOX = ("+", "-", "+", "|", "+", "+")
_WITHOUT_UNICODE = str.maketrans("·…", "-~")
_TERMINAL_TAIL = 12


def subject(document: Mapping[str, Any]) -> str:
    """The mail's subject: one line of at most 180 characters that says how the instance is."""
    return story_of(document).subject


def terminal(
    document: Mapping[str, Any], *, width: int, color: bool, unicode: bool = True, zone: tzinfo | None = None
) -> str:
    """The report for a terminal, the verdict in a box near its end, the command to type next below it.

    Args:
        width: columns of the terminal; 40 to 100 are used. Commands and paths are never cut.
        unicode: False where the terminal cannot show box-drawing characters.
    """
    story = story_of(document, zone=zone)
    inner = min(max(width, 40), 100)
    blocks = [
        _phases_line(story, inner),
        _outputs_lines(story),
        [f"! {remark}" for remark in story.remarks],
        _terminal_log(story, inner),
        _pairs(story.facts),
        [_paint(story.headline, story.tone, color=color)],
        _box(story, inner, color=color, drawing=_BOX if unicode else _PLAIN_BOX),
        _error_lines(story),
        [f"next:  {story.next}"],
    ]
    shown = "\n\n".join("\n".join(block) for block in blocks if block) + "\n"
    return shown if unicode else shown.translate(_WITHOUT_UNICODE)


def mail_text(document: Mapping[str, Any], *, zone: tzinfo | None = None) -> str:
    """The report as plain text, what matters first. Lines are not wrapped: mail programs do that better."""
    story = story_of(document, zone=zone)
    rule = "=" * 60
    log = ["end of the log:", *(f"  {line}" for line in story.log)] if story.log else []
    blocks: list[list[str]] = [
        [story.headline],
        [rule, story.verdict.title, *story.verdict.lines, rule],
        _error_lines(story),
        ["next:", f"  {story.next}"],
        ["notes:", *(f"  {remark}" for remark in story.remarks)] if story.remarks else [],
        log if story.log_first else [],
        _pairs(story.facts),
        _outputs_lines(story),
        ["phases:", *_pairs(story.phases, indent="  ")] if story.phases else [],
        [] if story.log_first else log,
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def mail_html(document: Mapping[str, Any], inline: Sequence[InlineImage] = (), *, zone: tzinfo | None = None) -> str:
    """The report as one HTML page without any outside resource; images are shown by their content ids."""
    return page(story_of(document, zone=zone), inline)


def _box(story: Story, width: int, *, color: bool, drawing: tuple[str, ...]) -> list[str]:
    """The verdict in a box as wide as it needs, at most *width*."""
    left_top, bar, right_top, side, left_bottom, right_bottom = drawing
    texts = [line for text in (story.verdict.title, *story.verdict.lines) for line in _wrap(text, width - 4)]
    inner = max(cells(text) for text in texts)
    rows = [text + " " * (inner - cells(text)) for text in texts]
    title = _paint(rows[0], story.verdict.tone, color=color)
    return [
        left_top + bar * (inner + 2) + right_top,
        f"{side} {title} {side}",
        *(f"{side} {row} {side}" for row in rows[1:]),
        left_bottom + bar * (inner + 2) + right_bottom,
    ]


def _wrap(text: str, width: int) -> list[str]:
    """*text* in lines of at most *width* columns, broken at spaces; a word that is wider is broken where it must be."""
    lines, line = [], ""
    for word in text.split(" "):
        rest = word
        if line and cells(line) + 1 + cells(rest) > width:
            lines.append(line)
            line = ""
        while cells(rest) > width:
            piece = cut(rest, width)[:-1]
            lines.append(piece)
            rest = rest[len(piece) :]
        line = f"{line} {rest}" if line else rest
    return [*lines, line]


def _phases_line(story: Story, width: int) -> list[str]:
    """The phases and their durations, run together: on a terminal they went by already."""
    lines, line = [], ""
    for name, took in story.phases:
        piece = f"{name} {took}"
        if line and cells(line) + len(piece) + 3 > width:
            lines.append(line)
            line = ""
        line = f"{line} · {piece}" if line else piece
    return [*lines, line] if line else []


def _terminal_log(story: Story, width: int) -> list[str]:
    """The end of the log where something went wrong; else it was seen going by."""
    if not story.log or not story.log_first:
        return []
    return ["end of the log:", *(f"  {cut(line, width - 2)}" for line in story.log[-_TERMINAL_TAIL:])]


def _outputs_lines(story: Story) -> list[str]:
    """The outputs with their sizes, the number of those that are not named."""
    if not story.outputs:
        return []
    more = [f"  and {story.more_outputs} more"] if story.more_outputs else []
    return ["outputs:", *(f"  {size:>8}  {path}" for path, size in story.outputs), *more]


def _error_lines(story: Story) -> list[str]:
    """What and state of the error; its next has a place of its own."""
    return [f"{key + ':':<7}{text}" for key, text in story.error]


def _pairs(pairs: Sequence[tuple[str, str]], *, indent: str = "") -> list[str]:
    """Pairs in two columns."""
    widest = max((cells(key) for key, _ in pairs), default=0)
    return [f"{indent}{key}{' ' * (widest - cells(key) + 2)}{text}" for key, text in pairs]


def _paint(text: str, tone: Tone, *, color: bool) -> str:
    """*text* in its tone's colour."""
    return f"\x1b[{_SGR[tone]}m{text}\x1b[0m" if color else text
