//! The engine over the model cloud and a cluster in memory, in virtual time.

mod fake;
