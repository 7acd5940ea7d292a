//! pgassay proves that PostgreSQL backups restore: it restores them, verifies the result in depth,
//! measures restore time and data loss, and says so. `docs/architecture.md` explains the rooms.

pub mod archive;
pub mod calendar;
pub mod check;
pub mod cmd;
pub mod config;
pub mod demo;
pub mod drill;
pub mod engine;
pub mod pg;
pub mod report;
pub mod restore;
pub mod runner;
pub mod schedule;
pub mod selftest;
pub mod service;
pub mod store;
pub mod survey;
pub mod telemetry;
pub mod verify;
pub mod web;

// Sample data that the unit tests share with `tests/it` names this crate from outside.
#[cfg(test)]
extern crate self as pgassay;
