//! From objects to files: decoders, the tar reader, unpacking into the sandbox.
