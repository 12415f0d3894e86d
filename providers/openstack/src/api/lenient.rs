//! Reading what real clouds send: `null` where a list or text is meant.

use serde::{Deserialize, Deserializer};

/// `null` is the default value.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
