//! exabgp as a judge of another school: it keeps no table, but writes down what each message says, decoded by code that shares nothing with the routers'.

use anyhow::{Context, Result, ensure};
use causeway_bed::Router;
use causeway_bed::router::{Kind, Neighbour, RouterConfig};
use causeway_metal::bgp::{Families, Peer, PeerTo, RouteAttributes};
use rstest::rstest;
use serde_json::{Value, json};

use super::speaker::{SOON, plain, with};
use super::{NODE, RACK, network, node, router, speaker, to_router};

/// What the last UPDATE that announces a prefix says: the next hop and the attributes.
fn announced(messages: &[Value], prefix: &str) -> Option<(String, Value)> {
    let family = if prefix.contains(':') { "ipv6 unicast" } else { "ipv4 unicast" };
    messages.iter().rev().find_map(|message| {
        let update = &message["neighbor"]["message"]["update"];
        let (next_hop, _) = update["announce"][family]
            .as_object()?
            .iter()
            .find(|(_, all)| all.as_array().into_iter().flatten().any(|nlri| nlri["nlri"] == prefix))?;
        Some((next_hop.clone(), update["attribute"].clone()))
    })
}

/// Over a session of either family, routes of both: the JSON is what was meant, field by field, and nothing else.
#[rstest]
#[tokio::test]
async fn what_it_decodes_is_what_we_meant(#[values(false, true)] ipv6: bool) -> Result<()> {
    let bed = network().await?;
    let neighbour = Neighbour::at(node(ipv6), NODE).source(router(ipv6)).passive();
    let config = RouterConfig::new(RACK, causeway_bed::addresses::ROUTER).neighbour(neighbour);
    let judge = Router::start(&bed.router_ns(), Kind::Exabgp, config).await?;
    let mut speaker = speaker(&bed)?;
    let peer = Peer { to: PeerTo::Address(router(ipv6)), families: Families::Both, ..to_router() };
    let attributes = RouteAttributes {
        // Not for a router of another AS.
        local_pref: Some(300),
        med: Some(70),
        prepend: 2,
        communities: [NODE << 16 | 1, 0xffff_0000].into(),
        large: [[NODE, 1, u32::MAX], [NODE, 2, 0]].into(),
        bandwidth: None,
    };
    let prefixes = ["192.0.2.0/28", "192.0.2.77/32", "2001:db8:2::7/128", "2001:db8:2::8000:0/112"];
    speaker.want(vec![(peer.clone(), with(attributes, &prefixes))]);
    speaker.wait_up().await?;
    let expected = json!({
        "origin": "igp", "as-path": [NODE, NODE, NODE], "confederation-path": [], "med": 70,
        "community": [[NODE, 1], [65535, 0]], "large-community": [[NODE, 1, u32::MAX], [NODE, 2, 0]],
    });
    let said = async |prefix: &str, expected: &Value| {
        let what = format!("exabgp to write down {prefix}");
        causeway_bed::wait::until(&what, SOON, async || {
            let (next_hop, attributes) = announced(&judge.messages()?, prefix).context("not heard of")?;
            ensure!(next_hop == node(prefix.contains(':')).to_string(), "{next_hop}");
            ensure!(attributes == *expected, "{attributes}\nwhat was meant: {expected}");
            Ok(())
        })
        .await
    };
    for prefix in prefixes {
        said(prefix, &expected).await?;
    }
    // A change, and a withdrawal.
    speaker.want(vec![(peer, plain(&["192.0.2.77/32", "2001:db8:2::7/128"]))]);
    let expected = json!({"origin": "igp", "as-path": [NODE], "confederation-path": []});
    said("192.0.2.77/32", &expected).await?;
    said("2001:db8:2::7/128", &expected).await?;
    causeway_bed::wait::until("exabgp to hear the withdrawals", SOON, async || {
        let left: Vec<String> = judge.routes()?.into_keys().map(|prefix| prefix.to_string()).collect();
        ensure!(left == ["192.0.2.77/32", "2001:db8:2::7/128"], "{left:?}");
        Ok(())
    })
    .await?;
    speaker.stop(causeway_speaker::bgp::StopReason::Shutdown { text: "enough".to_owned() })?;
    let session =
        judge.wait_session(node(ipv6), "to have ended", SOON, |session| session.end.is_some()).await?;
    let end = session.end.context("a NOTIFICATION")?;
    ensure!((end.code, end.subcode, end.text.as_str()) == (6, 2, "enough"), "{end:?}");
    Ok(())
}
