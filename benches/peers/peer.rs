//! Who is compared: ours, each peer, and what the machine itself needs at least.

pub mod barman;
pub mod floor;
pub mod ours;
pub mod pgbackrest;
pub mod postgres;
