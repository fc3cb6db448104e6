//! The fuzz targets without a fuzzer: each is run with its seeds, with all beginnings of them, and with a few thousand changes made of them, the same each time.
//! `FUZZ_TIMES=100` makes a hundred times as many, other ones. A fuzzer goes on from there (`fuzz/README.md`); what it finds becomes a seed here.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Changes made of each seed.
const CHANGES: u32 = 300;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 24) as usize % limit.max(1)
    }

    /// A few bytes changed, put in, taken out, doubled, or taken from another seed.
    fn change(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let length = 1 + self.below(24);
            let end = (at + length).min(bytes.len());
            match self.below(6) {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (length % 8)),
                1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = [0, 1, 0x7f, 0x80, 0xff][length % 5]),
                2 => drop(bytes.drain(at..end)),
                3 => drop(bytes.splice(at..at, vec![self.0 as u8; length])),
                4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                _ => {
                    let from = self.below(other.len() + 1);
                    drop(bytes.splice(at..end, other[from..(from + length).min(other.len())].to_vec()));
                }
            }
        }
        bytes
    }
}

/// `beginnings`: whether all of them are tried, or a few.
fn hold(target: &str, run: impl Fn(&[u8]), changes: u32) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let times = std::env::var("FUZZ_TIMES").map_or(1u32, |times| times.parse().expect("FUZZ_TIMES is a number"));
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15 ^ u64::from(times - 1));
    for (name, seed) in &seeds {
        let told = |what: &str, bytes: &[u8]| eprintln!("{name}, {what}: {bytes:02x?}");
        let attempt = |what: &str, bytes: &[u8]| {
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(bytes))) {
                told(what, bytes);
                std::panic::resume_unwind(panic);
            }
        };
        attempt("as it is", seed);
        for length in (0..seed.len()).step_by(1 + seed.len() * 2 / changes as usize) {
            attempt("cut short", &seed[..length]);
        }
        for _ in 0..changes * times {
            let other = &seeds[draw.below(seeds.len())].1;
            attempt("changed", &draw.change(seed, other));
        }
    }
}

macro_rules! targets {
    ($($target:ident: $changes:expr,)*) => {
        $(
            #[test]
            fn $target() {
                hold(stringify!($target), targets::$target::run, $changes);
            }
        )*

        #[test]
        fn every_target_is_run_here() {
            let listed = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets")).unwrap();
            let mut listed: Vec<String> = listed.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
            listed.sort();
            let mut run = [$(stringify!($target)),*];
            run.sort_unstable();
            assert_eq!(listed, run);
        }
    };
}

targets! {
    dtls: 30,
    ice: CHANGES,
    relay: CHANGES,
    rtcp: CHANGES,
    sdp: CHANGES,
    sip_framer: CHANGES,
    sip_message: CHANGES,
    srtp_unprotect: 60,
    udptl: CHANGES,
}
