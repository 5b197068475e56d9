# SPDX-License-Identifier: Apache-2.0
"""Run a command as root under another Linux kernel: a Debian kernel, booted in QEMU by emulation.

The guest sees this machine's whole file system under the same paths, read-only, below a scratch layer in memory:
whatever is installed here is there, and whatever the command writes is gone when the guest stops. Only the kernel
differs.

debian    packages: an APT of its own, unpacking
kernels   which kernel a name means; the cache of downloaded ones
qemu      the emulator, a newer one if the installed one is not right
initramfs what the guest boots from; init.sh and guest.sh are its two stages
shares    directories served to the guest
guest     boot, relay of output, exit status
"""
