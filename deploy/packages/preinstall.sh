#!/bin/sh
# rpm, first installation: Go flannel's package, which this one replaces, disables and stops its unit when it goes. posttrans.sh
# restores what is recorded here.
set -e
[ "${1:-1}" = 1 ] || exit 0
state=/run/flannel-ts.install
rm -f "$state"
[ -e /usr/lib/systemd/system/flanneld.service ] || exit 0
if systemctl --quiet is-enabled flanneld.service 2>/dev/null; then echo enabled >>"$state"; fi
if [ -d /run/systemd/system ] && systemctl --quiet is-active flanneld.service; then echo active >>"$state"; fi
