//! Tests with the real programs: PostgreSQL, barman-cloud, S3 servers, Pushgateway, Prometheus.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

mod archive;
mod bad_input;
mod catalog;
mod check;
mod clean;
mod cli;
mod deliveries;
mod deploy;
mod detection;
mod differential;
mod drills;
mod endings;
mod engine;
mod evidence;
mod growth;
mod habits;
mod ledger;
mod losses;
mod lying;
mod memory;
mod metrics;
mod notify;
mod overlap;
mod pages;
mod replay_speed;
mod rescue;
mod restore;
mod sample_report;
mod schedule;
mod selftest;
mod speed;
mod store;
mod support;
mod verify;
mod wal;
