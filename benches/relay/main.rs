//! RTP relay: Portcullis's media plane, by each way its packets can go, beside Debian's rtpengine in userspace, alternating in one run.
//!
//! `benches/relay/run` builds and starts this. The generator is pinned to core 0, the relay under test to core 1; all relays carry the same
//! calls, set up the same way, with other keys on each leg. Options: `calls=N[,N…]`, `seconds=S`, `rounds=R`,
//! `modes=rtp-rtp,srtp-rtp,srtp-srtp,gcm-gcm`, `relays=…` by the names in the table, `over=loopback|veth`, `sample=N` (of protected packets
//! one in N is authenticated), `realtime` (both before all other programs, for a machine that is not quiet; needs root). Instead of the
//! comparison: `capacity` looks for the highest load carried, `direct` for the generator's own without a relay, `idle` sees what calls
//! without packets cost, `ways` is the comparison over veth of all ways, `all` measures each way over veth at the highest load and at half of rtpengine's.

mod bencode;
mod generator;
mod measure;
mod serve;
mod srtp;
mod subject;
mod whole;
mod wire;
mod world;

use std::io;

use generator::{Generator, Mode, Seen};
use measure::{Bench, GENERATOR_CORE, LATE_NS, Measured, RELAY_CORE, Setting};
use subject::Kind;
use world::World;

/// Calls one process has ports for on loopback, below those Linux gives out on its own.
const MOST_IDLE: u64 = 11_000;

struct Options {
    calls: Vec<u64>,
    seconds: f64,
    rounds: usize,
    modes: Vec<Mode>,
    relays: Vec<Kind>,
    task: Task,
    setting: Setting,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Compare,
    Capacity,
    Direct,
    Idle,
    Whole,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let result = match arguments.split_first() {
        Some((first, rest)) if first == "serve" => serve::run(rest),
        _ => parse(&arguments).and_then(|options| {
            println!("{}", machine(&options));
            match options.task {
                Task::Compare => compare(&options),
                Task::Capacity => capacity(&options),
                Task::Direct => direct(&options),
                Task::Idle => idle(&options),
                Task::Whole => whole::run(&options),
            }
        }),
    };
    if let Err(error) = result {
        eprintln!("relay benchmark: {error}");
        std::process::exit(1);
    }
}

fn parse(arguments: &[String]) -> io::Result<Options> {
    let mut options = Options {
        calls: vec![500],
        seconds: 4.0,
        rounds: 3,
        modes: Mode::ALL.to_vec(),
        relays: vec![Kind::Portcullis, Kind::Rtpengine],
        task: Task::Compare,
        setting: Setting { world: World::Loopback, realtime: false, sample: 1, ours: Vec::new() },
    };
    let mut veth = false;
    let bad = |argument: &str| io::Error::other(format!("cannot read the option {argument}"));
    for argument in arguments {
        match argument.split_once('=').unwrap_or((argument, "")) {
            ("calls", list) => options.calls = list.split(',').map(|n| n.parse().map_err(|_| bad(argument))).collect::<Result<_, _>>()?,
            ("seconds", value) => options.seconds = value.parse().map_err(|_| bad(argument))?,
            ("rounds", value) => options.rounds = value.parse().map_err(|_| bad(argument))?,
            ("sample", value) => options.setting.sample = value.parse().map_err(|_| bad(argument))?,
            ("modes", list) => {
                options.modes = Mode::ALL.into_iter().filter(|mode| list.split(',').any(|name| name.eq_ignore_ascii_case(mode.name()))).collect()
            }
            ("relays", list) => {
                let named = |name| Kind::ALL.into_iter().find(|kind: &Kind| kind.name() == name).ok_or_else(|| bad(argument));
                options.relays = list.split(',').map(named).collect::<Result<_, _>>()?;
            }
            ("over", "loopback") => veth = false,
            ("over", "veth") => veth = true,
            ("ways", "") => (veth, options.relays) = (true, Kind::WAYS.to_vec()),
            ("all", "") => {
                (veth, options.task, options.calls) = (true, Task::Whole, vec![400, 3_000]);
                options.modes = vec![Mode::RtpRtp, Mode::SrtpSrtp, Mode::GcmGcm, Mode::Shared];
                options.relays = Kind::WAYS.to_vec();
            }
            ("capacity", "") => options.task = Task::Capacity,
            ("direct", "") => options.task = Task::Direct,
            ("idle", "") => options.task = Task::Idle,
            ("realtime", "") => options.setting.realtime = true,
            ("batch" | "workers" | "gather_us" | "io", _) => options.setting.ours.push(argument.clone()),
            _ => return Err(bad(argument)),
        }
    }
    wire::pin(GENERATOR_CORE)?;
    wire::exact_sleeps();
    if veth {
        options.setting.world = World::namespaces(GENERATOR_CORE, RELAY_CORE, options.setting.realtime)?;
    }
    if options.setting.realtime {
        wire::realtime()?;
    }
    Ok(options)
}

/// What the figures were taken on.
fn machine(options: &Options) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processor = read("/proc/cpuinfo").lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()));
    let checks = match options.setting.sample {
        1 => "every packet is authenticated and compared".to_owned(),
        n => format!("one protected packet in {n} is authenticated and compared, of the others port, stream and sequence"),
    };
    let (kernel, processor, over) = (kernel.trim(), processor.unwrap_or_default(), options.setting.world.name());
    format!("Linux {kernel}, {processor}, over {over}; {checks}\n")
}

fn compare(options: &Options) -> io::Result<()> {
    println!(
        "| mode | calls | relay | user µs/packet | system | CPU | with receive thread | whole core | loss % | delay p50 µs | p99 | p99.9 | kB/call | ratio of CPU | with receive |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut ways = Vec::new();
    for mode in &options.modes {
        for calls in &options.calls {
            let mut rounds: Vec<Vec<Measured>> = options.relays.iter().map(|_| Vec::new()).collect();
            for _ in 0..options.rounds {
                for (kind, measured) in options.relays.iter().zip(&mut rounds) {
                    let mut bench = Bench::start(&options.setting, *kind, 0, *mode, *calls, 1.0)?;
                    let one = bench.run(*calls, options.seconds)?;
                    report_faults(kind.name(), *mode, &one.seen);
                    if measured.is_empty() {
                        ways.push(format!("- {}, {}, {calls} calls: {}", kind.name(), mode.name(), bench.ways()?));
                    }
                    measured.push(one);
                }
            }
            let reference = options.relays.iter().zip(&rounds).find(|(kind, _)| **kind == Kind::Rtpengine).map(|(_, rounds)| rounds.as_slice());
            for (kind, rounds) in options.relays.iter().zip(&rounds) {
                print_row(*mode, *calls, *kind, rounds, reference);
            }
        }
    }
    println!("\nWhat carried the packets:\n\n{}", ways.join("\n"));
    Ok(())
}

fn print_row(mode: Mode, calls: u64, kind: Kind, rounds: &[Measured], reference: Option<&[Measured]>) {
    let of = |value: fn(&Measured) -> f64| median(rounds, value);
    let ratio = |value: fn(&Measured) -> f64| reference.map_or("-".to_owned(), |rounds| format!("{:.2}", of(value) / median(rounds, value)));
    println!(
        "| {} | {calls} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.3} | {:.0} | {:.0} | {:.0} | {:.1} | **{}** | {} |",
        mode.name(),
        kind.name(),
        of(|m| m.user),
        of(|m| m.system),
        of(Measured::process),
        of(Measured::whole),
        of(|m| m.core),
        of(|m| m.seen.loss()) * 100.0,
        of(|m| m.seen.percentile(50.0)),
        of(|m| m.seen.percentile(99.0)),
        of(|m| m.seen.percentile(99.9)),
        of(|m| m.kb_per_call),
        ratio(Measured::process),
        ratio(Measured::whole),
    );
}

/// The highest load each relay carries. All calls a run may need are up from the start; the last of `calls` says how many, the first where to begin.
fn capacity(options: &Options) -> io::Result<()> {
    let (first, most) = match options.calls.as_slice() {
        [] => (500, 5_000),
        [most] => (500, *most),
        [first, .., most] => (*first, *most),
    };
    println!(
        "| mode | relay | two-way calls carried | CPU µs/packet there | with receive thread | delay p50 µs | p99 | p99.9 | relay busy % | generator busy % | calls, ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for mode in &options.modes {
        let mut found = Vec::new();
        for kind in &options.relays {
            let mut bench = Bench::start(&options.setting, *kind, 0, *mode, most, (most / first) as f64)?;
            let mut late = false;
            let best = highest(first, most, |calls| carried(&mut bench, *kind, *mode, calls, options.seconds, &mut late))?;
            found.push((*kind, best, late));
        }
        let reference = found.iter().find(|(kind, ..)| *kind == Kind::Rtpengine).and_then(|(_, best, _)| best.as_ref()).map(|(calls, _)| *calls);
        for (kind, best, late) in &found {
            let Some((calls, at)) = best else {
                println!("| {} | {} | under {first} | - | - | - | - | - | - | - | - |", mode.name(), kind.name());
                continue;
            };
            let ratio = reference.map_or("-".to_owned(), |reference| format!("{:.2}", *calls as f64 / reference as f64));
            let delay = |percent| at.seen.percentile(percent);
            // A higher load at which the generator was late says nothing of the relay.
            let more = if *calls >= most || *late { " or more" } else { "" };
            println!(
                "| {} | {} | {calls}{more} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {ratio} |",
                mode.name(),
                kind.name(),
                at.process(),
                at.whole(),
                delay(50.0),
                delay(99.0),
                delay(99.9),
                at.busy() * 100.0,
                at.seen.busy * 100.0
            );
        }
    }
    Ok(())
}

/// One load in two tries; `late` once the generator was.
fn carried(bench: &mut Bench, kind: Kind, mode: Mode, calls: u64, seconds: f64, late: &mut bool) -> io::Result<Option<Measured>> {
    for _ in 0..2 {
        let one = bench.run(calls, seconds)?;
        report_faults(kind.name(), mode, &one.seen);
        if one.is_carried() {
            return Ok(Some(one));
        }
        *late |= one.seen.behind > LATE_NS;
    }
    Ok(None)
}

/// The highest of the loads tried that is carried: up by a quarter, then four times halving what is between.
fn highest<T>(first: u64, most: u64, mut carried: impl FnMut(u64) -> io::Result<Option<T>>) -> io::Result<Option<(u64, T)>> {
    let (mut best, mut calls) = (None, first);
    let mut failed = loop {
        match carried(calls)? {
            Some(one) => best = Some((calls, one)),
            None => break calls,
        }
        if calls == most {
            return Ok(best);
        }
        calls = (calls + calls / 4).min(most);
    };
    for _ in 0..4 {
        let Some((good, _)) = best else { break };
        let between = good + (failed - good) / 2;
        match carried(between)? {
            Some(one) => best = Some((between, one)),
            None => failed = between,
        }
    }
    Ok(best)
}

/// The generator's own limit: what one side sends goes straight to the other (over veth, through the kernel's routing).
fn direct(options: &Options) -> io::Result<()> {
    let most = options.calls.iter().copied().max().unwrap_or(5_000);
    println!("| mode | two-way calls the generator alone reaches | delay p50 µs | p99 | busy % |\n|---|---|---|---|---|");
    for mode in &options.modes {
        let mut generator = Generator::new(&options.setting.world, None, *mode, most, options.setting.sample)?;
        let best = highest(500.min(most), most, |calls| {
            let seen = generator.run(calls, options.seconds, 1.0);
            report_faults("generator", *mode, &seen);
            Ok((seen.behind <= LATE_NS && seen.loss() <= 0.001).then_some(seen))
        })?;
        if let Some((calls, seen)) = best {
            let more = if calls >= most { " or more" } else { "" };
            println!("| {} | {calls}{more} | {:.0} | {:.0} | {:.0} |", mode.name(), seen.percentile(50.0), seen.percentile(99.0), seen.busy * 100.0);
        }
    }
    Ok(())
}

/// Calls that are up and say nothing. A process has no more of them than its descriptors allow, four a call; where that is too few, several share them.
fn idle(options: &Options) -> io::Result<()> {
    println!("| mode | relay | calls | processes | CPU ms per second | kB/call |\n|---|---|---|---|---|---|");
    let room = (wire::descriptors()?.saturating_sub(200) / 4).max(1);
    for mode in &options.modes {
        for (kind, calls) in options.relays.iter().flat_map(|kind| options.calls.iter().map(move |calls| (*kind, *calls))) {
            let parts = calls.div_ceil(room.min(MOST_IDLE));
            if parts > 1 && options.setting.world.name() != "loopback" {
                return Err(io::Error::other(format!("{calls} calls need {} descriptors or loopback: over veth there is one relay", calls * 4)));
            }
            let share = calls.div_ceil(parts.max(1));
            let mut relays = Vec::new();
            for part in 0..u8::try_from(parts).map_err(io::Error::other)? {
                let mine = share.min(calls - share * u64::from(part));
                // As many packets as 400 calls have that talk: each stream is heard, and nothing comes late.
                relays.push(Bench::start(&options.setting, kind, part, *mode, mine, (mine as f64 / 400.0).max(1.0))?);
            }
            let cpu = measure::idle(&relays, options.seconds)? / 1000.0 / options.seconds;
            let memory = relays.iter().map(Bench::kb_per_call).sum::<f64>() / relays.len() as f64;
            println!("| {} | {} | {calls} | {parts} | {cpu:.2} | {memory:.1} |", mode.name(), kind.name());
        }
    }
    Ok(())
}

/// A fault or a late generator makes a figure worthless: it is said beside the table.
fn report_faults(relay: &str, mode: Mode, seen: &Seen) {
    let mode = mode.name();
    if seen.faults() > 0 {
        let (wrong, forged, altered, twice) = (seen.wrong_stream, seen.unauthentic, seen.altered, seen.duplicate);
        eprintln!("{relay} {mode}: {wrong} on a wrong stream, {forged} not authentic, {altered} altered, {twice} twice or too late");
    }
    if seen.behind > LATE_NS {
        eprintln!("{relay} {mode}: the generator fell {} ms behind", seen.behind / 1_000_000);
    }
}

fn median(rounds: &[Measured], value: fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
