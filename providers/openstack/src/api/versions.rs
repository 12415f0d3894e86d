//! What a version of Octavia's API can do. Pure.
//!
//! Octavia's versions are not asked for in a header: the list at its root only tells what there is. Source: its API version history.

use std::fmt;

use serde_json::Value;

/// A version: major, minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// Reads `v2.13`, `2.13` or `v2`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    /// Whether something can be asked for.
    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        self >= feature.since()
    }
}

/// The highest version of a list of versions; `None`: it is no such list.
#[must_use]
pub fn highest(answer: &Value) -> Option<Version> {
    let versions = answer.get("versions")?;
    // Keystone and some proxies nest the list.
    let list = versions.as_array().or_else(|| versions.get("values")?.as_array())?;
    let usable = list.iter().filter(|v| v.get("status").and_then(Value::as_str) != Some("DEPRECATED"));
    usable.filter_map(|v| Version::parse(v.get("id")?.as_str()?)).max()
}

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $minor:literal;)*) => {
        /// Something that not every version of Octavia's API knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature { $($(#[$doc])* $name,)* }

        impl Feature {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The first version that knows it.
            #[must_use]
            pub const fn since(self) -> Version {
                match self { $(Self::$name => Version(2, $minor),)* }
            }
        }
    };
}

features! {
    /// Time-outs of listeners, and what may be inserted into headers beyond X-Forwarded-For.
    Timeouts = 1;
    /// Tags.
    Tags = 5;
    /// Flavors.
    Flavors = 6;
    /// A host name in health checks.
    MonitorDomainName = 10;
    /// Batches of members that leave the others alone.
    AdditiveMembers = 11;
    /// Who may connect to a listener.
    AllowedCidrs = 12;
    /// The algorithm SOURCE_IP_PORT.
    SourceIpPort = 13;
    /// Availability zones.
    AvailabilityZones = 14;
    /// Ciphers of listeners and pools.
    TlsCiphers = 15;
    /// Health checks by HTTP and TCP for pools of UDP.
    MonitorsOfUdp = 16;
    /// Versions of TLS.
    TlsVersions = 17;
    /// ALPN of listeners.
    Alpn = 20;
    /// PROXY protocol version 2.
    ProxyV2 = 22;
    /// SCTP.
    Sctp = 23;
    /// Listeners that give metrics.
    Prometheus = 25;
    /// More than one VIP.
    AdditionalVips = 26;
    /// HSTS.
    Hsts = 27;
    /// Security groups of the user's on the VIP.
    VipSecurityGroups = 29;
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("v2.30", Some(Version(2, 30)))]
    #[case("2.5", Some(Version(2, 5)))]
    #[case("v2", Some(Version(2, 0)))]
    #[case("v1", Some(Version(1, 0)))]
    #[case("", None)]
    #[case("v", None)]
    #[case("v2.x", None)]
    #[case("latest", None)]
    fn versions(#[case] text: &str, #[case] expected: Option<Version>) {
        assert_eq!(Version::parse(text), expected);
    }

    #[test]
    fn highest_of_a_list() {
        let list = json!({"versions": [
            {"id": "v1", "status": "SUPPORTED"}, {"id": "v2.9", "status": "SUPPORTED"},
            {"id": "v2.13", "status": "CURRENT"}, {"id": "v3.0", "status": "DEPRECATED"}, {"id": 3}]});
        assert_eq!(highest(&list), Some(Version(2, 13)), "2.13 is after 2.9");
        assert_eq!(highest(&json!({"versions": {"values": [{"id": "v3.14"}]}})), Some(Version(3, 14)));
        for not in [json!({}), json!([]), json!({"versions": []}), json!({"versions": "x"}), json!("<html>")]
        {
            assert_eq!(highest(&not), None);
        }
    }

    #[rstest]
    #[case(Version(2, 0), Feature::Timeouts, false)]
    #[case(Version(2, 4), Feature::Tags, false)]
    #[case(Version(2, 5), Feature::Tags, true)]
    #[case(Version(2, 25), Feature::AdditionalVips, false)]
    #[case(Version(2, 26), Feature::AdditionalVips, true)]
    #[case(Version(3, 0), Feature::VipSecurityGroups, true)]
    fn what_can_be_asked_for(#[case] version: Version, #[case] feature: Feature, #[case] expected: bool) {
        assert_eq!(version.has(feature), expected);
    }

    #[test]
    fn features_are_in_order() {
        assert!(Feature::ALL.windows(2).all(|pair| pair[0].since() < pair[1].since()));
    }
}
