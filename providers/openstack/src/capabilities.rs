//! What a provider of Octavia can do, in a version of its API: the one place that knows. Pure.

use causeway_api::Protocol;

use crate::inventory::Answers;
use crate::options::Options;
use crate::stack::Algorithm;

/// Whose rules a provider follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// haproxy in virtual machines; vendors' providers are taken for the same.
    Amphora,
    /// Flows of OVN: L4 only, the client's address is kept.
    Ovn,
}

/// A provider, and the version of the API before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capable {
    /// Name of the provider.
    pub provider: String,
    /// Whose rules it follows.
    pub driver: Driver,
    /// Minor version of Octavia's API.
    minor: u32,
}

/// What one may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// L7, TLS, headers, PROXY protocol.
    Http,
    /// `allowed_cidrs`.
    AllowedCidrs,
    /// Timeouts and limits of connections.
    Timeouts,
    /// Flavors.
    Flavor,
    /// Availability zones.
    AvailabilityZone,
    /// HTTP health monitors, and ports of their own for them.
    HttpMonitor,
    /// The same for pools with UDP.
    HttpMonitorOnUdp,
    /// `PROXYV2`.
    ProxyV2,
    /// SCTP.
    Sctp,
    /// Additional VIPs.
    AdditionalVips,
}

/// Names of the amphora provider.
const AMPHORA: &[&str] = &["amphora", "octavia", "amphorav2"];

impl Capable {
    /// A provider by name.
    #[must_use]
    pub fn new(provider: &str, minor: u32) -> Self {
        let driver = if provider == "ovn" { Driver::Ovn } else { Driver::Amphora };
        Self { provider: provider.to_owned(), driver, minor }
    }

    /// The provider for Services: that of the option, else what is offered.
    #[must_use]
    pub fn for_services(options: &Options, answers: &Answers) -> Self {
        let name = options.provider.as_deref().unwrap_or_else(|| {
            let offers = |name: &str| offered(answers).is_none_or(|all| all.iter().any(|p| p == name));
            if AMPHORA.iter().any(|name| offers(name)) || !offers("ovn") { "amphora" } else { "ovn" }
        });
        Self::new(name, answers.octavia_minor())
    }

    /// The provider for Ingresses: that for Services, unless it cannot and another is offered.
    #[must_use]
    pub fn for_ingresses(options: &Options, answers: &Answers) -> Self {
        let own = Self::for_services(options, answers);
        let amphora = offered(answers).into_iter().flatten().find(|p| AMPHORA.contains(&p.as_str()));
        match amphora {
            Some(name) if own.driver == Driver::Ovn => Self::new(&name, answers.octavia_minor()),
            _ => own,
        }
    }

    /// Whether it can do something.
    #[must_use]
    pub fn can(&self, feature: Feature) -> bool {
        let amphora = self.driver == Driver::Amphora;
        match feature {
            Feature::Http | Feature::HttpMonitor => amphora,
            Feature::Timeouts => amphora && self.minor >= 1,
            Feature::Flavor => amphora && self.minor >= 6,
            Feature::AllowedCidrs => amphora && self.minor >= 12,
            Feature::AvailabilityZone => amphora && self.minor >= 14,
            Feature::HttpMonitorOnUdp => amphora && self.minor >= 16,
            Feature::ProxyV2 => amphora && self.minor >= 22,
            Feature::Sctp => self.minor >= 23,
            Feature::AdditionalVips => self.minor >= 26,
        }
    }

    /// What it is, and its version where that is what lacks.
    #[must_use]
    pub fn lacks(&self, feature: Feature) -> String {
        let newest = Self { minor: u32::MAX, ..self.clone() };
        if newest.can(feature) {
            format!("Octavia's API v2.{} has none: its operator must update it", self.minor)
        } else {
            format!("provider {} has none", self.provider)
        }
    }

    /// Whether it knows a method.
    #[must_use]
    pub fn knows(&self, method: Algorithm) -> bool {
        match self.driver {
            Driver::Ovn => matches!(method, Algorithm::SourceIpPort | Algorithm::SourceIp),
            Driver::Amphora => method != Algorithm::SourceIpPort,
        }
    }

    /// Its own method.
    #[must_use]
    pub fn default_method(&self) -> Algorithm {
        match self.driver {
            Driver::Ovn => Algorithm::SourceIpPort,
            Driver::Amphora => Algorithm::RoundRobin,
        }
    }

    /// Whether it serves a protocol.
    #[must_use]
    pub fn serves(&self, protocol: Protocol) -> bool {
        protocol != Protocol::Sctp || self.can(Feature::Sctp)
    }
}

/// Names of the providers that Octavia offers, if that is known; sorted.
fn offered(answers: &Answers) -> Option<Vec<String>> {
    let mut names: Vec<String> =
        answers.providers.as_ref()?.providers.iter().map(|p| p.name.clone()).collect();
    names.sort();
    Some(names)
}

/// Whether Octavia is known not to offer a provider; what it offers then.
#[must_use]
pub fn not_offered(answers: &Answers, name: &str) -> Option<String> {
    let all = offered(answers)?;
    (!all.iter().any(|p| p == name)).then(|| all.join(", "))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::inventory::{Provider, Providers};

    fn answers(names: &[&str]) -> Answers {
        let providers = names.iter().map(|n| Provider { name: (*n).to_owned() }).collect();
        Answers { providers: Some(Providers { providers }), ..Answers::default() }
    }

    #[rstest]
    #[case::both(None, &["ovn", "amphora"], "amphora", "amphora")]
    #[case::only_ovn(None, &["ovn"], "ovn", "ovn")]
    #[case::alias(None, &["octavia"], "amphora", "amphora")]
    #[case::said_ovn(Some("ovn"), &["ovn", "amphora"], "ovn", "amphora")]
    #[case::said_vendor(Some("f5"), &["f5", "ovn"], "f5", "f5")]
    fn provider_by_what_is_offered(
        #[case] said: Option<&str>,
        #[case] offers: &[&str],
        #[case] services: &str,
        #[case] ingresses: &str,
    ) {
        let options = Options { provider: said.map(str::to_owned), ..Options::default() };
        let answers = answers(offers);
        assert_eq!(Capable::for_services(&options, &answers).provider, services);
        assert_eq!(Capable::for_ingresses(&options, &answers).provider, ingresses);
    }

    #[test]
    fn nothing_known_is_amphora_with_all_it_can() {
        let capable = Capable::for_services(&Options::default(), &Answers::default());
        assert_eq!(capable.provider, "amphora");
        assert!(capable.can(Feature::AdditionalVips) && capable.can(Feature::ProxyV2));
        assert_eq!(not_offered(&Answers::default(), "amphora"), None);
        assert_eq!(not_offered(&answers(&["ovn"]), "amphora").as_deref(), Some("ovn"));
    }

    #[test]
    fn what_lacks_is_the_provider_or_the_version() {
        let old = Capable::new("amphora", 11);
        assert!(old.lacks(Feature::AllowedCidrs).contains("v2.11"));
        assert!(!old.can(Feature::AllowedCidrs) && old.can(Feature::Flavor));
        let ovn = Capable::new("ovn", 27);
        assert!(ovn.lacks(Feature::AllowedCidrs).contains("ovn") && ovn.can(Feature::Sctp));
    }

    #[test]
    fn each_provider_knows_its_own_method() {
        for name in ["amphora", "ovn", "f5"] {
            let capable = Capable::new(name, 27);
            assert!(capable.knows(capable.default_method()), "{name}");
        }
    }
}
