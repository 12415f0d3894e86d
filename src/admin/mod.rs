//! `/livez`, `/readyz`, `/metrics`, `/debug/state`.
