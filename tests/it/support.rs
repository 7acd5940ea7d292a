//! What the tests share: programs, source clusters, archives made by barman-cloud, drills.

pub mod browser;
pub mod damage;
pub mod drill;
pub mod fixture;
pub mod gateway;
pub mod grown;
pub mod hold;
pub mod listening;
pub mod machine;
pub mod marked;
pub mod memory;
pub mod object_server;
pub mod peak;
pub mod prometheus;
pub mod rescue;
pub mod service;
pub mod shaping;
pub mod spool;
pub mod stall;
pub mod timed;
pub mod tools;
pub mod wal_folder;
pub mod workdir;
