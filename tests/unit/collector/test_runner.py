# SPDX-License-Identifier: Apache-2.0
"""When checks run, and what their failures do."""

import errno
from collections.abc import Sequence

import pytest

from ebpf_collector.checks import Metric
from ebpf_collector.errors import ConfigError, OutputError, WorkloadError
from ebpf_collector.runner import Failures, run_checks
from ebpf_collector.senders import Sender
from ebpf_runtime import EbpfError, PermissionDeniedError
from tests.unit.collector.recording import RecordingSender


class ScriptedCheck:
    """Writes down what is done to it, and fails where it is told to."""

    metrics: tuple[Metric, ...] = ()
    verifier_log = ""

    def __init__(
        self,
        log: list[str],
        name: str = "x",
        windowed: bool = True,
        failing: dict[str, Exception] | None = None,
    ) -> None:
        self.name = name
        self.windowed = windowed
        self._log = log
        self._failing = failing or {}

    def _do(self, action: str) -> None:
        self._log.append(f"{action} {self.name}")
        if action in self._failing:
            raise self._failing[action]

    def configure(self, data: bytes) -> None:
        self._do("configure")

    def start(self) -> None:
        self._do("start")

    def report_failed_start(self, sender: Sender, error: EbpfError) -> None:
        sender.gauge("tried", 1, [f"probe:{self.name}", f"error:{error}"])

    def run(self, sender: Sender) -> None:
        self._do("run")

    def close(self) -> None:
        self._do("close")


class ScriptedWait:
    """Is told to end at the given wait, the first being 1."""

    def __init__(self, log: list[str], stop_at: int = 0) -> None:
        self._log = log
        self._stop_at = stop_at
        self._waits = 0

    def wait(self, seconds: float) -> bool:
        self._waits += 1
        self._log.append(f"wait {seconds:g}")
        return self._waits == self._stop_at


def run(
    log: list[str],
    checks: Sequence[ScriptedCheck],
    *,
    count: int = 1,
    stop_at: int = 0,
    sender: RecordingSender | None = None,
) -> Failures:
    failures = Failures(log.append)
    run_checks(
        checks,
        sender or RecordingSender(),
        ScriptedWait(log, stop_at),
        failures,
        interval_s=10,
        count=count,
    )
    return failures


def test_windowed_check_waits_first() -> None:
    log: list[str] = []
    assert run(log, [ScriptedCheck(log)], count=2).exit_code == 0
    assert log == ["start x", "wait 10", "run x", "wait 10", "run x", "close x"]


def test_other_check_runs_at_once() -> None:
    log: list[str] = []
    run(log, [ScriptedCheck(log, windowed=False)], count=2)
    assert log == ["start x", "run x", "wait 10", "run x", "close x"]


def test_each_run_is_one_commit() -> None:
    sender = RecordingSender()
    log: list[str] = []
    run(log, [ScriptedCheck(log, "x"), ScriptedCheck(log, "y")], count=3, sender=sender)
    assert sender.commits == 3


def test_count_zero_runs_until_told_to_end() -> None:
    log: list[str] = []
    run(log, [ScriptedCheck(log)], count=0, stop_at=5)
    assert log.count("run x") == 5
    assert log[-3:] == ["wait 10", "run x", "close x"]


def test_only_windowed_checks_report_when_told_to_end() -> None:
    log: list[str] = []
    sender = RecordingSender()
    checks = [ScriptedCheck(log, "w"), ScriptedCheck(log, "i", windowed=False)]
    run(log, checks, count=7, stop_at=1, sender=sender)
    assert log == ["start w", "start i", "wait 10", "run w", "close i", "close w"]
    assert sender.commits == 1


def test_one_failing_check_does_not_stop_the_others() -> None:
    log: list[str] = []
    checks = [
        ScriptedCheck(log, "a", failing={"start": EbpfError("load object 'a': EINVAL, x. Do y.")}),
        ScriptedCheck(log, "b", failing={"run": EbpfError("read map 'b': EIO, x. Do y.")}),
        ScriptedCheck(log, "c", failing={"close": EbpfError("close 'c': EIO, x. Do y.")}),
        ScriptedCheck(log, "d"),
    ]
    failures = run(log, checks, count=2)
    assert failures.exit_code == 1
    message = "check b: read map 'b': EIO, x. Do y."
    assert log == [
        "start a",
        "check a: load object 'a': EINVAL, x. Do y.",
        "start b",
        "start c",
        "start d",
        "wait 10",
        *("run b", message, "run c", "run d"),
        "wait 10",
        *("run b", message, "run c", "run d"),
        "close d",
        "close c",
        "close check c: close 'c': EIO, x. Do y.",
        "close b",
        "close a",
    ]


def test_nothing_is_waited_for_when_no_check_started() -> None:
    log: list[str] = []
    error = PermissionDeniedError("load 'x': EPERM, no. Run as root.")
    failures = run(log, [ScriptedCheck(log, failing={"start": error})], count=0)
    assert log == ["start x", "check x: load 'x': EPERM, no. Run as root.", "close x"]
    assert failures.exit_code == 3


def test_what_a_failed_start_tried_is_sent_at_once() -> None:
    log: list[str] = []
    sender = RecordingSender()
    alone = ScriptedCheck(log, "a", failing={"start": EbpfError("no")})
    run(log, [alone], sender=sender)
    assert (sender.points, sender.commits) == ([("gauge", "tried", 1, ["probe:a", "error:no"])], 1)
    sender = RecordingSender()
    defect = ScriptedCheck(log, "b", failing={"start": ValueError("no")})
    run(log, [alone, defect, ScriptedCheck(log, "c")], sender=sender)
    assert (sender.points, sender.commits) == ([("gauge", "tried", 1, ["probe:a", "error:no"])], 2)


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([PermissionDeniedError("x")], 3),
        ([PermissionDeniedError("x"), PermissionDeniedError("x")], 3),
        ([PermissionDeniedError("x"), EbpfError("x")], 1),
        ([EbpfError("x"), PermissionDeniedError("x")], 1),
        ([WorkloadError("x", "y", "z", errno.EROFS)], 3),
        ([WorkloadError("x", "y", "z", errno.EBUSY)], 1),
        ([WorkloadError("x", "y", "z")], 1),
        ([PermissionError(errno.EACCES, "x")], 3),
        ([KeyError("x")], 1),
    ],
)
def test_exit_codes(errors: list[Exception], code: int) -> None:
    failures = Failures(lambda message: None)
    for error in errors:
        with failures.caught("x"):
            raise error
    assert failures.exit_code == code


def test_messages_of_other_errors() -> None:
    messages: list[str] = []
    failures = Failures(messages.append)
    with failures.caught("check x"):
        raise FileNotFoundError(errno.ENOENT, "x", "/nowhere")
    with failures.caught("check x"):
        raise ConfigError("read y", "z", "Do it.")
    with failures.caught("check x"):
        {}["missing"]
    assert messages[0] == "check x: ENOENT, no such file or directory (/nowhere)."
    assert messages[1] == "check x: read y: z. Do it."
    assert messages[2].startswith("check x: internal error: KeyError, 'missing' (test_runner.py:")
    assert messages[2].endswith("). Please report it.")


def test_checks_are_closed_when_the_output_is_gone() -> None:
    class Gone(RecordingSender):
        def commit(self) -> None:
            raise OutputError(errno.EPIPE)

    log: list[str] = []
    with pytest.raises(OutputError):
        run(log, [ScriptedCheck(log)], count=0, sender=Gone())
    assert log == ["start x", "wait 10", "run x", "close x"]
