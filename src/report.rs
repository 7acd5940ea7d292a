//! Renderings of a report and the store that keeps them.

pub mod catalog;
pub mod evidence;
pub mod history;
pub mod json;
pub mod kept;
pub mod past;
pub mod plan;
pub mod prune;
pub mod rescue;
pub mod schedule;
pub mod selftest;
pub mod terminal;
pub mod verify;
