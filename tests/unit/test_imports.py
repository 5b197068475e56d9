# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = {
    "ebpf_codegen": ROOT / "tools" / "ebpf_codegen",
    "ebpf_runtime": ROOT / "ebpf_runtime",
    "ebpf_probes": ROOT / "generated" / "ebpf_probes",
    "ebpf_collector": ROOT / "ebpf_collector",
}
# package -> third parties it may import
THIRD_PARTIES = {
    "ebpf_codegen": {"elftools", "jinja2"},
    "ebpf_runtime": set(),
    "ebpf_probes": set(),
    "ebpf_collector": {"yaml"},
}
# package -> packages of ours it may import
OURS = {
    "ebpf_codegen": set(),
    "ebpf_runtime": set(),
    "ebpf_probes": {"ebpf_runtime"},
    "ebpf_collector": {"ebpf_probes", "ebpf_runtime"},
}
# module -> what it alone may import besides
EXCEPTIONS = {
    "ebpf_runtime/build.py": {"ebpf_codegen", "scikit_build_core"},
    "ebpf_runtime/compiled_objects.py": {"ebpf_codegen"},
    "ebpf_runtime/host_compiler.py": {"ebpf_codegen"},
    "ebpf_runtime/arrays.py": {"numpy"},
    # Python's own, from 3.12 on.
    "ebpf_runtime/digests.py": {"_sha2"},
    # For annotations; the tests below show that it is not loaded.
    "ebpf_runtime/maps/array.py": {"numpy"},
    "ebpf_runtime/maps/hash.py": {"numpy"},
    "ebpf_runtime/maps/per_cpu.py": {"numpy"},
    # Lends a default to a type parameter; for type checkers alone.
    "ebpf_runtime/maps/of_maps.py": {"typing_extensions"},
    "ebpf_runtime/iterators.py": {"numpy"},
    "ebpf_runtime/streams/ring_buffer.py": {"numpy"},
    "ebpf_runtime/streams/stream.py": {"numpy"},
}
# module of ebpf_runtime -> those that may use the foreign functions, or their structures, that it declares
FOREIGN = {
    "libbpf": {
        "assembled.py",
        "base.py",
        "btf_sources.py",
        "cpus.py",
        "dump.py",
        "keyed.py",
        "facts.py",
        "libbpf_object.py",
        "light_maker.py",
        "links.py",
        "loader.py",
        "perf_buffer.py",
        "programs.py",
        "ring_buffer.py",
        "variants.py",
        "walks.py",
    },
    "libbpf_structures": {
        "assembled.py",
        "dump.py",
        "libbpf.py",
        "light_maker.py",
        "of_maps.py",
        "perf_buffer.py",
        "programs.py",
        "ring_buffer.py",
        "target_programs.py",
        "walks.py",
    },
}


def imports(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield (line, dotted name, level) of every import of a file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", node.level


def violations(package: str, path: Path, shown: str) -> Iterator[str]:
    allowed = {package, *OURS[package], *THIRD_PARTIES[package], *EXCEPTIONS.get(shown, ()), *sys.stdlib_module_names}
    for line, name, level in imports(path):
        top = name.partition(".")[0]
        if not level and top not in allowed:
            yield f"{shown}:{line}: {package} may not import {top}"
        if package != "ebpf_runtime" and name.startswith("ebpf_runtime."):
            yield f"{shown}:{line}: {package} may import only public names, from ebpf_runtime itself"


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_keep_their_direction(package: str) -> None:
    found: list[str] = []
    for path in sorted(PACKAGES[package].rglob("*.py")):
        found += violations(package, path, f"{package}/{path.relative_to(PACKAGES[package])}")
    assert found == []


def test_a_wrong_import_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("import json\nimport ebpf_collector.cli\nfrom ebpf_runtime.maps import Map\n")
    assert list(violations("ebpf_probes", path, "ebpf_probes/wrong.py")) == [
        "ebpf_probes/wrong.py:2: ebpf_probes may not import ebpf_collector",
        "ebpf_probes/wrong.py:3: ebpf_probes may import only public names, from ebpf_runtime itself",
    ]


def test_the_foreign_prototypes_stand_in_one_file() -> None:
    for path in sorted(PACKAGES["ebpf_runtime"].rglob("*.py")):
        for line, name, level in imports(path):
            module = name.removeprefix("ebpf_runtime.")
            if module in FOREIGN and (level or module != name):
                assert path.name in FOREIGN[module], f"{path.name}:{line} may not use what {module} declares"
        assert path.name == "libbpf.py" or ".restype" not in path.read_text()


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after a statement and had not before."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_a_probe_is_light() -> None:
    new = loaded_by("import ebpf_probes.oom_kill")
    assert {name for name in new if name.startswith("ebpf_")} == {
        "ebpf_probes",
        "ebpf_probes.oom_kill",
        "ebpf_runtime",
        "ebpf_runtime.config",
        "ebpf_runtime.enums",
        "ebpf_runtime.errors",
        "ebpf_runtime.handles",
        "ebpf_runtime.probe",
        "ebpf_runtime.record_fields",
        "ebpf_runtime.records",
        "ebpf_runtime.semantics",
        "ebpf_runtime.specs",
        "ebpf_runtime.variables",
    }
    assert (
        not {"ctypes", "signal", "typing", "dataclasses", "numpy", "mmap", "hashlib", "elftools", "jinja2", "yaml"}
        & new
    )
    # enum, which a probe without enumerations does not need, _struct, and what they need are all that the standard
    # library adds.
    assert {name for name in new if not name.startswith("ebpf_")} <= {
        "__future__",
        "_collections",
        "_functools",
        "_operator",
        "_struct",
        "collections",
        "collections.abc",
        "enum",
        "functools",
        "itertools",
        "keyword",
        "operator",
        "reprlib",
        "types",
    }


def test_importing_a_probe_maps_no_libbpf() -> None:
    code = "import ebpf_probes.oom_kill; print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert "libbpf" not in done.stdout
    assert "numpy" not in done.stdout


def test_libbpf_is_called_without_ctypes() -> None:
    new = loaded_by("from ebpf_runtime.libbpf import library; library().libbpf_num_possible_cpus()")
    assert {name for name in new if name.startswith("ebpf_runtime.libbpf")} == {"ebpf_runtime.libbpf"}
    assert not {"ctypes", "typing", "dataclasses", "enum", "re", "numpy"} & new


def test_every_public_name_of_the_runtime_resolves() -> None:
    import ebpf_runtime

    assert ebpf_runtime.__all__ == sorted(
        ebpf_runtime.__all__, key=lambda name: (not name[0].isupper(), _natural(name))
    )
    for name in ebpf_runtime.__all__:
        assert getattr(ebpf_runtime, name) is not None
    with pytest.raises(AttributeError, match="module 'ebpf_runtime' has no attribute 'nosuch'"):
        ebpf_runtime.nosuch  # noqa: B018


def _natural(name: str) -> tuple[str, int]:
    digits = "".join(filter(str.isdigit, name))
    return name.rstrip("0123456789"), int(digits or 0)
