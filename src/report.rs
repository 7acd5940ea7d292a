//! Renderings of a report and the store that keeps them.

pub mod catalog;
pub mod evidence;
pub mod history;
pub mod html;
pub mod json;
pub mod junit;
pub mod kept;
pub mod markdown;
pub mod past;
pub mod plan;
pub mod prune;
pub mod rescue;
pub mod review;
pub mod said;
pub mod schedule;
pub mod selftest;
pub mod terminal;
pub mod verify;
