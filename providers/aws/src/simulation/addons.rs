//! Web ACLs, protections, logins: what they cost, what becomes of them, and what AWS refuses of them.

use super::*;
use crate::cloud::Call;
use crate::cloud::records::WebAcl;
use crate::plan::addons::{REFUSED, protection_name};
use crate::plan::secrets::TAG_SECRET;
use crate::secrets::{Client, Read, Secrets};
use crate::stack::Action;

/// Secrets of a cluster: what the one of the simulations holds now.
#[derive(Default)]
pub struct Held(pub std::sync::Mutex<Client>);

impl Secrets for Held {
    fn read<'a>(&'a self, _: &'a str, _: &'a str) -> Read<'a> {
        let client = self.0.lock().expect("no panic").clone();
        Box::pin(std::future::ready(Ok(Some(client))))
    }
}

/// A world with two web ACLs and a subscription.
pub async fn world() -> Sim {
    let sim = Sim::new(FakeSettings::default()).await;
    {
        let mut world = sim.fake.world();
        let acl = |name: &str| WebAcl { arn: format!("arn:{name}"), name: name.to_owned() };
        world.addons.web_acls = ["a", "b"].map(acl).into();
        world.addons.subscribed = true;
        *sim.secrets.0.lock().expect("no panic") = Client { id: "me".to_owned(), secret: "s".to_owned() };
    }
    sim
}

/// What goes with the load balancer is as this front asks; nothing of one that is gone is left.
pub fn check(sim: &Sim, front: Option<&Front>) {
    let Some(front) = front else { return assert!(sim.fake.world().addons.protections.is_empty(), "leaked") };
    if front.acl.is_some() || front.shield.is_some() {
        let (_, acl, protection) = addons(sim);
        if let Some(wanted) = front.acl {
            let wanted = wanted.replace("name:", "arn:");
            assert_eq!(acl.unwrap_or_default(), wanted);
        }
        if let Some(shield) = front.shield {
            assert_eq!(protection.is_some(), shield);
        }
    }
    assert_eq!(client(sim).is_some(), front.login.is_some() && !front.rules.is_empty());
}

fn alb() -> Front {
    Front::alb("shop")
}

/// ARN of the load balancer, its web ACL, and the name of its protection.
fn addons(sim: &Sim) -> (String, Option<String>, Option<String>) {
    let world = sim.fake.world();
    let ours = |lb: &&LoadBalancer| lb.spec.tags.get(TAG_CLUSTER).is_some_and(|c| c == CLUSTER);
    let arn = world.load_balancers.values().map(|(lb, _)| lb).find(ours).expect("one").arn.clone();
    let acl = world.addons.associated.get(&arn).cloned();
    let protection = world.addons.protections.get(&arn).map(|p| p.name.clone());
    (arn, acl, protection)
}

/// Calls to WAF and Shield since the last time.
fn asked(sim: &Sim) -> Vec<&'static str> {
    let of = |call: &Call| matches!(call.service(), "wafv2" | "shield");
    sim.fake.world().calls.drain(..).filter(of).map(|call| call.action()).collect()
}

#[tokio::test(start_paused = true)]
async fn nobody_who_does_not_use_them_pays_for_them() {
    let mut sim = world().await;
    let want = alb().stack();
    sim.converge(&want).await.expect("converges");
    sim.pass(3600, &[&want]).await;
    sim.restart().await;
    sim.converge(&want).await.expect("converges");
    sim.converge(&alb().gone()).await.expect("converges");
    assert_eq!(asked(&sim), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn they_come_with_the_load_balancer_change_and_go() {
    let mut sim = world().await;
    let with = |acl, shield| Front { acl, shield, ..alb() };
    let want = with(Some("arn:a"), Some(true)).stack();
    sim.converge(&want).await.expect("converges");
    let (_, acl, protection) = addons(&sim);
    assert_eq!((acl.as_deref(), protection), (Some("arn:a"), Some(protection_name(CLUSTER))));
    assert_eq!(asked(&sim), ["AssociateWebACL", "CreateProtection"], "nothing is read of what is new");
    // Nothing more is asked, now and by the next process.
    sim.converge(&want).await.expect("converges");
    tokio::time::sleep(Duration::from_secs(60)).await;
    sim.restart().await;
    sim.converge(&want).await.expect("converges");
    assert_eq!(asked(&sim), Vec::<&str>::new());

    // By name: the list is read when one is to be set, and never else.
    let named = with(Some("name:b"), Some(true)).stack();
    sim.converge(&named).await.expect("converges");
    assert_eq!(addons(&sim).1.as_deref(), Some("arn:b"));
    assert_eq!(
        asked(&sim),
        ["GetWebACLForResource", "DescribeProtection", "ListWebACLs", "ListWebACLs", "AssociateWebACL"]
    );

    // No word: what is there stays. `none` and `false`: it goes.
    let silent = with(None, None).stack();
    sim.converge(&silent).await.expect("converges");
    assert!(addons(&sim).1.is_some() && addons(&sim).2.is_some());
    let none = with(Some(""), Some(false)).stack();
    sim.converge(&none).await.expect("converges");
    assert_eq!((addons(&sim).1, addons(&sim).2), (None, None));

    // A protection outlives its load balancer, unless it is ours.
    sim.converge(&want).await.expect("converges");
    assert!(addons(&sim).2.is_some());
    sim.restart().await;
    sim.converge(&alb().gone()).await.expect("converges");
    sim.fake.world().gaps.clear();
    assert!(sim.fake.world().addons.protections.is_empty() && sim.fake.world().addons.associated.is_empty());
    sim.check(&[]);
}

#[tokio::test(start_paused = true)]
async fn what_a_hand_changed_is_put_right() {
    let mut sim = world().await;
    let want = Front { acl: Some("arn:a"), shield: Some(true), ..alb() }.stack();
    sim.converge(&want).await.expect("converges");
    let arn = addons(&sim).0;
    {
        let mut world = sim.fake.world();
        world.addons.associated.insert(arn.clone(), "arn:b".to_owned());
        world.addons.protections.clear();
    }
    sim.pass(1800, &[&want]).await;
    assert_eq!(addons(&sim).1.as_deref(), Some("arn:a"));
    assert!(addons(&sim).2.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_aws_refuses_of_them_is_said_and_keeps_nothing_else_back() {
    type Break = fn(&mut crate::fake::World);
    let cases: [(Front, Break, &str, &str); 6] = [
        (
            Front { acl: Some("arn:a"), ..alb() },
            |w| w.addons.denied.extend(["AssociateWebACL"]),
            "wafv2",
            "wafv2:AssociateWebACL",
        ),
        (Front { acl: Some("arn:x"), ..alb() }, |_| {}, "wafv2", "WAFNonexistentItemException"),
        (Front { acl: Some("name:x"), ..alb() }, |_| {}, "wafv2", "no regional web ACL \"x\""),
        (
            Front { acl: Some("name:a"), ..alb() },
            |w| w.addons.denied.extend(["ListWebACLs"]),
            "wafv2",
            "wafv2:ListWebACLs",
        ),
        (Front { shield: Some(true), ..alb() }, |w| w.addons.subscribed = false, "shield", "no subscription"),
        (
            Front { shield: Some(true), ..alb() },
            |w| w.addons.denied.extend(["CreateProtection"]),
            "shield",
            "shield:CreateProtection",
        ),
    ];
    for (front, breaks, field, says) in cases {
        let mut sim = world().await;
        breaks(&mut sim.fake.world());
        let want = front.stack();
        let problems = sim.converge(&want).await.expect("the rest is served");
        let said: Vec<_> =
            problems.iter().map(|p| (p.reason.as_str(), p.field.as_str(), &p.message)).collect();
        assert!(
            said.iter().any(|(r, f, m)| *r == REFUSED && *f == field && m.contains(says)),
            "{says}: {said:?}"
        );
        let serves = sim.fake.world().rules.len();
        assert_eq!(serves, 2, "{says}");
        // Once it is mended it is done, without anybody's doing.
        {
            let mut world = sim.fake.world();
            world.addons.denied.clear();
            world.addons.subscribed = true;
            world.addons.web_acls.push(WebAcl { arn: "arn:x".to_owned(), name: "x".to_owned() });
        }
        tokio::time::sleep(Duration::from_secs(crate::observe::TRY_AGAIN)).await;
        assert_eq!(sim.converge(&want).await.expect("converges"), [], "{says}");
        let (_, acl, protection) = addons(&sim);
        assert!(acl.is_some() || protection.is_some(), "{says}");
        sim.check(&[&want]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_to_read_is_said_too() {
    let mut sim = world().await;
    sim.converge(&alb().stack()).await.expect("converges");
    sim.fake.world().addons.denied.extend(["GetWebACLForResource", "DescribeProtection"]);
    let want = Front { acl: Some("arn:a"), shield: Some(true), sources: vec!["10.0.0.0/8"], ..alb() }.stack();
    let problems = sim.converge(&want).await.expect("the rest is served");
    assert_eq!(problems.iter().filter(|p| p.reason == REFUSED).count(), 2, "{problems:?}");
    {
        let world = sim.fake.world();
        let group = world.security_groups.values().find(|g| g.spec.group_name.contains("shop"));
        assert!(format!("{:?}", group.expect("there").spec.ingress).contains("10.0.0.0/8"));
    }
    sim.converge(&alb().gone()).await.expect("nothing keeps it from going");
    sim.fake.world().gaps.clear();
    sim.check(&[]);
}

#[tokio::test(start_paused = true)]
async fn a_protection_of_somebody_else_is_left_alone() {
    let mut sim = world().await;
    sim.converge(&alb().stack()).await.expect("converges");
    let arn = addons(&sim).0;
    let theirs = crate::cloud::records::Protection { id: "theirs".to_owned(), name: "by hand".to_owned() };
    sim.fake.world().addons.protections.insert(arn, theirs);
    sim.converge(&Front { shield: Some(true), ..alb() }.stack()).await.expect("converges");
    let problems = sim.converge(&Front { shield: Some(false), ..alb() }.stack()).await.expect("converges");
    assert!(problems.iter().any(|p| p.message.contains("by hand")), "{problems:?}");
    sim.converge(&alb().gone()).await.expect("converges");
    assert_eq!(sim.fake.world().addons.protections.len(), 1);
}

/// The client that AWS logs people in with.
fn client(sim: &Sim) -> Option<(String, String)> {
    let world = sim.fake.world();
    let actions = world.rules.values().flat_map(|r| &r.spec.actions);
    let text = |content: &crate::stack::Content| content.get().unwrap_or_default().to_owned();
    actions.clone().find_map(|action| match action {
        Action::AuthenticateOidc(c) => Some((text(&c.client_id.content), text(&c.client_secret.content))),
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_a_login_is_sent_and_followed() {
    let mut sim = world().await;
    let set = |sim: &Sim, id: &str, secret: &str| {
        *sim.secrets.0.lock().expect("no panic") = Client { id: id.to_owned(), secret: secret.to_owned() };
    };
    let with = |login| Front { login: Some(login), ..alb() }.stack();
    set(&sim, "me", "hush-1");
    sim.converge(&with("1")).await.expect("converges");
    assert_eq!(client(&sim), Some(("me".to_owned(), "hush-1".to_owned())));
    // Nothing is done again: by the same process, by the next one, by the audit.
    sim.restart().await;
    sim.fake.counts();
    sim.converge(&with("1")).await.expect("converges");
    sim.pass(3600, &[&with("1")]).await;
    let counts = sim.fake.counts();
    assert!(!counts.contains_key("ModifyRule") && !counts.contains_key("AddTags"), "{counts:?}");

    set(&sim, "me", "hush-2");
    sim.restart().await;
    sim.converge(&with("2")).await.expect("converges");
    assert_eq!(client(&sim), Some(("me".to_owned(), "hush-2".to_owned())));
    let counts = sim.fake.counts();
    assert_eq!((counts.get("ModifyRule"), counts.get("CreateRule")), (Some(&1), None), "{counts:?}");
    sim.check(&[&with("2")]);
    let told = sim.fake.world().rules.values().filter(|r| r.spec.tags.contains_key(TAG_SECRET)).count();
    assert_eq!(told, 1);

    // What is in the calls' own record, and in what is known, is no secret.
    let known = format!("{:?}", sim.live.known().entry(&alb().owner()));
    assert!(!known.contains("hush-2"));

    // A Secret without what it must hold leaves the login as it is, and everything else goes on.
    set(&sim, "me", "");
    let want = Front { login: Some("3"), sources: vec!["10.0.0.0/8"], ..alb() }.stack();
    let problems = sim.converge(&want).await.expect("the rest is served");
    assert!(
        problems.iter().any(|p| p.reason == "InvalidSecret" && p.message.contains("clientSecret")),
        "{problems:?}"
    );
    assert_eq!(client(&sim), Some(("me".to_owned(), "hush-2".to_owned())));
    assert!(sim.fake.world().security_groups.values().any(|g| format!("{g:?}").contains("10.0.0.0/8")));

    // And no login any more.
    let want = alb().stack();
    sim.converge(&want).await.expect("converges");
    assert_eq!(client(&sim), None);
    sim.check(&[&want]);
}

#[tokio::test(start_paused = true)]
async fn a_new_rule_without_its_secret_is_not_made_and_the_others_are() {
    let mut sim = world().await;
    *sim.secrets.0.lock().expect("no panic") = Client::default();
    let want = Front { login: Some("1"), ..alb() }.stack();
    let problems = sim.converge(&want).await.expect("the rest is served");
    assert!(
        problems.iter().any(|p| p.reason == "InvalidSecret" && p.message.contains("clientID")),
        "{problems:?}"
    );
    assert_eq!(sim.fake.world().rules.len(), 1);
    *sim.secrets.0.lock().expect("no panic") = Client { id: "me".to_owned(), secret: "s".to_owned() };
    let want = Front { login: Some("2"), ..alb() }.stack();
    assert_eq!(sim.converge(&want).await.expect("converges"), []);
    sim.check(&[&want]);
}
