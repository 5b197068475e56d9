# SPDX-License-Identifier: Apache-2.0
"""Where checks send their metrics and events."""

from ebpf_collector.senders.base import Event, Sender
from ebpf_collector.senders.console import ConsoleSender
from ebpf_collector.senders.json_lines import JsonLinesSender

__all__ = ["ConsoleSender", "Event", "JsonLinesSender", "Sender"]
