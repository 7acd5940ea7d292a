//! What a drill tells while it runs and when it has ended: progress, logs, metrics.

pub mod progress;

pub use progress::Progress;
