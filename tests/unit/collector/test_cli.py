# SPDX-License-Identifier: Apache-2.0
"""The command: exit codes, one-line errors, output that reads well in a pipe."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest

from ebpf_collector import checks, cli, demo
from ebpf_collector.checks import CHECK_NAMES, CheckFactory, MetricScheme
from ebpf_collector.checks.ebpf import EbpfCheck
from ebpf_collector.checks.oom_kill import OomKillCheck, OomKillProbe
from ebpf_collector.checks.tcp_queue_length import TcpQueueLengthCheck
from ebpf_collector.cli import main
from ebpf_collector.inventory import Inventory
from ebpf_probes.oom_kill import OomKillEvent
from ebpf_runtime import AttachError, MapError, PermissionDeniedError, ProbeConfig
from tests.unit.collector import inventories
from tests.unit.collector.records import FakeProbe, FakeTracer, kill


def serve(monkeypatch: pytest.MonkeyPatch, probe: FakeProbe | Exception) -> None:
    """Let the check `oom_kill` be the only one, and have *probe*, or fail to start with it."""

    def open_probe() -> OomKillProbe:
        if isinstance(probe, Exception):
            raise probe
        return probe

    def make(probe_config: ProbeConfig, metric_scheme: MetricScheme) -> CheckFactory:
        return lambda: OomKillCheck(open_probe, metric_scheme)

    monkeypatch.setitem(checks._FACTORIES, "oom_kill", make)
    monkeypatch.setattr(cli, "CHECK_NAMES", ("oom_kill",))
    monkeypatch.setattr(demo, "_show_queues", lambda check, sender, say: None)
    monkeypatch.setitem(
        checks._FACTORIES, "tcp_queue_length", lambda config, scheme: lambda: TcpQueueLengthCheck(FakeTracer, scheme)
    )
    monkeypatch.setitem(checks._FACTORIES, "ebpf", lambda config, scheme: lambda: EbpfCheck(an_inventory, scheme))


def an_inventory() -> inventories.FakeProbe:
    """Return a probe that tells one map, which belongs to `oom_kill`, once."""
    return inventories.FakeProbe(Inventory((inventories.map_state(),), ()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["check", "oom_kil"],
            "run check 'oom_kil': unknown check. Did you mean 'oom_kill'? Known checks: {known}.",
        ),
        (["check", "nosuch"], "run check 'nosuch': unknown check. Known checks: {known}."),
        (
            ["check", "oom_kill", "nosuch"],
            "run check 'nosuch': unknown check. Known checks: {known}.",
        ),
        (
            ["check"],
            "read command line: the following arguments are required: NAME. See 'ebpf-collector check --help'.",
        ),
        (
            [],
            "read command line: the following arguments are required: COMMAND. See 'ebpf-collector --help'.",
        ),
        (
            ["check", "all", "--interval", "0"],
            "read command line: argument --interval: '0' is not a number of seconds above 0. "
            "See 'ebpf-collector check --help'.",
        ),
        (
            ["check", "all", "--interval", "nan"],
            "read command line: argument --interval: 'nan' is not a number of seconds above 0. "
            "See 'ebpf-collector check --help'.",
        ),
        (
            ["check", "all", "--count", "-1"],
            "read command line: argument --count: '-1' is not a whole number, 0 or above. "
            "See 'ebpf-collector check --help'.",
        ),
        (
            ["check", "all", "--config", "/nowhere/x.yaml"],
            "read configuration file /nowhere/x.yaml: ENOENT, no such file or directory. "
            "Check the path given to --config.",
        ),
        (
            ["demo", "extra"],
            "read command line: unrecognized arguments: extra. See 'ebpf-collector --help'.",
        ),
    ],
)
def test_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    known = ", ".join((*CHECK_NAMES, "all"))
    assert capsys.readouterr() == ("", f"ebpf-collector: {message.format(known=known)}\n")


def test_wrong_settings_of_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("checks:\n  oom_kill:\n    collect: true\n")
    assert main(["check", "oom_kill", "--config", str(path)]) == 2
    assert capsys.readouterr() == (
        "",
        f"ebpf-collector: read configuration of check 'oom_kill' in {path}: "
        "line 3, unknown key 'collect'. Did you mean 'collect_oom_kill'? "
        "Known keys: collect_oom_kill, metric_scheme.\n",
    )


def test_wrong_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DD_ENABLE_CO_RE", "perhaps")
    for arguments in (["check", "all"], ["demo"]):
        assert main(arguments) == 2
        assert capsys.readouterr() == (
            "",
            "ebpf-collector: read environment variable DD_ENABLE_CO_RE: "
            "'perhaps' is not a boolean. Write true or false.\n",
        )


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["demo", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    output, errors = capsys.readouterr()
    assert output.startswith("usage: ebpf-collector")
    assert errors == ""
    assert max(map(len, output.splitlines())) <= 100


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    name, version = capsys.readouterr().out.rstrip("\n").split(" ", 1)
    assert name == "ebpf-collector"
    assert version


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionDeniedError("load probe 'oom_kill': EPERM, no. Run as root."), 3),
        (AttachError("attach program 'p': ENOENT, no. Do x."), 1),
        (RuntimeError("a defect"), 1),
    ],
)
@pytest.mark.parametrize("command", [["check", "all"], ["demo"]])
def test_check_that_cannot_start(
    command: list[str],
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve(monkeypatch, error)
    assert main(command) == code
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("ebpf-collector: ")
    assert str(error) in errors
    assert errors.count("\n") == 1


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    probe = FakeProbe([kill()], [kill(), kill()])
    serve(monkeypatch, probe)
    assert main(["check", "all", "oom_kill", "--json", "--interval", "0.01", "--count", "2"]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    kinds = [json.loads(line)["kind"] for line in output.splitlines()]
    assert kinds.count("event") == 3
    assert kinds.count("metric") == 7
    assert probe.closed == 1


def test_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    serve(monkeypatch, FakeProbe([kill()]))
    assert main(["check", "oom_kill", "--interval", "0.01"]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert output.startswith("METRIC ")
    assert "    constraint         MEMCG\n" in output


def test_metric_scheme_of_the_file_reaches_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("metric_scheme: datadog\n")
    serve(monkeypatch, FakeProbe([kill()]))
    assert main(["check", "oom_kill", "--interval", "0.01", "--config", str(path)]) == 0
    assert "container_id:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("count", "number", "code"),
    [
        ("0", signal.SIGINT, 0),
        ("0", signal.SIGTERM, 0),
        ("2", signal.SIGINT, 130),
        ("2", signal.SIGTERM, 143),
    ],
)
def test_signal_flushes_closes_and_ends(
    count: str,
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class SignallingProbe(FakeProbe):
        def lost_events(self) -> int:
            # Read at the end of a run: the signal comes in the wait after the first one.
            if len(self.windows) == 1:
                threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
            return 0

    probe = SignallingProbe([kill()], [kill(victim_comm="last")])
    serve(monkeypatch, probe)
    # The second wait would outlast any patience if the signal did not end it.
    assert main(["check", "oom_kill", "--json", "--interval", "0.5", "--count", count]) == code
    output, errors = capsys.readouterr()
    assert errors == ""
    events = [line for line in map(json.loads, output.splitlines()) if line["kind"] == "event"]
    assert [event["fields"]["victim_comm"] for event in events] == ["hog", "last"]
    assert probe.closed == 1


def test_failure_during_an_endless_check_is_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class FailingProbe(FakeProbe):
        def get_and_flush(self) -> list[OomKillEvent]:
            if self.windows:
                self.windows.pop()
                os.kill(os.getpid(), signal.SIGTERM)
            raise MapError("read ring buffer 'x': EIO, no. Do y.")

    probe = FailingProbe([])
    serve(monkeypatch, probe)
    assert main(["check", "oom_kill", "--interval", "0.01", "--count", "0"]) == 1
    # The run that failed, and the last flush.
    message = "ebpf-collector: check oom_kill: read ring buffer 'x': EIO, no. Do y.\n"
    assert capsys.readouterr().err == message * 2
    assert probe.closed == 1


ROOT = Path(__file__).resolve().parents[3]
# The command with a probe, and a demo with a kill, that need no root.
SCRIPT = """
import sys
from ebpf_collector import checks, cli, demo
from ebpf_collector.checks.ebpf import EbpfCheck
from ebpf_collector.checks.oom_kill import OomKillCheck
from ebpf_collector.checks.tcp_queue_length import TcpQueueLengthCheck
from ebpf_collector.cli import main
from tests.unit.collector.records import FakeProbe, FakeTracer, kill
from tests.unit.collector.test_cli import an_inventory

checks._FACTORIES["oom_kill"] = lambda config, scheme: lambda: OomKillCheck(lambda: FakeProbe(*[[kill()]] * 1000))
checks._FACTORIES["tcp_queue_length"] = lambda config, scheme: lambda: TcpQueueLengthCheck(FakeTracer)
checks._FACTORIES["ebpf"] = lambda config, scheme: lambda: EbpfCheck(an_inventory)
cli.CHECK_NAMES = ("oom_kill",)
demo._show_queues = lambda check, sender, say: None
demo._kill_one = lambda say: 4242
sys.exit(main(sys.argv[1:]))
"""


def start(output: int | IO[str], *arguments: str, redirected: str = "", script: str = SCRIPT) -> subprocess.Popen[str]:
    """Start the command in a process of its own, its output buffered as it is in a pipe.

    Args:
        redirected: A redirection in the shell's words, above *output*.
    """
    environment = dict(os.environ)
    environment.pop("PYTHONUNBUFFERED", None)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [*sys.path, str(ROOT)]))
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-c", script, *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reader_that_leaves_ends_the_command_quietly(options: list[str]) -> None:
    process = start(subprocess.PIPE, "check", "all", "--interval", "0.01", "--count", "0", *options)
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as output, process.stderr as errors:
        assert output.readline() != ""
        output.close()
        assert process.wait(timeout=30) == 0
        assert errors.read() == ""


@pytest.mark.parametrize("command", [["check", "all", "--interval", "0.01"], ["demo"]])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reader_that_was_never_there(command: list[str], options: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with start(writer, *command, *options) as process:
        os.close(writer)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    "command",
    [
        ["check", "all", "--interval", "0.01"],
        ["check", "all", "--interval", "0.01", "--json"],
        ["demo"],
        ["demo", "--json"],
        ["demo", "--help"],
        ["--help"],
        ["--version"],
    ],
)
def test_full_disk_is_one_line(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full, start(full, *command) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == "ebpf-collector: write output: ENOSPC, no space left on device. See where it is redirected to.\n"


@pytest.mark.parametrize("command", [["check", "all", "--interval", "0.01", "--json"], ["demo"], ["--version"]])
def test_closed_output_is_one_line(command: list[str]) -> None:
    with start(subprocess.PIPE, *command, redirected=">&-") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == "ebpf-collector: write output: EBADF, bad file descriptor. See where it is redirected to.\n"


@pytest.mark.parametrize(
    ("command", "code", "lines"),
    [
        (["check", "all", "--interval", "0.01", "--json"], 0, True),
        (["demo", "--json"], 0, True),
        (["check", "nosuch"], 2, False),
        (["--version"], 0, True),
    ],
)
def test_messages_for_closed_errors_do_not_go_to_the_output(command: list[str], code: int, lines: bool) -> None:
    with start(subprocess.PIPE, *command, redirected="2>&-") as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert bool(output) == lines
    if "--json" in command:
        assert all(json.loads(line)["kind"] in ("metric", "event") for line in output.splitlines())


def test_both_streams_closed() -> None:
    with start(subprocess.PIPE, "check", "all", redirected=">&- 2>&-") as process:
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 1


def test_unusable_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    for text in ("system_probe_config: {btf_path: 7}", "[" * 3000):
        path.write_text(text)
        assert main(["check", "all", "--config", str(path)]) == 2
        output, errors = capsys.readouterr()
        assert (output, errors.count("\n")) == ("", 1)


# Interrupts itself when the module that the first argument names is looked for.
INTERRUPTED = """
import os
import signal
import sys
from ebpf_collector.__main__ import main

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupt())
sys.exit(main())
"""


@pytest.mark.parametrize(
    "module", ["ebpf_collector.stop", "ebpf_collector.cli", "argparse", "yaml", "importlib.metadata"]
)
def test_interrupt_during_an_import_is_quiet(module: str) -> None:
    process = start(subprocess.PIPE, module, "--version", script=INTERRUPTED)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130
