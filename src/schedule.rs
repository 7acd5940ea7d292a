//! Drills over time. What is here so far is pure: the agenda, which is told the time and what has
//! happened, and answers what is to be done.

pub mod agenda;
