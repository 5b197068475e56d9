# SPDX-License-Identifier: Apache-2.0
"""Compiling a probe's embedded source on this host, for the running kernel alone.

The same `.bpf.c` as for CO-RE, whose declarations of kernel types get the layout that the running kernel's BTF gives
(see `ebpf_codegen.host_source`), so the object has nothing left to relocate. A kernel that shows no BTF has its headers
compiled first, to BTF of the types that the source declares (`ebpf_codegen.header_types`).

The object is kept, and found again without a compiler (see `compiled_objects`).
What is compiled is a sealed copy, which nobody can exchange between its check and the compiler; of libbpf's headers it
is a checked copy in a directory that is ours alone.

Needs clang or ziglang, and nothing else that is not in the wheel.
"""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path

from . import vmlinux
from .build_directory import room
from .compiled_objects import CompiledObjects
from .config import LoadReport, ProbeConfig, compile_result
from .errors import OpenError, describe, remedy
from .rare_errors import CompileError, TrustError
from .record_fields import _Array
from .records import Field, _Nested
from .specs import architecture
from .temporaries import remove_left, temporary_directory
from .trust import SealedCopy, trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf_codegen import btf, compiler, model
    from ebpf_codegen.errors import CodegenError, CompilerRunError

    from .specs import ObjectSpec

__all__ = ["available_compiler", "compile", "compile_image"]

_SHOWN = 3
# It becomes a part of file names.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
# What is checked when the wheel is built need not be checked again with another compiler's warnings.
_FLAGS = ("-w", f"-DEBPF_PAGE_BYTES={mmap.PAGESIZE}")


def compile(source: str, name: str = "program", config: ProbeConfig | None = None) -> bytes:
    """Return flattened BPF C as an object for the running kernel, which needs no CO-RE relocation.

    Args:
        source: BPF C with its own headers inlined; `bpf/…` of libbpf may be included. Declarations of kernel types are
            those marked `preserve_access_index`.
        name: The name that messages and the kept object carry: at most 64 letters, digits, `_`, `.` and `-`.
        config: `btf_path`, then kernel headers serve where the kernel shows no BTF; `runtime_compiler_output_dir` keeps
            the object.
    Raises:
        CompileError: There is no compiler or no BTF, the compiler refuses the source, the directory is not safe, or the
            name is not such a one.
        DigestError: The object that was kept is not the one that was compiled.
    """
    if not re.fullmatch(_NAME, name):
        raise CompileError(
            f"compile {name!r} on this host: a name is at most 64 letters, digits, '_', '.' and '-', and begins with "
            "one of the first three. Give it another.",
            name=name,
        )
    try:
        text = source.encode()
    except UnicodeEncodeError as error:
        raise CompileError(f"compile {name!r} on this host: its source is not UTF-8.", name=name) from error
    objects = CompiledObjects(name, text, config or ProbeConfig(), LoadReport())
    objects.warn()
    found = objects.find()
    return compile_image(objects, None) if found is None else found


def compile_image(objects: CompiledObjects, spec: ObjectSpec | None) -> bytes:
    """Compile a source, keep the object, and return it; its layouts are those of the module that *spec* is of.

    Raises:
        CompileError: See `compiled_image`.
    """
    return _Job(objects).image(spec)


def available_compiler() -> tuple[str, str]:
    """Return the compiler that would be used, or else why there is none."""
    from ebpf_codegen.compiler import find_compiler
    from ebpf_codegen.errors import CodegenError

    try:
        return str(find_compiler()), ""
    except CodegenError as error:
        return "", str(error)


class _Job:
    """One source for the running kernel."""

    def __init__(self, objects: CompiledObjects) -> None:
        self.objects = objects
        self.name = objects.name
        self.source = objects.source
        self.report = objects.report
        self.fail = objects.fail

    def image(self, spec: ObjectSpec | None) -> bytes:
        self.report.compile_result = compile_result("compile_error")
        image, used = self.compile()
        self.report.compiler = str(used)
        self.report.compile_result = compile_result("result_unreadable")
        if spec is not None:
            self.check_layouts(image, spec)
        version = re.sub(r"[^\w.+-]", "_", used.version)
        self.report.compile_result = compile_result("output_file_error")
        self.objects.directory.write_object(f"{self.objects.prefix}clang-{version}", image)
        self.report.compile_result = compile_result("compiled")
        return image

    def types(self, scratch: Path) -> btf.IndexedBtf:
        """Return the kernel's types, from its own BTF, from the configured file, or from headers."""
        from ebpf_codegen import btf

        if self.objects.btf is not None:
            return btf.index(self.objects.btf, str(self.objects.config.btf_path))
        file = self.objects.kernel_btf
        if file == vmlinux.SYSFS:
            return btf.index(_content(Path(file)), file)
        if file:
            return btf.index(vmlinux.btf_of(vmlinux.mapped(trusted(file))), file)
        return self.header_types(scratch)

    def header_types(self, scratch: Path) -> btf.IndexedBtf:
        from ebpf_codegen import btf
        from ebpf_codegen.compiler import find_compiler
        from ebpf_codegen.errors import CompilerError, CompilerRunError
        from ebpf_codegen.header_types import header_types
        from ebpf_codegen.host_source import declared_types

        from .kernel_headers import HeaderError, find_headers

        used = find_compiler()  # first: headers are of no use without one
        try:
            headers = find_headers(self.objects.config)
        except HeaderError as error:
            self.report.header_result = error.result
            self.report.compile_result = compile_result("headers_not_found")
            reason = str(error).removesuffix(".")
            raise self.fail(
                f"{vmlinux.SYSFS} is missing, and so are kernel headers: {reason}, or name the BTF of "
                "this kernel by system_probe_config.btf_path"
            ) from error
        self.report.header_result = headers.result
        self.report.header_dirs = tuple(map(str, headers.directories))
        tags = declared_types(self.source.decode(), f"{self.name}.flat.c")
        try:
            data, read = header_types(used, headers.directories, tags, architecture(), scratch)
            for path in read:
                trusted(path)
        except CompilerRunError as error:
            raise self.unfinished(error) from error
        except CompilerError as error:
            if not error.output:
                raise self.unusable(error) from error
            raise self.fail(
                f"{used} refuses the kernel headers in {', '.join(self.report.header_dirs)}: "
                f"{_first_lines(error.output)}",
                error.output,
            ) from error
        except TrustError as error:
            raise self.fail(str(error).removesuffix(".")) from error
        return btf.index(data, self.report.header_dirs[0])

    def compile(self) -> tuple[bytes, compiler.Compiler]:
        """Run the compiler once; for kernel headers once more."""
        from ebpf_codegen.compiler import ARCHITECTURES
        from ebpf_codegen.errors import CodegenError

        if architecture() not in ARCHITECTURES:
            raise self.fail(f"there is no support for {architecture()}")
        try:
            remove_left(self.objects.directory.path)
            with temporary_directory(self.objects.directory.path) as scratch:
                made, used = self.made(scratch)
            image = self.stripped(made, used)
        except UnicodeDecodeError as error:
            raise self.fail("its source is not UTF-8") from error
        except CodegenError as error:
            raise self.unusable(error) from error
        except TrustError as error:
            raise self.fail(str(error).removesuffix(".")) from error
        except OpenError as error:  # of a file of a package
            next_step = remedy(error.errno)
            if not next_step:
                raise
            self.report.compile_result = compile_result("compile_error")
            raise self.fail(f"{error} {next_step}".removesuffix(".")) from error
        except OSError as error:
            number = error.errno or 0
            next_step = room(number)
            # Whatever was to be read or checked when it came: it says nothing of that.
            self.report.compile_result = compile_result("output_file_error" if next_step else "compile_error")
            here, place = self.objects.directory.path, str(error.filename or "")  # writing does not name it
            if not place or here in Path(place).parents:  # what is gone already
                place = str(here)
            next_step = next_step or remedy(number)
            reason = f"{describe(number)} ({place}){next_step and f'. {next_step}'}"
            raise self.fail(reason.removesuffix(".")) from error
        if _relocated_bytes(image):
            raise self.fail(
                "the object still has CO-RE relocations, which only some of bpf_core_read.h's macros avoid "
                "(bpf_core_type_id_kernel does not)"
            )
        return image, used

    def unusable(self, error: CodegenError) -> CompileError:
        from ebpf_codegen.errors import NoCompilerError

        if isinstance(error, NoCompilerError):
            self.report.compile_result = compile_result("compiler_not_found")
        return self.fail(" ".join(str(error).split()).removesuffix("."))

    def stripped(self, made: bytes, used: compiler.Compiler) -> bytes:
        from ebpf_codegen.errors import ElfError
        from ebpf_codegen.strip import strip

        try:
            return strip(made)
        except ElfError as error:
            reason = str(error).removeprefix("strip object: ")
            raise self.fail(f"what {used} made is no object: {reason} Name another clang by EBPF_CLANG") from error

    def unfinished(self, error: CompilerRunError) -> CompileError:
        if error.is_stopped:
            self.report.compile_result = compile_result("not_attempted")
        return self.fail(error.reason.removesuffix("."), error.output)

    def made(self, scratch: Path) -> tuple[bytes, compiler.Compiler]:
        """Return what the compiler made of the source, and which one it was.

        The likely compiler starts while the source is made and is asked nothing: an object tells the version. If it
        makes none, another may be fit, and whichever is says what is wrong.
        """
        from ebpf_codegen.compiler import MINIMUM_CLANG, compile_object, find_compiler, likely_compiler, made_by
        from ebpf_codegen.errors import CompilerError, CompilerRunError

        from .libbpf_headers import copy_headers

        self.report.compile_result = compile_result("source_verification_error")
        include = copy_headers(scratch / "include")
        self.report.compile_result = compile_result("compile_error")
        source, output = scratch / f"{self.name}.bpf.c", scratch / f"{self.name}.o"
        text = ""
        refused: CompilerError | None = None
        with SealedCopy(source.name) as copy:  # still empty: a compiler that is started now has it
            source.symlink_to(copy.path)

            def prepare() -> None:
                nonlocal text
                from ebpf_codegen.host_source import host_source

                text = host_source(self.source.decode("utf-8"), self.types(scratch), f"{self.name}.flat.c")
                self.report.compile_result = compile_result("input_hash_error")
                copy.seal(text.encode())
                self.report.compile_result = compile_result("compile_error")

            likely = likely_compiler()
            if likely is not None:
                try:
                    compile_object(
                        likely, source, output, architecture(), include,
                        flags=_FLAGS, prepare=prepare, meanwhile=_import_what_follows, pass_fds=(copy.fd,),
                    )  # fmt: skip
                    made = output.read_bytes()
                    used = made_by(likely, made)
                    if used is not None and used.major >= MINIMUM_CLANG:
                        return made, used
                except CompilerError as error:
                    if isinstance(error, CompilerRunError) and error.is_final:
                        raise self.unfinished(error) from error
                    refused = error
                except FileNotFoundError:  # it made nothing, so it is no compiler
                    pass
            if not text:
                prepare()
            used = find_compiler()
            try:
                if refused is not None and likely is not None and used.command == likely.command:
                    raise refused
                compile_object(
                    used, source, output, architecture(), include, flags=_FLAGS, pass_fds=(copy.fd,)
                )  # fmt: skip
            except CompilerRunError as error:
                raise self.unfinished(error) from error
            except CompilerError as error:
                if not error.output:
                    raise
                try:
                    kept = self.objects.directory.write(f"{self.objects.prefix}refused.c", text.encode())
                    see = f"See {kept}"
                except CompileError as unkept:  # no reason to hide the compiler's
                    see = f"Its source is not kept: {str(unkept).removesuffix('.')}"
                raise self.fail(f"{used} refuses it: {_first_lines(error.output)}. {see}", error.output) from error
            try:
                return output.read_bytes(), used
            except FileNotFoundError:
                raise self.fail(f"{used} made no object. Name another clang by EBPF_CLANG") from None

    def check_layouts(self, image: bytes, spec: ObjectSpec) -> None:
        """Refuse an object whose records, maps, variables or programs are not those of the imported module."""
        from ebpf_codegen import elf, model
        from ebpf_codegen.errors import CodegenError
        from ebpf_codegen.source import Documentation

        try:
            built = model.build(elf.parse(image, f"{self.name}.o"), self.name, Documentation())
        except CodegenError as error:
            raise self.unusable(error) from error
        for difference in _differences(spec, built):
            raise self.fail(f"{difference}. Run tools/regen, or reinstall the package")


def _import_what_follows() -> None:
    """Import what is needed behind the compiler, which works meanwhile; nothing of it is in the way of an error."""
    from ebpf_codegen import model  # noqa: F401

    from . import libbpf_object  # noqa: F401


def _content(path: Path) -> bytes | mmap.mmap:
    """Return the bytes of the kernel's BTF: mapped, which Linux 6.16 and newer can, they take no call for each page."""
    with path.open("rb", buffering=0) as file:
        try:
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            return file.read()


def _first_lines(output: str) -> str:
    """Return the first errors of a compiler's output on one line, without the code that they quote."""
    errors = [line for line in output.splitlines() if re.search(r"(?:^|: )(?:fatal )?error: ", line)]
    return "; ".join(line.strip() for line in (errors or output.splitlines())[:_SHOWN]) or "it says nothing"


def _relocated_bytes(image: bytes) -> int:
    """Return the length of the CO-RE relocations in an object's .BTF.ext.

    Source: Linux Documentation/bpf/btf.rst, struct btf_ext_header of libbpf.
    """
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count, names = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", image, table + index * size) for index in range(count)]
    strings = headers[names][4]
    for name, _, _, _, offset, length in headers:
        start = strings + name
        if image[start : image.index(b"\0", start)] == b".BTF.ext" and length >= 32:
            (header_size,) = struct.unpack_from("<I", image, offset + 4)
            return int(struct.unpack_from("<I", image, offset + 28)[0]) if header_size >= 32 else 0
    return 0


def _differences(spec: ObjectSpec, built: model.ObjectModel) -> list[str]:
    """Return what an object has otherwise than a module says."""
    records = {record.name: record for record in built.records}
    found: list[str] = []
    maps = {item.name: item for item in built.maps}
    for item in spec.maps:
        other = maps.get(item.c_name)
        if other is None or other.type != item.type:
            found.append(f"map {item.c_name!r} is {other.type if other else 'missing'}, the module says {item.type}")
            continue
        for what, field, kind in (("key", item.key, other.key), ("value", item.value, other.value)):
            if field is not None and kind is not None:
                found += _field_differences(f"the {what} of map {item.c_name!r}", field, kind, records)
            elif (field is None) != (kind is None):
                found.append(f"map {item.c_name!r} and the module differ in whether it has a {what}")
    sections = {section.name: section for section in built.sections}
    for variables in spec.section_types:
        section = sections.get(variables.section)
        if section is None or section.size != variables._size_:
            size = section.size if section else 0
            found.append(f"section {variables.section} has {size} bytes, the module says {variables._size_}")
            continue
        found += _member_differences(variables.section, variables._fields_, section.variables, records)
    programs = {(item.name, item.section) for item in built.programs}
    for program in spec.programs:
        if (program.c_name, program.section) not in programs:
            found.append(f"there is no program {program.c_name!r} in section {program.section}")
    return found


def _member_differences(
    where: str, fields: tuple[Field, ...], members: tuple[model.Member, ...], records: dict[str, model.RecordType]
) -> list[str]:
    found: list[str] = []
    if len(fields) != len(members):
        found.append(f"{where} has {len(members)} members, the module says {len(fields)}")
    for field, member in zip(fields, members, strict=False):
        if field.offset != member.offset:
            found.append(f"{where}.{member.name} is at offset {member.offset}, the module says {field.offset}")
        found += _field_differences(f"{where}.{member.name}", field, member.type, records)
    return found


def _field_differences(
    where: str, field: Field, kind: model.ValueType, records: dict[str, model.RecordType]
) -> list[str]:
    from ebpf_codegen.model import ArrayOf, Bits, EnumRef, OneOf, RecordRef, Scalar

    if isinstance(kind, OneOf):
        kinds = [arm.type for arm in kind.arms]
        fields: tuple[Field, ...] = getattr(field, "fields", (field,))
        if len(fields) != len(kinds):
            return [f"{where} is one of {len(kinds)} types, the module says {len(fields)}"]
        pairs = zip(fields, kinds, strict=True)
        return [text for one, other in pairs for text in _field_differences(where, one, other, records)]
    if field.size != kind.size:
        return [f"{where} has {kind.size} bytes, the module says {field.size}"]
    if isinstance(field, _Nested) and isinstance(kind, RecordRef):
        record = records[kind.name]
        return _member_differences(record.c_name, field.type._fields_, record.members, records)
    if isinstance(field, _Array) and isinstance(kind, ArrayOf):
        return _field_differences(f"{where}[]", field.element, kind.element, records)
    if isinstance(kind, Bits):
        if (field.bit_offset, field.bits) != (kind.first, kind.width):
            module = f"bits {field.bit_offset} to {field.bit_offset + field.bits}"
            return [f"{where} is bits {kind.first} to {kind.first + kind.width}, the module says {module}"]
        kind = kind.base if not isinstance(kind.base, EnumRef) and kind.base.kind == "boolean" else kind
    if isinstance(kind, Scalar) and kind.kind != field.kind:
        return [f"{where} is {kind.kind}, the module says {field.kind}"]
    return []
