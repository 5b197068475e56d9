# SPDX-License-Identifier: Apache-2.0
"""YAML settings read strictly: every mistake is named with its line and what to write instead."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

import yaml

from ebpf_collector.errors import ConfigError, near_match

__all__ = ["Section", "read_section"]

_Choice = TypeVar("_Choice", bound=StrEnum)

_MAX_LEVELS = 32

_SCALAR_TYPES = {
    "bool": "a boolean",
    "float": "a number",
    "int": "a number",
    "null": "empty",
    "str": "a string",
    "timestamp": "a date",
}
# YAML 1.1 has all of these.
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Section:
    """One mapping of settings; take each known key by its type, then call `finish()`.

    A key that is absent gives the default, one of another type raises ConfigError. Keys nobody
    asked for are refused by `finish()`, so the keys a section knows are written down only once.
    """

    def __init__(self, subject: str, path: str, text: str, node: yaml.Node | None) -> None:
        """Read *node* of *text*; *path* names the section in messages, empty for the document."""
        self._subject = subject
        self._path = path
        self._text = text
        self._known: list[str] = []
        self._keys: dict[str, yaml.Node] = {}
        self._values: dict[str, yaml.Node] = {}
        if node is None or _type_name(node) == "empty":
            return
        if not isinstance(node, yaml.MappingNode):
            raise self._error(
                node,
                f"{_quoted(path) or 'the document'} is {_type_name(node)}, not a mapping",
                "Write one `key: value` per line",
            )
        for key, value in node.value:
            self._add(key, value)

    def boolean(self, key: str, default: bool) -> bool:
        """Return the boolean at *key*."""
        node = self._take(key)
        if node is None:
            return default
        self._require(key, node, "a boolean", "Write true or false")
        return _BOOLEANS[node.value.lower()]

    def seconds(self, key: str, default: float) -> float:
        """Return the number at *key*, 0 or above."""
        node = self._take(key)
        if node is None:
            return default
        remedy = "Write a number of seconds, 0 or above"
        self._require(key, node, "a number", remedy)
        try:
            value = float(node.value)
        except ValueError:  # YAML also knows 0x10 and 1:30
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise self._error(node, f"{_quoted(self._full(key))} cannot be {node.value}", remedy)
        return value

    def text(self, key: str, default: str) -> str:
        """Return the string at *key*."""
        node = self._take(key)
        if node is None:
            return default
        self._require(key, node, "a string", "Put it in quotes")
        return str(node.value)

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return the list of strings at *key*, none of which is empty."""
        node = self._take(key)
        if node is None:
            return default
        self._require(key, node, "a list", "Write one `- value` per line below the key")
        each = f"{key}[]"
        for item in node.value:
            self._require(each, item, "a string", "Put it in quotes")
            if not item.value:
                problem = f"{_quoted(self._full(each))} is an empty string"
                raise self._error(item, problem, "Fill it in or take it out")
        return tuple(str(item.value) for item in node.value)

    def choice(self, key: str, default: _Choice) -> _Choice:
        """Return the string at *key*, one of the values of the enumeration of *default*."""
        node = self._take(key)
        if node is None:
            return default
        values = [str(choice) for choice in type(default)]
        remedy = f"Write {' or '.join(values)}"
        self._require(key, node, "a string", remedy)
        value = str(node.value)
        if value not in values:
            raise self._error(
                node,
                f"{_quoted(self._full(key))} cannot be {value!r}",
                f"{near_match(value, values)}{remedy}",
            )
        return type(default)(value)

    def section(self, key: str) -> Section:
        """Return the mapping at *key*; an absent or empty one has no keys."""
        return Section(self._subject, self._full(key), self._text, self._take(key))

    def excerpts(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the mapping at each of *keys* that is present, as a YAML document of its own.

        Each excerpt keeps its lines' numbers, so whoever parses it names the lines of the whole.
        """
        excerpts = {}
        for key in keys:
            self.section(key)  # refuses what is not a mapping
            if (node := self._values.get(key)) is not None:
                excerpts[key] = self._excerpt(node)
        return excerpts

    def finish(self) -> None:
        """Refuse the keys that nobody took.

        Raises:
            ConfigError: Naming the first of them, its line, the nearest known key and all of them.
        """
        for key, node in self._keys.items():
            if key not in self._known:
                known = sorted(set(self._known))
                raise self._error(
                    node,
                    f"unknown key {_quoted(self._full(key))}",
                    f"{near_match(key, known)}Known keys: {', '.join(known)}",
                )

    def _add(self, key: yaml.Node, value: yaml.Node) -> None:
        if _type_name(key) != "a string":
            name = f"the key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
            raise self._error(key, f"{name} is {_type_name(key)}, not a string", "Put it in quotes")
        name = str(key.value)
        if name in self._keys:
            first = _line(self._keys[name])
            raise self._error(
                key,
                f"the key {_quoted(self._full(name))} stands twice, first on line {first}",
                "Keep one of the two",
            )
        self._keys[name] = key
        self._values[name] = value

    def _take(self, key: str) -> yaml.Node | None:
        self._known.append(key)
        return self._values.get(key)

    def _require(self, key: str, node: yaml.Node, expected: str, remedy: str) -> None:
        found = _type_name(node)
        if found != expected:
            problem = f"{_quoted(self._full(key))} is {found}, not {expected}"
            raise self._error(node, problem, remedy)

    def _excerpt(self, node: yaml.Node) -> bytes:
        start = node.start_mark
        body = self._text[start.index : node.end_mark.index]
        return ("\n" * start.line + " " * start.column + body).encode()

    def _full(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _error(self, node: yaml.Node, problem: str, remedy: str) -> ConfigError:
        return ConfigError(self._subject, problem, f"{remedy}.", _line(node))


def read_section(data: bytes, subject: str) -> Section:
    """Return the mapping in the YAML document *data*; an empty document has no keys.

    Args:
        subject: The action messages begin with, such as `read configuration file x.yaml`.
    Raises:
        ConfigError: Not UTF-8, not YAML, nested too deeply, not one mapping, or a key that stands twice.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(subject, "not UTF-8", "Save the text as UTF-8.", line) from None
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(
            subject,
            f"not valid YAML: {error.problem}",
            "Correct the line, or the one before it.",
            None if mark is None else mark.line + 1,
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            subject,
            f"not valid YAML: the character U+{error.character:04X} is not allowed",
            "Remove it.",
            line,
        ) from None
    return Section(subject, "", text, node)


class _Loader(yaml.SafeLoader):
    """The safe loader without aliases: settings are small, and excerpts must stand alone.

    Nor does it take deep nesting, which would end in a RecursionError.
    """

    _levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
            raise yaml.composer.ComposerError(None, None, "an alias; write the value out instead", mark)
        if self._levels == _MAX_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
            raise yaml.composer.ComposerError(None, None, f"nested more than {_MAX_LEVELS} levels deep", mark)
        self._levels += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._levels -= 1


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _type_name(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    name = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if name == "bool" and str(node.value).lower() not in _BOOLEANS:
        name = str(node.tag)  # `!!bool` written before something else
    return _SCALAR_TYPES.get(name, f"of the type {name}")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _quoted(name: str) -> str:
    return f"'{name}'" if name else ""
