//! The media plane alone in a process, told by lines on standard input what signalling would tell it:
//! `open STREAM A_RTP B_RTP`, `configure STREAM a|b REMOTE plain|SUITE:KEY plain|SUITE:KEY|shared:SUITE:KEY`, `expect STREAMS` (answers `ready`), `ways`
//! (answers what carries the packets). Ends with its input.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use portcullis::adapters::media::{IoChoice, MediaPlane, Settings, frames, kernel};
use portcullis::media::control::{Addresses, Command, Configuration, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::sdp::crypto::{MasterKey, Suite};

pub fn run(options: &[String]) -> io::Result<()> {
    let mut settings = Settings::default();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for option in options {
        match option.split_once('=') {
            Some(("address", value)) => addresses.push(number(value)?),
            Some(("workers", value)) => settings.workers = number(value)?,
            Some(("io", "epoll")) => settings.io = IoChoice::Epoll,
            Some(("io", "io_uring")) => settings.io = IoChoice::IoUring,
            Some(("frames", "auto")) => settings.frames.mode = frames::Mode::Auto,
            Some(("kernel", "xdp")) => settings.kernel.mode = kernel::Mode::Xdp,
            Some(("batch", value)) => settings.batch = number(value)?,
            Some(("gather_us", value)) => settings.gather = Duration::from_micros(number(value)?),
            _ => return Err(io::Error::other(format!("unknown option {option}"))),
        }
    }
    settings.frames.addresses = addresses.clone();
    settings.kernel.addresses = addresses;
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let plane = MediaPlane::start(settings, Instant::now(), sender)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["open", stream, a, b] => {
                let stream = StreamId(number(stream)?);
                plane.command(Command::Open { stream, a: pair(number(a)?), b: pair(number(b)?), silence: Some(Duration::from_secs(60)) });
            }
            ["configure", stream, side, remote, receive, transmit] => {
                plane.command(Command::Configure {
                    stream: StreamId(number(stream)?),
                    side: if *side == "a" { Side::A } else { Side::B },
                    set: Configuration::new(
                        Some(Some(pair(number(remote)?))),
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
            ["ways"] => println!("{}", ways(&plane)),
            _ => return Err(io::Error::other(format!("unknown line {line}"))),
        }
    }
    Ok(())
}

/// The way of each direction by count, why not by a shorter one, the bytes of a stream, and what was tried at the start in vain.
fn ways(plane: &MediaPlane) -> String {
    let (mut told, mut bytes) = (BTreeMap::new(), 0);
    for view in (0..plane.counters().streams).filter_map(|stream| plane.inspect(StreamId(stream))) {
        bytes = bytes.max(view.bytes);
        for (way, why_not) in view.ways {
            let why_not = why_not.map_or(String::new(), |why| format!(", not shorter: {why}"));
            *told.entry(format!("{way}{why_not}")).or_insert(0) += 1;
        }
    }
    let mut parts: Vec<String> = told.into_iter().map(|(way, count)| format!("{count} directions by {way}")).collect();
    parts.push(format!("{bytes} bytes a stream"));
    parts.extend(plane.probes().iter().filter_map(|probe| Some(format!("no {}: {}", probe.way, probe.outcome.as_ref().err()?))));
    parts.join("; ").replace('\n', " ")
}

/// RTCP has the port after RTP's (RFC 3550 §11).
fn pair(rtp: SocketAddr) -> Addresses {
    Addresses { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1) }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("cannot read {text}")))
}

fn protection(text: &str) -> io::Result<Protection> {
    if let Some(("shared", key)) = text.split_once(':') {
        let Protection::Srtp(parameters) = protection(key)? else { return Err(io::Error::other("only a key can be shared")) };
        return Ok(Protection::Shared(parameters));
    }
    if text == "plain" {
        return Ok(Protection::Plain);
    }
    let (name, key) = text.split_once(':').ok_or_else(|| io::Error::other("a key needs its suite"))?;
    let suite = Suite::ALL.into_iter().find(|suite| suite.name() == name).ok_or_else(|| io::Error::other("no such suite"))?;
    let key_and_salt = BASE64_STANDARD.decode(key).map_err(io::Error::other)?;
    let keys = vec![MasterKey { key_and_salt, lifetime: None, mki: None }];
    Ok(Protection::Srtp(SrtpParameters { suite, keys }))
}
