//! Whether each fault does what its name says, and ends. On a bed of its own, one fault after another.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use causeway_bed::{Bed, Namespace, Node, Signal};

use crate::common::{CONNECT, REFUSED, SOON};

/// Asks a node's kube-proxy for its health: something that answers on every node.
async fn ask(from: &Namespace, node: &Node, timeout: Duration) -> Result<()> {
    from.http_get((node.addresses().v4, 10256), "/livez", None, timeout).await.map(|_| ())
}

async fn reachable(bed: &Bed, from: &Namespace, node: &Node) -> Result<()> {
    bed.wait(&format!("{} to reach {}", from.name(), node.name()), SOON, async || {
        ask(from, node, CONNECT).await
    })
    .await
}

async fn unreachable(bed: &Bed, from: &Namespace, node: &Node) -> Result<()> {
    bed.wait(&format!("{} not to reach {}", from.name(), node.name()), SOON, async || {
        ensure!(ask(from, node, REFUSED).await.is_err(), "it answers");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_do_what_they_say_and_end() -> Result<()> {
    let bed = Bed::builder().nodes(2).start().await?;
    let (one, two, client) = (bed.node(1)?, bed.node(2)?, bed.client_ns());
    reachable(&bed, &client, &one).await?;
    neighbours(&bed, &one, &client).await?;
    power(&bed, &one, &client).await?;
    carrier(&bed, &one, &client).await?;
    nic(&bed, &one, &client).await?;
    partition(&bed, &one, &two, &client).await?;
    loss(&bed, &one, &client).await?;
    api_server(&bed).await?;
    bed.down()
}

async fn neighbours(bed: &Bed, node: &Node, client: &Namespace) -> Result<()> {
    let arp = client.capture("eth0", "arp")?;
    client.forget_neighbours()?;
    ensure!(client.neighbour(node.addresses().v4)?.is_none(), "a neighbour was not forgotten");
    reachable(bed, client, node).await?;
    let mac = client.neighbour(node.addresses().v4)?;
    ensure!(mac.as_ref() == Some(&node.addresses().mac), "the client learnt {mac:?}");
    let reply = format!("Reply {} is-at {}", node.addresses().v4, node.addresses().mac);
    bed.wait("the ARP reply to be seen", SOON, async || {
        ensure!(arp.lines().iter().any(|line| line.contains(&reply)), "{:?}", arp.lines());
        Ok(())
    })
    .await
}

async fn power(bed: &Bed, node: &Node, client: &Namespace) -> Result<()> {
    let started = Instant::now();
    node.cut_power()?;
    ensure!(started.elapsed() < Duration::from_secs(5), "cutting the power took {:?}", started.elapsed());
    ensure!(ask(client, node, REFUSED).await.is_err(), "a node without power answers");
    // One that has ended, and that its parent, which stands still, has not asked about, does nothing.
    let going = node.processes()?.into_iter().filter(|p| !matches!(p.state, 'T' | 'Z')).collect::<Vec<_>>();
    ensure!(going.is_empty(), "processes without power: {going:?}");
    ensure!(node.processes()?.len() >= 2, "agent and kube-proxy are not among {:?}", node.processes()?);
    // The kernel would still answer ARP and forward: only the switched-off port keeps it silent, and that without a sign to the others.
    let link = bed.namespace("lan")?.run(&["ip", "-o", "link", "show", "dev", node.name()])?;
    ensure!(link.contains("LOWER_UP"), "the port lost its carrier: {link}");
    ensure!(node.run(&["cat", "/sys/class/net/eth0/carrier"]).is_ok(), "the node has no NIC any more");
    node.restore_power()?;
    reachable(bed, client, node).await?;
    node.cut_power()?;
    let before = (node.agent().pid()?, node.proxy().pid()?);
    node.reboot()?;
    ensure!(
        node.agent().pid()? != before.0 && node.proxy().pid()? != before.1,
        "processes survived the reboot"
    );
    reachable(bed, client, node).await
}

async fn carrier(bed: &Bed, node: &Node, client: &Namespace) -> Result<()> {
    node.set_carrier(false)?;
    unreachable(bed, client, node).await?;
    let link = node.run(&["ip", "-o", "link", "show", "dev", "eth0"])?;
    ensure!(link.contains("NO-CARRIER"), "the NIC still has a carrier: {link}");
    node.set_carrier(true)?;
    reachable(bed, client, node).await?;
    let v6 = (node.addresses().v6, 10256);
    bed.wait("the node over IPv6", SOON, async || client.http_get(v6, "/livez", None, CONNECT).await).await?;
    reachable(bed, &bed.remote_ns(), node).await
}

async fn nic(bed: &Bed, node: &Node, client: &Namespace) -> Result<()> {
    node.remove_nic()?;
    unreachable(bed, client, node).await?;
    node.insert_nic()?;
    reachable(bed, client, node).await?;
    let mac = node.run(&["cat", "/sys/class/net/eth0/address"]);
    // sysfs shows the namespace that mounted it, ip the one it runs in: ask ip.
    let link = node.run(&["ip", "-o", "link", "show", "dev", "eth0"])?;
    ensure!(link.contains(&node.addresses().mac), "the NIC came back as {link} ({mac:?})");
    reachable(bed, &bed.remote_ns(), node).await
}

async fn partition(bed: &Bed, one: &Node, two: &Node, client: &Namespace) -> Result<()> {
    reachable(bed, &one.namespace(), two).await?;
    bed.segment().partition(&[one.name()], &[two.name()])?;
    unreachable(bed, &one.namespace(), two).await?;
    unreachable(bed, &two.namespace(), one).await?;
    reachable(bed, client, one).await?;
    reachable(bed, client, two).await?;
    bed.segment().heal()?;
    bed.segment().heal()?;
    reachable(bed, &one.namespace(), two).await
}

async fn loss(bed: &Bed, node: &Node, client: &Namespace) -> Result<()> {
    bed.segment().set_loss(node.name(), 100)?;
    unreachable(bed, client, node).await?;
    bed.segment().set_loss(node.name(), 0)?;
    reachable(bed, client, node).await?;
    let counter = node.namespace().count_arriving("probe", "udp dport 9")?;
    bed.segment().set_loss(node.name(), 50)?;
    let target = (node.addresses().v4, 9);
    let sent = 400u64;
    client.inside(move || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        for _ in 0..sent {
            // The port is closed: an error that its ICMP left behind is no reason to stop.
            let _ = socket.send_to(b"x", target);
        }
        Ok(())
    })?;
    bed.segment().set_loss(node.name(), 0)?;
    let arrived = counter.packets()?;
    ensure!((120..=280).contains(&arrived), "of {sent} packets {arrived} arrived at a loss of 50 %");
    Ok(())
}

async fn api_server(bed: &Bed) -> Result<()> {
    let version = async |timeout| {
        let client = bed.client().await?;
        anyhow::Ok(tokio::time::timeout(timeout, client.apiserver_version()).await??)
    };
    version(SOON).await?;
    bed.api_server().signal(Signal::STOP)?;
    ensure!(version(REFUSED).await.is_err(), "a frozen API server answers");
    bed.api_server().signal(Signal::CONT)?;
    version(SOON).await?;
    let before = bed.api_server().pid()?;
    bed.api_server().stop(Signal::KILL, CONNECT)?;
    ensure!(version(REFUSED).await.is_err(), "a dead API server answers");
    bed.api_server().start()?;
    bed.wait("the API server again", SOON, async || version(CONNECT).await).await?;
    ensure!(bed.api_server().pid()? != before, "it is the same process");
    Ok(())
}
