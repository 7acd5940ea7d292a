//! The write-ahead log: pages, records and what they say.

pub mod checkpoint;
mod fault;
mod fold;
mod page;
mod reader;
pub mod quiet;
pub mod record;
pub mod scan;
pub mod segment_pages;
pub mod storage;
pub mod tablespace;
#[cfg(test)]
pub(crate) mod testing;
pub mod walk;
mod xact;
mod xlog;

use super::field;
