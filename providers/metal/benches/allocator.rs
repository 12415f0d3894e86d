//! The numbers of the allocator alone, one JSON row per line: `cargo bench -p causeway-metal`. `make bench SUITE=l2` shows them among the others.

mod full16;

fn main() {
    let (small, whole) = (full16::cost(22), full16::cost(16));
    println!(
        "{}",
        serde_json::json!({
            "id": "full-16",
            "what": "an address of a /16: while it fills, the last one, the answer that there is none",
            "value": {"fill": whole.fill, "last": whole.last, "none": whole.none},
            "unit": "us",
            "of a /22": {"fill": small.fill, "last": small.last, "none": small.none},
        })
    );
}
