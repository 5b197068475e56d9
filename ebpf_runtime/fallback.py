# SPDX-License-Identifier: Apache-2.0
"""From CO-RE to the object that is compiled on this host."""

from __future__ import annotations

from .compiled_objects import compiled_image, kept_file
from .errors import EbpfError, LoadError, OpenError
from .handles import signals_let_through
from .loader import COMPILED
from .rare_errors import CoReError, warn_of_fallback
from .variants import raise_transient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loader import Loaded, Opened

__all__ = ["compile_here", "fall_back", "load_compiled"]


def compile_here(opened: Opened) -> None:
    """Take the object that is compiled on this host, now or before.

    Raises:
        CompileError: It cannot be compiled.
    """
    with signals_let_through():
        image = compiled_image(opened.spec, opened.config, opened.report)
    opened.origin = COMPILED
    _take(opened, image)


def load_compiled(opened: Opened) -> Loaded:
    """Load the object that was compiled on this host; one that was kept and is refused gives way to a fresh one.

    Raises:
        LoadError: It is refused, and its file named; or something was short.
    """
    try:
        return opened._load()
    except LoadError as error:
        _replace(opened, opened.image, error)
    return load_compiled(opened)  # which replaces nothing: what was compiled just now is not a kept one


def _take(opened: Opened, image: bytes) -> None:
    try:
        opened.take(image)
    except OpenError as error:
        _replace(opened, image, error)


def _replace(opened: Opened, image: bytes, error: OpenError | LoadError) -> None:
    """Compile once more instead of an object that was kept and is refused, and take that.

    Raises:
        EbpfError: The same error, naming the object's file where that was compiled just now.
        LoadError: The object was kept, and cannot be compiled any more.
    """
    raise_transient(opened.spec.name, error)
    file = kept_file(opened.spec, opened.config, image)
    text = f"{error} The object that was compiled on this host is {file}." if file else str(error)
    if opened.report.compile_result_name != "cached":
        error.args = (text,)
        raise error
    try:
        with signals_let_through():
            fresh = compiled_image(opened.spec, opened.config, opened.report, refused=image)
    except EbpfError as failure:
        text = f"{text} Compiling it afresh failed: {failure}"
        raise LoadError(text, name=error.name, errno=error.errno, log=error.log) from failure
    _take(opened, fresh)


def fall_back(opened: Opened, error: OpenError | LoadError) -> None:
    """Compile on this host, with one warning, because CO-RE failed.

    Raises:
        LoadError: The same, where something was short that compiling takes as well.
        CoReError: That is forbidden.
        CompileError: It failed, too.
    """
    raise_transient(opened.spec.name, error)  # the compiler would want of the same
    name, report = opened.spec.name, opened.report
    reason = str(error).removeprefix(f"load probe {name!r}: ")
    what = f"load probe {name!r} by CO-RE: {reason}"
    if report.btf_source == "none":
        report.co_re_result = "btf_not_found"
        what += f" No BTF was found: {'; '.join(report.btf_notes)}."
    if not opened.config.allow_runtime_compiled_fallback:
        raise CoReError(
            f"{what} Set system_probe_config.allow_runtime_compiled_fallback to true to compile it on this host.",
            name=name,
            errno=error.errno,
            log=error.log,
        ) from error
    warn_of_fallback(f"{what} Falling back to compiling it on this host.")
    try:
        compile_here(opened)
    except EbpfError as failure:
        raise failure from error
