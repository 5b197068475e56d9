# SPDX-License-Identifier: Apache-2.0
"""Names that processes chose for themselves, made safe to print."""

import pytest

from ebpf_collector.printable import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", ""),
        ("python3", "python3"),
        ("with blank", "with blank"),
        ("Größe 東京", "Größe 東京"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("tab\there", "tab\\there"),
        ("nul\0", "nul\\x00"),
        ("broken\udcff", "broken\\udcff"),
        ("right\u202eleft", "right\\u202eleft"),
        ("line\u2028separator", "line\\u2028separator"),
    ],
)
def test_what_does_not_print_is_escaped_and_nothing_else(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(shown).isprintable()
