//! The engine over a cloud and a cluster in memory.
