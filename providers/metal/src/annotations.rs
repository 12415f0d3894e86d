//! The annotations of Services that this provider reads: one table, from which both the parser and the reference page come. Pure.
//!
//! Each has MetalLB's name, with its present prefix or the deprecated one. The present one wins if the key is there at all, even with an empty
//! value.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::names::{ANNOTATION_PREFIX, ANNOTATION_PREFIX_DEPRECATED};

/// One annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Name without prefix.
    pub name: &'static str,
    /// Type, for people.
    pub kind: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// One line.
    pub doc: &'static str,
}

/// The pool to allocate from.
pub const ADDRESS_POOL: Annotation = Annotation {
    name: "address-pool",
    kind: "name of an IPAddressPool",
    default: "any pool with autoAssign",
    doc: "Allocate from this pool only. Naming another pool later gives other addresses.",
};

/// The addresses to have.
pub const LOAD_BALANCER_IPS: Annotation = Annotation {
    name: "loadBalancerIPs",
    kind: "one or two IP addresses, separated by a comma",
    default: "any free address",
    doc: "Allocate exactly these: one for each IP family of the Service. Not together with spec.loadBalancerIP.",
};

/// With whom to share.
pub const ALLOW_SHARED_IP: Annotation = Annotation {
    name: "allow-shared-ip",
    kind: "any text",
    default: "does not share",
    doc: "Services with the same text may have the same address, if their ports differ and traffic for all of them can be taken on the same nodes.",
};

/// All annotations that are read.
pub const TABLE: [Annotation; 3] = [ADDRESS_POOL, LOAD_BALANCER_IPS, ALLOW_SHARED_IP];

impl Annotation {
    /// The key with the present prefix.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{ANNOTATION_PREFIX}{}", self.name)
    }

    /// The key with the deprecated prefix.
    #[must_use]
    pub fn deprecated_key(&self) -> String {
        format!("{ANNOTATION_PREFIX_DEPRECATED}{}", self.name)
    }

    /// Where problems with it are reported.
    #[must_use]
    pub fn field(&self) -> String {
        format!("metadata.annotations[{}]", self.key())
    }
}

/// What the annotations of a Service say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`ADDRESS_POOL`]; never empty.
    pub pool: Option<String>,
    /// [`LOAD_BALANCER_IPS`] as written; never empty.
    pub addresses: Option<String>,
    /// [`ALLOW_SHARED_IP`]. There is a difference between absent and empty: an empty one does not share, but counts for
    /// [`crate::announce::Announcement::shares_address`].
    pub sharing: Option<String>,
    /// Keys with the deprecated prefix that were read.
    pub deprecated: Vec<String>,
}

impl Settings {
    /// Reads the annotations of a Service. Nothing here can be wrong yet; see [`parse_addresses`].
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let mut settings = Self::default();
        let mut value = |annotation: &Annotation| {
            if let Some(value) = annotations.get(&annotation.key()) {
                return Some(value.clone());
            }
            let key = annotation.deprecated_key();
            let value = annotations.get(&key)?.clone();
            settings.deprecated.push(key);
            Some(value)
        };
        let pool = value(&ADDRESS_POOL).filter(|v| !v.is_empty());
        let addresses = value(&LOAD_BALANCER_IPS).filter(|v| !v.is_empty());
        let sharing = value(&ALLOW_SHARED_IP);
        Self { pool, addresses, sharing, ..settings }
    }
}

/// Parses a list of addresses.
///
/// # Errors
/// The first part that is no address.
pub fn parse_addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    text.split(',')
        .map(str::trim)
        .map(|part| part.parse().map(|a: IpAddr| a.to_canonical()).map_err(|_| part.to_owned()))
        .collect()
}

/// The reference page of the annotations, in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = format!(
        "# Annotations of Services on bare metal\n\nThe prefix is `{ANNOTATION_PREFIX}`; the deprecated `{ANNOTATION_PREFIX_DEPRECATED}` is still read where the other is \
         absent.\n\n| Annotation | Value | Without it | Meaning |\n|---|---|---|---|\n"
    );
    for annotation in TABLE {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            annotation.key(),
            annotation.kind,
            annotation.default,
            annotation.doc
        );
    }
    let _ = writeln!(
        page,
        "\nCauseway itself writes `{}`: the pool that the addresses come from, together with the status.",
        crate::names::ANNOTATION_FROM_POOL
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read(pairs: &[(&str, &str)]) -> Settings {
        Settings::read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_present_prefix_wins_even_when_empty() {
        let settings = read(&[
            ("metallb.io/address-pool", "new"),
            ("metallb.universe.tf/address-pool", "old"),
            ("metallb.io/loadBalancerIPs", ""),
            ("metallb.universe.tf/loadBalancerIPs", "192.0.2.1"),
            ("metallb.universe.tf/allow-shared-ip", "key"),
        ]);
        assert_eq!(settings.pool.as_deref(), Some("new"));
        assert_eq!(settings.addresses, None);
        assert_eq!(settings.sharing.as_deref(), Some("key"));
        assert_eq!(settings.deprecated, ["metallb.universe.tf/allow-shared-ip"]);
    }

    #[test]
    fn an_empty_sharing_key_is_not_an_absent_one() {
        assert_eq!(read(&[("metallb.io/allow-shared-ip", "")]).sharing.as_deref(), Some(""));
        assert_eq!(read(&[]), Settings::default());
    }

    #[rstest]
    #[case("192.0.2.1", Ok(1))]
    #[case(" 192.0.2.1 , 2001:db8::1", Ok(2))]
    #[case("192.0.2.1,", Err(""))]
    #[case("192.0.2.1,web", Err("web"))]
    #[case("192.0.2.0/24", Err("192.0.2.0/24"))]
    fn lists_of_addresses(#[case] text: &str, #[case] expected: Result<usize, &str>) {
        let parsed = parse_addresses(text);
        assert_eq!(parsed.as_ref().map(Vec::len).map_err(String::as_str), expected);
    }

    #[test]
    fn the_page_names_every_annotation() {
        let page = reference_markdown();
        for annotation in TABLE {
            assert!(page.contains(&annotation.key()) && page.contains(annotation.doc));
        }
    }
}
