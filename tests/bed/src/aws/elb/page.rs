//! Pages of `Describe*` answers. Pure.

use serde_json::{Value, json};

use super::{Answer, Refusal, text};

/// Most ARNs or names in one call.
pub const MOST: usize = 20;

/// Refuses more than 20 of what the caller named.
pub fn check_number(what: &str, number: usize) -> Result<(), Refusal> {
    if number > MOST {
        return Err(Refusal::new(
            "ValidationError",
            format!("Up to {MOST} {what} can be described at once, not {number}"),
        ));
    }
    Ok(())
}

/// The page that `Marker` and `PageSize` ask for, 400 entries at most, under the name `member`.
pub fn page(input: &Value, member: &str, all: Vec<Value>) -> Answer {
    let start = match text(input, "Marker") {
        None | Some("") => 0,
        Some(marker) => marker
            .strip_prefix("page-")
            .and_then(|number| number.parse::<usize>().ok())
            .ok_or_else(|| Refusal::new("ValidationError", format!("Invalid marker '{marker}'")))?,
    };
    let size = input.get("PageSize").and_then(Value::as_u64).unwrap_or(400).clamp(1, 400) as usize;
    let end = (start + size).min(all.len());
    let mut answer = json!({ member: all.get(start..end).unwrap_or_default() });
    if end < all.len() {
        answer["NextMarker"] = json!(format!("page-{end}"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another() {
        let all: Vec<Value> = (0..5).map(|n| json!(n)).collect();
        let mut input = json!({"PageSize": 2});
        let mut seen = Vec::new();
        loop {
            let answer = page(&input, "Rules", all.clone()).unwrap();
            seen.extend(answer["Rules"].as_array().unwrap().clone());
            match answer.get("NextMarker") {
                Some(marker) => input["Marker"] = marker.clone(),
                None => break,
            }
        }
        assert_eq!(seen, all);
        assert!(page(&json!({"Marker": "x"}), "Rules", all).is_err());
        assert!(check_number("load balancers", 20).is_ok() && check_number("load balancers", 21).is_err());
    }
}
