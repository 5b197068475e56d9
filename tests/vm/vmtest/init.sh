#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First stage: process 1 in the initramfs. Builds the root file system and moves into it.
# /vmtest/settings defines what is used here without being set.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
. /vmtest/settings
fail() { echo "vmtest: $*"; poweroff -f; }

for module in $MODULES; do
    insmod /vmtest/modules/$module.ko || fail "cannot load module $module"
done

# The machine's file system below, memory above: the guest may write anywhere, in vain.
mkdir -p /lower /upper /root
mount -t virtiofs -o ro vmtest_root /lower || fail "cannot mount the shared file system"
mount -t tmpfs -o size=90% upper /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root ||
    fail "cannot mount the scratch layer"

for directory in dev proc sys; do
    mkdir -p /root/$directory
    mount --move /$directory /root/$directory
done
mount -t tmpfs run /root/run
mv /vmtest /root/run/vmtest
cp /bin/busybox /root/run/vmtest/busybox
exec switch_root -c /dev/console /root /run/vmtest/busybox sh /run/vmtest/guest
