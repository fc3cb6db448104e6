//! RTP relay, CPU per packet: Portcullis's media plane beside Debian's rtpengine in userspace, alternating in one run.
//!
//! `benches/relay/run` builds and starts this. The generator is pinned to core 0, the relay under test to core 1; both relays carry the same
//! calls, set up the same way, with other keys on each leg. Options: `calls=N[,N…]`, `seconds=S`, `rounds=R`, `modes=rtp-rtp,srtp-rtp,srtp-srtp`,
//! `relays=portcullis,rtpengine`, `realtime` (both before all other programs, for a machine that is
//! not quiet; needs root), and `batch=N`, `workers=N`, `gather_us=N` for ours. Instead of the comparison: `capacity` looks for the highest
//! load under 0.1 % loss, `idle` sees what calls without packets cost.

mod bencode;
mod generator;
mod serve;
mod subject;
mod wire;

use std::io;
use std::time::Duration;

use generator::{Generator, Mode, Seen};
use subject::{Kind, Subject};

const GENERATOR_CORE: usize = 0;
const RELAY_CORE: usize = 1;
/// Loss a load may have and still count as carried.
const TOLERATED: f64 = 0.001;
/// A generator this far behind its schedule measures itself. Unit: ns.
const LATE_NS: u64 = 20_000_000;

struct Options {
    calls: Vec<u64>,
    seconds: f64,
    rounds: usize,
    modes: Vec<Mode>,
    relays: Vec<Kind>,
    task: Task,
    realtime: bool,
    ours: Vec<String>,
}

#[derive(Clone, Copy)]
enum Task {
    Compare,
    Capacity,
    Idle,
}

/// One relay, one mode, one load, one round.
struct Measured {
    /// Unit: µs of user and system time per packet received by the generator.
    cpu_us: f64,
    /// The same of everything that ran on the relay's core, interrupts included.
    core_us: f64,
    loss: f64,
    p50: f64,
    p99: f64,
    kb_per_call: f64,
    seen: Seen,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let result = match arguments.split_first() {
        Some((first, rest)) if first == "serve" => serve::run(rest),
        _ => parse(&arguments).and_then(|options| match options.task {
            Task::Compare => compare(&options),
            Task::Capacity => capacity(&options),
            Task::Idle => idle(&options),
        }),
    };
    if let Err(error) = result {
        eprintln!("relay benchmark: {error}");
        std::process::exit(1);
    }
}

fn parse(arguments: &[String]) -> io::Result<Options> {
    let mut options = Options {
        calls: vec![300, 600],
        seconds: 8.0,
        rounds: 3,
        modes: Mode::ALL.to_vec(),
        relays: vec![Kind::Portcullis, Kind::Rtpengine],
        task: Task::Compare,
        realtime: false,
        ours: Vec::new(),
    };
    let bad = |argument: &str| io::Error::other(format!("cannot read the option {argument}"));
    for argument in arguments {
        match argument.split_once('=').unwrap_or((argument, "")) {
            ("calls", list) => options.calls = list.split(',').map(|n| n.parse().map_err(|_| bad(argument))).collect::<Result<_, _>>()?,
            ("seconds", value) => options.seconds = value.parse().map_err(|_| bad(argument))?,
            ("rounds", value) => options.rounds = value.parse().map_err(|_| bad(argument))?,
            ("modes", list) => {
                options.modes = Mode::ALL.into_iter().filter(|mode| list.split(',').any(|name| name.eq_ignore_ascii_case(mode.name()))).collect()
            }
            ("relays", list) => options.relays.retain(|kind| list.split(',').any(|name| name == kind.name())),
            ("capacity", "") => options.task = Task::Capacity,
            ("realtime", "") => options.realtime = true,
            ("idle", "") => options.task = Task::Idle,
            ("batch" | "workers" | "gather_us", _) => options.ours.push(argument.clone()),
            _ => return Err(bad(argument)),
        }
    }
    wire::pin(GENERATOR_CORE)?;
    if options.realtime {
        wire::realtime()?;
    }
    Ok(options)
}

fn measure(kind: Kind, mode: Mode, calls: u64, seconds: f64, options: &Options) -> io::Result<Measured> {
    let ours = if kind == Kind::Portcullis { options.ours.as_slice() } else { &[] };
    let mut subject = Subject::start(kind, RELAY_CORE, options.realtime, ours)?;
    let before = resident_kb(subject.pid())?;
    let mut generator = Generator::new(&mut subject, mode, calls)?;
    // Endpoints are learnt, SSRCs seen and caches warm before anything counts; rtpengine learns for the first three seconds.
    generator.run(3.5);
    let (cpu, core) = (process_us(subject.pid())?, core_us(RELAY_CORE)?);
    let seen = generator.run(seconds);
    let (cpu, core) = (process_us(subject.pid())? - cpu, core_us(RELAY_CORE)? - core);
    let packets = seen.received.max(1) as f64;
    Ok(Measured {
        cpu_us: cpu / packets,
        core_us: core / packets,
        loss: seen.loss(),
        p50: seen.percentile(50.0),
        p99: seen.percentile(99.0),
        kb_per_call: (resident_kb(subject.pid())? - before) / calls as f64,
        seen,
    })
}

fn compare(options: &Options) -> io::Result<()> {
    println!("| mode | calls | relay | CPU µs/packet | core µs/packet | loss % | delay p50 µs | p99 µs | kB/call | ratio of CPU |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for mode in &options.modes {
        for calls in &options.calls {
            let mut rounds: Vec<Vec<Measured>> = options.relays.iter().map(|_| Vec::new()).collect();
            for _ in 0..options.rounds {
                for (kind, measured) in options.relays.iter().zip(&mut rounds) {
                    let one = measure(*kind, *mode, *calls, options.seconds, options)?;
                    report_faults(*kind, *mode, &one.seen);
                    measured.push(one);
                }
            }
            let reference = options.relays.iter().zip(&rounds).find(|(kind, _)| **kind == Kind::Rtpengine).map(|(_, rounds)| median(rounds, |m| m.cpu_us));
            for (kind, rounds) in options.relays.iter().zip(&rounds) {
                let of = |value: fn(&Measured) -> f64| median(rounds, value);
                let ratio = reference.map_or("-".to_owned(), |reference| format!("{:.2}", of(|m| m.cpu_us) / reference));
                println!(
                    "| {} | {calls} | {} | {:.2} | {:.2} | {:.3} | {:.0} | {:.0} | {:.1} | {ratio} |",
                    mode.name(),
                    kind.name(),
                    of(|m| m.cpu_us),
                    of(|m| m.core_us),
                    of(|m| m.loss) * 100.0,
                    of(|m| m.p50),
                    of(|m| m.p99),
                    of(|m| m.kb_per_call),
                );
            }
        }
    }
    Ok(())
}

/// Raises the load by a twelfth until twice in a row a relay loses more than is tolerated or the generator cannot keep up, which it says.
fn capacity(options: &Options) -> io::Result<()> {
    println!("| mode | relay | two-way calls carried | CPU µs/packet there | delay p50 µs | p99 µs |\n|---|---|---|---|---|---|");
    for mode in &options.modes {
        for kind in &options.relays {
            let mut calls = options.calls.first().copied().unwrap_or(300).max(16);
            let mut best: Option<(u64, Measured)> = None;
            loop {
                let tries = (0..2).map(|_| measure(*kind, *mode, calls, options.seconds, options));
                let carried = |one: &Measured| one.loss <= TOLERATED && one.seen.behind <= LATE_NS;
                let good = tries.filter_map(Result::ok).inspect(|one| report_faults(*kind, *mode, &one.seen)).find(carried);
                let Some(good) = good else { break };
                best = Some((calls, good));
                calls += (calls / 12).max(8);
            }
            match best {
                Some((calls, at)) => println!("| {} | {} | {calls} | {:.2} | {:.0} | {:.0} |", mode.name(), kind.name(), at.cpu_us, at.p50, at.p99),
                None => println!("| {} | {} | under {calls} | - | - | - |", mode.name(), kind.name()),
            }
        }
    }
    Ok(())
}

/// Calls that are up and say nothing.
fn idle(options: &Options) -> io::Result<()> {
    println!("| mode | relay | calls | CPU ms per second | kB/call |\n|---|---|---|---|---|");
    for mode in &options.modes {
        for (kind, calls) in options.relays.iter().flat_map(|kind| options.calls.iter().map(move |calls| (*kind, *calls))) {
            let ours = if kind == Kind::Portcullis { options.ours.as_slice() } else { &[] };
            let mut subject = Subject::start(kind, RELAY_CORE, options.realtime, ours)?;
            let before = resident_kb(subject.pid())?;
            let _generator = Generator::new(&mut subject, *mode, calls)?;
            let cpu = process_us(subject.pid())?;
            std::thread::sleep(Duration::from_secs_f64(options.seconds));
            let cpu = process_us(subject.pid())? - cpu;
            let memory = (resident_kb(subject.pid())? - before) / calls as f64;
            println!("| {} | {} | {calls} | {:.2} | {memory:.1} |", mode.name(), kind.name(), cpu / 1000.0 / options.seconds);
        }
    }
    Ok(())
}

/// A fault or a late generator makes a figure worthless: it is said beside the table.
fn report_faults(kind: Kind, mode: Mode, seen: &Seen) {
    if seen.faults() > 0 {
        let (wrong, forged, altered, twice) = (seen.wrong_stream, seen.unauthentic, seen.altered, seen.duplicate);
        eprintln!("{} {}: {wrong} on a wrong stream, {forged} not authentic, {altered} altered, {twice} twice or too late", kind.name(), mode.name());
    }
    if seen.behind > LATE_NS {
        eprintln!("{} {}: the generator fell {} ms behind", kind.name(), mode.name(), seen.behind / 1_000_000);
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

/// User and system time of a process so far (proc(5), clock ticks of 10 ms). Unit: µs.
fn process_us(pid: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) * 10_000.0)
}

/// All the time a core was not idle. Unit: µs.
fn core_us(core: usize) -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find(|line| line.starts_with(&format!("cpu{core} "))).unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    Ok([0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum::<f64>() * 10_000.0)
}

fn resident_kb(pid: u32) -> io::Result<f64> {
    std::thread::sleep(Duration::from_millis(50));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()).unwrap_or_default())
}
