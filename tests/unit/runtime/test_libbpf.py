# SPDX-License-Identifier: Apache-2.0
"""Foreign functions, bound to their prototypes when they are first used."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ebpf_runtime import libbpf
from ebpf_runtime.rare_errors import LibraryNotFoundError

THREADS = 7


def bound(found: libbpf.Library) -> set[str]:
    return vars(found).keys() & libbpf._PROTOTYPES.keys()


@pytest.fixture
def found() -> libbpf.Library:
    return libbpf.Library(libbpf.library()._name, libbpf._PROTOTYPES)


def test_a_function_is_bound_when_it_is_first_used(found: libbpf.Library) -> None:
    assert bound(found) == set()
    assert found.libbpf_major_version() >= 1
    assert bound(found) == {"libbpf_major_version"}
    assert found.libbpf_major_version is found.libbpf_major_version
    assert found.libbpf_major_version.argtypes == ()


def test_the_installed_libbpf_has_every_function(found: libbpf.Library) -> None:
    for name, prototype in libbpf._PROTOTYPES.items():
        function = getattr(found, name)
        result = function.restype._type_ if function.restype else "-"
        arguments = "".join(kind._type_ for kind in function.argtypes)
        assert f"{result} {arguments}".rstrip() == prototype
    assert bound(found) == libbpf._PROTOTYPES.keys()


def test_threads_may_use_a_function_for_the_first_time_at_once(found: libbpf.Library) -> None:
    start = Barrier(THREADS)

    def version(_number: int) -> int:
        start.wait()
        number: int = found.libbpf_minor_version()
        return number

    with ThreadPoolExecutor(THREADS) as pool:
        assert set(pool.map(version, range(THREADS))) == {libbpf.library().libbpf_minor_version()}


def test_a_function_without_prototype_is_refused(found: libbpf.Library) -> None:
    with pytest.raises(AttributeError, match=re.escape(f"{found._name}: no prototype of 'bpf_nosuch' is known")):
        found.bpf_nosuch()


def test_another_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "_loaded", None)
    monkeypatch.setenv("EBPF_LIBBPF", "libc.so.6")
    with pytest.raises(LibraryNotFoundError) as caught:
        libbpf.library()
    said = str(caught.value)
    assert re.fullmatch(
        r"load libbpf: libc\.so\.6: \S+: undefined symbol: libbpf_major_version\. "
        r"Install libbpf \(apt install libbpf1, dnf install libbpf\) or set EBPF_LIBBPF to its path\.",
        said,
    )
