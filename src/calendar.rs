//! Schedules as crontab(5) writes them, in a time zone, and the slots that they have. Pure: `now` is an
//! argument.
//!
//! The crate `cron` reads the fields; what it means otherwise than crontab(5) does is put right before
//! (`field`): it counts the days of the week from 1 = Sunday, and it takes two restricted day fields
//! for "both". Slots come from sets of bits and a zone's stretches of constant offset (`sets`, `zone`,
//! `slots`), not from the crate's own search: it knows no zone's rules for what clocks skip and repeat.

mod civil;
mod expression;
mod field;
mod refusal;
mod sets;
mod slots;
mod words;
mod zone;

pub use expression::{Expression, Form};
pub use refusal::Refusal;
pub use slots::{Calendar, Cursor, Slots};
pub use zone::Zone;

#[cfg(test)]
mod tests;
