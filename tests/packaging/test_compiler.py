# SPDX-License-Identifier: Apache-2.0
"""Which compiler a build uses and asks for, and what it says where there is none."""

from __future__ import annotations

import importlib.util
import json
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Environment, MakeEnvironment

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
# The commands in /usr/bin are links into these, so a machine without them has no clang.
CLANGS = tuple(Path("/usr/lib").glob("llvm-*"))
HEADERS = (Path("/usr/include/bpf"),)
ASK = """
import json, os, sys
os.chdir(sys.argv[1])
from ebpf_runtime import build
hooks = (build.get_requires_for_build_wheel, build.get_requires_for_build_editable,
         build.get_requires_for_build_sdist)
print(json.dumps([[r for r in hook() if r.startswith("ziglang")] for hook in hooks]))
"""


def asked(environment: Environment, *hidden: Path) -> list[list[str]]:
    """Return the compilers that the hooks for wheel, editable and sdist of a package ask for."""
    package = environment.path / "package"
    package.mkdir(exist_ok=True)
    (package / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "1"\n')
    output = environment.run(environment.python, "-c", ASK, package, hidden=hidden).stdout
    answer: list[list[str]] = json.loads(output)
    return answer


def refused(environment: Environment, sources: Path, *, hidden: tuple[Path, ...] = ()) -> str:
    """Return what a build that must fail says, its white space made single blanks."""
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", environment.path / "out")
    done = environment.pip("wheel", *options, sources, hidden=hidden, check=False)
    assert done.returncode == 1
    return " ".join((done.stdout + done.stderr).split())


def test_no_compiler_is_asked_for_where_a_clang_is_installed(installed: Environment) -> None:
    assert asked(installed) == [[], [], []]


def test_ziglang_is_asked_for_where_no_clang_is_installed(installed: Environment) -> None:
    assert asked(installed, *CLANGS) == [["ziglang==0.15.2"], ["ziglang==0.15.2"], []]


def test_tests_use_the_ziglang_that_builds_ask_for(installed: Environment) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert asked(installed, *CLANGS)[0][0] in project["optional-dependencies"]["test"]


def test_extra_build_is_what_the_project_itself_builds_with() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = pyproject["project"]["optional-dependencies"]
    assert extras["build"] == pyproject["build-system"]["requires"]


def test_ziglang_builds_the_same_bindings(
    make_environment: MakeEnvironment, sources: Path, wheel: Path, tmp_path: Path
) -> None:
    environment = make_environment("scikit-build-core", "jinja2", "pyelftools")
    # Linked, because packing and unpacking its 380 MB would take longer than all the rest.
    spec = importlib.util.find_spec("ziglang")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (ziglang,) = spec.submodule_search_locations
    (environment.site_packages / "ziglang").symlink_to(ziglang)
    built = environment.build_wheel(sources, tmp_path / "wheel", hidden=CLANGS)
    with zipfile.ZipFile(built) as ours, zipfile.ZipFile(wheel) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
        modules = [name for name in ours.namelist() if name.endswith((".py", ".flat.c"))]
        assert "ebpf_probes/oom_kill.py" in modules
        for name in modules:
            assert ours.read(name) == theirs.read(name), name


def test_no_compiler_at_all_is_one_message(builder: Environment, sources: Path) -> None:
    output = refused(builder, sources, hidden=CLANGS)
    assert output.count("CMake Error") == 1
    assert "find a BPF compiler: no clang of 16 or newer on PATH or in /usr/lib/llvm-*." in output
    assert "pip install 'ziglang==0.15.2'" in output
    assert "Traceback" not in output


def test_wrong_clang_is_one_message(make_environment: MakeEnvironment, sources: Path) -> None:
    environment = make_environment("scikit-build-core", "jinja2", "pyelftools", EBPF_CLANG="/bin/true")
    output = refused(environment, sources)
    assert output.count("CMake Error") == 1
    assert "use EBPF_CLANG=/bin/true: it does not answer like clang." in output
    assert "Traceback" not in output


def test_missing_libbpf_headers_are_one_message(builder: Environment, sources: Path) -> None:
    output = refused(builder, sources, hidden=HEADERS)
    assert output.count("CMake Error") == 1
    assert "find libbpf's header bpf/bpf_helpers.h: it is in none of" in output
    assert "(apt install libbpf-dev, dnf install libbpf-devel)" in output
    assert "Traceback" not in output


def test_headers_can_be_named(
    builder: Environment, sources: Path, installed: Environment, wheel: Path, tmp_path: Path
) -> None:
    carried = installed.site_packages / "ebpf_runtime" / "include"
    option = f"--config-settings=cmake.define.EBPF_LIBBPF_HEADERS={carried}"
    built = builder.build_wheel(sources, tmp_path / "wheel", option, hidden=HEADERS)
    assert built.read_bytes() == wheel.read_bytes()


def test_stale_bindings_fail_the_build(builder: Environment, sources: Path, tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    builder.run("cp", "-r", sources, stale)
    module = stale / "generated" / "ebpf_probes" / "oom_kill.py"
    module.write_text(module.read_text().replace("victim_pid", "victim_pit"))
    output = refused(builder, stale)
    assert "tools/regen" in output
    assert "victim_pit" in output
