//! XML as AWS's query protocols write it, and a little reading of it. Pure.

use std::fmt::Write;

use roxmltree::Node;
use serde_json::Value;

/// Text as it stands in XML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Carriage returns and the like would be lost by any reader.
            c if c.is_control() => {
                let _ = write!(escaped, "&#{};", c as u32);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The answer to an action of the query protocol: members are elements, list entries are elements `member`.
pub fn answer(action: &str, namespace: &str, result: &Value) -> String {
    let mut text = format!("<{action}Response xmlns=\"{namespace}\"><{action}Result>");
    members(&mut text, result);
    let _ = write!(
        text,
        "</{action}Result><ResponseMetadata><RequestId>bed</RequestId></ResponseMetadata></{action}Response>"
    );
    text
}

fn members(text: &mut String, value: &Value) {
    match value {
        Value::Object(members_of) => {
            for (name, inner) in members_of.iter().filter(|(_, inner)| !inner.is_null()) {
                let _ = write!(text, "<{name}>");
                members(text, inner);
                let _ = write!(text, "</{name}>");
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                text.push_str("<member>");
                members(text, entry);
                text.push_str("</member>");
            }
        }
        Value::String(string) => text.push_str(&escape(string)),
        Value::Null => {}
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

/// First child element of that name.
pub fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// Text of the element at the end of a path of names; empty if there is none.
pub fn text<'a>(node: Node<'a, '_>, path: &str) -> &'a str {
    let mut found = Some(node);
    for name in path.split('/') {
        found = found.and_then(|node| child(node, name));
    }
    found.and_then(|node| node.text()).unwrap_or_default()
}

/// The entries of EC2's list of that name: elements `item`.
pub fn items<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Vec<Node<'a, 'i>> {
    let entries = child(node, name).into_iter().flat_map(|list| list.children());
    entries.filter(|entry| entry.tag_name().name() == "item").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_becomes_the_query_protocols_xml() {
        let result = json!({"Rules": [{"Priority": "1", "IsDefault": false, "Conditions": []}], "Path": "/a&b", "No": null});
        let text = answer("DescribeRules", "urn:x", &result);
        let document = roxmltree::Document::parse(&text).unwrap();
        let result = child(document.root_element(), "DescribeRulesResult").unwrap();
        assert_eq!(super::text(result, "Rules/member/Priority"), "1");
        assert_eq!(super::text(result, "Rules/member/IsDefault"), "false");
        assert_eq!(super::text(result, "Path"), "/a&b");
        assert!(child(result, "No").is_none());
        assert_eq!(document.root_element().tag_name().namespace(), Some("urn:x"));
    }
}
