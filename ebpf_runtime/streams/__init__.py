# SPDX-License-Identifier: Apache-2.0
"""Streams of records: ring buffers and perf buffers to read, user ring buffers to write, several in one wait."""

from __future__ import annotations

from .perf_buffer import PerfBuffer
from .poller import Poller, poll_all
from .ring_buffer import RingBuffer
from .runs import RecordBatch
from .stream import Stream
from .user_ring_buffer import UserRingBuffer

__all__ = ["PerfBuffer", "Poller", "RecordBatch", "RingBuffer", "Stream", "UserRingBuffer", "poll_all"]
