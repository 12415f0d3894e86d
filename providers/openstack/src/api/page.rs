//! Lists that come in pages. Pure.
//!
//! Octavia, Neutron and Nova give `NAMEs_links: [{rel: next, href}]`, Barbican `next: href`. Of a link only the query is used: host, scheme and path are
//! what the service believes about itself, and behind a proxy it is often wrong.

use serde_json::Value;

/// The query of the next page; `None`: this is the last.
#[must_use]
pub fn next(answer: &Value, many: &str) -> Option<Vec<(String, String)>> {
    let links = answer.get(format!("{many}_links")).and_then(Value::as_array);
    let relation = |link: &&Value| link.get("rel").and_then(Value::as_str) == Some("next");
    let href = links.and_then(|links| links.iter().find(relation)?.get("href")?.as_str());
    let href = href.or_else(|| answer.get("next").and_then(Value::as_str))?;
    let (_, query) = href.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    // The same decoding as of any form.
    let url = reqwest::Url::parse(&format!("http://localhost/?{query}")).ok()?;
    let pairs: Vec<_> = url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    (!pairs.is_empty()).then_some(pairs)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::none(json!({"pools": []}), None)]
    #[case::null(json!({"pools": [], "pools_links": null}), None)]
    #[case::previous(json!({"pools_links": [{"rel": "previous", "href": "http://x/y?marker=1"}]}), None)]
    #[case::next(
        json!({"pools_links": [{"rel": "previous", "href": "p?marker=0"}, {"rel": "next", "href": "http://x/y?limit=50&marker=a"}]}),
        Some(&[("limit", "50"), ("marker", "a")][..]))]
    #[case::of_another_list(json!({"listeners_links": [{"rel": "next", "href": "http://x?marker=a"}]}), None)]
    #[case::relative(json!({"pools_links": [{"rel": "next", "href": "/v2/lbaas/pools?marker=a"}]}), Some(&[("marker", "a")][..]))]
    #[case::encoded(
        json!({"pools_links": [{"rel": "next", "href": "?tags=causeway.io%2Fcluster%3Dx&marker=a+b"}]}),
        Some(&[("tags", "causeway.io/cluster=x"), ("marker", "a b")][..]))]
    #[case::barbican(json!({"next": "http://b/v1/secrets?limit=10&offset=10"}), Some(&[("limit", "10"), ("offset", "10")][..]))]
    #[case::no_query(json!({"pools_links": [{"rel": "next", "href": "http://x/y"}]}), None)]
    #[case::empty_query(json!({"pools_links": [{"rel": "next", "href": "http://x/y?"}]}), None)]
    #[case::fragment(json!({"pools_links": [{"rel": "next", "href": "http://x/y?marker=a#b"}]}), Some(&[("marker", "a")][..]))]
    #[case::no_href(json!({"pools_links": [{"rel": "next"}]}), None)]
    #[case::not_an_object(json!("text"), None)]
    fn next_pages(#[case] answer: Value, #[case] expected: Option<&[(&str, &str)]>) {
        let expected =
            expected.map(|q| q.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>());
        assert_eq!(next(&answer, "pools"), expected);
    }
}
