//! The annotations that this provider reads: one table, from which both the parsers and the reference page come. Pure.
//!
//! Those of Services have MetalLB's names ([`TABLE`]), with its present prefix or the deprecated one. The present one wins if the key is there at all, even
//! with an empty value. What we can do beyond MetalLB is asked for by annotations with our own prefix ([`EXTENSIONS`]), so that the kinds stay MetalLB's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use causeway_api::names::ANNOTATION_PREFIX as OUR_PREFIX;

use crate::names::{ANNOTATION_PREFIX, ANNOTATION_PREFIX_DEPRECATED};

/// One annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Kind of object that it is read on.
    pub on: &'static str,
    /// Prefix of the name.
    pub prefix: &'static str,
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
    on: "Service",
    prefix: ANNOTATION_PREFIX,
    name: "address-pool",
    kind: "name of an IPAddressPool",
    default: "any pool with autoAssign",
    doc: "Allocate from this pool only. Naming another pool later gives other addresses.",
};

/// The addresses to have.
pub const LOAD_BALANCER_IPS: Annotation = Annotation {
    on: "Service",
    prefix: ANNOTATION_PREFIX,
    name: "loadBalancerIPs",
    kind: "one or two IP addresses, separated by a comma",
    default: "any free address",
    doc: "Allocate exactly these: one for each IP family of the Service. Not together with spec.loadBalancerIP.",
};

/// With whom to share.
pub const ALLOW_SHARED_IP: Annotation = Annotation {
    on: "Service",
    prefix: ANNOTATION_PREFIX,
    name: "allow-shared-ip",
    kind: "any text",
    default: "does not share",
    doc: "Services with the same text may have the same address, if their ports differ and traffic for all of them can be taken on the same nodes.",
};

/// MetalLB's annotations that are read.
pub const TABLE: [Annotation; 3] = [ADDRESS_POOL, LOAD_BALANCER_IPS, ALLOW_SHARED_IP];

/// One node instead of all.
pub const SINGLE_ANNOUNCER: Annotation = Annotation {
    on: "Service",
    prefix: OUR_PREFIX,
    name: "single-announcer",
    kind: "`true` or `false`",
    default: "every node that can take the traffic announces by BGP",
    doc: "Only one node announces this Service by BGP, another one takes over when it goes: routers then cannot send the connections of one client to several nodes, which \
          sessionAffinity ClientIP cannot bear.",
};

/// Who begins a session.
pub const PASSIVE: Annotation = Annotation {
    on: "BGPPeer",
    prefix: OUR_PREFIX,
    name: "passive",
    kind: "`true` or `false`",
    default: "the speaker connects",
    doc: "The speaker waits for the router to connect.",
};

/// GTSM.
pub const TTL_SECURITY: Annotation = Annotation {
    on: "BGPPeer",
    prefix: OUR_PREFIX,
    name: "ttl-security",
    kind: "hops to the router, 1 to 254",
    default: "any TTL is taken",
    doc: "Packets of the session are sent with TTL 255 and dropped if they come from further away than this (RFC 5082); the router must be set alike. Not together with ebgpMultiHop.",
};

/// MULTI_EXIT_DISC.
pub const MED: Annotation = Annotation {
    on: "BGPAdvertisement",
    prefix: OUR_PREFIX,
    name: "med",
    kind: "0 to 4294967295",
    default: "none is sent",
    doc: "MULTI_EXIT_DISC of the routes: of several from one AS, routers take the lowest.",
};

/// A longer AS path.
pub const AS_PATH_PREPEND: Annotation = Annotation {
    on: "BGPAdvertisement",
    prefix: OUR_PREFIX,
    name: "as-path-prepend",
    kind: "0 to 10",
    default: "0",
    doc: "How often our own AS number is put before the AS path in addition, so that routers of other ASes like other routes better. Without effect on routers of our own AS.",
};

/// MetalLB's behaviour with `externalTrafficPolicy: Local`.
pub const AGGREGATE_LOCAL: Annotation = Annotation {
    on: "BGPAdvertisement",
    prefix: OUR_PREFIX,
    name: "aggregate-local",
    kind: "`true` or `false`",
    default: "single addresses are announced",
    doc: "The aggregation length holds for Services with externalTrafficPolicy Local too, as with MetalLB: a node then draws traffic for addresses that it has no endpoint for, \
          and drops it.",
};

/// Weights for routers.
pub const LINK_BANDWIDTH: Annotation = Annotation {
    on: "BGPAdvertisement",
    prefix: OUR_PREFIX,
    name: "link-bandwidth",
    kind: "bytes per second such as `125000000`, or bits per second such as `10Mbit`, `1Gbit`",
    default: "no weight is sent",
    doc: "Bandwidth of one endpoint. A Service with externalTrafficPolicy Local is announced with as many times this as the node has endpoints (link bandwidth extended \
          community), and routers that know it share out the traffic accordingly.",
};

/// The annotations beyond MetalLB that are read.
pub const EXTENSIONS: [Annotation; 7] =
    [SINGLE_ANNOUNCER, PASSIVE, TTL_SECURITY, MED, AS_PATH_PREPEND, AGGREGATE_LOCAL, LINK_BANDWIDTH];

impl Annotation {
    /// The key with the present prefix.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}{}", self.prefix, self.name)
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

    /// What a switch says; off where it is absent.
    ///
    /// # Errors
    /// Anything but `true` and `false`.
    pub fn switch(&self, annotations: &BTreeMap<String, String>) -> Result<bool, String> {
        match annotations.get(&self.key()).map(|text| text.trim()) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(format!("{other:?} is neither \"true\" nor \"false\"")),
        }
    }

    /// What a number says, if it is there.
    ///
    /// # Errors
    /// No number, or one outside of the bounds.
    pub fn number(
        &self,
        annotations: &BTreeMap<String, String>,
        bounds: RangeInclusive<u32>,
    ) -> Result<Option<u32>, String> {
        let Some(text) = annotations.get(&self.key()) else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) if bounds.contains(&number) => Ok(Some(number)),
            _ => Err(format!("{text:?} is no number from {} to {}", bounds.start(), bounds.end())),
        }
    }
}

/// Keys with our prefix that mean nothing on a kind of object, such as misspelt ones.
pub fn unknown<'a>(on: &str, annotations: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a str> {
    let known: Vec<String> = EXTENSIONS.iter().filter(|a| a.on == on).map(Annotation::key).collect();
    annotations
        .keys()
        .filter(move |key| key.starts_with(OUR_PREFIX) && !known.contains(key))
        .map(String::as_str)
}

/// Parses a bandwidth into bytes per second.
///
/// # Errors
/// Says what one looks like.
pub fn parse_bandwidth(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    // Bits of one unit.
    let bits: Option<u64> = match unit {
        "" => Some(8),
        "kbit" => Some(1_000),
        "Mbit" => Some(1_000_000),
        "Gbit" => Some(1_000_000_000),
        _ => None,
    };
    bits.and_then(|bits| number.parse::<u64>().ok()?.checked_mul(bits))
        .map(|bits| bits / 8)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| {
            format!("{text:?} is no bandwidth; write bytes per second such as 125000000, or bits per second such as 10Mbit or 1Gbit")
        })
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
    /// [`SINGLE_ANNOUNCER`].
    pub single_announcer: bool,
    /// Keys with the deprecated prefix that were read.
    pub deprecated: Vec<String>,
    /// Annotations whose value says nothing, and why; they count as absent.
    pub wrong: Vec<(Annotation, String)>,
}

impl Settings {
    /// Reads the annotations of a Service. Whether addresses are ones is not looked at yet; see [`parse_addresses`].
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
        match SINGLE_ANNOUNCER.switch(annotations) {
            Ok(on) => settings.single_announcer = on,
            Err(why) => settings.wrong.push((SINGLE_ANNOUNCER, why)),
        }
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
        "# Annotations on bare metal\n\n## MetalLB's, on Services\n\nThe prefix is `{ANNOTATION_PREFIX}`; the deprecated `{ANNOTATION_PREFIX_DEPRECATED}` is still read where the other is \
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
        "\nCauseway itself writes `{}`: the pool that the addresses come from, together with the status.\n\n## Beyond MetalLB, for BGP\n\nMetalLB's kinds have \
         no field for these.\n\n| Annotation | On | Value | Without it | Meaning |\n|---|---|---|---|---|",
        crate::names::ANNOTATION_FROM_POOL
    );
    for annotation in EXTENSIONS {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            annotation.key(),
            annotation.on,
            annotation.kind,
            annotation.default,
            annotation.doc
        );
    }
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
        for annotation in TABLE.into_iter().chain(EXTENSIONS) {
            assert!(page.contains(&format!("| `{}` |", annotation.key())) && page.contains(annotation.doc));
        }
    }

    fn one(key: &str, value: &str) -> BTreeMap<String, String> {
        [(key.to_owned(), value.to_owned())].into()
    }

    #[rstest]
    #[case("true", Ok(true))]
    #[case(" true ", Ok(true))]
    #[case("false", Ok(false))]
    #[case("True", Err(()))]
    #[case("yes", Err(()))]
    #[case("", Err(()))]
    fn switches(#[case] text: &str, #[case] expected: Result<bool, ()>) {
        let annotations = one("causeway.io/passive", text);
        assert_eq!(PASSIVE.switch(&annotations).map_err(drop), expected);
        assert_eq!(PASSIVE.switch(&BTreeMap::new()), Ok(false));
        assert_eq!(AGGREGATE_LOCAL.switch(&annotations), Ok(false), "that is another one");
    }

    #[rstest]
    #[case("1", Ok(Some(1)))]
    #[case("254", Ok(Some(254)))]
    #[case("0", Err(()))]
    #[case("255", Err(()))]
    #[case("-1", Err(()))]
    #[case("many", Err(()))]
    fn numbers(#[case] text: &str, #[case] expected: Result<Option<u32>, ()>) {
        let annotations = one("causeway.io/ttl-security", text);
        assert_eq!(TTL_SECURITY.number(&annotations, 1..=254).map_err(drop), expected);
        assert_eq!(TTL_SECURITY.number(&BTreeMap::new(), 1..=254), Ok(None));
    }

    #[rstest]
    #[case("125000000", Ok(125_000_000))]
    #[case("1Gbit", Ok(125_000_000))]
    #[case("10Mbit", Ok(1_250_000))]
    #[case("8kbit", Ok(1_000))]
    #[case("0", Err(()))]
    #[case("1G", Err(()))]
    #[case("1gbit", Err(()))]
    #[case("-1", Err(()))]
    #[case("1.5Gbit", Err(()))]
    #[case("99999999999999999999Gbit", Err(()))]
    #[case("", Err(()))]
    fn bandwidths(#[case] text: &str, #[case] expected: Result<u64, ()>) {
        assert_eq!(parse_bandwidth(text).map_err(drop), expected);
    }

    #[test]
    fn misspelt_keys_are_found_and_those_of_others_left_alone() {
        let mut annotations = one("causeway.io/pasive", "true");
        annotations.extend(one("causeway.io/passive", "true"));
        annotations.extend(one("causeway.io/med", "1"));
        annotations.extend(one("example.com/passive", "true"));
        let found: Vec<_> = unknown("BGPPeer", &annotations).collect();
        assert_eq!(found, ["causeway.io/med", "causeway.io/pasive"]);
    }

    #[test]
    fn a_single_announcer_is_asked_for_by_true_alone() {
        assert!(read(&[("causeway.io/single-announcer", "true")]).single_announcer);
        let settings = read(&[("causeway.io/single-announcer", "1")]);
        assert!(!settings.single_announcer && settings.wrong.len() == 1);
    }
}
