//! Times as people of Kubernetes write them: `15s`, `500ms`, `1m30s`, `12h`. Pure.

use std::time::Duration;

use jiff::SignedDuration;

/// Reads a time. `0` needs no unit.
///
/// # Errors
/// Says what a time looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    // jiff also reads ISO 8601 (`PT15S`) and `15 seconds`; only the form of Kubernetes is promised.
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| format!("{text:?} is not a time: write 500ms, 15s, 1m30s or 12h"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("15s", 15_000)]
    #[case("500ms", 500)]
    #[case("1m30s", 90_000)]
    #[case("12h", 43_200_000)]
    #[case("1.5s", 1_500)]
    #[case("0", 0)]
    #[case("0s", 0)]
    fn good(#[case] text: &str, #[case] millis: u64) {
        assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
    }

    #[rstest]
    fn bad(#[values("", "15", "-1s", "s", "1x", "1 fortnight", "999999999999999999999h")] text: &str) {
        assert!(parse(text).is_err_and(|e| e.contains("500ms")));
    }
}
