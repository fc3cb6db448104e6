//! Full mutual TLS 1.3 handshakes (P-256, X25519, AES-128-GCM) through the border's accept path, beside `openssl s_server` in the same run; and what
//! a flood of them does to the answers on a connection that is open.
//!
//! `benches/handshakes/run` starts this. Clients on core 0, the server under test on core 1, in turns. What is given is handshakes for each second of
//! the server's own processor time, whatever the clients could ask for. Options: `seconds=S`, `rounds=R`, `clients=N`, `flood` (the second
//! question instead of the first), `threads=0,1` (for it: the values of `[limits] handshake_threads` to be compared).

mod client;
mod server;

use std::time::Duration;

use client::{Client, Kind, flood, latencies};
use server::{Border, Lab, OpenSsl, Server};

struct Options {
    seconds: f64,
    rounds: usize,
    clients: usize,
    threads: Vec<usize>,
    flood: bool,
}

fn main() {
    let mut options = Options { seconds: 5.0, rounds: 3, clients: 4, threads: vec![0, 1], flood: false };
    for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
        match argument.split_once('=') {
            Some(("seconds", value)) => options.seconds = value.parse().expect("seconds=S"),
            Some(("rounds", value)) => options.rounds = value.parse().expect("rounds=R"),
            Some(("clients", value)) => options.clients = value.parse().expect("clients=N"),
            Some(("threads", value)) => options.threads = value.split(',').map(|value| value.parse().expect("threads=N,N")).collect(),
            None if argument == "flood" => options.flood = true,
            _ => panic!("options: seconds=S rounds=R clients=N threads=N,N flood"),
        }
    }
    if cfg!(debug_assertions) {
        println!("NOT OPTIMISED: these figures show that it runs, and nothing else\n");
    }
    let lab = Lab::new();
    if options.flood { under_flood(&lab, &options) } else { compare(&lab, &options) }
}

/// Handshakes for each second of processor time, median of the rounds.
fn compare(lab: &Lab, options: &Options) {
    let subjects = ["Portcullis, full", "openssl s_server, full", "openssl s_server, resumed"];
    let mut figures = vec![Vec::new(); subjects.len()];
    for round in 0..options.rounds {
        for (subject, figures) in figures.iter_mut().enumerate() {
            let (server, kind): (Box<dyn Server>, _) = match subject {
                0 => (Box::new(Border::start(lab, 1, 100_000)), Kind::Border),
                1 => (Box::new(OpenSsl::start(lab)), Kind::Reversing { resumed: false }),
                _ => (Box::new(OpenSsl::start(lab)), Kind::Reversing { resumed: true }),
            };
            let client = Client::new(lab, "127.0.0.3", server.address(), kind);
            // Warm, and seen to work.
            flood(&client, 1, Duration::from_millis(300));
            let before = server.processor();
            let done = flood(&client, options.clients, Duration::from_secs_f64(options.seconds));
            let spent = server.processor() - before;
            let (rate, share) = (done.handshakes as f64 / spent, spent / options.seconds);
            let resumed = done.resumed as f64 / done.handshakes.max(1) as f64;
            println!(
                "round {}: {}: {} handshakes, {:.0} % of them resumed, {:.0} for each second of its processor ({:.0} % of a core)",
                round + 1,
                subjects[subject],
                done.handshakes,
                resumed * 100.0,
                rate,
                share * 100.0
            );
            assert!(done.failed == 0, "{} failed", done.failed);
            figures.push(rate);
        }
    }
    println!();
    for (subject, figures) in subjects.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        println!("{subject}: {:.0} handshakes for each second and core", figures[figures.len() / 2]);
    }
}

/// How long OPTIONS on an open connection takes: in peace, under a flood that nothing limits, and under one as limited by default.
fn under_flood(lab: &Lab, options: &Options) {
    println!("{:>7}  {:<30} {:>9} {:>9} {:>9} {:>9}  {:>12}", "threads", "", "p50 ms", "p90 ms", "p99 ms", "max ms", "handshakes/s");
    for _ in 0..options.rounds {
        for threads in &options.threads {
            for (what, rate, clients) in
                [("in peace", 50, 0), ("a flood without limit", 100_000, options.clients), ("a flood, by default limited", 50, options.clients)]
            {
                let server = Border::start(lab, *threads, rate);
                let flooder = Client::new(lab, "127.0.0.3", server.address(), Kind::Border);
                let prober = Client::new(lab, "127.0.0.2", server.address(), Kind::Border);
                let time = Duration::from_secs_f64(options.seconds);
                let flooding = std::thread::spawn(move || if clients > 0 { flood(&flooder, clients, time).handshakes } else { 0 });
                let mut delays = latencies(&prober, time);
                let handshakes = flooding.join().expect("a flood");
                delays.sort_by(f64::total_cmp);
                let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
                println!(
                    "{threads:>7}  {what:<30} {:>9.2} {:>9.2} {:>9.2} {:>9.2}  {:>12.0}",
                    at(0.5),
                    at(0.9),
                    at(0.99),
                    at(1.0),
                    handshakes as f64 / options.seconds
                );
            }
        }
    }
}
