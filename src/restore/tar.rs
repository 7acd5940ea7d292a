//! A strict tar reader.
