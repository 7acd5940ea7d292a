//! Writes the members of a tar below a root.
