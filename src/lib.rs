//! Causeway
