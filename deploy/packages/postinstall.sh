#!/bin/sh
# After the files are in place. dpkg: "configure" and the version before, if any; rpm: how many versions are installed now.
# A first installation starts nothing: flanneld needs the address of etcd first.
set -e
case "${1:-}:${2:-}" in
  configure: | 1:*) is_upgrade= ;;
  configure:* | 2:*) is_upgrade=yes ;;
  *) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # Without waiting: flanneld is ready when etcd answers. No packet is lost over its restart.
  [ -z "$is_upgrade" ] || systemctl --no-block try-restart flanneld.service
fi
unit=/etc/systemd/system/flanneld.service
if [ -z "$is_upgrade" ] && [ -f "$unit" ] && [ ! -L "$unit" ]; then
  echo "flannel-ts: $unit takes precedence over the package's unit; remove it to use the package's"
fi
