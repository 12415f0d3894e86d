//! Who asks, and what it may. Pure.
//!
//! OpenStack has no dry runs: what may be read is read, what may be written is guessed from the names of roles, and said to be a guess.

use causeway_api::Finding;
use causeway_api::check::{self, Outcome, Tried};

use super::Seen;
use crate::api::{CallError, Failure, Service};
use crate::client::Who;

/// Difference of clocks, in seconds, from which on it is said; a login takes a part of it.
const SKEW: i64 = 30;
/// Roles by which, in Octavia's own policies, one may write.
const WRITERS: &[&str] = &["admin", "load-balancer_admin", "load-balancer_member"];
/// Roles that are known to be for reading only.
const READERS: &[&str] =
    &["reader", "observer", "audit", "load-balancer_observer", "load-balancer_global_observer"];

/// Who asks, by what name in findings.
pub(super) fn name(who: &Who) -> String {
    let user = if who.user.is_empty() { "the user" } else { &who.user };
    format!("{user} in project {}", project(who))
}

fn project(who: &Who) -> &str {
    if who.project_name.is_empty() { &who.project } else { &who.project_name }
}

/// Whether there is a token, and whose.
pub(super) fn identity(seen: &Seen) -> Vec<Finding> {
    let about = "Keystone";
    let who = match &seen.who {
        Ok(who) => who,
        Err(CallError::Failed(Failure::Login { refused: true, text })) => {
            return vec![Finding::error(about, text.clone())];
        }
        Err(error) => {
            return vec![Finding::error(
                about,
                format!(
                    "gives no token ({error}): is auth-url right, does a way lead there, and is its certificate of an authority that is known (ca-file)?"
                ),
            )];
        }
    };
    let mut findings = vec![Finding::ok(about, format!("knows us as {} ({})", name(who), who.project))];
    if let Some(ahead) = who.ahead.filter(|ahead| ahead.as_secs().abs() >= SKEW) {
        let (seconds, way) = (ahead.as_secs().abs(), if ahead.is_negative() { "behind" } else { "before" });
        findings.push(Finding::warning(
            "Clock",
            format!(
                "that of this machine is {seconds} s {way} Keystone's: tokens do not suffer, but certificates and what logs say do; have both set by NTP"
            ),
        ));
    }
    findings
}

/// Whether the roles are such as may make load balancers.
pub(super) fn roles(who: &Who) -> Finding {
    let about = "Roles";
    let names = who.roles.join(", ");
    let has = |roles: &[&str]| who.roles.iter().any(|role| roles.contains(&role.as_str()));
    let give = format!(
        "openstack role add --user {} --project {} load-balancer_member",
        if who.user.is_empty() { "USER" } else { &who.user },
        project(who)
    );
    if who.roles.iter().all(|role| READERS.contains(&role.as_str())) {
        let have = if names.is_empty() {
            "there are none".to_owned()
        } else {
            format!("{names}, with which one only reads")
        };
        return Finding::error(
            about,
            format!(
                "{have}: member and load-balancer_member are needed, with creator too for certificates. {give}"
            ),
        );
    }
    let untried = "that load balancers, floating IPs and secrets may be made is not tried";
    if has(WRITERS) {
        return Finding::ok(about, format!("{names}; {untried}"));
    }
    Finding::warning(
        about,
        format!(
            "{names}: without load-balancer_member Octavia lets one write only where its operator has set other policies; {untried}. {give}"
        ),
    )
}

/// Whether the services are where they are looked for.
pub(super) fn services(who: &Who) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, place) in &who.places {
        let about = service.product();
        match (place, service) {
            (Ok(place), _) => findings.push(Finding::ok(about, place.clone())),
            (Err(why), Service::LoadBalancer | Service::Network) => {
                findings.push(Finding::error(about, why.clone()))
            }
            // Only those who want certificates need it, and these are told.
            (Err(why), Service::KeyManager) => {
                findings.push(Finding::warning(about, format!("certificates cannot be served: {why}")));
            }
            // Of the node controllers only.
            (Err(_), Service::Compute) => {}
        }
    }
    findings
}

/// What may be read.
pub(super) fn reads(seen: &Seen, who: &Who) -> Vec<Finding> {
    let remedy = "give it load-balancer_member for Octavia, member for Neutron, creator for Barbican, or have the policies changed";
    let mut findings = check::rights("Permissions to read", &seen.reads, &name(who), remedy, "The service");
    for Tried { permission, outcome } in &seen.optional {
        if let Outcome::Denied(why) | Outcome::Unknown(why) = outcome {
            findings.push(Finding::warning(
                permission.clone(),
                format!("cannot be read ({why}): decisions do without, and what it tells is not checked"),
            ));
        }
    }
    if !seen.absent.is_empty() {
        let what = format!("this cloud does not offer {}: decisions do without", seen.absent.join(", "));
        findings.push(Finding::ok("Optional reads", what));
    }
    findings
}

/// Whether everything could be read that decisions cannot do without.
pub(super) fn whole(seen: &Seen) -> bool {
    !seen.reads.is_empty() && seen.reads.iter().all(|tried| tried.outcome == Outcome::Allowed)
}
