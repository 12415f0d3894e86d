//! The model cloud as a process.
fn main() {}
