# A person's verbs. `make help` lists them.
.DEFAULT_GOAL := help

.PHONY: help demo test test-all fuzz bench bench-quick bench-kernels bench-memory bench-catalog bench-verify bench-fetch bench-replay bench-growth bench-year bench-history selftest compare-detection check setup-demo setup-test setup-test-all setup-compare setup-bench

help: ## List what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: setup-demo ## Make an archive here, lose its source, drill it, print the report
	@echo "demo: building; the first time takes some minutes" >&2
	cargo build --bin pgassay
	@target/debug/pgassay demo

selftest: setup-demo ## Damage that archive in every way that is known, and see each damage caught
	cargo build --bin pgassay
	@target/debug/pgassay selftest

test: setup-test ## Every test, against the real programs
	cargo test --all-targets

test-all: setup-test-all ## Every test, the ones that take minutes among them
	cargo test --all-targets -- --include-ignored --skip detection::compare --skip speed::

# The dependencies are those of the tests; only our own code is compiled for speed, and every overflow
# still panics.
FUZZ_SECONDS ?= 600
fuzz: ## Ten minutes of fuzzing for each target; `make fuzz FUZZ=wal FUZZ_SECONDS=60` for less
	PGASSAY_FUZZ_SECONDS=$(FUZZ_SECONDS) CARGO_PROFILE_DEV_OPT_LEVEL=2 \
		cargo test --test fuzz -- --nocapture --test-threads=2 $(FUZZ)

bench: setup-bench ## Ours and its peers on the same data: writes docs/benchmarks.md; up to 100 minutes
	cargo bench --bench peers

bench-quick: setup-bench ## The same on small data, to the terminal: two minutes
	cargo bench --bench peers -- --quick

bench-kernels: ## The loops that every byte of a backup goes through, each alone
	cargo bench --bench kernels

bench-memory: setup-test ## Peak memory of a drill of a 1 GiB cluster
	cargo test --test it -- --ignored --nocapture memory::

bench-catalog: ## Time and peak memory of listing a million WAL objects
	cargo test --test it -- --ignored --nocapture catalog::million

bench-verify: setup-test ## Speed of `verify` against decoding alone, and its peak memory
	cargo test --release --test it -- --ignored --nocapture --test-threads=1 --skip speed::link --skip speed::growth --skip speed::history --skip replay_speed:: speed::

bench-fetch: setup-test ## Speed of a restore over a link with latency, with 1 to 8 connections
	cargo test --release --test it -- --ignored --nocapture --test-threads=1 speed::link

bench-replay: setup-test ## Replay of a drill beside PostgreSQL with all WAL in place, and with other restore_commands
	cargo test --release --test it -- --ignored --nocapture --test-threads=1 replay_speed::

bench-growth: setup-test ## Planning 2 TB and a million segments, reading 5 to 80 GB: into docs/benchmarks.md; ten minutes
	cargo test --release --test it -- --ignored --nocapture --test-threads=1 speed::growth

bench-year: ## A simulated year of 10,000 jobs: calendars and the agenda alone
	cargo bench --bench year

bench-history: ## `history` and the overview on 100,000 kept reports of 300 jobs
	cargo test --release --test it -- --ignored --nocapture --test-threads=1 speed::history

compare-detection: setup-compare ## What other tools say of the same damages: writes the table in docs/detection.md
	cargo test --test it -- --ignored --nocapture detection::compare

check: ## Formatting and lints, as the gate runs them
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

setup-demo:
	@scripts/setup demo

setup-test:
	@scripts/setup test

setup-test-all:
	@scripts/setup test-all

setup-compare:
	@scripts/setup compare

setup-bench:
	@scripts/setup bench
