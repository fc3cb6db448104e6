//! One relay, one mode, one load: what it cost and what came of it.

use std::io;
use std::time::Duration;

use crate::generator::{Generator, Mode, Seen};
use crate::subject::{Kind, Subject};
use crate::world::World;

pub const GENERATOR_CORE: usize = 0;
pub const RELAY_CORE: usize = 1;
/// Loss a load may have and still count as carried.
const TOLERATED: f64 = 0.001;
/// Delay of a hundredth of the packets a load may have and still count as carried. Unit: µs.
const LATEST: f64 = 50_000.0;
/// A generator this far behind its schedule measures itself. Unit: ns.
pub const LATE_NS: u64 = 20_000_000;

/// What is the same for all measurements of a run.
pub struct Setting {
    pub world: World,
    pub realtime: bool,
    pub sample: u64,
    /// Settings of ours.
    pub ours: Vec<String>,
}

pub struct Measured {
    /// Unit: µs per packet received by the generator, as are all costs.
    pub user: f64,
    pub system: f64,
    /// The receiving half of the relay's kernel, where a thread of its own does it (veth).
    pub receive: f64,
    /// All that ran on the relay's core at ordinary priority, whoever's it was.
    pub core: f64,
    pub kb_per_call: f64,
    /// Of traffic.
    pub seconds: f64,
    pub seen: Seen,
}

impl Measured {
    /// The relay's process alone.
    pub fn process(&self) -> f64 {
        self.user + self.system
    }

    /// With what the kernel does for it before it is asked.
    pub fn whole(&self) -> f64 {
        self.process() + self.receive
    }

    /// How much of its core the relay takes.
    pub fn busy(&self) -> f64 {
        self.whole() * self.seen.received as f64 / 1e6 / self.seconds
    }

    pub fn is_carried(&self) -> bool {
        self.seen.loss() <= TOLERATED && self.seen.percentile(99.0) < LATEST && self.seen.behind <= LATE_NS
    }
}

/// A relay with calls on it, warm.
pub struct Bench {
    subject: Subject,
    generator: Generator,
    kb_per_call: f64,
}

impl Bench {
    /// `pace`: how much slower than voice the streams warm up, so that more calls can be up than the relay carries.
    /// `part`: which of the relays that are up at once.
    pub fn start(setting: &Setting, kind: Kind, part: u8, mode: Mode, calls: u64, pace: f64) -> io::Result<Bench> {
        let mut subject = Subject::start(&setting.world, kind, part, setting.realtime, &setting.ours)?;
        let before = resident_kb(subject.pid())?;
        let mut generator = Generator::new(&setting.world, Some(&mut subject), mode, calls, setting.sample)?;
        setting.world.pin_napi()?;
        // Endpoints are learnt, SSRCs seen and caches warm before anything counts; rtpengine learns for the first three seconds.
        generator.run(calls, 3.5, pace);
        let kb_per_call = (resident_kb(subject.pid())? - before) / calls as f64;
        Ok(Bench { subject, generator, kb_per_call })
    }

    /// Traffic on the first `calls` calls.
    pub fn run(&mut self, calls: u64, seconds: f64) -> io::Result<Measured> {
        let before = Usage::of(self.subject.pid())?;
        let seen = self.generator.run(calls, seconds, 1.0);
        let after = Usage::of(self.subject.pid())?;
        let packets = seen.received.max(1) as f64;
        let each = |of: fn(&Usage) -> f64| (of(&after) - of(&before)) / packets;
        Ok(Measured {
            user: each(|usage| usage.user),
            system: each(|usage| usage.system),
            receive: each(|usage| usage.receive),
            core: each(|usage| usage.core),
            kb_per_call: self.kb_per_call,
            seconds,
            seen,
        })
    }

    /// The growth of resident memory its calls brought.
    pub fn kb_per_call(&self) -> f64 {
        self.kb_per_call
    }

    /// What the relay says of the ways its packets go.
    pub fn ways(&mut self) -> io::Result<String> {
        self.subject.ways()
    }
}

/// Time without packets for relays that are up at once. CPU of all their processes in µs.
pub fn idle(relays: &[Bench], seconds: f64) -> io::Result<f64> {
    let cpu = || relays.iter().map(|relay| process_us(relay.subject.pid()).map(|(user, system)| user + system)).sum::<io::Result<f64>>();
    let before = cpu()?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    Ok(cpu()? - before)
}

/// Time spent so far. Unit: µs.
struct Usage {
    user: f64,
    system: f64,
    receive: f64,
    core: f64,
}

impl Usage {
    fn of(pid: u32) -> io::Result<Usage> {
        let (user, system) = process_us(pid)?;
        let mut receive = 0.0;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if ["napi/pcb-a", "napi/pcb-b"].iter().any(|prefix| name.starts_with(prefix))
                && let Ok(thread) = entry.file_name().to_string_lossy().parse()
            {
                let (user, system) = process_us(thread).unwrap_or_default();
                receive += user + system;
            }
        }
        Ok(Usage { user, system, receive, core: core_us(RELAY_CORE)? })
    }
}

/// User and system time of a process (proc(5)): the sum is exact, its parts are what the kernel's tick saw, in steps of 10 ms. Unit: µs.
fn process_us(pid: u32) -> io::Result<(f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) * 10_000.0, ticks(12) * 10_000.0))
}

/// The time a core was not idle and not busy with programs that give way (nice). Unit: µs.
fn core_us(core: usize) -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find(|line| line.starts_with(&format!("cpu{core} "))).unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    Ok([0, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum::<f64>() * 10_000.0)
}

fn resident_kb(pid: u32) -> io::Result<f64> {
    std::thread::sleep(Duration::from_millis(50));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()).unwrap_or_default())
}
