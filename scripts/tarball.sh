#!/bin/sh
# Packs what runs on a host of this machine's architecture: commands, bundles, the pinned Node.js, koffi's native part, units.
# usage: tarball.sh    (after a build) → dist/release/flannel-ts-VERSION-linux-ARCHITECTURE.tar.gz
set -eu
cd "$(dirname "$0")/.."

case $(uname -m) in
  x86_64) architecture=amd64 npm=x64 ;;
  aarch64) architecture=arm64 npm=arm64 ;;
  *)
    echo "tarball.sh: no Node.js is pinned for $(uname -m)" >&2
    exit 1
    ;;
esac
version=$(node -p 'require("./package.json").version')
name=flannel-ts-$version
mkdir -p dist/release
tar -czf "dist/release/$name-linux-$architecture.tar.gz" --owner=0 --group=0 --numeric-owner --sort=name \
  --transform "s,^,$name/," \
  bin dist/flanneld.cjs dist/flannelctl.cjs dist/flannel.cjs dist/udp-worker.cjs dist/wireguard-worker.cjs \
  dist/status-page.html \
  "node_modules/node-linux-$npm" "node_modules/@koromix/koffi-linux-$npm" \
  deploy/docker deploy/kubernetes deploy/systemd docs CHANGELOG.md LICENSE README.md SECURITY.md
echo "dist/release/$name-linux-$architecture.tar.gz"
