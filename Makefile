# The verbs of this project. `make` alone lists them. What they need from the machine, scripts/setup.sh finds or installs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo lint test bench bench-marketplace fmt images demo-addon

# With nextest each test is a process of its own; cargo test does as well. Two system tests at once fill two cores.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## everything on this machine: publish an addon, verify it, install it, kill it, watch it heal; Ctrl-C removes all of it
	@scripts/demo.sh

lint: ## formatting, clippy and rustdoc, with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package service-kit --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

test: ## unit, property, conformance, HTTP and system tests, on SQLite and PostgreSQL, with Docker Engines of their own (takes root)
	scripts/setup.sh engine registry postgres faketime compose schemathesis nextest
	scripts/demo-addon.sh
	cargo build --locked --bin marketplace --bin addons-manager
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace --locked
	MARKETPLACE_TESTS_ON=postgres cargo nextest run --workspace --locked --filterset 'binary_id(marketplace::it)'
else
	cargo test --workspace --locked --lib --bins --tests
	MARKETPLACE_TESTS_ON=postgres cargo test --package marketplace --test it --locked
endif
	cargo test --workspace --locked --doc

BENCH_PARTS := http install repair process many

bench: ## the figures, each beside its comparison, as a table and as JSON; PARTS="http install repair process many" chooses, INSTALLATIONS=100 makes many fewer (takes root)
	@$(if $(filter-out $(BENCH_PARTS),$(PARTS)),echo "there is no part to measure: $(filter-out $(BENCH_PARTS),$(PARTS)); PARTS are of: $(BENCH_PARTS)" >&2; exit 2)
	scripts/setup.sh engine registry compose
	scripts/demo-addon.sh
	cargo build --release --locked --bin marketplace --bin addons-manager
	cargo bench --locked --package system-tests --bench figures -- $(PARTS) $(INSTALLATIONS:%=installations=%)

bench-marketplace: ## a million releases on SQLite and PostgreSQL side by side, as a table and as JSON; RELEASES=100000 makes it smaller
	scripts/setup.sh postgres
	cargo build --release --locked --bin marketplace
	cargo bench --locked --package system-tests --bench marketplace -- $(RELEASES)

fmt: ## format the code
	cargo fmt --all

demo-addon: ## the static binary that is the demo addon's image
	@scripts/demo-addon.sh

images: ## static release binaries and both services' images (needs a Docker Engine)
	@scripts/images.sh
