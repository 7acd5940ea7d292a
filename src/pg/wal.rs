//! The write-ahead log: pages, records and what they say.

mod fault;
mod field;
mod fold;
mod page;
mod reader;
pub mod record;
pub mod scan;
pub mod tablespace;
#[cfg(test)]
mod testing;
pub mod walk;
mod xact;
mod xlog;
