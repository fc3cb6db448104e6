//! The media plane alone in a process, told by lines on standard input what signalling would tell it:
//! `open STREAM FIRST_PORT`, `configure STREAM a|b REMOTE plain|SUITE:KEY plain|SUITE:KEY`, `expect STREAMS` (answers `ready`). Ends with its input.

use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use portcullis::adapters::media::{MediaPlane, Settings};
use portcullis::media::control::{Addresses, Command, Configuration, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::sdp::crypto::{MasterKey, Suite};

pub fn run(options: &[String]) -> io::Result<()> {
    let mut settings = Settings::default();
    for option in options {
        match option.split_once('=') {
            Some(("workers", value)) => settings.workers = number(value)?,
            Some(("batch", value)) => settings.batch = number(value)?,
            Some(("gather_us", value)) => settings.gather = Duration::from_micros(number(value)?),
            _ => return Err(io::Error::other(format!("unknown option {option}"))),
        }
    }
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let plane = MediaPlane::start(settings, Instant::now(), sender)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["open", stream, first] => {
                let first: u16 = number(first)?;
                let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
                let pair = |port| Addresses { rtp: at(port), rtcp: at(port + 1) };
                let stream = StreamId(number(stream)?);
                plane.command(Command::Open { stream, a: pair(first), b: pair(first + 2), silence: Some(Duration::from_secs(60)) });
            }
            ["configure", stream, side, remote, receive, transmit] => {
                let rtp: SocketAddr = number(remote)?;
                let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
                plane.command(Command::Configure {
                    stream: StreamId(number(stream)?),
                    side: if *side == "a" { Side::A } else { Side::B },
                    set: Configuration::new(
                        Some(Some(Addresses { rtp, rtcp })),
                        LatchPolicy::SignalledAddress,
                        Some(protection(receive)?),
                        Some(protection(transmit)?),
                    ),
                });
            }
            ["expect", streams] => {
                let (streams, start): (u64, Instant) = (number(streams)?, Instant::now());
                while plane.counters().streams < streams && start.elapsed() < Duration::from_secs(20) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                match events.try_recv() {
                    Ok(event) => println!("{event:?}"),
                    Err(_) => println!("{}", if plane.counters().streams == streams { "ready" } else { "streams are missing" }),
                }
            }
            _ => return Err(io::Error::other(format!("unknown line {line}"))),
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("cannot read {text}")))
}

fn protection(text: &str) -> io::Result<Protection> {
    if text == "plain" {
        return Ok(Protection::Plain);
    }
    let (name, key) = text.split_once(':').ok_or_else(|| io::Error::other("a key needs its suite"))?;
    let suite = Suite::ALL.into_iter().find(|suite| suite.name() == name).ok_or_else(|| io::Error::other("no such suite"))?;
    let key_and_salt = BASE64_STANDARD.decode(key).map_err(io::Error::other)?;
    let keys = vec![MasterKey { key_and_salt, lifetime: None, mki: None }];
    Ok(Protection::Srtp(SrtpParameters { suite, keys }))
}
