//! What a drill tells while it runs and when it has ended: progress, logs, metrics.

mod deliver;
pub mod http;
pub mod live;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod openmetrics;
pub mod progress;
pub mod progress_bar;
pub mod push;
pub mod text;
pub mod textfile;

pub use deliver::{Grouping, deliver, deliver_selftest};
pub use progress::Progress;
