"""What docstrings say of the whole, and of each parameter."""

from __future__ import annotations

import pytest

from capnet.contract.documentation import first_line, parts_of


def test_what_is_said_of_parameters_stands_apart() -> None:
    """A section ends where the next one begins; lines that are indented further belong to the entry above."""
    doc, about = parts_of(
        """Post a line.

        To everybody.

        Args:
            text: what to post; it may be
                long
            who (str): by whom

            n: how often
            no entry

        Raises:
            NotFound: there is no such room.
        """
    )
    assert doc == "Post a line.\n\nTo everybody.\n\nRaises:\n    NotFound: there is no such room."
    assert about == {"text": "what to post; it may be long", "who": "by whom", "n": "how often no entry"}


@pytest.mark.parametrize("heading", ["Args", "Arguments", "Parameters"])
def test_the_section_has_several_names(heading: str) -> None:
    """It may be the last, and the docstring nothing else."""
    assert parts_of(f"\n{heading}:\n    a: one") == ("", {"a": "one"})


@pytest.mark.parametrize(
    ("docstring", "doc"),
    [(None, ""), ("", ""), ("  One.  ", "One."), ("\nText.\n  Args:\n    a: b", "Text.\n  Args:\n    a: b")],
    ids=["none", "empty", "one line", "no heading"],
)
def test_a_docstring_without_the_section_stays_as_it_is(docstring: str | None, doc: str) -> None:
    """A heading stands at the margin."""
    assert parts_of(docstring) == (doc, {})


def test_words_before_the_first_entry_are_nobodys() -> None:
    """They are of no parameter."""
    assert parts_of("\nArgs:\n    see elsewhere\n    a: one\n") == ("", {"a": "one"})


def test_the_first_line() -> None:
    """All, when there is no other."""
    assert (first_line("a\nb"), first_line("a"), first_line("")) == ("a", "a", "")
