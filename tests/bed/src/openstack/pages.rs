//! Small pages: the `limit` of a list's query. Pure.

/// Name of the fault that lets a list have pages of one entry; `small-page=N` of N.
pub const SMALL_PAGE: &str = "small-page";

/// The number of entries that a fault of that name allows; none if it is another fault.
pub fn cap(fault: &str) -> Option<u64> {
    match fault.strip_prefix(SMALL_PAGE)? {
        "" => Some(1),
        rest => rest.strip_prefix('=')?.parse().ok().filter(|number| *number > 0),
    }
}

/// The query with a `limit` that is not above `cap`.
pub fn limit(query: Option<&str>, cap: u64) -> String {
    let mut asked = cap;
    let mut kept = Vec::new();
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        match part.strip_prefix("limit=") {
            Some(number) => asked = number.parse().map_or(cap, |number: u64| number.min(cap)),
            None => kept.push(part.to_owned()),
        }
    }
    // Zero would be no page at all to one service and a whole list to another.
    kept.push(format!("limit={}", asked.max(1)));
    kept.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_capped() {
        assert_eq!(limit(None, 1), "limit=1");
        assert_eq!(limit(Some("tags=a&fields=id"), 2), "tags=a&fields=id&limit=2");
        assert_eq!(limit(Some("limit=1000&marker=x"), 50), "marker=x&limit=50");
        assert_eq!(limit(Some("limit=5"), 50), "limit=5");
    }

    #[test]
    fn a_fault_says_how_small() {
        assert_eq!(cap("small-page"), Some(1));
        assert_eq!(cap("small-page=20"), Some(20));
        assert_eq!((cap("small-page=0"), cap("small-pages"), cap("expired-token")), (None, None, None));
    }
}
