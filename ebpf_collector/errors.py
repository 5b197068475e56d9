# SPDX-License-Identifier: Apache-2.0
"""The collector's own errors; each prints as one complete line.

CollectorError
    ConfigError      usage or configuration
    OutputError      what was found could not be delivered
    WorkloadError    the workload of the demo could not be made, or did not do its work
"""

from __future__ import annotations

import errno as errno_names
import os
from collections.abc import Iterable

__all__ = [
    "CollectorError",
    "ConfigError",
    "OutputError",
    "WorkloadError",
    "describe_errno",
    "near_match",
]


class CollectorError(Exception):
    """Base of everything the collector raises on purpose."""


class ConfigError(CollectorError):
    """A setting, or a word on the command line, that cannot be used."""

    def __init__(self, subject: str, problem: str, remedy: str, line: int | None = None) -> None:
        """Compose the message `<subject>: line <line>, <problem>. <remedy>`.

        Args:
            subject: The action and what it was done to, such as `read configuration file x.yaml`.
            line: Line in the text that was read, the first being 1; None where it has no lines.
        """
        place = "" if line is None else f"line {line}, "
        super().__init__(f"{subject}: {place}{problem}. {remedy}")
        self.subject = subject
        self.problem = problem
        self.remedy = remedy
        self.line = line

    def within(self, place: str) -> ConfigError:
        """Return the same error with *place*, such as a file's name, added to its subject."""
        return ConfigError(f"{self.subject} in {place}", self.problem, self.remedy, self.line)


class OutputError(CollectorError):
    """A sender's stream does not take what is written to it."""

    def __init__(self, errno: int | None) -> None:
        """Compose the message; *errno* is EPIPE where the reader is gone."""
        super().__init__(f"write output: {describe_errno(errno)}. See where it is redirected to.")
        self.errno = errno


class WorkloadError(CollectorError):
    """The demo's workload could not be made, or did not do its work."""

    def __init__(self, action: str, reason: str, remedy: str, errno: int | None = None) -> None:
        """Compose the message `<action>: <reason>. <remedy>`; *errno* is the kernel's, if any."""
        super().__init__(f"{action}: {reason}. {remedy}")
        self.errno = errno


def describe_errno(errno: int | None) -> str:
    """Return an error number as `ENOENT, no such file or directory`."""
    if not errno:
        return "unknown error"
    reason = os.strerror(errno)
    return f"{errno_names.errorcode.get(errno, errno)}, {reason[0].lower()}{reason[1:]}"


def near_match(name: str, known: Iterable[str]) -> str:
    """Return `Did you mean 'x'? ` for the known name most like *name*, or an empty string."""
    import difflib  # costs more than the rest of this module, and only errors need it

    matches = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean '{matches[0]}'? " if matches else ""
