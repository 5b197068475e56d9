# SPDX-License-Identifier: Apache-2.0
"""What is in the wheel and the sdist, and that both are made from the sources alone."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from .conftest import Environment

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
PROBES = sorted(path.name.removesuffix(".bpf.c") for path in (ROOT / "bpf").glob("*.bpf.c"))
LIBBPF_HEADERS = (
    "bpf_core_read.h",
    "bpf_endian.h",
    "bpf_helper_defs.h",
    "bpf_helpers.h",
    "bpf_tracing.h",
    "usdt.bpf.h",
)
# What decision 25 found, and a little more: whoever adds that much has to look where it comes from.
MAXIMUM_BYTES = 693_000


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_is_for_every_python_and_platform(wheel: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert wheel.name == f"ebpf_runtime-{version}-py3-none-any.whl"


def test_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAXIMUM_BYTES


@pytest.mark.parametrize("probe", PROBES)
def test_objects_and_flattened_source_match_their_digests(wheel: Path, probe: str) -> None:
    files = contents(wheel)
    lines = files[f"ebpf_probes/{probe}.sha256"].decode().splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert sorted(digests) == [f"{probe}.arm64.bpf.o", f"{probe}.flat.c", f"{probe}.x86_64.bpf.o"]
    for name, digest in digests.items():
        assert hashlib.sha256(files[f"ebpf_probes/{name}"]).hexdigest() == digest, name


@pytest.mark.parametrize("probe", PROBES)
def test_loader_programs_match_their_digests_and_their_objects(wheel: Path, probe: str) -> None:
    files = contents(wheel)
    lines = files[f"ebpf_probes/{probe}.light.sha256"].decode().splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    # A weak function of the kernel would be lost.
    takes_kernel_functions = b"\0.ksyms\0" in files[f"ebpf_probes/{probe}.x86_64.bpf.o"]
    assert takes_kernel_functions == (probe == "ebpf_inventory")
    assert sorted(digests) == ([] if takes_kernel_functions else [f"{probe}.arm64.light", f"{probe}.x86_64.light"])
    for name, digest in digests.items():
        data = files[f"ebpf_probes/{name}"]
        assert hashlib.sha256(data).hexdigest() == digest, name
        image = files[f"ebpf_probes/{name.removesuffix('.light')}.bpf.o"]
        assert data.startswith(f"ebpf-light 1\nobject {hashlib.sha256(image).hexdigest()}\n".encode())


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_objects_are_stripped_bpf(wheel: Path, probe: str, architecture: str) -> None:
    image = contents(wheel)[f"ebpf_probes/{probe}.{architecture}.bpf.o"]
    elf = ELFFile(io.BytesIO(image))
    assert elf["e_machine"] == "EM_BPF"
    sections = {section.name for section in elf.iter_sections()}
    assert {".BTF", ".BTF.ext", ".maps"} <= sections
    assert not [name for name in sections if name.startswith((".debug", ".rel.debug", ".rel.BTF.ext"))]


@pytest.mark.parametrize("probe", PROBES)
def test_bindings_are_the_checked_in_ones(wheel: Path, probe: str) -> None:
    module = f"ebpf_probes/{probe}.py"
    assert contents(wheel)[module] == (ROOT / "generated" / module).read_bytes()


def test_wheel_holds_every_module_template_and_header(wheel: Path) -> None:
    expected = {
        f"{target}/{path.relative_to(ROOT / source).as_posix()}"
        for source, target in (
            ("ebpf_runtime", "ebpf_runtime"),
            ("ebpf_collector", "ebpf_collector"),
            ("generated/ebpf_probes", "ebpf_probes"),
            ("tools/ebpf_codegen", "ebpf_codegen"),
            ("templates", "ebpf_codegen/templates"),
            ("bpf/include", "ebpf_runtime/include"),
        )
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "types.txt"
    }
    expected |= {f"ebpf_runtime/include/bpf/{header}" for header in LIBBPF_HEADERS}
    expected |= {"ebpf_runtime/include/bpf/LICENSE", "ebpf_runtime/libbpf_headers.sha256"}
    expected |= {
        f"ebpf_probes/{probe}{suffix}"
        for probe in PROBES
        for suffix in (
            ".x86_64.bpf.o",
            ".arm64.bpf.o",
            ".flat.c",
            ".sha256",
            ".x86_64.light",
            ".arm64.light",
            ".light.sha256",
        )
    }
    installed = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert installed == expected


def test_libbpfs_headers_match_their_digests(wheel: Path) -> None:
    files = contents(wheel)
    lines = files["ebpf_runtime/libbpf_headers.sha256"].decode().splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert sorted(digests) == [f"include/bpf/{header}" for header in LIBBPF_HEADERS]
    for name, digest in digests.items():
        assert hashlib.sha256(files[f"ebpf_runtime/{name}"]).hexdigest() == digest, name


def test_header_of_helpers_declares_all_and_explains_none(wheel: Path) -> None:
    system = Path("/usr/include/bpf/bpf_helper_defs.h").read_text()
    carried = contents(wheel)["ebpf_runtime/include/bpf/bpf_helper_defs.h"].decode()
    declaration = re.compile(
        r"^(?:static .*\(\* ?(?:const )?(bpf_\w+)\)\(.*= \(void \*\) ?\d+;|struct \w+;)$", re.MULTILINE
    )
    assert len(declaration.findall(system)) > 200
    assert [found[0] for found in declaration.finditer(carried)] == [found[0] for found in declaration.finditer(system)]
    assert carried.count("/*") == 1
    assert len(carried) < len(system) / 5


@pytest.mark.parametrize("package", ["ebpf_runtime", "ebpf_collector", "ebpf_probes", "ebpf_codegen"])
def test_packages_are_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in contents(wheel)


def test_licences_travel(wheel: Path) -> None:
    licences = [name for name in contents(wheel) if ".dist-info/licenses/" in name]
    assert sorted(name.rpartition("licenses/")[2] for name in licences) == [
        "LICENSE",
        "LICENSES/Apache-2.0.txt",
        "LICENSES/BSD-2-Clause.txt",
        "LICENSES/GPL-2.0-only.txt",
    ]


def test_wheel_is_reproducible_from_another_folder(
    builder: Environment, sources: Path, wheel: Path, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(sources, tmp_path / "quite another place")
    again = builder.build_wheel(elsewhere, tmp_path / "wheel")
    assert contents(again) == contents(wheel)
    assert again.read_bytes() == wheel.read_bytes()


def test_wheel_from_sdist_equals_wheel_from_tree(
    builder: Environment, sources: Path, wheel: Path, tmp_path: Path
) -> None:
    script = "import sys; from ebpf_runtime import build; print(build.build_sdist(sys.argv[1]))"
    # The backend runs in the project's folder, with backend-path on sys.path: so do front ends.
    made = subprocess.run(
        [builder.python, "-c", script, tmp_path],
        cwd=sources,
        env={"PYTHONPATH": ".:tools", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    sdist = tmp_path / made.stdout.splitlines()[-1]
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "Makefile", "LICENSE", "bpf/oom_kill.bpf.c", "tools/regen"} <= names
    assert not [name for name in names if name.endswith((".o", ".pyc")) and "golden" not in name]
    again = builder.build_wheel(sdist, tmp_path / "wheel")
    assert contents(again) == contents(wheel)
