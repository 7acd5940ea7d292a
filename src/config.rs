//! Job documents and flags: parsed strictly, all problems at once.
