//! A client that asks by ARP and takes the time, on a packet socket of its own. The bench of layer 2 asks with it, too.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use causeway_speaker::l2::{MacAddr, arp};
use causeway_sys::{PacketSocket, Traffic};

/// What is not answered within this time is lost.
const PATIENCE: Duration = Duration::from_millis(200);

/// Asks by ARP out of one interface.
pub struct Asker {
    mac: MacAddr,
    address: Ipv4Addr,
    socket: PacketSocket,
}

impl Asker {
    /// Asks out of the interface with this index in the caller's namespace, with its MAC address, and with an address that the answer goes to.
    pub fn new(index: u32, mac: MacAddr, address: Ipv4Addr) -> std::io::Result<Self> {
        Ok(Asker { mac, address, socket: PacketSocket::open(index, Traffic::Arp)? })
    }

    /// Who answers in time, and after how long.
    pub async fn ask(&mut self, target: Ipv4Addr) -> std::io::Result<Option<(MacAddr, Duration)>> {
        let mut buffer = [0u8; 256];
        let request = arp::request(self.mac, self.address, MacAddr::BROADCAST, target);
        let start = Instant::now();
        self.socket.send(request.as_slice()).await?;
        let answer = async {
            loop {
                let received = self.socket.receive(&mut buffer).await?;
                if let Ok(packet) = arp::parse(buffer.get(14..received.length).unwrap_or_default())
                    && packet.operation == arp::Operation::Reply
                    && packet.sender_address == target
                    && packet.target_mac == self.mac
                {
                    return Ok((packet.sender_mac, start.elapsed()));
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.ok().transpose()
    }
}
