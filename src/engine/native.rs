//! The native engine: our own restore into a local PostgreSQL.
