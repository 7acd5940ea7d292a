//! One drill from job to report.
