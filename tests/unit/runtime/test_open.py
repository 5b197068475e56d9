# SPDX-License-Identifier: Apache-2.0
"""Opening: embedded files, their digests, libbpf, the configuration; nothing is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from ebpf_probes import oom_kill
from ebpf_runtime import DigestError, OpenError, ProbeConfig

OBJECT = f"oom_kill.{ {'aarch64': 'arm64'}.get(os.uname().machine, os.uname().machine) }.bpf.o"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the installed package that may be damaged, and whose objects libbpf opens."""
    import ebpf_probes

    copy = tmp_path / "ebpf_probes"
    copy.mkdir()
    for directory in ebpf_probes.__path__:
        for path in Path(directory).iterdir():
            if path.is_file() and ".light" not in path.name:
                (copy / path.name).write_bytes(path.read_bytes())
    return copy


def open_from(package: Path, **environment: str) -> str:
    """Open the probe of a copied package in a new interpreter, by CO-RE only; return what it prints."""
    code = """
from ebpf_runtime import EbpfError, ProbeConfig
from ebpf_probes.oom_kill import OomKill
try:
    print("opened", OomKill.open(ProbeConfig(allow_runtime_compiled_fallback=False)).variants)
except EbpfError as error:
    print(type(error).__name__, error)
"""
    search = os.pathsep.join([str(package.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": search, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_an_intact_package_opens(package: Path) -> None:
    assert open_from(package) == "opened ('fentry', 'kprobe', 'raw_tp')"


def test_a_changed_object_is_refused_with_both_digests(package: Path) -> None:
    path = package / OBJECT
    good = path.read_bytes()
    bad = good[:-1] + bytes([good[-1] ^ 1])
    path.write_bytes(bad)
    assert open_from(package) == (
        f"DigestError open {OBJECT}: its SHA-256 is {sha256(bad).hexdigest()}, not {sha256(good).hexdigest()}. "
        "Reinstall the package."
    )


def test_a_missing_object_is_named(package: Path) -> None:
    (package / OBJECT).unlink()
    assert open_from(package) == (
        f"CoReError load probe 'oom_kill' by CO-RE: open {OBJECT}: it is not beside module ebpf_probes.oom_kill "
        f"(looked in {package}). Install the package, a checkout alone holds no objects. "
        "Set system_probe_config.allow_runtime_compiled_fallback to true to compile it on this host."
    )


def test_a_damaged_object_with_a_matching_digest_is_libbpfs_to_refuse(package: Path) -> None:
    path = package / OBJECT
    good = path.read_bytes()
    path.write_bytes(good[:4000])
    digests = package / "oom_kill.sha256"
    digests.write_text(digests.read_text().replace(sha256(good).hexdigest(), sha256(good[:4000]).hexdigest()))
    assert open_from(package).startswith("CoReError load probe 'oom_kill' by CO-RE: open object 'oom_kill': ")


def test_a_missing_libbpf_is_one_clear_error(package: Path) -> None:
    answer = open_from(package, EBPF_LIBBPF="/nonexistent/libbpf.so")
    assert answer.startswith("LibraryNotFoundError load libbpf: /nonexistent/libbpf.so: cannot open shared object file")
    assert answer.endswith("Install libbpf (apt install libbpf1, dnf install libbpf) or set EBPF_LIBBPF to its path.")
    assert "\n" not in answer


def test_a_library_that_is_not_libbpf_is_refused(package: Path) -> None:
    answer = open_from(package, EBPF_LIBBPF="libc.so.6")
    assert answer.startswith("LibraryNotFoundError load libbpf: libc.so.6: ")


def test_an_unknown_variant_is_refused() -> None:
    with oom_kill.OomKill.open() as opened, pytest.raises(OpenError) as caught:
        opened.select_variant("uprobe")
    assert str(caught.value) == (
        "select variant 'uprobe' of 'oom_kill': there is none; there are fentry, kprobe, raw_tp."
    )


def test_errors_form_one_tree() -> None:
    import ebpf_runtime

    assert issubclass(DigestError, OpenError)
    for name in ebpf_runtime.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(ebpf_runtime, name), ebpf_runtime.EbpfError)


def test_the_configuration_is_a_value() -> None:
    config = ProbeConfig(kernel_header_dirs=["a"], bpf_debug=True)
    assert config == ProbeConfig(kernel_header_dirs=("a",), bpf_debug=True)
    assert hash(config) == hash(ProbeConfig(kernel_header_dirs=("a",), bpf_debug=True))
    assert config != ProbeConfig()
    assert repr(ProbeConfig()) == (
        "ProbeConfig(allow_runtime_compiled_fallback=True, bpf_debug=False, btf_path=None, enable_co_re=True, "
        "enable_kernel_header_download=False, kernel_header_dirs=(), kernel_header_download_dir=None, "
        "runtime_compiler_output_dir=None)"
    )
