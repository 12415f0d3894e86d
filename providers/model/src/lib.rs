//! A model cloud for tests: state machine in memory, and the same as a separate process over HTTP
