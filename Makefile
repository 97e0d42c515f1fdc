# What a person or CI types. `make` alone lists it.

CARGO ?= cargo
PORT ?= 8080
FUZZ_SECONDS ?= 60
IMAGE ?= oci-chart-registry
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# Relocations in their short form, 100 KB less. glibc reads it since 2.36; a static program with an
# older one would crash.
LINK := -C target-feature=+crt-static $(shell getconf GNU_LIBC_VERSION 2>/dev/null | \
	awk '$$2 >= 2.36 { print "-C link-arg=-Wl,-z,pack-relative-relocs" }')
BINARY := $(or $(CARGO_TARGET_DIR),target)/release/oci-chartrepo
# The first container engine that answers; `docker` may be there without its daemon.
ENGINE ?= $(shell for engine in docker podman buildah; do \
	$$engine info >/dev/null 2>&1 && echo $$engine && break; done)

.PHONY: help build run test lint attack fuzz bench bench-tools tools image image-test clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Only the last crate is told to link statically: a flag for all crates would also reach the
# procedural macros, which can't be static, unless --target were given.
build: ## build the static release binary
	$(CARGO) rustc --release --locked --bin oci-chartrepo -- $(LINK)
	@echo "$(BINARY): $$(wc -c <$(BINARY)) bytes"

run: build ## serve sample charts from a folder of .tgz files on http://localhost:8080 (PORT=8080)
	@$(CARGO) run --quiet --release --locked --example pack-demo deploy/demo/charts deploy/chart target/demo
	@printf '%s\n' '' 'Sample charts, and the chart of this program, are in target/demo; try, with any helm:' '' \
		'  helm repo add demo http://localhost:$(PORT)' '  helm search repo demo/ --versions' ''
	$(BINARY) --port=$(PORT) --storage=local --storage-local-rootdir=target/demo

test: tools build ## run every test, against real registries and helms
	OCI_CHARTREPO_RELEASE=$(abspath $(BINARY)) $(CARGO) test --locked -- --test-threads=8

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

tools: ## fetch the helms and the registry that the tests use into target/tools
	tests/tools/fetch

image: ## build the container image (ENGINE=docker, podman or buildah; IMAGE=oci-chart-registry)
	@test -n "$(ENGINE)" || { echo "make image: neither docker, podman nor buildah answers" >&2; exit 1; }
	$(ENGINE) build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(IMAGE) .

image-test: image ## build the image and run it under the Deployment's restrictions (docker or podman)
	deploy/image-test $(ENGINE) $(IMAGE)

clean: ## remove all that was built or fetched
	$(CARGO) clean
	rm -rf target
