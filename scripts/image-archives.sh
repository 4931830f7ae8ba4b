#!/bin/sh
# Builds the image for each architecture from dist/image (make image-roots) with Docker, and saves it as an archive for
# "docker load" or "ctr images import".
# usage: image-archives.sh ARCHITECTURE… → dist/release/flannel-ts-VERSION-image-ARCHITECTURE.tar.gz
set -eu
cd "$(dirname "$0")/.."

version=$(node -p 'require("./package.json").version')
mkdir -p dist/release
for architecture in "$@"; do
  tag=flannel-ts:$version-$architecture
  docker build --platform "linux/$architecture" --build-arg "TARGETARCH=$architecture" --tag "$tag" dist/image
  archive=dist/release/flannel-ts-$version-image-$architecture.tar.gz
  docker save "$tag" | gzip >"$archive"
  echo "$archive"
done
