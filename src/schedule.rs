//! Drills over time, pure: the agenda, which is told the time and what has happened, and answers what is
//! to be done; and who has waited too long for a pass.

pub mod agenda;
pub mod overdue;
