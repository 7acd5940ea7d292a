//! Renderings of a report and the store that keeps them.
