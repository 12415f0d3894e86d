//! One Service of an NLB with what its annotations say, and how several Services come to one value. Pure.

use causeway_api::{Member, ObjectRef, Problem, ServicePort, ServiceSpec};

use crate::annotations::{Annotation, Settings, reasons, service};
use crate::facts::Facts;
use crate::options::Options;
use crate::ownership::{self, Defaults};
use crate::stack::{Tags, TargetType};
use crate::tags;

/// A Service.
pub(super) struct Served<'a> {
    /// The member.
    pub member: &'a Member,
    /// What it asks for.
    pub service: &'a ServiceSpec,
    /// What its annotations say.
    pub settings: Settings,
    /// Whose defaults hold.
    pub defaults: Defaults,
}

/// A wish that a load balancer cannot be given.
pub(super) struct Fault {
    /// Whose it is.
    pub holder: ObjectRef,
    /// The annotation.
    pub annotation: &'static Annotation,
    /// What to say.
    pub problem: Problem,
}

impl<'a> Served<'a> {
    /// Reads the annotations of a member; `None` for what is no Service.
    pub fn read(member: &'a Member, problems: &mut Vec<Problem>) -> Option<Self> {
        let service = member.service()?;
        let scope = crate::annotations::Scope::Service;
        let mut settings = Settings::read(scope, &member.object, &member.annotations);
        problems.append(&mut settings.problems);
        Some(Self { member, service, settings, defaults: ownership::defaults(member) })
    }

    /// The object.
    pub fn object(&self) -> ObjectRef {
        self.member.object.clone()
    }

    /// What targets are.
    pub fn target_type(&self, options: &Options) -> TargetType {
        if self.defaults == Defaults::Cpa {
            return TargetType::Instance;
        }
        if self.settings.text(&service::TYPE) == Some(service::TYPE_NLB_IP) {
            return TargetType::Ip;
        }
        match self.settings.text(&service::TARGET_TYPE) {
            Some("ip") => TargetType::Ip,
            Some(_) => TargetType::Instance,
            None => options.default_target_type,
        }
    }

    /// Tags of what belongs to it.
    pub fn tags(&self, facts: &Facts, problems: &mut Vec<Problem>) -> Tags {
        let given = self.settings.map(&service::TAGS).unwrap_or_default();
        let field = self.settings.field(&service::TAGS);
        tags::merged(&facts.options, &self.member.object, &field, given, problems)
    }

    /// A warning about an annotation.
    pub fn warn(&self, annotation: &Annotation, reason: &str, message: impl Into<String>) -> Problem {
        Problem::warning(self.object(), self.settings.field(annotation), reason, message)
    }

    /// What it asks the load balancer for, and cannot be.
    pub fn fault(&self, annotation: &'static Annotation, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { holder: self.object(), annotation, problem: self.error(annotation, message) })
    }

    /// An error about an annotation: see [`causeway_api::Severity::Error`].
    pub fn error(&self, annotation: &Annotation, message: impl Into<String>) -> Problem {
        Problem::error(self.object(), self.settings.field(annotation), reasons::INVALID, message)
    }

    /// Whether a list of ports by name or number has a port; `*` is all.
    pub fn lists(list: &[&str], port: &ServicePort) -> bool {
        let number = port.port.to_string();
        list.iter()
            .any(|item| *item == "*" || *item == number || (!port.name.is_empty() && *item == port.name))
    }

    /// Those of a list that are no port of the Service.
    pub fn unknown_ports<'l>(&self, list: &[&'l str]) -> Vec<&'l str> {
        let known =
            |item: &&&str| *item == &"*" || self.service.ports.iter().any(|p| Self::lists(&[item], p));
        list.iter().filter(|item| !known(item)).copied().collect()
    }

    /// The index of a port, for fields of problems.
    pub fn index(&self, port: &ServicePort) -> usize {
        self.service.ports.iter().position(|p| p == port).unwrap_or_default()
    }
}

/// The value of the oldest member that has one, and whose it is. Who disagrees is told.
pub(super) fn exclusive<'m, 'a>(
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
