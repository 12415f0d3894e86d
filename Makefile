# make help says what there is. Everything runs as root on a Debian machine without docker; `make prepare` installs what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/causeway
# One build directory per machine, so that every clone starts warm.
export CARGO_TARGET_DIR ?= $(cache)/target
export CARGO_TERM_COLOR ?= auto
export PATH := $(cache)/tools/bin:$(PATH):/usr/sbin:/sbin

musl := $(shell uname -m)-unknown-linux-musl
suite := tests/scripts/suite.sh
# Which bench suite `make bench` runs.
SUITE ?= engine
# Which provider `make demo` shows.
PROVIDER ?= metal

# Seconds that a suite may take on 2 cores, builds included, cold caches.
budget_unit := 1500
budget_go := 300
budget_build := 900
budget_bed := 1200
budget_demo := 600
budget_upstream := 1500
budget_upstream_cloud := 600
budget_upstream_all := 3600
budget_bench := 5400

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: prepare
prepare: ## install what building and testing need (Debian packages, targets, tools)
	@.ci/prepare
	@echo "prepare: everything is there"

.PHONY: demo
demo: ## a cluster of 3 nodes with a load balancer, on this machine, in a few minutes: make demo PROVIDER=metal, aws or openstack
	@case "$(PROVIDER)" in metal|aws|openstack) ;; *) echo "there is no demo of $(PROVIDER): PROVIDER is metal, aws or openstack" >&2; exit 2 ;; esac
	@.ci/prepare bed
	@deploy/demo$(if $(filter-out metal,$(PROVIDER)),-$(PROVIDER)).sh

.PHONY: fmt
fmt: ## format the code
	@cargo fmt --all
	@gofmt -w tests/bed/controlplane/cmd tests/bed/controlplane/internal
	@echo "fmt: done"

.PHONY: lint
lint: ## formatting, clippy, licences and bans of dependencies
	@echo "==> rustfmt, gofmt"
	@cargo fmt --all --check
	@unformatted=$$(gofmt -l tests/bed/controlplane/cmd tests/bed/controlplane/internal); \
	  [ -z "$$unformatted" ] || { echo "not formatted: $$unformatted"; exit 1; }
	@echo "==> clippy, all features, all targets"
	@cargo clippy --locked --workspace --all-features --all-targets --quiet -- -D warnings
	@# Not aws: its SDKs would be compiled a second time, for other features of what they share with the rest. Not openstack, which only plans.
	@echo "==> clippy, metal alone"
	@cargo clippy --locked --package causeway --no-default-features --features metal --quiet -- -D warnings
	@held=$$(cargo tree --locked --package causeway --no-default-features --features metal --edges normal --prefix none --format '{lib}'); \
	  ! grep -E '^(causeway_aws|causeway_openstack|aws_)' <<<"$$held" || { echo "a binary with feature metal alone holds crates of clouds"; exit 1; }
	@echo "==> cargo deny"
	@cargo deny --log-level error check bans licenses sources
	@echo "lint: formatting, clippy and dependencies are fine"

.PHONY: docs
docs: ## the API documentation; a warning is an error
	@# With private items shown, links to them lead somewhere; clap's help texts hold <placeholders> on purpose.
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links -A rustdoc::invalid-html-tags" cargo doc --locked --workspace --all-features --no-deps --document-private-items --quiet
	@echo "docs: $(CARGO_TARGET_DIR)/doc/causeway/index.html"

.PHONY: generate
generate: ## CRDs and reference pages out of the code
	@tests/scripts/generate.sh write
	@echo "generate: deploy/crds and docs are as the code says"

.PHONY: check-generated
check-generated: ## whether what `make generate` makes is what is committed
	@tests/scripts/generate.sh check
	@echo "check-generated: deploy/crds and docs are as the code says"

.PHONY: test
test: ## all tests: unit, bed, end to end, upstream's LoadBalancer specs but the slow ones
	@$(suite) start
	@tests/scripts/bed-suites.sh check
	-@$(suite) run unit $(budget_unit) tests/scripts/bed-suites.sh unit
	-@$(suite) run go $(budget_go) tests/scripts/go.sh
	-@tests/scripts/bed-suites.sh run $(budget_build) $(budget_bed)
	-@$(suite) run demo $(budget_demo) tests/scripts/demo.sh
	-@$(suite) run upstream $(budget_upstream) tests/scripts/upstream.sh metal fast
	-@$(suite) run upstream-aws $(budget_upstream_cloud) tests/scripts/upstream.sh aws fast
	-@$(suite) run upstream-openstack $(budget_upstream_cloud) tests/scripts/upstream.sh openstack fast
	@$(suite) total unit go demo upstream upstream-aws upstream-openstack $$(tests/scripts/bed-suites.sh list | cut -d' ' -f2)

.PHONY: unit
unit: ## only the tests that run anywhere
	@$(suite) start
	-@$(suite) run unit $(budget_unit) tests/scripts/bed-suites.sh unit
	@$(suite) total unit

.PHONY: e2e
e2e: ## upstream's LoadBalancer specs, the slow ones too, for each provider (20 minutes each)
	@$(suite) start
	-@for provider in metal aws openstack; do \
	  $(suite) run upstream-$$provider-all $(budget_upstream_all) tests/scripts/upstream.sh $$provider all || true; done
	@$(suite) total upstream-metal-all upstream-aws-all upstream-openstack-all

.PHONY: bench
bench: ## the numbers: make bench SUITE=engine
	@tests/scripts/bench.sh "$(SUITE)" $(budget_bench)

.PHONY: image
image: ## the OCI image, release build, in target/image
	@echo "==> release build for $(musl) (about 4 minutes cold)"
	@cargo build --locked --release --package causeway --bin causeway --target $(musl)
	@deploy/image/build.sh $(CARGO_TARGET_DIR)/$(musl)/release/causeway target/image
