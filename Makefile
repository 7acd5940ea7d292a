# A person's verbs. `make help` lists them.
.DEFAULT_GOAL := help

.PHONY: help demo test bench-memory check setup-demo setup-test

help: ## List what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: setup-demo ## Make an archive here, lose its source, drill it, print the report
	@cargo build --quiet --bin pgassay || cargo build --bin pgassay
	@target/debug/pgassay demo

test: setup-test ## Every test, against the real programs
	cargo test --all-targets

bench-memory: setup-test ## Peak memory of a drill of a 1 GiB cluster, by GNU time
	cargo test --test it -- --ignored --nocapture memory::

check: ## Formatting and lints, as the gate runs them
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

setup-demo:
	@scripts/setup demo

setup-test:
	@scripts/setup test
