# SPDX-License-Identifier: Apache-2.0
"""What the kernel's own log says of OOM kills: the witness that the probe's numbers are held against."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

__all__ = ["KernelLog", "LoggedKill"]

_PAGE = 4096
_LIMIT = re.compile(r"^memory: usage \d+kB, limit (\d+)kB")
# [  pid  ]   uid  tgid total_vm      rss … pgtables_bytes swapents oom_score_adj name; 6.8 split rss into four.
_HEADER = re.compile(r"^\[  pid  \]\s+(.*)$")
_TASK = re.compile(r"^\[\s*(\d+)\]\s+(.*)$")
_CONSTRAINT = re.compile(r"^oom-kill:constraint=(\w+),.*,task_memcg=([^,]*),task=(.*),pid=(\d+),uid=")
_KILLED = re.compile(r"Killed process (\d+) \((.*?)\).*oom_score_adj:(-?\d+)")


@dataclass
class LoggedKill:
    """One kill as logged; what a rate-limited log left out is None."""

    pid: int
    comm: str
    score_adj: int
    constraint: str | None = None
    cgroup: str | None = None
    total_pages: int | None = None
    points: int | None = None


class KernelLog:
    """The log from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)

    def __enter__(self) -> KernelLog:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _lines(self) -> list[str]:
        lines: list[str] = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:  # the kernel overwrote records before they were read
                continue
            lines.append(record.partition(";")[2].splitlines()[0])

    def kills(self) -> list[LoggedKill]:
        """Return the kills logged since, in order.

        Points are those of mm/oom_kill.c oom_badness(): resident, swapped and page-table pages of the victim as the
        log's task dump has them, plus its adjust times a thousandth of the total.
        """
        kills: list[LoggedKill] = []
        columns: list[str] = []
        tasks: dict[int, dict[str, int]] = {}
        limit: int | None = None
        chosen: tuple[str, str, int] | None = None
        for line in self._lines():
            if match := _LIMIT.match(line):
                limit = int(match[1]) * 1024 // _PAGE
            elif match := _HEADER.match(line):
                columns, tasks = match[1].split(), {}
            elif columns and (match := _TASK.match(line)):
                tasks[int(match[1])] = dict(zip(columns, map(_number, match[2].split()), strict=False))
            elif match := _CONSTRAINT.match(line):
                chosen = match[1], match[2], int(match[4])
            elif match := _KILLED.search(line):
                kill = LoggedKill(int(match[1]), match[2], int(match[3]))
                if chosen is not None and chosen[2] == kill.pid:
                    kill.constraint, kill.cgroup = chosen[:2]
                    kill.total_pages = limit
                    kill.points = _points(tasks.get(kill.pid), limit)
                kills.append(kill)
                columns, tasks, limit, chosen = [], {}, None, None
        return kills


def _number(word: str) -> int:
    return int(word) if word.lstrip("-").isdigit() else 0


def _points(task: dict[str, int] | None, total_pages: int | None) -> int | None:
    if task is None or total_pages is None:
        return None
    points = task["rss"] + task["swapents"] + task["pgtables_bytes"] // _PAGE
    return points + task["oom_score_adj"] * (total_pages // 1000)
