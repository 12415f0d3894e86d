//! What this cloud offers for load balancers: provider, flavors, zones, certificates. Pure.

use causeway_api::Finding;
use causeway_api::check::Outcome;

use super::Seen;
use crate::api::Service;
use crate::capabilities::{Capable, Feature, not_offered};
use crate::client::Who;
use crate::facts::Facts;
use crate::stack::OctaviaStack;

/// What one may be asked for, in words.
const FEATURES: &[(Feature, &str)] = &[
    (Feature::Http, "Ingresses, TLS, HTTP headers and the PROXY protocol"),
    (Feature::ProxyV2, "PROXY protocol 2"),
    (Feature::AllowedCidrs, "source ranges"),
    (Feature::Timeouts, "timeouts and limits of connections"),
    (Feature::HttpMonitor, "health monitors by HTTP"),
    (Feature::HttpMonitorOnUdp, "the same for UDP"),
    (Feature::AdditionalVips, "two families on one load balancer"),
    (Feature::Sctp, "SCTP"),
    (Feature::Flavor, "flavors"),
    (Feature::AvailabilityZone, "availability zones"),
];

/// Provider, flavor and zone.
pub(super) fn judge(seen: &Seen, who: &Who, facts: &Facts) -> Vec<Finding> {
    if !matches!(who.places.get(&Service::LoadBalancer), Some(Ok(_))) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    // Those that are not offered were told as a problem of the option.
    let offered = |capable: &Capable| not_offered(&facts.cloud, &capable.provider).is_none();
    if offered(&facts.services) {
        findings.push(provider("Provider for Services", &facts.services, seen));
    }
    if facts.ingresses != facts.services && offered(&facts.ingresses) {
        findings.push(provider("Provider for Ingresses", &facts.ingresses, seen));
    }
    findings.extend(flavor(facts));
    findings.extend(zone(facts));
    findings
}

fn provider(about: &str, capable: &Capable, seen: &Seen) -> Finding {
    let named = |able: bool| -> Vec<&str> {
        FEATURES.iter().filter(|(f, _)| capable.can(*f) == able).map(|(_, name)| *name).collect()
    };
    let version = match &seen.answers.versions {
        Some(_) => format!("API v2.{}", seen.answers.octavia_minor()),
        None => "an API whose version is not known".to_owned(),
    };
    let (can, cannot) = (named(true), named(false));
    let mut text = format!("{} behind {version}: ", capable.provider);
    text += &if can.is_empty() { "TCP and UDP only".to_owned() } else { can.join(", ") };
    if !cannot.is_empty() {
        text += &format!("; it has not {}", cannot.join(", "));
    }
    Finding::ok(about, text)
}

fn flavor(facts: &Facts) -> Option<Finding> {
    let about = "[LoadBalancer] flavor-id";
    let wish = facts.options.flavor.as_deref()?;
    if !facts.services.can(Feature::Flavor) {
        let why = format!("{wish} does not count: {}; take it away", facts.services.lacks(Feature::Flavor));
        return Some(Finding::warning(about, why));
    }
    let known = &facts.cloud.flavors.as_ref()?.flavors;
    let usable = || known.iter().filter(|f| f.enabled).map(|f| format!("{} ({})", f.id, f.name));
    Some(match known.iter().find(|f| f.id == wish || f.name == wish) {
        Some(flavor) if flavor.enabled => Finding::ok(about, format!("{} ({})", flavor.id, flavor.name)),
        found => {
            let what = if found.is_some() { "is disabled" } else { "is not there" };
            let all: Vec<String> = usable().collect();
            Finding::error(about, format!("flavor {wish} {what}: {}", one_of(&all)))
        }
    })
}

fn zone(facts: &Facts) -> Option<Finding> {
    let about = "[LoadBalancer] availability-zone";
    let wish = facts.options.availability_zone.as_deref()?;
    if !facts.services.can(Feature::AvailabilityZone) {
        let lacks = facts.services.lacks(Feature::AvailabilityZone);
        return Some(Finding::warning(about, format!("{wish} does not count: {lacks}; take it away")));
    }
    let known = &facts.cloud.availability_zones.as_ref()?.availability_zones;
    Some(match known.iter().find(|z| z.name == wish) {
        Some(zone) if zone.enabled => Finding::ok(about, wish),
        found => {
            let what = if found.is_some() { "is disabled" } else { "is not one of load balancers" };
            let all: Vec<String> = known.iter().filter(|z| z.enabled).map(|z| z.name.clone()).collect();
            Finding::error(about, format!("zone {wish} {what}: {}", one_of(&all)))
        }
    })
}

fn one_of(all: &[String]) -> String {
    if all.is_empty() {
        return "there is none, leave the option away".to_owned();
    }
    format!("write one of {}, or leave the option away", all.join(", "))
}

/// Whether there is somewhere to put certificates, where somebody asks for that.
pub(super) fn certificates(seen: &Seen, facts: &Facts, stacks: &[OctaviaStack]) -> Option<Finding> {
    let secrets: usize = stacks.iter().map(|stack| stack.secrets.len()).sum();
    let asked = secrets > 0 || facts.options.tls_container.is_some();
    let kind = Service::KeyManager.kind();
    let lacks = seen.answers.lacks_service(kind);
    if !asked || lacks {
        return None;
    }
    let refused = seen.optional.iter().find_map(|tried| match &tried.outcome {
        Outcome::Denied(why) if tried.permission.starts_with(Service::KeyManager.product()) => Some(why),
        _ => None,
    });
    Some(match refused {
        Some(why) => Finding::error(
            "Certificates",
            format!(
                "Barbican lets the user in cloud.conf not read secrets ({why}): give it the role creator"
            ),
        ),
        None => Finding::ok("Certificates", format!("{secrets} Secrets are put into Barbican")),
    })
}
