//! BFD against real routers: FRR's bfdd and BIRD, in a bed of network alone. How fast each end notices the death of the other, on an idle machine and on a busy one.
//!
//! `cargo test --features bed --test bfd`, or with a part of a scenario's name after `--`. The program is its own counterpart: it starts itself on a node, as a process with BFD and nothing else.

mod echo;
mod paths;
mod routers;
mod times;
mod troubles;
mod watcher;

use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::Result;
use causeway_bed::Bed;

/// What takes no part in a measurement may take this long.
const SOON: Duration = Duration::from_secs(15);

type Scenario = fn() -> Pin<Box<dyn Future<Output = Result<()>>>>;

macro_rules! scenarios {
    ($($path:path),* $(,)?) => { [$((stringify!($path), (|| Box::pin($path())) as Scenario)),*] };
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "watch") {
        return watcher::watch(&arguments[2..]);
    }
    let wanted: Vec<&String> =
        arguments.iter().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let all = scenarios![
        routers::frr,
        routers::bird,
        times::frr_dies,
        times::bird_dies,
        times::we_die,
        times::a_busy_machine,
        paths::unnumbered,
        paths::many_hops,
        echo::with_frr,
        echo::a_router_that_does_not_send_back,
        troubles::a_stopped_process,
        troubles::another_program_has_the_port,
        troubles::an_address_that_comes_later,
        troubles::a_change_disturbs_nobody_else,
    ];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in all {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let begin = Instant::now();
        println!("{name}");
        match runtime.block_on(scenario()) {
            Ok(()) => {
                passed += 1;
                println!("ok: {name} in {:?}", begin.elapsed());
            }
            Err(error) => {
                failed += 1;
                println!("FAILED: {name}: {error:#}");
            }
        }
    }
    println!("\n{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}

async fn network() -> Result<Bed> {
    Bed::builder().bare(true).nodes(2).start().await
}
