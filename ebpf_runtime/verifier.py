# SPDX-License-Identifier: Apache-2.0
"""What the verifier said: which program it refused, at which line of C, and why."""

from __future__ import annotations

import errno
import re
import struct

from .errors import LoadError, MapError, describe
from .rare_errors import VerifierError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .specs import ObjectSpec

__all__ = ["KERNEL_BTF_STEP", "attaches_by_btf", "btf_step", "decisive_line", "load_error"]

_REFUSED = re.compile(r"^prog '(?P<program>[^']*)': BPF program load failed", re.MULTILINE)
_LOG = re.compile(r"-- BEGIN PROG LOAD LOG --\n(?P<log>.*?)-- END PROG LOAD LOG --", re.DOTALL)
_SOURCE = re.compile(r"^; (?P<text>.*) @ (?P<file>[^:\n]+):(?P<line>\d+)$", re.MULTILINE)
_INSTRUCTION = re.compile(r"^(?P<index>\d+): \([0-9a-f]{2}\)", re.MULTILINE)
_ABSENT = re.compile(
    r"^prog '(?P<program>[^']*)': failed to find kernel BTF type ID of '(?P<target>[^']*)'", re.MULTILINE
)
_NOISE = re.compile(r"^(processed \d+ insns|verification time|stack depth|func#|arg#|\d+: |; |R\d+\w*=|from \d+|$)")
_NO_PIN = re.compile(r"^map '(?P<map>[^']*)': failed to auto-pin at '(?P<path>.*)': ", re.MULTILINE)
_NO_MAP = re.compile(r"^map '(?P<map>[^']*)': failed to create: ", re.MULTILINE)
# What libbpf goes on after; from 1.5 on it names the one file before it says that no other was there either.
_ASIDES = ("skipping unrecognized data section", "kernel BTF is missing at")
_SHOWN = 3
KERNEL_BTF_STEP = (
    "Mount sysfs on /sys, or take a kernel with BTF (CONFIG_DEBUG_INFO_BTF): a BTF file serves relocations alone, not "
    "programs that attach by BTF."
)
_BY_BTF = ("iter", "struct_ops", "tracing")  # ways of attaching that take the running kernel's own


def btf_step(spec: ObjectSpec, *, uses_file: bool) -> str:
    """Return what to do where the kernel shows no BTF.

    Args:
        uses_file: Whether the BTF for relocations came from a file; one is of no use to programs that attach by BTF.
    """
    if uses_file or attaches_by_btf(spec):
        return KERNEL_BTF_STEP
    return "Mount sysfs on /sys, or name a BTF file by btf_path."


def attaches_by_btf(spec: ObjectSpec) -> bool:
    """Return whether every variant has a program that attaches by the running kernel's own BTF."""
    from .hooks import hook_of

    def needs_kernel(variant: str) -> bool:
        hooks = [hook_of(item.section) for item in spec.programs if item.loads_in(variant)]
        return any(hook.way in _BY_BTF or hook.kind == "lsm_cgroup" for hook in hooks)

    return all(map(needs_kernel, spec.variants or ("",)))


def load_error(
    probe: str,
    number: int,
    messages: list[str],
    image: bytes,
    sections: Mapping[str, str] | None = None,
    btf_step: str = "",
) -> LoadError | MapError:
    """Return the error for a refused load, made from libbpf's messages.

    One of a map that is too large or cannot be pinned is a MapError: no other variant and no compiler would help.

    Args:
        probe: The object's name.
        number: The error number of bpf_object__load.
        messages: What libbpf said, in order.
        image: The object, whose line information maps instructions to C.
        sections: The programs' sections by name, to tell what the kernel lacks.
        btf_step: What to do where that is BTF.
    """
    said = "".join(messages)
    if (error := _map_error(number, said)) is not None:
        return error
    if (absent := _ABSENT.search(said)) is not None:
        return _no_target(
            absent["program"], absent["target"], number, said, (sections or {}).get(absent["program"], "")
        )
    refused = _REFUSED.search(said)
    log = _LOG.search(said)
    text = log["log"] if log is not None else ""
    words = [word.strip() for word in text.splitlines() if not _NOISE.match(word)]
    if refused is not None and not words and sections and refused["program"] in sections:
        lacking = _lacking(refused["program"], sections[refused["program"]], number, said)
        if lacking is not None:
            return lacking
    if refused is None or not text.strip():
        reason = _first_reason(messages)
        hint = f" {btf_step}" if "kernel BTF" in reason else ""
        return LoadError(
            f"load probe {probe!r}: {describe(number)}{'; ' + reason if reason else ''}.{hint}",
            name=probe,
            errno=number,
            log=said,
        )
    program = refused["program"]
    indices = [int(match["index"]) for match in _INSTRUCTION.finditer(text)]
    instruction = indices[-1] if indices else -1
    sources = list(_SOURCE.finditer(text))
    if sources:
        file, line = sources[-1]["file"], int(sources[-1]["line"])
    else:
        file, line = line_of(image, program, instruction)
    reason = "; ".join(words[-_SHOWN:]) or describe(number)
    omitted = len(text.splitlines()) - min(_SHOWN, len(words))
    place = f" at {file}:{line}" if file else ""
    at = f", instruction {instruction}" if instruction >= 0 else ""
    return VerifierError(
        f"load program {program!r}{place}{at}: {describe(number)}, the verifier says: {reason.rstrip('.')}. "
        f"{omitted} more lines are in the error's log.",
        program=program,
        errno=number,
        log=said,
        reason=reason,
        source_file=file,
        source_line=line,
        instruction=instruction,
    )


def _map_error(number: int, said: str) -> MapError | None:
    """Return the error for a map that is too large or cannot be pinned, None where it is about another thing."""
    if (unpinned := _NO_PIN.search(said)) is not None:
        from .pinning import pin_refusal

        text = pin_refusal("map", unpinned["map"], unpinned["path"], number)
        return MapError(text, name=unpinned["map"], errno=number)
    if number not in (errno.E2BIG, errno.ENOMEM) or (unmade := _NO_MAP.search(said)) is None:
        return None
    # The kernel's E2BIG is not about arguments, as its usual text has it.
    reason = "E2BIG, it is too large" if number == errno.E2BIG else describe(number)
    return MapError(
        f"create map {unmade['map']!r}: {reason}. Make it smaller, by resize() before load.",
        name=unmade["map"],
        errno=number,
    )


def _no_target(program: str, target: str, number: int, said: str, section: str) -> LoadError:
    """Return the error for a program whose hook is not in the kernel's BTF."""
    from .features import iterator_floor_of, lacking
    from .hooks import hook_of
    from .nearby import near_functions, near_names

    hook = hook_of(section)
    if hook.way == "iter":
        return lacking(LoadError, f"load program {program!r}", program, number, iterator_floor_of(hook), said)
    is_tracepoint = hook.kind == "tp_btf"
    near = near_names(hook) if is_tracepoint else near_functions(target)
    listing = "available_events" if is_tracepoint else "available_filter_functions"
    hint = f"Near names: {', '.join(near)}." if near else f"See /sys/kernel/tracing/{listing}."
    return LoadError(
        f"load program {program!r}: {describe(number)}, the kernel's BTF has no {target!r} to hang it on. {hint}",
        name=program,
        errno=number,
        log=said,
    )


def _lacking(program: str, section: str, number: int, said: str) -> LoadError | None:
    """Return the error for a program whose kind the kernel lacks or refuses altogether, None if it does not."""
    from .features import floor_of, has_program_type, is_unnamed, lacking
    from .hooks import hook_of
    from .kind_refusals import kind_refusal

    hook = hook_of(section)
    if refusal := kind_refusal(hook):
        return LoadError(
            f"load program {program!r}: {refusal[2]}.", name=program, errno=number, log=said, feature=hook.kind
        )
    if not is_unnamed(hook) and has_program_type(hook.program_type, hook.attach_type) is not False:
        return None
    return lacking(LoadError, f"load program {program!r}", program, number, floor_of(hook), said)


def decisive_line(said: str) -> str:
    """Return the line of libbpf's messages that decided: the verifier's last word, else libbpf's first complaint."""
    logs = [match["log"] for match in _LOG.finditer(said)]
    words = [word.strip() for log in logs[:1] for word in log.splitlines() if not _NOISE.match(word)]
    return words[-1] if words else _first_reason(said.splitlines())


def _first_reason(messages: list[str]) -> str:
    """Return libbpf's complaint that is nearest to the cause, on one line: the kernel's answer, else the first."""
    said = [" ".join(message.split()).rstrip(".") for message in messages]
    said = [text for text in said if text and not any(aside in text for aside in _ASIDES)]
    return next((text for text in said if "Too many open files" in text), said[0] if said else "")


def line_of(image: bytes, program: str, instruction: int) -> tuple[str, int]:
    """Return file and line of one instruction of a program by the object's own line information.

    Older kernels print the C text but not its place. ("", 0) where the object does not say.

    Source: Linux include/uapi/linux/btf.h, libbpf struct btf_ext_header and bpf_line_info.
    """
    try:
        return _line_of(image, program, instruction)
    except (struct.error, IndexError, KeyError, ValueError):
        return "", 0


def _line_of(image: bytes, program: str, instruction: int) -> tuple[str, int]:
    order = "<" if image[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", image, 0x28)
    count, names = struct.unpack_from(order + "HH", image, 0x3C)
    headers = [struct.unpack_from(order + "IIQQQQIIQQ", image, table + 64 * i) for i in range(count)]

    def data(index: int) -> bytes:
        return image[headers[index][4] : headers[index][4] + headers[index][5]]

    def string(block: bytes, offset: int) -> str:
        return block[offset : block.index(b"\0", offset)].decode("utf-8", "replace")

    by_name = {string(data(names), header[0]): i for i, header in enumerate(headers)}
    types = data(by_name[".BTF"])
    (header_size,) = struct.unpack_from(order + "I", types, 4)
    (strings_offset,) = struct.unpack_from(order + "I", types, 16)
    strings = types[header_size + strings_offset :]
    symbols = data(by_name[".symtab"])
    symbol_names = data(by_name[".strtab"])
    start = section = -1
    for name, info, _, index, value, _ in struct.iter_unpack(order + "IBBHQQ", symbols):
        if info & 0xF == 2 and string(symbol_names, name) == program:
            start, section = value, index
    section_name = string(data(names), headers[section][0])

    extra = data(by_name[".BTF.ext"])
    (header_size,) = struct.unpack_from(order + "I", extra, 4)
    offset, length = struct.unpack_from(order + "II", extra, 16)
    position = header_size + offset
    end = position + length
    (record_size,) = struct.unpack_from(order + "I", extra, position)
    position += 4
    wanted = start + 8 * instruction
    best = ("", 0)
    while position < end:
        name, records = struct.unpack_from(order + "II", extra, position)
        position += 8
        for _ in range(records):
            at, file, _, line = struct.unpack_from(order + "IIII", extra, position)
            position += record_size
            if string(strings, name) == section_name and start <= at <= wanted:
                best = (string(strings, file), line >> 10)
    return best
