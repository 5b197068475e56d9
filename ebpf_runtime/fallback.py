# SPDX-License-Identifier: Apache-2.0
"""From CO-RE to the object that is compiled on this host."""

from __future__ import annotations

from .compiled_objects import compiled_image
from .errors import EbpfError
from .handles import signals_let_through
from .loader import COMPILED
from .rare_errors import CoReError, warn_of_fallback
from .variants import raise_transient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import LoadError, OpenError
    from .loader import Opened

__all__ = ["compile_here", "fall_back"]


def compile_here(opened: Opened) -> None:
    """Take the object that is compiled on this host, now or before.

    Raises:
        CompileError: It cannot be compiled.
    """
    with signals_let_through():
        image = compiled_image(opened.spec, opened.config, opened.report)
    opened.origin = COMPILED
    opened.take(image)


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
