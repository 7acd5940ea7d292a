//! From an asynchronous body to a blocking reader.
