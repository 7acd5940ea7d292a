//! A drill to try: an archive made live on this machine.

pub mod barman;
mod rich;
pub mod s3_server;
pub mod source;
pub mod story;
