"""Texts from outside stay texts where viser reads markdown."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from dimo_ns.viewer.markdown import JOINER, as_markdown


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_what_is_shown_is_the_text_and_no_character_of_it_is_markup(text: str):
    """References are decoded after markup is found: HTML's own reader is the oracle. Runs of spaces are one in HTML."""
    written = as_markdown(text)
    assert html.unescape(written).replace(JOINER, "") == " ".join(text.split()).replace(JOINER, "")
    assert re.fullmatch(r"(?:&#\d+;|[^\W_]| )*", written)


def test_no_paragraph_begins_with_a_statement():
    assert as_markdown("import x from 'y'").startswith("&#105;mport x")


def test_a_lone_surrogate_can_be_sent():
    assert as_markdown("a\ud800").encode() == b"&#97;&#55296;"
