//! PROXY protocol version 2 (haproxy.org, "The PROXY protocol", section 2.2): how a target learns of the client. Pure.

use std::net::SocketAddr;

/// The header for a TCP connection over IPv4; one of unknown family for anything else.
pub fn header(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    // Version 2, command PROXY.
    header.push(0x21);
    match (client, server) {
        (SocketAddr::V4(client), SocketAddr::V4(server)) => {
            // TCP over IPv4, 12 octets of addresses.
            header.extend([0x11, 0, 12]);
            header.extend(client.ip().octets());
            header.extend(server.ip().octets());
            header.extend(client.port().to_be_bytes());
            header.extend(server.port().to_be_bytes());
        }
        _ => header.extend([0, 0, 0]),
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_the_specification_says() {
        let header = header("198.51.100.7:4660".parse().unwrap(), "198.51.100.32:80".parse().unwrap());
        let mut expected =
            vec![0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0, 12];
        expected.extend([198, 51, 100, 7, 198, 51, 100, 32, 0x12, 0x34, 0, 80]);
        assert_eq!(header, expected);
    }
}
