//! One Service of a load balancer with what its annotations say, and how several Services come to one value. Pure.

use std::net::IpAddr;

use causeway_api::{Member, ObjectRef, Problem, ServicePort, ServiceSpec};

use crate::annotations::{Annotation, Scope, Settings, ingress, reasons, settings_field};

/// The field in which a Service asks for an address.
pub(crate) const LOAD_BALANCER_IP: &str = "spec.loadBalancerIP";

/// A Service, or an Ingress.
pub(crate) struct Served<'a> {
    /// The member.
    pub member: &'a Member,
    /// What its annotations say.
    pub settings: Settings,
    /// The address that it asks for, and the field in which it does.
    pub address: Option<(IpAddr, &'static str)>,
}

/// What a member wishes of the load balancer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// An annotation.
    Annotation(&'static Annotation),
    /// An address.
    Address,
    /// Nobody's wish is to blame.
    Nobody,
}

/// A wish that a load balancer cannot be given.
pub(crate) struct Fault {
    /// Whose it is.
    pub holder: ObjectRef,
    /// The wish.
    pub wish: Wish,
    /// What to say.
    pub problem: Problem,
}

impl<'a> Served<'a> {
    /// Reads the annotations of a member.
    pub fn read(scope: Scope, member: &'a Member, problems: &mut Vec<Problem>) -> Self {
        let mut settings = Settings::read(scope, &member.object, &member.annotations);
        problems.append(&mut settings.problems);
        let mut served = Self { member, settings, address: None };
        served.address = served.requested(problems);
        served
    }

    /// The address that it asks for; what is none keeps it from being served, as it would get another.
    fn requested(&mut self, problems: &mut Vec<Problem>) -> Option<(IpAddr, &'static str)> {
        if let Some(text) = self.settings.text(&ingress::FLOATING_IP) {
            return Some((text.parse().ok()?, ingress::FLOATING_IP.key));
        }
        let text = self.service()?.requested_address.as_deref().filter(|t| !t.trim().is_empty())?;
        let address = text.trim().parse().ok();
        if address.is_none() {
            self.settings.refused = true;
            problems.push(Problem::error(
                self.object(),
                LOAD_BALANCER_IP,
                reasons::INVALID,
                format!("{text:?} is not an IP address; until it is mended, nothing of this object is made or changed"),
            ));
        }
        Some((address?, LOAD_BALANCER_IP))
    }

    /// Lets a wish count as absent from now on; whether there was one.
    pub fn forget(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::Annotation(annotation) => self.settings.forget(annotation),
            Wish::Address => self.address.take().is_some(),
            Wish::Nobody => false,
        }
    }

    /// The object.
    pub fn object(&self) -> ObjectRef {
        self.member.object.clone()
    }

    /// What a Service asks for.
    pub fn service(&self) -> Option<&'a ServiceSpec> {
        self.member.service()
    }

    /// A warning about an annotation.
    pub fn warn(&self, annotation: &Annotation, reason: &str, message: impl Into<String>) -> Problem {
        Problem::warning(self.object(), settings_field(annotation.key), reason, message)
    }

    /// An error about an annotation: see [`causeway_api::Severity::Error`].
    pub fn error(&self, annotation: &Annotation, message: impl Into<String>) -> Problem {
        Problem::error(self.object(), settings_field(annotation.key), reasons::INVALID, message)
    }

    /// What it asks the load balancer for, and cannot be.
    pub fn fault(&self, annotation: &'static Annotation, message: impl Into<String>) -> Box<Fault> {
        let wished = self.settings.text(annotation).is_some();
        Box::new(Fault {
            holder: self.object(),
            wish: if wished { Wish::Annotation(annotation) } else { Wish::Nobody },
            problem: self.error(annotation, message),
        })
    }

    /// The same of the address that it asks for.
    pub fn address_fault(&self, message: impl Into<String>) -> Box<Fault> {
        let field = match self.address {
            Some((_, LOAD_BALANCER_IP)) | None => LOAD_BALANCER_IP.to_owned(),
            Some((_, key)) => settings_field(key),
        };
        let problem = Problem::error(self.object(), field, reasons::INVALID, message);
        Box::new(Fault { holder: self.object(), wish: Wish::Address, problem })
    }

    /// The place of a port in its Service.
    pub fn index(&self, port: &ServicePort) -> usize {
        let ports = self.service().map_or(&[][..], |s| &s.ports);
        ports.iter().position(|p| p == port).unwrap_or_default()
    }
}

/// The value of the oldest member that has one, and whose it is. Who disagrees is told.
pub(crate) fn exclusive<'m, 'a>(
    members: &'m [Served<'a>],
    annotation: &Annotation,
    problems: &mut Vec<Problem>,
) -> Option<(&'m Served<'a>, &'m str)> {
    let mut having = members.iter().filter_map(|m| Some((m, m.settings.text(annotation)?)));
    let (holder, value) = having.next()?;
    for (other, text) in having.filter(|(_, text)| *text != value) {
        problems.push(other.warn(
            annotation,
            reasons::CONFLICT,
            format!(
                "{text:?} does not count: {} is older, shares this load balancer and has {value:?}; write the same, or take it away",
                holder.member.object
            ),
        ));
    }
    Some((holder, value))
}
