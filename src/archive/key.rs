//! Keys below a server's prefix.
