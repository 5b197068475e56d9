# SPDX-License-Identifier: Apache-2.0
"""Words for error numbers."""

import errno

import pytest

from ebpf_runtime.errors import describe


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOENT, "ENOENT, no such file or directory"),
        (524, "ENOTSUPP, this kernel does not support it"),
        (9999, "error 9999, unknown error 9999"),
    ],
)
def test_numbers_have_names(number: int, text: str) -> None:
    assert describe(number) == text
