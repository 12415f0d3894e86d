//! Classic BPF programs that keep everything but the protocol's own packets away from the process. Pure data.
//!
//! A packet socket sees each packet that enters the interface; on a busy node the answerer would be woken for every
//! one of them. The kernel runs these few instructions instead. They only *reduce* the load: whatever passes is parsed
//! again by code that trusts nothing.

use socket2::SockFilter;

/// The packets that a [`crate::PacketSocket`] is to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// ARP for IPv4 over Ethernet (RFC 826): requests and replies. Replies are wanted too, since they show another
    /// host that claims an address of ours.
    Arp,
    /// Neighbour solicitations and advertisements (RFC 4861 §4.3, §4.4) that carry no IPv6 extension header and have hop limit
    /// 255, as §7.1.1 and §7.1.2 demand.
    NeighborDiscovery,
}

/// Internet Protocol, version 4.
pub(crate) const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;

// Instruction codes of classic BPF, composed as in linux/bpf_common.h.
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_EQUAL_X: u16 = 0x1d; // BPF_JMP | BPF_JEQ | BPF_X
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const TO_X: u16 = 0x07; // BPF_MISC | BPF_TAX
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ACCEPT_WHOLE: u32 = u32::MAX;
const DROP: u32 = 0;

impl Traffic {
    /// The Ethernet type to bind to, so that the kernel does not even offer other protocols to the filter.
    pub fn ethertype(self) -> u16 {
        match self {
            Traffic::Arp => ETH_P_ARP,
            Traffic::NeighborDiscovery => ETH_P_IPV6,
        }
    }

    /// The program for frames that start with an Ethernet header. A load beyond the end of a truncated frame ends a
    /// classic BPF program with "drop".
    pub(crate) fn program(self) -> Vec<SockFilter> {
        // Each line: load a field, go on if it is as wanted, else jump to the final drop.
        let fields: &[(u16, u32, &[u32])] = match self {
            Traffic::Arp => &[
                (LOAD_HALF, 12, &[ETH_P_ARP as u32]),
                (LOAD_HALF, 14, &[1]),      // hardware type Ethernet
                (LOAD_HALF, 16, &[0x0800]), // protocol type IPv4
                (LOAD_HALF, 20, &[1, 2]),   // operation request or reply
            ],
            Traffic::NeighborDiscovery => &[
                (LOAD_HALF, 12, &[ETH_P_IPV6 as u32]),
                (LOAD_BYTE, 20, &[58]),       // next header ICMPv6
                (LOAD_BYTE, 21, &[255]),      // hop limit
                (LOAD_BYTE, 54, &[135, 136]), // type solicitation or advertisement
            ],
        };
        let length: usize = fields.iter().map(|(_, _, wanted)| 1 + wanted.len()).sum();
        let mut program = Vec::with_capacity(length + 2);
        for (load, offset, wanted) in fields {
            program.push(SockFilter::new(*load, 0, 0, *offset));
            for (index, value) in wanted.iter().enumerate() {
                // Jump distances count from the next instruction. The drop stands behind all fields and the accept.
                let to_drop = (length + 1 - program.len() - 1) as u8;
                let remaining = (wanted.len() - 1 - index) as u8;
                let last = remaining == 0;
                program.push(SockFilter::new(JUMP_EQUAL, remaining, if last { to_drop } else { 0 }, *value));
            }
        }
        program.push(SockFilter::new(RETURN, 0, 0, ACCEPT_WHOLE));
        program.push(SockFilter::new(RETURN, 0, 0, DROP));
        program
    }
}

/// For packets that start with an IPv4 header: UDP to this port, from and to the same address.
pub(crate) fn looped_program(port: u16) -> [SockFilter; 14] {
    // Jump distances count from the next instruction; the last one drops.
    [
        (LOAD_BYTE, 0, 0, 0),
        (JUMP_EQUAL, 0, 11, 0x45), // version 4, header without options
        (LOAD_BYTE, 0, 0, 9),
        (JUMP_EQUAL, 0, 9, 17), // UDP
        (LOAD_HALF, 0, 0, 6),
        (JUMP_SET, 7, 0, 0x3fff), // a fragment: "more" or an offset
        (LOAD_HALF, 0, 0, 22),
        (JUMP_EQUAL, 0, 5, u32::from(port)), // destination port
        (LOAD_WORD, 0, 0, 12),               // source
        (TO_X, 0, 0, 0),
        (LOAD_WORD, 0, 0, 16), // destination
        (JUMP_EQUAL_X, 0, 1, 0),
        (RETURN, 0, 0, ACCEPT_WHOLE),
        (RETURN, 0, 0, DROP),
    ]
    .map(|(code, if_true, if_false, value)| SockFilter::new(code, if_true, if_false, value))
}
