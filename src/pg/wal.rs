//! The write-ahead log: pages, records and what they say.

pub mod scan;
