# SPDX-License-Identifier: Apache-2.0
"""What importing the collector costs."""

import os
import subprocess
import sys


def modules_after(code: str) -> set[str]:
    """Return the modules that *code* loads in a fresh interpreter, beyond those it starts with."""
    report = "import sys; before = set(sys.modules)\n{}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", report.format(code)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_else() -> None:
    assert modules_after("import ebpf_collector") == {"ebpf_collector"}


def test_the_command_can_be_interrupted_from_the_start() -> None:
    # Nothing that takes time is imported before main() runs.
    assert modules_after("import ebpf_collector.__main__") == {"ebpf_collector", "ebpf_collector.__main__"}


def test_nothing_needs_numpy() -> None:
    modules = modules_after("import ebpf_collector.cli, ebpf_collector.checks.oom_kill, ebpf_collector.probes.oom_kill")
    assert "ebpf_collector.probes.oom_kill" in modules
    assert not any(module.partition(".")[0] == "numpy" for module in modules)


def test_command_loads_no_probe_before_it_is_wanted() -> None:
    modules = modules_after("import ebpf_collector.cli")
    assert not any(module.partition(".")[0] == "ebpf_probes" for module in modules)
