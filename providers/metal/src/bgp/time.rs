//! Times as Kubernetes' API writes them: `90s`, `1m30s`, `1.5s`, `500ms` (`metav1.Duration`, which is Go's). Pure.

use std::time::Duration;

/// Reads a time. `0` needs no unit; there are no negative ones.
///
/// # Errors
/// Says what a time looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    read(text).ok_or_else(|| format!("{text:?} is not a time; write 500ms, 15s or 1m30s"))
}

fn read(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, after) = unit(after)?;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(unit)?)?;
        // Digits beyond nanoseconds are cut off.
        let mut place = unit;
        for digit in fraction.bytes() {
            place /= 10;
            nanos = nanos.checked_add(place.checked_mul(u64::from(digit - b'0'))?)?;
        }
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// Nanoseconds of the unit that a text begins with, and the text after it.
fn unit(text: &str) -> Option<(u64, &str)> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        // Before the shorter "m".
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS.iter().find_map(|(name, nanos)| Some((*nanos, text.strip_prefix(name)?)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("90s", 90_000_000_000)]
    #[case("1m30s", 90_000_000_000)]
    #[case("1h", 3_600_000_000_000)]
    #[case("1.5s", 1_500_000_000)]
    #[case(".5s", 500_000_000)]
    #[case("1.s", 1_000_000_000)]
    #[case("500ms", 500_000_000)]
    #[case("1m0.25s", 60_250_000_000)]
    #[case("7us", 7_000)]
    #[case("7µs", 7_000)]
    #[case("1.0000000001s", 1_000_000_000)]
    #[case("0", 0)]
    #[case("0s", 0)]
    fn good(#[case] text: &str, #[case] nanos: u64) {
        assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)));
    }

    #[rstest]
    fn bad(
        #[values(
            "",
            "15",
            "s",
            "-1s",
            "+1s",
            "1x",
            "1 s",
            " 1s",
            ".s",
            "1s2",
            "99999999999h",
            "1.9999999999999999999h1"
        )]
        text: &str,
    ) {
        assert!(parse(text).is_err_and(|e| e.contains("1m30s")), "{text}");
    }
}
