#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the virtual machine: mounts what Linux needs, runs the tests, and ends the machine. The lines that
# begin with "vm:" are for the host (boot.ts).
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ TMPDIR=/tmp NODE_NO_WARNINGS=1 NO_COLOR=1
mkdir -p /sbin
ln -sf /bin/busybox /sbin/modprobe # called by the kernel
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns /var/run /dev/shm
echo 1 >/proc/sys/kernel/printk
for module in virtio_rng veth bridge tun vxlan ipip wireguard dummy esp4 esp6 xfrm_user nf_tables nft_compat ip6_tables br_netfilter; do
  modprobe $module 2>/dev/null
done
ip link set lo up
cd /project || exit 1
node --test --test-concurrency=1 --test-timeout=120000 --test-reporter=spec --test-reporter-destination=stdout ./*.test.mjs
echo "vm: exit $?"
poweroff -f
