#!/bin/sh
# Before the files are removed. dpkg: "remove" (with "in-favour" if another package takes its place) or "upgrade"; rpm: how
# many versions remain. FLANNEL_KEEP_NETWORK=1 in the environment keeps devices, routes and firewall rules.
set -e
case "${1:-}:${2:-}" in
  remove:in-favour) FLANNEL_KEEP_NETWORK=1 ;;
  remove:* | 0:*) ;;
  *) exit 0 ;;
esac
[ ! -d /run/systemd/system ] || systemctl stop flanneld.service
systemctl --quiet disable flanneld.service 2>/dev/null || :
[ -n "${FLANNEL_KEEP_NETWORK:-}" ] || /usr/bin/flannelctl cleanup || :
