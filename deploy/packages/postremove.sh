#!/bin/sh
# After the files are removed. dpkg: "remove", later perhaps "purge"; rpm: how many versions remain.
set -e
case ${1:-} in
  remove | purge | 0) ;;
  *) exit 0 ;;
esac
[ ! -d /run/systemd/system ] || systemctl daemon-reload
# Like what systemctl stop leaves: another flannel takes it over.
[ -z "${FLANNEL_KEEP_NETWORK:-}" ] || exit 0
case $1 in purge | 0)
  rm -rf /run/flannel /var/lib/cni/flannel
  rmdir /var/lib/cni /var/lib/flannel 2>/dev/null || :
  [ ! -d /var/lib/flannel ] || echo "flannel-ts: kept /var/lib/flannel, the data of the embedded store"
  ;;
esac
