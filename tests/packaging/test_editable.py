# SPDX-License-Identifier: Apache-2.0
"""An editable install finds what a wheel has: objects, templates, headers, commands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Environment, MakeEnvironment

pytestmark = pytest.mark.packaging

OPEN = """
import ebpf_collector, ebpf_probes.oom_kill as bindings, ebpf_runtime
print(ebpf_runtime.__file__, ebpf_collector.__file__, sep="\\n")
folder = bindings.__file__.rpartition("/")[0]
for name in ("x86_64.bpf.o", "arm64.bpf.o", "flat.c", "sha256"):
    print(name, len(bindings.__spec__.loader.get_data(f"{folder}/oom_kill.{name}")) > 0)
"""


@pytest.fixture(scope="module")
def checkout(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(sources, tmp_path_factory.mktemp("editable") / "checkout")


@pytest.fixture(scope="module")
def editable(make_environment: MakeEnvironment, checkout: Path) -> Environment:
    environment = make_environment("scikit-build-core", "jinja2", "pyelftools", "PyYAML")
    environment.pip("install", "--no-build-isolation", "--editable", checkout)
    return environment


def test_modules_are_live_and_objects_are_found(editable: Environment, checkout: Path) -> None:
    assert editable.run(editable.python, "-c", OPEN).stdout.splitlines() == [
        str(checkout / "ebpf_runtime" / "__init__.py"),
        str(checkout / "ebpf_collector" / "__init__.py"),
        "x86_64.bpf.o True",
        "arm64.bpf.o True",
        "flat.c True",
        "sha256 True",
    ]


def test_bundled_libbpf_is_found_where_the_build_installed_it(editable: Environment) -> None:
    bundled = editable.site_packages / "ebpf_runtime" / "_libbpf.so"
    bundled.touch()
    try:
        script = "from ebpf_runtime import libbpf; print(*(name for _, name in libbpf._candidates()), sep='\\n')"
        assert editable.run(editable.python, "-c", script).stdout.splitlines() == [str(bundled), "libbpf.so.1"]
    finally:
        bundled.unlink()


def test_commands_work(editable: Environment) -> None:
    for command in ("ebpf-codegen", "ebpf-collector"):
        assert editable.run(command, "--help").stdout.startswith(f"usage: {command}")


def test_generator_finds_templates_and_headers(editable: Environment, checkout: Path) -> None:
    output = editable.path / "built"
    include = checkout / "bpf" / "include"
    source = checkout / "bpf" / "oom_kill.bpf.c"
    editable.run("ebpf-codegen", "build", source, "--include", include, "--output", output)
    generated = checkout / "generated" / "ebpf_probes" / "oom_kill.py"
    assert (output / "oom_kill.py").read_bytes() == generated.read_bytes()


REBUILT = """
import ebpf_probes.oom_kill as bindings
folder = bindings.__file__.rpartition("/")[0]
print(bindings.__spec__.loader.get_data(f"{folder}/oom_kill.flat.c").decode().count("/* A word more. */"))
print(bindings.OomKillEvent.__doc__.count("One more sentence."))
"""


def test_changed_source_is_rebuilt_on_import(make_environment: MakeEnvironment, sources: Path, tmp_path: Path) -> None:
    """The mode that CONTRIBUTING names for work on probes."""
    checkout = shutil.copytree(sources, tmp_path / "checkout")
    environment = make_environment("scikit-build-core", "jinja2", "pyelftools", "PyYAML")
    environment.pip("install", "--no-build-isolation", "-Ceditable.rebuild=true", "--editable", checkout)
    assert environment.run(environment.python, "-c", REBUILT).stdout.split() == ["0", "0"]

    source = checkout / "bpf" / "oom_kill.bpf.c"
    source.write_text(source.read_text().replace("char LICENSE", "/* A word more. */\nchar LICENSE"))
    assert environment.run(environment.python, "-c", REBUILT).stdout.split() == ["1", "0"]

    # A header counts as well, and the bindings are those of the new object.
    header = checkout / "bpf" / "oom_kill.h"
    before = header.read_text()
    header.write_text(before.replace("struct oom_kill_event {", "/* One more sentence. */\nstruct oom_kill_event {"))
    assert header.read_text() != before
    assert environment.run(environment.python, "-c", REBUILT).stdout.split() == ["1", "1"]


def test_editable_install_can_be_repeated(make_environment: MakeEnvironment, sources: Path, tmp_path: Path) -> None:
    """pip's isolated build leaves a build folder that names programs of an environment that is gone."""
    checkout = shutil.copytree(sources, tmp_path / "checkout")
    environment = make_environment("PyYAML")
    for _ in range(2):
        environment.pip("install", "--no-deps", "--editable", checkout)
    assert environment.run(environment.python, "-c", REBUILT).stdout.split() == ["0", "0"]
