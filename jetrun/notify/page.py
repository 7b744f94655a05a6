"""The report as an HTML page for mail programs. Pure.

What mail programs do to pages decides its shape: style sheets are dropped (so: inline styles only), anything fetched
from outside is blocked or betrays the reader (so: nothing is), phones are 360 px wide (so: one column, tables of two
columns), and dark mode either honours ``color-scheme`` or turns colours over. Hence no page colours at all: text and
ground are the program's own, the few colours are solid with white on them, or translucent, and hold on either ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jetrun.notify.clean import one_line
from jetrun.notify.instance_verdict import Tone
from jetrun.notify.outgoing import InlineImage
from jetrun.notify.story import Story

_SOLID = {Tone.GOOD: "#1a7f37", Tone.PLAIN: "#57606a", Tone.WARN: "#9a6700", Tone.ALARM: "#cf222e"}
_TINT = {
    Tone.GOOD: "rgba(46,160,67,0.13)",
    Tone.PLAIN: "rgba(128,128,128,0.13)",
    Tone.WARN: "rgba(212,167,44,0.16)",
    Tone.ALARM: "rgba(248,81,73,0.16)",
}
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_LINE = "rgba(128,128,128,0.25)"
_SIGNATURE = '<p style="margin:22px 0 0;font-size:12px;opacity:0.65">Sent by jetrun. A time that ends in Z is UTC.</p>'
_BREAK = "overflow-wrap:anywhere;word-break:break-word"


def page(story: Story, inline: Sequence[InlineImage]) -> str:
    """The page: headline, verdict, next, then everything else in the order of how soon it is wanted."""
    log = _heading("End of the log") + _block(story.log, small=True) if story.log else ""
    parts = [
        f'<p style="margin:0 0 14px;font-size:20px;line-height:1.3;font-weight:600;{_BREAK}">{escape(story.headline)}</p>',
        _verdict(story),
        _table(story.error) if story.error else "",
        _heading("Type next") + _block([story.next]),
        *(_remark(remark) for remark in story.remarks),
        log if story.log_first else "",
        *(_image(image) for image in inline),
        _heading("Run") + _table(story.facts),
        _outputs(story),
        _heading("Phases") + _table(story.phases, align="right") if story.phases else "",
        "" if story.log_first else log,
        _SIGNATURE,
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en" style="color-scheme:light dark"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
        f"<title>{escape(story.subject)}</title></head>\n"
        f'<body style="margin:0;padding:0;{_FONT};font-size:15px;line-height:1.45">\n'
        '<div style="max-width:640px;margin:0 auto;padding:18px 14px">\n'
        + "\n".join(part for part in parts if part)
        + "\n</div>\n</body></html>\n"
    )


def _verdict(story: Story) -> str:
    """The box that must be seen before anything else."""
    verdict = story.verdict
    lines = "".join(
        f'<div style="padding:0 14px {14 if at == len(verdict.lines) - 1 else 3}px;{_BREAK}">{escape(line)}</div>'
        for at, line in enumerate(verdict.lines)
    )
    return (
        f'<div style="border-radius:8px;overflow:hidden;margin:0 0 16px;border:2px solid {_SOLID[verdict.tone]};'
        f'background-color:{_TINT[verdict.tone]}">'
        f'<div style="background-color:{_SOLID[verdict.tone]};color:#ffffff;font-weight:700;font-size:17px;'
        f'padding:9px 14px;margin:0 0 11px;letter-spacing:0.02em;{_BREAK}">{escape(verdict.title)}</div>{lines}</div>'
    )


def _heading(text: str) -> str:
    """The title of a section."""
    return f'<p style="margin:20px 0 6px;font-size:13px;font-weight:700;opacity:0.75">{escape(text)}</p>'


def _table(pairs: Sequence[tuple[str, str]], *, align: str = "left") -> str:
    """Pairs in two columns: the first as narrow as its words, the second breaking where it must."""
    rows = "".join(
        f'<tr><td style="padding:5px 14px 5px 0;vertical-align:top;border-top:1px solid {_LINE};opacity:0.75;white-space:nowrap">'
        f'{escape(key)}</td><td style="padding:5px 0;vertical-align:top;text-align:{align};'
        f'border-top:1px solid {_LINE};{_BREAK}">{escape(text)}</td></tr>'
        for key, text in pairs
    )
    return (
        '<table role="presentation" cellpadding="0" cellspacing="0" '
        f'style="width:100%;border-collapse:collapse;font-size:14px">{rows}</table>'
    )


def _outputs(story: Story) -> str:
    """The outputs with their sizes."""
    if not story.outputs:
        return ""
    more = [(f"and {story.more_outputs} more", "")] if story.more_outputs else []
    rows = "".join(
        f'<tr><td style="padding:5px 14px 5px 0;border-top:1px solid {_LINE};{_BREAK}">{escape(path)}</td>'
        f'<td style="padding:5px 0;border-top:1px solid {_LINE};text-align:right;white-space:nowrap;vertical-align:top">'
        f"{escape(size)}</td></tr>"
        for path, size in (*story.outputs, *more)
    )
    table = '<table role="presentation" cellpadding="0" cellspacing="0" style="width:100%;border-collapse:collapse;font-size:14px">'
    return f"{_heading('Outputs')}{table}{rows}</table>"


def _block(lines: Sequence[str], *, small: bool = False) -> str:
    """Lines as they are, in a fixed-width face, broken rather than scrolled: a phone cannot scroll a mail sideways."""
    return (
        f'<pre style="margin:0;padding:10px 12px;border-radius:6px;background-color:rgba(128,128,128,0.14);{_MONO};'
        f'font-size:{12 if small else 14}px;line-height:1.5;white-space:pre-wrap;{_BREAK}">'
        f"{escape(chr(10).join(lines))}</pre>"
    )


def _remark(text: str) -> str:
    """A warning or a note."""
    return (
        f'<p style="margin:10px 0 0;padding:8px 12px;border-left:4px solid {_SOLID[Tone.WARN]};'
        f'background-color:{_TINT[Tone.WARN]};font-size:14px;{_BREAK}">{escape(text)}</p>'
    )


def _image(image: InlineImage) -> str:
    """A picture out of the mail itself, as wide as the column at most."""
    name = escape(one_line(image.name), quote=True)
    return (
        f'<p style="margin:16px 0 0;font-size:13px"><img src="cid:{escape(image.cid, quote=True)}" alt="{name}" '
        'style="display:block;max-width:100%;height:auto;border-radius:6px;background-color:#ffffff">'
        f'<span style="opacity:0.75;{_BREAK}">{name}</span></p>'
    )
