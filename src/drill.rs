//! The domain of a drill: job, plan, expectation, stages, findings, measures, verdict, report. Pure:
//! no clock, file or network; `now` and `seed` are arguments.

pub mod beginning;
pub mod class;
pub mod error;
pub mod expectation;
pub mod finding;
pub mod format;
pub mod history;
pub mod holdings;
pub mod involved;
pub mod job;
pub mod measure;
pub mod moved_databases;
pub mod outlook;
pub mod own_files;
pub mod pattern;
pub mod plan;
pub mod reached;
pub mod report;
pub mod rescue;
pub mod review;
pub mod row_floor;
pub mod selftest;
pub mod stage;
pub mod timing;
pub mod trend;
pub mod verdict;
pub mod verify_report;

pub use class::FailureClass;
pub use error::{Code, Error};
pub use finding::{CheckOutcome, Finding};
pub use holdings::CatalogReport;
pub use job::Job;
pub use plan::DrillPlan;
pub use report::DrillReport;
pub use rescue::RescueReport;
pub use verdict::Verdict;
pub use verify_report::VerifyReport;
