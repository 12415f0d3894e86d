//! Work queue, workers, linter, ledger.
