//! The cloud behind HTTP.
