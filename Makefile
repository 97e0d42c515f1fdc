# What a person or CI types. `make` alone lists it.

CARGO ?= cargo
PORT ?= 8080
FUZZ_SECONDS ?= 60
DIST ?= amd64 arm64 armv7
IMAGE ?= oci-chartrepo
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BINARY := $(or $(CARGO_TARGET_DIR),target)/release/oci-chartrepo
LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) \
	--build-arg CREATED=$$(date -u -d @$$(git log -1 --format=%ct 2>/dev/null || echo 0) +%Y-%m-%dT%H:%M:%SZ)
# Where the sources are, for the image's label.
SOURCE ?= unknown
# The first container engine that answers; `docker` may be there without its daemon.
ENGINE ?= $(shell for engine in docker podman buildah; do \
	$$engine info >/dev/null 2>&1 && echo $$engine && break; done)

.PHONY: help build run test test-registries lint attack fuzz bench bench-tools tools dist dist-test image image-all image-test clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The flags for all crates of a release, so that what shares the folder with it is compiled once.
run bench: export RUSTFLAGS = $(shell deploy/dist/build flags)

build: ## build the static release binary
	@deploy/dist/build native >/dev/null
	@echo "$(BINARY): $$(wc -c <$(BINARY)) bytes"

run: build ## serve sample charts from a folder of .tgz files on http://localhost:8080 (PORT=8080)
	@$(CARGO) run --quiet --release --locked --example pack-demo deploy/demo/charts deploy/chart target/demo
	@printf '%s\n' '' 'Sample charts, and the chart of this program, are in target/demo; try, with any helm:' '' \
		'  helm repo add demo http://localhost:$(PORT)' '  helm search repo demo/ --versions' ''
	$(BINARY) --port=$(PORT) --storage=local --storage-local-rootdir=target/demo

test: tools build ## run every test, against real registries and helms
	OCI_CHARTREPO_RELEASE=$(abspath $(BINARY)) $(CARGO) test --locked -- --test-threads=8

test-registries: ## tell the main story to registries that take minutes to fetch and start (Pulp)
	tests/tools/fetch
	tests/tools/fetch pulp-container postgresql-15
	$(CARGO) test --locked --test it -- --include-ignored other_registries::

fuzz: ## fuzz each parser for a minute (FUZZ_SECONDS=60), and say what was found
	tests/fuzz/run $(FUZZ_SECONDS)

lint: ## check the formatting, and that clippy has nothing to say
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) rustc --locked --profile check --lib -- --cfg fuzzing -D warnings

attack: build ## attack the release binary in every way we know, for minutes (ATTACKS="idle TLS")
	OCI_CHARTREPO_RELEASE=$(abspath $(BINARY)) $(CARGO) test --locked --test attack -- --full $(ATTACKS)

bench: bench-tools build ## measure all that was promised, as a table of ratios (ROWS="walk memory")
	$(CARGO) build --release --locked --example reference
	$(CARGO) test --locked --bench bench -- $(abspath $(BINARY) $(dir $(BINARY))examples/reference) $(ROWS)

bench-tools: ## fetch what `make bench` needs into target/tools
	tests/tools/fetch docker-registry helm-4.3.1 nginx wrk

dist: ## build the binaries of all architectures into target/dist (DIST="amd64 arm64 armv7")
	deploy/dist/dist $(DIST)

# The tests run here and start the program by an emulator, which needs no installation.
dist-test: tools ## run the tests against the emulated arm64 binary (DIST_TEST="tls:: start_stop::")
	deploy/dist/test arm64 $(DIST_TEST)

tools: ## fetch the helms and the registry that the tests use into target/tools
	tests/tools/fetch

image: ## build the container image (ENGINE=docker, podman or buildah; IMAGE=oci-chartrepo)
	@test -n "$(ENGINE)" || { echo "make image: neither docker, podman nor buildah answers" >&2; exit 1; }
	DOCKER_BUILDKIT=1 $(ENGINE) build $(LABELS) -t $(IMAGE) .

image-all: dist ## build one image for all architectures out of target/dist (buildah; IMAGE=…)
	deploy/dist/images $(IMAGE) $(LABELS)

image-test: image ## build the image and run it under the Deployment's restrictions (docker or podman)
	deploy/image-test $(ENGINE) $(IMAGE)

clean: ## remove all that was built or fetched
	$(CARGO) clean
	rm -rf target
