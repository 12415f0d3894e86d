//! Self-test of the bed.
