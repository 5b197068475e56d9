# SPDX-License-Identifier: Apache-2.0
"""Why a user-space program is not traced where it was asked for: what its file lacks, and names that are near."""

from __future__ import annotations

import errno

from .elf_symbols import functions, probes, resolve
from .errors import AttachError, describe
from .nearby import nearest

__all__ = ["explained"]

_LIBBPF = 4000  # from here on libbpf's own numbers, which no C library has words for
_OF_FILES = (errno.ENOENT, errno.EINVAL, errno.EISDIR, errno.EBADF)  # EBADF: no ELF file, of a USDT


def explained(error: AttachError, action: str, path: str, *, function: str = "", probe: str = "") -> AttachError:
    """Return an error of libbpf with what is the matter with the file, itself where nothing is.

    Args:
        action: What was tried, as the text begins.
        path: The program or library.
        function: The function that was asked for, or
        probe: the probe, as `provider:name`.
    """
    if probe and error.errno == errno.ESRCH and (not error.log or "usdt.bpf.h" in error.log):  # it says so only once
        reason = "the object has no maps for probes of programs. Include <bpf/usdt.bpf.h> in its source"
        return _error(error, f"{action}: {reason}.")
    if error.feature or (error.errno not in _OF_FILES and error.errno < _LIBBPF):
        return error
    try:
        file = resolve(path)
        known = probes(file) if probe else list(functions(file))
    except OSError as failure:
        number = failure.errno or errno.ENOENT
        return _error(error, f"{action}: {describe(number)}.{' There is no such file.' * (number == errno.ENOENT)}")
    except ValueError as failure:
        return _error(error, f"{action}: {failure}.")
    wanted, kind = (probe, "probe") if probe else (function, "function")
    if error.errno == errno.ENOENT and wanted and wanted not in known:
        near = nearest(wanted, known)
        hint = f"Near names: {', '.join(near)}" if near else f"See {'readelf -n' if probe else 'nm -D'} {file}"
        return _error(error, f"{action}: ENOENT, {file} has no {kind} {wanted!r}. {hint}.")
    if error.errno >= _LIBBPF and error.log:
        return _error(error, f"{action}: {' '.join(error.log.splitlines()[0].split()).rstrip('.')}.")
    return error


def _error(error: AttachError, text: str) -> AttachError:
    return AttachError(text, name=error.name, errno=error.errno, log=error.log)
