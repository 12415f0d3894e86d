//! A client that asks by ARP and listens, on packet sockets of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use causeway_speaker::l2::{MacAddr, arp};
use causeway_sys::{PacketSocket, Traffic};

use crate::arp_asker::Asker;
use crate::segment::{run, this_program};

fn file(name: &str) -> String {
    let path = format!("/sys/class/net/eth0/{name}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

/// The MAC address of the namespace's eth0.
pub fn own_mac() -> MacAddr {
    file("address").parse().expect("a MAC address")
}

/// Its index.
pub fn index() -> u32 {
    file("ifindex").parse().expect("a number")
}

/// Asks once from the namespace's eth0: the MAC that answers within 200 ms.
pub fn one(namespace: &str, vip: &str) -> Option<String> {
    let out = run(namespace, &[&this_program(), "ask", vip]);
    let word = out.trim();
    (word != "silence").then(|| word.to_owned())
}

/// The process: `ask ADDRESS`: prints the MAC that answers.
pub fn ask(arguments: &[String]) {
    let target: Ipv4Addr = arguments[0].parse().expect("an address");
    runtime().block_on(async {
        let answer = asker().ask(target).await.expect("sent and received");
        println!("{}", answer.map_or_else(|| "silence".to_owned(), |(mac, _)| mac.to_string()));
    });
}

/// A runtime of one thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Asks by ARP from the namespace's eth0.
fn asker() -> Asker {
    Asker::new(index(), own_mac(), Ipv4Addr::new(10, 77, 0, 9)).expect("a packet socket (needs root)")
}

/// The process: prints every announcement that is heard unasked, and every probe: address, operation, MAC.
pub fn listen(_arguments: &[String]) {
    runtime().block_on(async {
        let socket = PacketSocket::open(index(), Traffic::Arp).expect("a packet socket (needs root)");
        println!("ready");
        let mut buffer = [0u8; 256];
        loop {
            let received = socket.receive(&mut buffer).await.expect("received");
            let Ok(packet) = arp::parse(&buffer[14..received.length]) else { continue };
            let operation = match packet.operation {
                _ if buffer[..6] != [0xff; 6] => continue,
                arp::Operation::Request if packet.sender_address.is_unspecified() => "probe",
                _ if packet.sender_address != packet.target_address => continue,
                arp::Operation::Request => "1",
                arp::Operation::Reply => "2",
            };
            // The reader may have gone.
            if writeln!(std::io::stdout(), "{} {operation} {}", packet.target_address, packet.sender_mac)
                .is_err()
            {
                return;
            }
        }
    });
}

/// What was announced or asked for: address, operation, MAC.
pub type Said = (String, String, String);

/// A listening process.
pub struct Listener {
    child: Child,
    lines: Receiver<String>,
    said: Vec<Said>,
}

pub fn start_listening(namespace: &str) -> Listener {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace, &this_program(), "listen"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("`ip` of iproute2 is needed");
    let output = child.stdout.take().expect("piped");
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    assert_eq!(lines.recv_timeout(Duration::from_secs(10)).as_deref(), Ok("ready"));
    Listener { child, lines, said: Vec::new() }
}

impl Listener {
    /// Listens until enough was heard.
    pub fn wait_for(&mut self, limit: Duration, enough: impl Fn(&[Said]) -> bool) -> &[Said] {
        let end = Instant::now() + limit;
        while !enough(&self.said) {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("only heard {:?}", self.said));
            let words: Vec<&str> = line.split(' ').collect();
            if let [address, operation, mac] = words[..] {
                self.said.push((address.to_owned(), operation.to_owned(), mac.to_owned()));
            }
        }
        &self.said
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
