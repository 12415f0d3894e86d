//! Where moto's EC2 is wrong. Pure.

use std::net::Ipv4Addr;

use super::elb::{Context, Elb, Refusal};

/// moto deletes a security group that is in use; AWS answers `DependencyViolation`: while an instance or an interface of a load balancer, one that
/// is going away too, has it, or a rule of another group names it.
pub fn check_delete_security_group(elb: &Elb, group: &str, context: Context) -> Result<(), Refusal> {
    let in_use = |by: String| {
        Err(Refusal::new("DependencyViolation", format!("resource {group} has a dependent object: {by}")))
    };
    if elb.security_groups_in_use(context.now).contains(group) {
        return in_use("a network interface of a load balancer".into());
    }
    let mut instances = context.facts.instances.iter();
    let lives = |state: &str| state != "terminated";
    if let Some((id, _)) = instances.find(|(_, one)| lives(&one.state) && one.security_groups.contains(group))
    {
        return in_use(id.clone());
    }
    let mut others = context.facts.security_groups.iter();
    if let Some((id, _)) = others.find(|(id, other)| *id != group && other.names_groups.contains(group)) {
        return in_use(format!("a rule of {id}"));
    }
    Ok(())
}

/// The Elastic IP address in an answer to `AllocateAddress`. moto takes them out of 127.0.0.0/8, where no packet leaves its host.
pub fn allocated(answer: &str) -> Option<Ipv4Addr> {
    let (_, rest) = answer.split_once("<publicIp>")?;
    rest.split_once("</publicIp>")?.0.parse().ok()
}

/// Replaces addresses in a request or an answer wherever they stand alone, also as `ip-10-0-0-1` of a host name. moto does not let an instance have
/// an address outside of its subnet, and the bed's nodes, which are in three zones, have neighbouring addresses: so moto has others for them.
pub fn rename(text: &str, pairs: &[(Ipv4Addr, Ipv4Addr)]) -> String {
    let mut renamed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        renamed.push_str(&rest[..start]);
        let token_end = rest[start..]
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')
            .map_or(rest.len(), |length| start + length);
        let token = &rest[start..token_end];
        // A host name goes on with letters after `-` or `.`: the address is what stands before.
        let bare = token.trim_end_matches(['.', '-']);
        let found = pairs.iter().find_map(|(from, to)| {
            let dashed = |address: &Ipv4Addr| address.to_string().replace('.', "-");
            match bare {
                _ if bare == from.to_string() => Some(to.to_string()),
                _ if bare == dashed(from) => Some(dashed(to)),
                _ => None,
            }
        });
        renamed.push_str(found.as_deref().unwrap_or(bare));
        rest = &rest[start + bare.len()..];
    }
    renamed.push_str(rest);
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocated_address_is_found() {
        let answer = "<AllocateAddressResponse><publicIp>127.1.2.3</publicIp></AllocateAddressResponse>";
        assert_eq!(allocated(answer), Some(Ipv4Addr::new(127, 1, 2, 3)));
        assert_eq!(allocated("<Response/>"), None);
    }

    #[test]
    fn addresses_are_renamed_where_they_stand_alone() {
        let pairs = [(Ipv4Addr::new(10, 77, 128, 4), Ipv4Addr::new(10, 77, 0, 11))];
        for (text, renamed) in [
            ("<ip>10.77.128.4</ip>", "<ip>10.77.0.11</ip>"),
            ("10.77.128.4", "10.77.0.11"),
            ("ip-10-77-128-4.ec2.internal", "ip-10-77-0-11.ec2.internal"),
            ("10.77.128.40", "10.77.128.40"),
            ("110.77.128.4", "110.77.128.4"),
            ("10.77.128.4/32", "10.77.0.11/32"),
            ("Filter.1.Value.1=10.77.128.4&x=1", "Filter.1.Value.1=10.77.0.11&x=1"),
            ("2026-11-30T10:00:00.000Z i-10 7", "2026-11-30T10:00:00.000Z i-10 7"),
            ("end 5.", "end 5."),
        ] {
            assert_eq!(rename(text, &pairs), renamed);
        }
    }
}
