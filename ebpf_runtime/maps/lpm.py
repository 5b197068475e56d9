# SPDX-License-Identifier: Apache-2.0
"""Longest-prefix-match tries, also by IP network."""

from __future__ import annotations

import ipaddress
from typing import TypeVar, cast

from ebpf_runtime.errors import RecordError

from .hash import HashMap

__all__ = ["LpmTrieMap"]

K = TypeVar("K")
V = TypeVar("V")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LENGTH_BYTES = 4  # the prefix length, in the machine's byte order, stands before the data


class LpmTrieMap(HashMap[K, V]):
    """A longest-prefix-match trie: looking up a key finds the most specific stored prefix that holds it.

    A key is a record of a prefix length in bits and data, the first bit being the most significant of the first byte.
    Deleting, and `pop`, are by exact prefix.

    Kernel: 4.11; may be walked from 4.16 on.
    """

    # The kernel's batches begin anew where the entry that they stand on is deleted; reading entry by entry notices.
    _has_batches = False

    def prefix(self, network: str | _Network | _Address) -> K:
        """Return the key for an IP network, or for one address, which looks up the network it is in.

        Raises:
            RecordError: The map's keys are too short for the address, or the text is no network.
        """
        try:
            parsed = ipaddress.ip_network(network)
        except ValueError as error:
            raise RecordError(f"make a key of map {self.name!r}: {error}.", name=self.name) from error
        data = parsed.network_address.packed
        if len(data) > self.key_size - _LENGTH_BYTES:
            raise RecordError(
                f"make a key of map {self.name!r}: {parsed} has {len(data)} bytes, "
                f"its keys have {self.key_size - _LENGTH_BYTES}.",
                name=self.name,
            )
        block = parsed.prefixlen.to_bytes(_LENGTH_BYTES, "little") + data.ljust(self.key_size - _LENGTH_BYTES, b"\0")
        return cast(K, self._key.unpack(block, 0) if self._key is not None else block)

    def network(self, key: K) -> _Network:
        """Return the IP network of a key: version 4 of keys with 4 bytes of data, version 6 of those with 16.

        Raises:
            RecordError: The key has another length, or is no network.
        """
        block = bytearray(self.key_size)
        self._put_key(block, 0, key)
        length, data = int.from_bytes(block[:_LENGTH_BYTES], "little"), bytes(block[_LENGTH_BYTES:])
        try:
            return ipaddress.ip_network((data, length))
        except ValueError as error:
            raise RecordError(f"read a key of map {self.name!r}: {error}.", name=self.name) from error
