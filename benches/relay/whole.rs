//! `all`: every way over veth beside rtpengine, in one run: the highest load of each, its cost there and at rtpengine's highest, and what it adds to the
//! delay at half of rtpengine's highest.

use std::io;

use crate::generator::Mode;
use crate::measure::{Bench, Measured};
use crate::subject::Kind;
use crate::{Options, carried, highest, median};

/// Of one try at a load. Unit: seconds.
const TRY: f64 = 1.0;

/// One relay in one mode.
struct Found {
    kind: Kind,
    /// The highest load carried, and that the relay may carry more than was tried.
    best: Option<(u64, Measured)>,
    more: bool,
    /// At rtpengine's highest load, and at half of it.
    there: Vec<Measured>,
    half: Vec<Measured>,
    ways: String,
}

pub fn run(options: &Options) -> io::Result<()> {
    let (first, most) = (options.calls.first().copied().unwrap_or(400), options.calls.last().copied().unwrap_or(3_000));
    println!("All CPU in µs a packet, the kernel's receive thread included; *there*: at rtpengine's highest load, *half*: at half of it.\n");
    println!("| mode | relay | calls carried | ratio | CPU at its highest | ratio | CPU there | ratio | half: CPU | p50 µs | p99 | ratio of p99 |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut ways = Vec::new();
    for mode in &options.modes {
        // rtpengine first: the others are measured at its load.
        let ours = options.relays.iter().copied().filter(|kind| *kind != Kind::Rtpengine && (*kind != Kind::Xdp || mode.is_unchanged()));
        let reference = told(measure(options, Kind::Rtpengine, *mode, (first, most), None), Kind::Rtpengine, *mode);
        let load = reference.as_ref().and_then(|found| found.best.as_ref()).map_or(first, |(calls, _)| *calls);
        if let Some(found) = &reference {
            print_row(*mode, found, reference.as_ref());
        }
        for kind in ours {
            if let Some(found) = told(measure(options, kind, *mode, ((load / 2).max(50), most), Some(load)), kind, *mode) {
                print_row(*mode, &found, reference.as_ref());
                ways.push(format!("- {}, {}: {}", kind.name(), mode.name(), found.ways));
            }
        }
    }
    println!("\nWhat carried the packets:\n\n{}", ways.join("\n"));
    Ok(())
}

/// A relay that fails is said and left out, so that one does not cost the others their figures.
fn told(found: io::Result<Found>, kind: Kind, mode: Mode) -> Option<Found> {
    found.inspect_err(|error| eprintln!("{} {}: {error}", kind.name(), mode.name())).ok()
}

/// `range`: the loads to try. `load`: rtpengine's highest; its own where there is none.
fn measure(options: &Options, kind: Kind, mode: Mode, range: (u64, u64), load: Option<u64>) -> io::Result<Found> {
    let (first, most) = range;
    let mut bench = Bench::start(&options.setting, kind, 0, mode, most, most as f64 / first as f64)?;
    let mut late = false;
    let best = highest(first, most, |calls| carried(&mut bench, kind, mode, calls, TRY, &mut late))?;
    let load = load.unwrap_or(best.as_ref().map_or(first, |(calls, _)| *calls)).min(most);
    let mut at = |calls: u64| (0..options.rounds).map(|_| bench.run(calls, options.seconds)).collect::<io::Result<Vec<_>>>();
    let (there, half) = (at(load)?, at((load / 2).max(1))?);
    let more = late || best.as_ref().is_some_and(|(calls, _)| *calls >= most);
    Ok(Found { kind, best, more, there, half, ways: bench.ways()? })
}

fn print_row(mode: Mode, found: &Found, reference: Option<&Found>) {
    let ratio = |of: &dyn Fn(&Found) -> Option<f64>| match (of(found), reference.and_then(of)) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("**{:.2}**", ours / theirs),
        _ => "-".to_owned(),
    };
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let calls = |found: &Found| found.best.as_ref().map(|(calls, _)| *calls as f64);
    let at_best = |found: &Found| found.best.as_ref().map(|(_, measured)| measured.whole());
    let there = |found: &Found| Some(median(&found.there, Measured::whole));
    let p99 = |found: &Found| Some(median(&found.half, |one| one.seen.percentile(99.0)));
    let carried = found.best.as_ref().map_or("none tried".to_owned(), |(calls, _)| format!("{calls}{}", if found.more { " or more" } else { "" }));
    println!(
        "| {} | {} | {carried} | {} | {} | {} | {} | {} | {:.2} | {:.0} | {:.0} | {} |",
        mode.name(),
        found.kind.name(),
        ratio(&calls),
        number(at_best(found)),
        ratio(&at_best),
        number(there(found)),
        ratio(&there),
        median(&found.half, Measured::whole),
        median(&found.half, |one| one.seen.percentile(50.0)),
        p99(found).unwrap_or(f64::NAN),
        ratio(&p99),
    );
}
