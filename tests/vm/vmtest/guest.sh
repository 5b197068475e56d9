#!/run/vmtest/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Second stage: process 1 of the guest. Prepares it, runs the command, reports its exit status, powers off.
# Serial port 0 is the console, 1 and 2 are the command's output and error output, 3 is for its exit status.
B=/run/vmtest/busybox
. /run/vmtest/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

report() { $B sync; echo "$1" >/dev/ttyS3; $B poweroff -f; }
fail() { echo "vmtest: $*"; $B poweroff -f; }
try_mount() {  # silently skips what this kernel does not have
    type=$1 directory=$2 options=${3:-defaults}
    [ -d "$directory" ] || $B mkdir -p "$directory" 2>/run/vmtest/log || return
    $B mount -t "$type" -o "$options" "$type" "$directory" 2>/run/vmtest/log
}

try_mount devpts /dev/pts gid=5,mode=620,ptmxmode=666
try_mount tmpfs /dev/shm
try_mount debugfs /sys/kernel/debug
try_mount tracefs /sys/kernel/tracing
try_mount securityfs /sys/kernel/security
try_mount bpf /sys/fs/bpf
$B ln -sf /proc/self/fd /dev/fd
$B ln -sf /proc/self/fd/0 /dev/stdin
$B ln -sf /proc/self/fd/1 /dev/stdout
$B ln -sf /proc/self/fd/2 /dev/stderr
$B hostname vmtest
$B ip link set lo up

if [ "$CGROUP" = v2 ]; then
    try_mount cgroup2 /sys/fs/cgroup
    for controller in $($B cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    done
else  # each controller in a hierarchy of its own, version 2 without controllers beside them
    try_mount tmpfs /sys/fs/cgroup mode=755
    for controller in $($B sed -n 's/^\([a-z_]*\)\t.*\t1$/\1/p' /proc/cgroups); do
        try_mount cgroup /sys/fs/cgroup/$controller $controller ||
            $B rmdir /sys/fs/cgroup/$controller
    done
    try_mount cgroup2 /sys/fs/cgroup/unified
fi

# What the kernel packages would have installed.
$B mkdir -p /boot /usr/lib/modules /usr/src
$B rm -rf /usr/lib/modules/$RELEASE
$B ln -s $KERNEL_MODULES /usr/lib/modules/$RELEASE
$B ln -sf $KERNEL_CONFIG /boot/config-$RELEASE
for directory in $KERNEL_HEADERS; do
    if [ $SHOW_HEADERS = yes ]; then
        $B rm -rf /usr/src/${directory##*/}
        $B ln -s $directory /usr/src/${directory##*/}
    else
        $B rm -rf $directory  # in the scratch layer only
    fi
done
if [ $SHOW_BTF = no ]; then
    $B mkdir /run/vmtest/empty
    $B mount --bind /run/vmtest/empty /sys/kernel/btf
    for directory in $KERNEL_HEADERS; do
        $B rm -f $directory/vmlinux  # a copy of the type information, libbpf finds it
    done
fi

. /run/vmtest/mounts

for port in 1 2 3; do
    $B stty -F /dev/ttyS$port raw -echo
done
$B mkfifo /run/vmtest/out /run/vmtest/err
cd "$DIRECTORY" || fail "no directory $DIRECTORY (--cwd)"
if [ "$TTY" = yes ]; then
    $B setsid -c $B sh -c "$B stty sane rows $ROWS cols $COLUMNS; . /run/vmtest/command" \
        </dev/ttyS1 >/dev/ttyS1 2>&1
    report $?
fi
# Pipes, not the serial ports: a program must not believe that it writes to a terminal.
$B cat /run/vmtest/out >/dev/ttyS1 & out=$!
$B cat /run/vmtest/err >/dev/ttyS2 & err=$!
$B setsid $B sh /run/vmtest/command </dev/null >/run/vmtest/out 2>/run/vmtest/err
status=$?
( $B sleep 3; kill $out $err ) &  # a daemon that the command left behind may hold the pipes
wait $out $err
report $status
