# SPDX-License-Identifier: Apache-2.0
"""A wheel built with a folder of kernels' BTF carries what the probes need of it."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ebpf_codegen import btf

from .conftest import Environment

pytestmark = pytest.mark.packaging

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
BUNDLE = "ebpf_probes/minimal-btf.tar.xz"
NAME = "debian/12/x86_64/6.1.0-1-test.btf"


def test_a_bundle_is_cut_from_the_folder(builder: Environment, sources: Path, wheel: Path, tmp_path: Path) -> None:
    if not KERNEL_BTF.exists():
        pytest.skip(f"the kernel shows no BTF to cut ({KERNEL_BTF} is missing)")
    full = tmp_path / "full" / f"{NAME}.xz"
    full.parent.mkdir(parents=True)
    full.write_bytes(lzma.compress(KERNEL_BTF.read_bytes(), preset=0))
    asking = replace(builder, variables={"EBPF_BTF_DIRECTORY": str(tmp_path / "full")})
    built = asking.build_wheel(sources, tmp_path / "wheel")
    with zipfile.ZipFile(built) as archive, zipfile.ZipFile(wheel) as plain:
        assert BUNDLE not in plain.namelist()
        data = archive.read(BUNDLE)
        assert archive.read(f"{BUNDLE}.sha256").decode() == f"{sha256(data).hexdigest()}  minimal-btf.tar.xz\n"
        assert set(archive.namelist()) - set(plain.namelist()) == {BUNDLE, f"{BUNDLE}.sha256"}
    with tarfile.open(fileobj=io.BytesIO(data)) as bundle:
        assert bundle.getnames() == [NAME]
        member = bundle.extractfile(NAME)
        assert member is not None
        types = btf.read(member.read()).types
    assert {"task_struct", "oom_control", "tcp_sock", "bpf_map"} <= {getattr(item, "name", "") for item in types}
    assert len(data) < 8 << 10


def test_a_folder_that_is_not_there_is_named(builder: Environment, sources: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = builder.pip(
        "wheel", "--no-deps", "--no-build-isolation", f"-Ccmake.define.EBPF_BTF_DIRECTORY={missing}",
        "--wheel-dir", tmp_path / "wheel", sources, check=False,
    )  # fmt: skip
    assert done.returncode
    said = " ".join((done.stdout + done.stderr).split())
    assert f"cut BTF from EBPF_BTF_DIRECTORY={missing}: it is no folder." in said
