//! The node agent of the metal provider: ARP, membership, netlink
