# SPDX-License-Identifier: Apache-2.0
"""The wheel that brings its own libbpf: what is in it, where it runs, what its licences ask for.

The sources are those that `make deps` has fetched; without them these tests are skipped, tests need no network.
"""

from __future__ import annotations

import importlib.util
import io
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

if TYPE_CHECKING:
    from .conftest import Environment, MakeEnvironment

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
DEPS = ROOT / "build" / "deps"
PINNED = ROOT / "tools" / "sources.toml"
PARTS = ("libbpf", "elfutils", "zlib", "include", "sources.toml")
LIBRARY = "ebpf_runtime/_libbpf.so"
WALKER = "ebpf_runtime/_walker.so"
# See decision 25: the aim of 650 kB is missed.
MAXIMUM_BYTES = 873_000
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}

LOADED = """
import sys
from pathlib import Path
from ebpf_runtime.libbpf import library
found = library()
mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
print(found._name)
print(found.libbpf_major_version(), found.libbpf_minor_version())
print(*sorted(Path(path).name for path in mapped if "libbpf" in path or "libelf" in path or "libz" in path))
"""


@pytest.fixture(scope="module")
def deps() -> Path:
    """The unpacked sources."""
    stamp = DEPS / "sources.toml"
    if not stamp.is_file() or stamp.read_bytes() != PINNED.read_bytes():
        pytest.skip("the sources of libbpf are not in build/deps: make deps fetches them")
    return DEPS


@pytest.fixture(scope="module")
def zig_builder(make_environment: MakeEnvironment) -> Environment:
    """An environment that can build the project, and libbpf by the tests' own ziglang."""
    environment = make_environment("scikit-build-core", "jinja2", "pyelftools")
    # Linked, because packing and unpacking its 380 MB would take longer than all the rest.
    spec = importlib.util.find_spec("ziglang")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (ziglang,) = spec.submodule_search_locations
    (environment.site_packages / "ziglang").symlink_to(ziglang)
    return environment


def build(
    environment: Environment, project: Path, deps: Path, folder: Path, architecture: str = platform.machine()
) -> Path:
    options = {"EBPF_LIBBPF_SOURCE": deps, "EBPF_LIBBPF_ARCHITECTURE": architecture}
    return environment.build_wheel(project, folder, *(f"-Ccmake.define.{k}={v}" for k, v in options.items()))


@pytest.fixture(scope="module")
def bundled(zig_builder: Environment, sources: Path, deps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel with libbpf inside, for this machine."""
    return build(zig_builder, sources, deps, tmp_path_factory.mktemp("bundled"))


@pytest.fixture(scope="module")
def foreign(zig_builder: Environment, sources: Path, deps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel with libbpf inside, for the other architecture."""
    folder = tmp_path_factory.mktemp("foreign")
    (other,) = MACHINES.keys() - {platform.machine()}
    return build(zig_builder, sources, deps, folder, other)


@pytest.fixture(scope="module")
def installed(make_environment: MakeEnvironment, bundled: Path) -> Environment:
    return make_environment(bundled)


def read(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def tag(wheel: Path) -> str:
    return wheel.stem.split("-", 2)[2]


def architecture(wheel: Path) -> str:
    return wheel.stem.partition("manylinux_2_17_")[2]


def both(bundled: Path, foreign: Path) -> tuple[ELFFile, ELFFile]:
    return ELFFile(io.BytesIO(read(bundled, LIBRARY))), ELFFile(io.BytesIO(read(foreign, LIBRARY)))


def test_tags_name_the_platform(bundled: Path, foreign: Path) -> None:
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
    assert tag(bundled) == f"py3-none-manylinux_2_17_{platform.machine()}"
    assert tag(foreign) == f"py3-none-manylinux_2_17_{other}"


def test_wheels_are_small(bundled: Path, foreign: Path) -> None:
    assert bundled.stat().st_size <= MAXIMUM_BYTES
    assert foreign.stat().st_size <= MAXIMUM_BYTES


def test_libraries_are_for_their_machine_and_stripped(bundled: Path, foreign: Path) -> None:
    for wheel in (bundled, foreign):
        elf = ELFFile(io.BytesIO(read(wheel, LIBRARY)))
        assert elf["e_machine"] == MACHINES[architecture(wheel)]
        sections = [section.name for section in elf.iter_sections()]
        assert not [name for name in sections if name.startswith(".debug") or name == ".symtab"]


def test_libraries_need_nothing_but_the_c_library(bundled: Path, foreign: Path) -> None:
    # On arm64 the canary of the stack protector stands in the dynamic loader.
    allowed = {"libc.so.6", "libpthread.so.0", "ld-linux-aarch64.so.1"}
    for elf in both(bundled, foreign):
        dynamic = elf.get_section_by_name(".dynamic")
        assert isinstance(dynamic, DynamicSection)
        needed = {str(vars(entry)["needed"]) for entry in dynamic.iter_tags("DT_NEEDED")}
        assert "libc.so.6" in needed
        assert needed <= allowed
        assert next(dynamic.iter_tags("DT_FLAGS")).entry.d_val & 0x8  # BIND_NOW


def test_libraries_run_with_glibc_2_17(bundled: Path, foreign: Path) -> None:
    for elf in both(bundled, foreign):
        wanted = elf.get_section_by_name(".gnu.version_r")
        assert isinstance(wanted, GNUVerNeedSection)
        versions = {version.name for _, auxiliaries in wanted.iter_versions() for version in auxiliaries}
        assert versions
        for version in versions:
            major, minor = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version).groups()  # type: ignore[union-attr]
            assert (int(major), int(minor)) <= (2, 17), version


def test_libraries_export_what_libbpf_promises_and_nothing_else(bundled: Path, foreign: Path, deps: Path) -> None:
    script = re.sub(r"/\*.*?\*/", "", (deps / "libbpf/src/libbpf.map").read_text(), flags=re.DOTALL)
    promised = set(re.findall(r"^\s+(\w+);", script, re.MULTILINE))
    assert "bpf_object__load" in promised
    for elf in both(bundled, foreign):
        table = elf.get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        exported = {
            symbol.name
            for symbol in table.iter_symbols()
            if symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS") and symbol["st_info"]["bind"] != "STB_LOCAL"
        }
        assert exported == promised


def test_libraries_hold_no_path_of_the_building_machine(bundled: Path, foreign: Path, deps: Path) -> None:
    for wheel in (bundled, foreign):
        image = read(wheel, LIBRARY)
        for path in (deps, ROOT, Path(sys.prefix), Path(tempfile.gettempdir())):
            assert str(path).encode() not in image


def test_wheel_is_reproducible_from_another_folder(
    zig_builder: Environment, sources: Path, deps: Path, bundled: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "quite another place"
    elsewhere.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (deps / part).is_dir() else shutil.copy
        copy(deps / part, elsewhere / part)
    project = shutil.copytree(sources, tmp_path / "another checkout")
    again = build(zig_builder, project, elsewhere, tmp_path / "wheel")
    assert read(again, LIBRARY) == read(bundled, LIBRARY)
    assert again.read_bytes() == bundled.read_bytes()


def objects(wheel: Path) -> set[str]:
    """Return the architectures of the objects in a wheel; each probe has one of each."""
    found = [name.removesuffix(".bpf.o").rpartition(".")[::2] for name in names(wheel) if name.endswith(".bpf.o")]
    architectures = {architecture for _, architecture in found}
    assert len(found) == len(architectures) * len({probe for probe, _ in found})
    return architectures


def test_both_wheels_are_else_the_same(bundled: Path, foreign: Path, wheel: Path) -> None:
    own = {"x86_64": "x86_64", "aarch64": "arm64"}
    assert objects(wheel) == {"x86_64", "arm64"}
    assert objects(bundled) == {own[architecture(bundled)]}
    assert objects(foreign) == {own[architecture(foreign)]}
    in_all = {name for name in names(wheel) if not name.endswith((".bpf.o", ".light"))}
    for one in (bundled, foreign):
        others = {name for name in names(one) if not name.endswith((".bpf.o", ".light"))}
        added = {name for name in others - in_all if not name.startswith("ebpf_runtime/licenses/")}
        assert added == {LIBRARY, WALKER}
        assert in_all <= others
    # Headers of the libbpf that was at hand, and objects and loader programs, which name lines in them.
    dependent = re.compile(r".*/include/bpf/|.*\.bpf\.o$|.*\.light$|.*\.sha256$")
    for name in names(wheel) & names(bundled):
        if not dependent.match(name):
            assert read(bundled, name) == read(wheel, name), name


def test_licences_sources_and_recipe_travel(bundled: Path, deps: Path) -> None:
    assert {name for name in names(bundled) if name.startswith("ebpf_runtime/licenses/")} == {
        "ebpf_runtime/licenses/README.txt",
        "ebpf_runtime/licenses/sources.toml",
        "ebpf_runtime/licenses/libbpf/LICENSE",
        "ebpf_runtime/licenses/libbpf/LICENSE.BSD-2-Clause",
        "ebpf_runtime/licenses/elfutils/COPYING",
        "ebpf_runtime/licenses/elfutils/COPYING-LGPLV3",
        "ebpf_runtime/licenses/zlib/LICENSE",
    }
    assert read(bundled, "ebpf_runtime/licenses/sources.toml") == PINNED.read_bytes()
    assert b"GNU LESSER GENERAL PUBLIC LICENSE" in read(bundled, "ebpf_runtime/licenses/elfutils/COPYING-LGPLV3")
    recipe = ROOT / "ebpf_runtime" / "cmake" / "BundledLibbpf.cmake"
    assert read(bundled, "ebpf_runtime/cmake/BundledLibbpf.cmake") == recipe.read_bytes()


def test_the_helper_of_the_streams_comes_along_and_needs_nothing(
    bundled: Path, foreign: Path, installed: Environment
) -> None:
    for wheel in (bundled, foreign):
        elf = ELFFile(io.BytesIO(read(wheel, WALKER)))
        assert elf["e_machine"] == MACHINES[architecture(wheel)]
        dynamic = elf.get_section_by_name(".dynamic")
        assert isinstance(dynamic, DynamicSection)
        assert not list(dynamic.iter_tags("DT_NEEDED"))
        symbols = elf.get_section_by_name(".dynsym")
        assert isinstance(symbols, SymbolTableSection)
        assert {symbol.name for symbol in symbols.iter_symbols()} == {
            "",
            "ebpf_walker_load",
            "ebpf_walker_perf",
            "ebpf_walker_ring",
            "ebpf_walker_store",
        }
    asked = "from ebpf_runtime.libbpf import walker; print(walker()._name)"
    assert installed.run(installed.python, "-c", asked).stdout.strip() == str(installed.site_packages / WALKER)


def test_headers_are_those_of_the_same_libbpf(bundled: Path, deps: Path) -> None:
    for header in ("bpf_core_read.h", "bpf_endian.h", "bpf_helpers.h", "bpf_tracing.h", "usdt.bpf.h"):
        assert read(bundled, f"ebpf_runtime/include/bpf/{header}") == (deps / "libbpf" / "src" / header).read_bytes()


def test_the_bundled_library_is_loaded_and_no_other(installed: Environment) -> None:
    assert installed.run(installed.python, "-c", LOADED).stdout.splitlines() == [
        str(installed.site_packages / LIBRARY),
        "1 5",
        "_libbpf.so",
    ]


def test_a_named_library_is_preferred(make_environment: MakeEnvironment, bundled: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "mine.so"
    chosen.write_bytes(read(bundled, LIBRARY))
    environment = make_environment(bundled, EBPF_LIBBPF=str(chosen))
    assert environment.run(environment.python, "-c", LOADED).stdout.splitlines()[0] == str(chosen)


@pytest.mark.kernel
def test_a_check_reads_with_the_bundled_library(installed: Environment) -> None:
    said = installed.run("ebpf-collector", "demo").stdout
    assert "the check reports" in said
    assert "oom_kill.oom_process.count" in said


def test_auditwheel_agrees(bundled: Path) -> None:
    if importlib.util.find_spec("auditwheel") is None:
        pytest.skip("auditwheel is not installed: pip install auditwheel")
    command = (sys.executable, "-m", "auditwheel", "show", str(bundled))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f'"manylinux_2_17_{platform.machine()}"' in " ".join(done.stdout.split())


def refused(environment: Environment, sources: Path, *options: str) -> str:
    """Return what a build that must fail says, its white space made single blanks."""
    folder = environment.path / "out"
    arguments = ("--no-deps", "--no-build-isolation", *options, "--wheel-dir")
    done = environment.pip("wheel", *arguments, folder, sources, check=False)
    assert done.returncode == 1
    output = " ".join((done.stdout + done.stderr).split())
    assert output.count("CMake Error") == 1
    assert "Traceback" not in output
    return output


def test_a_folder_without_the_sources_is_one_message(zig_builder: Environment, sources: Path, tmp_path: Path) -> None:
    output = refused(zig_builder, sources, f"-Ccmake.define.EBPF_LIBBPF_SOURCE={tmp_path}")
    assert f"build libbpf from EBPF_LIBBPF_SOURCE={tmp_path}: there is no libbpf/src/libbpf.map in it." in output
    assert "Run make deps, which lays such a folder out as build/deps." in output


def test_an_unknown_architecture_is_one_message(zig_builder: Environment, sources: Path, deps: Path) -> None:
    options = {"EBPF_LIBBPF_SOURCE": deps, "EBPF_LIBBPF_ARCHITECTURE": "s390x"}
    output = refused(zig_builder, sources, *(f"-Ccmake.define.{key}={value}" for key, value in options.items()))
    assert "build libbpf for s390x: not an architecture of this project." in output
    assert "Set EBPF_LIBBPF_ARCHITECTURE to x86_64 or aarch64." in output


def test_a_missing_ziglang_is_one_message(builder: Environment, sources: Path, deps: Path) -> None:
    output = refused(builder, sources, f"-Ccmake.define.EBPF_LIBBPF_SOURCE={deps}")
    assert "build libbpf: its compiler, the package ziglang, is not installed for" in output
    assert "pip install 'ziglang==0.15.2'" in output


def test_environment_variables_ask_for_it_too(make_environment: MakeEnvironment, sources: Path, tmp_path: Path) -> None:
    environment = make_environment("scikit-build-core", "jinja2", "pyelftools", EBPF_LIBBPF_SOURCE=str(tmp_path))
    assert f"EBPF_LIBBPF_SOURCE={tmp_path}: there is no libbpf/src/libbpf.map in it." in refused(environment, sources)


REQUIRED = """
import os, sys
os.chdir(sys.argv[1])
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tools"]
from ebpf_runtime import build
print(*(name for name in build.get_requires_for_build_wheel({"cmake.define.EBPF_LIBBPF_SOURCE": "/x"})
        if name.startswith("ziglang")))
"""


def test_ziglang_is_asked_for_whatever_clang_is_installed(builder: Environment, sources: Path) -> None:
    assert builder.run(builder.python, "-c", REQUIRED, sources).stdout == "ziglang==0.15.2\n"


def test_packages_with_probes_of_their_own_are_not_concerned(
    make_environment: MakeEnvironment, wheel: Path, tmp_path: Path
) -> None:
    environment = make_environment(f"{wheel}[build]", EBPF_LIBBPF_SOURCE=str(tmp_path))
    package = tmp_path / "package"
    (package / "acme").mkdir(parents=True)
    (package / "acme" / "__init__.py").touch()
    (package / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.20)\nproject(acme LANGUAGES NONE)\n")
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "ebpf_runtime.build"\n'
        '[project]\nname = "acme"\nversion = "1"\n'
        '[tool.scikit-build.wheel]\npy-api = "py3"\nplatlib = false\n'
    )
    assert environment.build_wheel(package, tmp_path / "out").name == "acme-1-py3-none-any.whl"
