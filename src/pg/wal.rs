//! The write-ahead log: pages, records and what they say.

pub mod checkpoint;
mod crc;
mod fault;
mod fold;
mod page;
pub mod quiet;
mod reader;
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
