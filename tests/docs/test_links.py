"""A link that leads nowhere is a promise broken in the small."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from markdown import ROOT, anchors, documents, links


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for link in links(text):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in {"https", "mailto"}, link
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.exists(), f"{path.relative_to(ROOT)}: {link}"
        assert target.is_relative_to(ROOT), f"{link} leaves the project"
        if parts.fragment:
            assert parts.fragment in anchors(target.read_text(encoding="utf-8")), link


def test_there_are_links_to_check():
    """A pattern that finds nothing would pass for ever."""
    assert sum(len(links(path.read_text(encoding="utf-8"))) for path in documents()) >= 3
