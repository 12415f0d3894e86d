//! Rules within the limits of AWS, and rules that can never match. Pure.

use crate::stack::{Action, ElbProtocol, RedirectConfig, RuleCondition, Values};

/// Most values of all conditions of a rule.
pub const MOST_VALUES: usize = 5;

/// Splits conditions so that each part has at most [`MOST_VALUES`] values; together the parts match what the whole matches.
///
/// # Errors
/// There are more conditions than values are allowed.
pub fn split(conditions: Vec<RuleCondition>) -> Result<Vec<Vec<RuleCondition>>, String> {
    if conditions.len() > MOST_VALUES {
        return Err(format!(
            "there are {} conditions, and AWS takes rules with at most {MOST_VALUES} values: take some away",
            conditions.len()
        ));
    }
    let total: usize = conditions.iter().map(RuleCondition::len).sum();
    if total <= MOST_VALUES {
        return Ok(vec![conditions]);
    }
    // The condition with the most values is halved, the values' order kept: a value always stands for itself alone.
    let Some(widest) = (0..conditions.len()).rev().max_by_key(|i| conditions[*i].len()) else {
        return Ok(vec![conditions]);
    };
    let room = MOST_VALUES.saturating_sub(total - conditions[widest].len()).max(1);
    let (first, rest) = halve(&conditions[widest], room);
    let with = |condition| {
        let mut part = conditions.clone();
        part[widest] = condition;
        part
    };
    let mut parts = split(with(first))?;
    parts.extend(split(with(rest))?);
    Ok(parts)
}

/// The first `at` values, and the others.
fn halve(condition: &RuleCondition, at: usize) -> (RuleCondition, RuleCondition) {
    fn cut<T: Clone>(all: &[T], at: usize) -> (Vec<T>, Vec<T>) {
        let (a, b) = all.split_at(at.min(all.len()));
        (a.to_vec(), b.to_vec())
    }
    fn both<T: Clone>(
        all: &[T],
        at: usize,
        make: fn(Vec<T>) -> RuleCondition,
    ) -> (RuleCondition, RuleCondition) {
        let (a, b) = cut(all, at);
        (make(a), make(b))
    }
    let texts = |values: &Values| -> (Values, Values) {
        let (a, b) = cut(&values.values, at);
        let (x, y) = cut(&values.regex_values, at);
        (Values { values: a, regex_values: x }, Values { values: b, regex_values: y })
    };
    match condition {
        RuleCondition::HostHeader(values) => {
            let (a, b) = texts(values);
            (RuleCondition::HostHeader(a), RuleCondition::HostHeader(b))
        }
        RuleCondition::PathPattern(values) => {
            let (a, b) = texts(values);
            (RuleCondition::PathPattern(a), RuleCondition::PathPattern(b))
        }
        RuleCondition::HttpHeader(header) => {
            let (a, b) = texts(&header.values);
            let with = |values| {
                RuleCondition::HttpHeader(crate::stack::HeaderValues { name: header.name.clone(), values })
            };
            (with(a), with(b))
        }
        RuleCondition::HttpRequestMethod(values) => both(values, at, RuleCondition::HttpRequestMethod),
        RuleCondition::QueryString(values) => both(values, at, RuleCondition::QueryString),
        RuleCondition::SourceIp(values) => both(values, at, RuleCondition::SourceIp),
    }
}

fn redirect(actions: &[Action]) -> Option<&RedirectConfig> {
    actions.iter().find_map(|a| match a {
        Action::Redirect(config) => Some(config),
        _ => None,
    })
}

/// Whether a rule would redirect requests to itself, as one that sends everything to HTTPS does on the listener with HTTPS.
#[must_use]
pub fn redirects_to_itself(
    port: u16,
    protocol: ElbProtocol,
    conditions: &[RuleCondition],
    actions: &[Action],
) -> bool {
    let Some(to) = redirect(actions) else { return false };
    let mut hosts: &[String] = &[];
    let mut paths: &[String] = &[];
    for condition in conditions {
        match condition {
            RuleCondition::HostHeader(values) => hosts = &values.values,
            RuleCondition::PathPattern(values) if !values.regex_values.is_empty() => return false,
            RuleCondition::PathPattern(values) => paths = &values.values,
            _ => {}
        }
    }
    let same = |value: &Option<String>, own: &str, among: &[String]| {
        value.as_ref().is_none_or(|v| v == own || among.contains(v))
    };
    same(&to.host, "#{host}", hosts)
        && same(&to.path, "/#{path}", paths)
        && same(&to.port, "#{port}", &[port.to_string()])
        && same(&to.protocol, "#{protocol}", &[protocol.as_str().to_owned()])
        && same(&to.query, "#{query}", &[])
}

/// Whether a rule that redirects leaves nothing to a later one of the same Ingress. The order of an Ingress counts here, since "everything to HTTPS, first" is
/// how its owner keeps the paths that follow off the listener without TLS.
#[must_use]
pub fn redirects_all_of(earlier: (&[RuleCondition], &[Action]), later: &[RuleCondition]) -> bool {
    redirect(earlier.1).is_some() && covers(earlier.0, later)
}

/// Whether every request that the second conditions match is matched by the first, as far as comparing values can tell.
fn covers(all: &[RuleCondition], part: &[RuleCondition]) -> bool {
    let find = |conditions: &[RuleCondition], host: bool| -> Option<Values> {
        conditions.iter().find_map(|c| match c {
            RuleCondition::HostHeader(values) if host => Some(values.clone()),
            RuleCondition::PathPattern(values) if !host => Some(values.clone()),
            _ => None,
        })
    };
    let only_these =
        all.iter().all(|c| matches!(c, RuleCondition::HostHeader(_) | RuleCondition::PathPattern(_)));
    let within = |host: bool| match (find(all, host), find(part, host)) {
        (None, _) => true,
        (Some(values), _) if !host && values.values.iter().any(|v| v == "/*") => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => {
            b.values.iter().all(|v| a.values.contains(v))
                && b.regex_values.iter().all(|v| a.regex_values.contains(v))
        }
    };
    only_these && within(true) && within(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn hosts(values: &[&str]) -> RuleCondition {
        RuleCondition::HostHeader(Values::patterns(values.iter().map(|&v| v.to_owned()).collect()))
    }

    fn paths(values: &[&str]) -> RuleCondition {
        RuleCondition::PathPattern(Values::patterns(values.iter().map(|&v| v.to_owned()).collect()))
    }

    #[test]
    fn few_values_stay_together() {
        let conditions = vec![hosts(&["a", "b", "c"]), paths(&["/p", "/p/*"])];
        assert_eq!(split(conditions.clone()), Ok(vec![conditions]));
    }

    #[test]
    fn many_hosts_share_the_room_that_a_prefix_leaves() {
        let parts = split(vec![hosts(&["a", "b", "c", "d"]), paths(&["/p", "/p/*"])]).expect("splits");
        assert_eq!(
            parts,
            [
                vec![hosts(&["a", "b", "c"]), paths(&["/p", "/p/*"])],
                vec![hosts(&["d"]), paths(&["/p", "/p/*"])]
            ]
        );
    }

    #[test]
    fn more_conditions_than_values_cannot_be() {
        let method = || RuleCondition::HttpRequestMethod(vec!["GET".to_owned()]);
        assert!(split(vec![method(), method(), method(), method(), method()]).is_ok());
        assert!(split((0..6).map(|_| method()).collect()).expect_err("six").contains("at most 5"));
    }

    proptest! {
        /// Every combination of one value of each condition is in exactly one part, and no part is too wide.
        #[test]
        fn parts_are_the_whole(sizes in prop::collection::vec(1usize..8, 1..5)) {
            let conditions: Vec<RuleCondition> = sizes
                .iter()
                .enumerate()
                .map(|(c, n)| RuleCondition::SourceIp((0..*n).map(|v| format!("{c}-{v}")).collect()))
                .collect();
            let combinations = |conditions: &[RuleCondition]| {
                let mut all: Vec<Vec<String>> = vec![vec![]];
                for c in conditions {
                    let RuleCondition::SourceIp(values) = c else { unreachable!("only these are made") };
                    all = all.iter().flat_map(|head| values.iter().map(|v| [head.clone(), vec![v.clone()]].concat())).collect();
                }
                all
            };
            let parts = split(conditions.clone()).expect("few conditions");
            let mut got: Vec<Vec<String>> = Vec::new();
            for part in &parts {
                prop_assert!(part.iter().map(RuleCondition::len).sum::<usize>() <= MOST_VALUES);
                prop_assert!(part.iter().all(|c| !c.is_empty()));
                got.extend(combinations(part));
            }
            got.sort();
            let mut want = combinations(&conditions);
            want.sort();
            prop_assert_eq!(got, want);
        }
    }

    fn to(host: Option<&str>, path: Option<&str>, port: Option<&str>, protocol: Option<&str>) -> Vec<Action> {
        let some = |t: Option<&str>| t.map(str::to_owned);
        vec![Action::Redirect(RedirectConfig {
            host: some(host),
            path: some(path),
            port: some(port),
            protocol: some(protocol),
            query: None,
            status_code: "HTTP_301".to_owned(),
        })]
    }

    #[rstest]
    #[case::https_on_http(80, ElbProtocol::Http, to(None, None, Some("443"), Some("HTTPS")), false)]
    #[case::https_on_https(443, ElbProtocol::Https, to(None, None, Some("443"), Some("HTTPS")), true)]
    #[case::https_on_another_port(
        8443,
        ElbProtocol::Https,
        to(None, None, Some("443"), Some("HTTPS")),
        false
    )]
    #[case::same_host(443, ElbProtocol::Https, to(Some("a.example"), None, None, None), true)]
    #[case::other_host(443, ElbProtocol::Https, to(Some("b.example"), None, None, None), false)]
    #[case::placeholders(
        443,
        ElbProtocol::Https,
        to(Some("#{host}"), Some("/#{path}"), Some("#{port}"), Some("#{protocol}")),
        true
    )]
    #[case::other_path(443, ElbProtocol::Https, to(None, Some("/x"), None, None), false)]
    #[case::own_path(443, ElbProtocol::Https, to(None, Some("/p"), None, None), true)]
    #[case::no_redirect(443, ElbProtocol::Https, vec![Action::forward(crate::stack::Token::literal("arn"))], false)]
    fn loops(
        #[case] port: u16,
        #[case] protocol: ElbProtocol,
        #[case] actions: Vec<Action>,
        #[case] want: bool,
    ) {
        let conditions = [hosts(&["a.example"]), paths(&["/p"])];
        assert_eq!(redirects_to_itself(port, protocol, &conditions, &actions), want);
    }

    #[rstest]
    #[case::all_paths(vec![paths(&["/*"])], vec![hosts(&["a"]), paths(&["/p"])], true)]
    #[case::of_the_host(vec![hosts(&["a"]), paths(&["/*"])], vec![hosts(&["a"]), paths(&["/p"])], true)]
    #[case::of_another_host(vec![hosts(&["b"]), paths(&["/*"])], vec![hosts(&["a"]), paths(&["/p"])], false)]
    #[case::of_every_host(vec![hosts(&["b"]), paths(&["/*"])], vec![paths(&["/p"])], false)]
    #[case::same_path(vec![paths(&["/p"])], vec![paths(&["/p"])], true)]
    #[case::other_path(vec![paths(&["/q"])], vec![paths(&["/p"])], false)]
    #[case::with_a_condition(vec![paths(&["/*"]), RuleCondition::SourceIp(vec!["10.0.0.0/8".to_owned()])], vec![paths(&["/p"])], false)]
    fn shadows(#[case] earlier: Vec<RuleCondition>, #[case] later: Vec<RuleCondition>, #[case] want: bool) {
        let https = to(None, None, Some("443"), Some("HTTPS"));
        assert_eq!(redirects_all_of((&earlier, &https), &later), want);
        let forward = [Action::forward(crate::stack::Token::literal("arn"))];
        assert!(!redirects_all_of((&earlier, &forward), &later), "only redirects hide what follows");
    }
}
