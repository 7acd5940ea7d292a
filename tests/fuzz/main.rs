//! Fuzzing of everything that reads bytes from an archive, and of job files: no input may make a
//! parser panic, hang, or take more memory than its cap.
//!
//! Inputs are real files, changed at random with their structure in mind: checksums are made right
//! again, so that the parser goes deep. An input whose outcome is new joins the ones to change.
//! `make test` runs some hundred cases of each target, always the same; `make fuzz` runs ten minutes
//! of new ones. An input that fails is written to `target/tmp/fuzz`; moved to
//! `tests/fuzz/regressions/<target>/` it is tried first in every later run.
//!
//! | variable | meaning |
//! |---|---|
//! | `PGASSAY_FUZZ_SECONDS` | how long each target runs, with a seed of its own |
//! | `PGASSAY_FUZZ_SEED` | the seed, printed by every run |
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test talks, and may stop anywhere"
)]

mod codec;
mod control;
mod engine;
mod memory;
mod mutate;
mod pages;
mod plan;
mod tar;
mod text;
mod wal;

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;
