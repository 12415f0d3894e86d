//! Flavors and availability zones of load balancers. Pure.

use causeway_api::Problem;

use crate::annotations::{reasons, service};
use crate::capabilities::{Capable, Feature};
use crate::facts::Facts;
use crate::member::{Fault, Served};

/// A wish and whose it is.
type Wished<'m, 'a> = Option<(&'m Served<'a>, &'m str)>;

/// The id of the flavor that is wished, by annotation or option; a name is understood too.
///
/// # Errors
/// There is none of that name, or it may not be used.
pub(crate) fn flavor(
    facts: &Facts,
    capable: &Capable,
    wished: Wished<'_, '_>,
    oldest: &Served<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<String>, Box<Fault>> {
    let Some(wish) = wished.map(|(_, text)| text).or(facts.options.flavor.as_deref()) else {
        return Ok(None);
    };
    if !capable.can(Feature::Flavor) {
        if let Some((holder, _)) = wished {
            let why = format!("it does not count: {}; take it away", capable.lacks(Feature::Flavor));
            problems.push(holder.warn(&service::FLAVOR, reasons::INVALID, why));
        }
        return Ok(None);
    }
    let holder = wished.map_or(oldest, |(holder, _)| holder);
    let Some(known) = &facts.cloud.flavors else { return Ok(Some(wish.to_owned())) };
    let found = known.flavors.iter().find(|f| f.id == wish || f.name == wish);
    match found {
        Some(flavor) if flavor.enabled => Ok(Some(flavor.id.clone())),
        Some(_) => Err(holder.fault(&service::FLAVOR, format!("flavor {wish} is disabled: name another"))),
        None => {
            let all: Vec<String> = known.flavors.iter().map(|f| format!("{} ({})", f.id, f.name)).collect();
            Err(holder.fault(
                &service::FLAVOR,
                format!("there is no flavor {wish}: write one of {}", all.join(", ")),
            ))
        }
    }
}

/// The name of the availability zone that is wished, by annotation or option.
///
/// # Errors
/// There is none of that name, or it may not be used.
pub(crate) fn zone(
    facts: &Facts,
    capable: &Capable,
    wished: Wished<'_, '_>,
    oldest: &Served<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<String>, Box<Fault>> {
    let wish = wished.map(|(_, text)| text).or(facts.options.availability_zone.as_deref());
    let Some(wish) = wish else { return Ok(None) };
    if !capable.can(Feature::AvailabilityZone) {
        if let Some((holder, _)) = wished {
            let why =
                format!("it does not count: {}; take it away", capable.lacks(Feature::AvailabilityZone));
            problems.push(holder.warn(&service::AVAILABILITY_ZONE, reasons::INVALID, why));
        }
        return Ok(None);
    }
    let holder = wished.map_or(oldest, |(holder, _)| holder);
    let Some(known) = &facts.cloud.availability_zones else { return Ok(Some(wish.to_owned())) };
    let usable: Vec<&str> =
        known.availability_zones.iter().filter(|z| z.enabled).map(|z| z.name.as_str()).collect();
    if usable.contains(&wish) {
        return Ok(Some(wish.to_owned()));
    }
    let why = format!(
        "there is no availability zone {wish} for load balancers: write one of {}",
        usable.join(", ")
    );
    Err(holder.fault(&service::AVAILABILITY_ZONE, why))
}
