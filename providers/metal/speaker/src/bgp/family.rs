//! Address families in messages (RFC 4760 §3). Pure data.

use causeway_api::Family;

/// SAFI of unicast forwarding, the only one spoken here.
pub const UNICAST: u8 = 1;

/// Both families.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The number of a family.
pub fn afi(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}

/// What a message means; nothing for families that are not spoken here.
pub fn from_wire(number: u16, safi: u8) -> Option<Family> {
    FAMILIES.into_iter().find(|family| afi(*family) == number && safi == UNICAST)
}
