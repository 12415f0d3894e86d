//! Arguments to validated configuration; the commands.
