//! `portcullis explain`: which rule decides about a message, and why, by the functions `run` decides with and without opening a socket.
//!
//! What the network would have established is taken from the command line: the source address, the transport, the name in the certificate, which is
//! taken to chain to the CA of whichever peer is asked about. Host names are not looked up: `--resolve NAME=ADDR` says where one lives. A name
//! without it lives at a stand-in address of the discard prefix (RFC 6666), no other peer's, and `--from` may be that name itself.

pub mod compose;
pub mod deciding;
pub mod told;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use self::deciding::{Explanation, Ground, Verdict, decide, leg};
use crate::app::printed;
use crate::config::{self, Settings};
use crate::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use crate::policy::liveness::{Board, Liveness};
use crate::policy::peer::PeerTable;
use crate::policy::settings::{PeerHost, PolicySet};
use crate::policy::verdict::Reason;
use crate::sip::{Limits, Message, Transport, phrase};
use crate::time::Time;

/// The command line of `explain`.
#[derive(clap::Args, Clone, Debug)]
pub struct Explain {
    /// The folder of the policy set. Or, alone: what the border printed, a reason code, an event number of Exchange, or a whole line of the log.
    pub policy_set: String,
    /// A file with one SIP message, or a line of the log whose source is then held against the set. Without it: what the door says to `--from`.
    pub message: Option<String>,
    /// Where the message came from: an address, an address and port, or a host name of the set.
    #[arg(long)]
    pub from: Option<String>,
    /// A name in the other end's certificate; may be given several times. Implies TLS.
    #[arg(long, value_name = "NAME")]
    pub tls_name: Vec<String>,
    /// udp, tcp or tls; otherwise that of the peers at the address, or of the message's Via.
    #[arg(long)]
    pub transport: Option<String>,
    /// Where a host name of the set lives.
    #[arg(long, value_name = "NAME=ADDR")]
    pub resolve: Vec<String>,
    /// A peer that gives no sign of life, as the running border would know; may be given several times.
    #[arg(long, value_name = "PEER")]
    pub down: Vec<String>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// Exit status: the message is let in.
pub const ADMITTED: u8 = 0;
/// Exit status: it is refused, or met with silence; of what was printed: it names no reason.
pub const REFUSED: u8 = 1;
/// Exit status: the arguments, the set or the file cannot be used.
pub const UNUSABLE: u8 = 2;

/// Prints every decision and the verdict; returns the exit status.
pub fn explain(arguments: &Explain, out: &mut dyn Write) -> io::Result<u8> {
    if let (None, None, Some(printed)) = (&arguments.message, &arguments.from, printed::recognise(&arguments.policy_set)) {
        printed.print(arguments.json, out)?;
        return Ok(ADMITTED);
    }
    if arguments.message.is_none() && arguments.from.is_none() && !arguments.policy_set.contains('/') && !Path::new(&arguments.policy_set).is_dir() {
        printed::unknown(&arguments.policy_set, arguments.json, out)?;
        return Ok(REFUSED);
    }
    match read(arguments) {
        Ok(case) => {
            let ground = Ground { settings: &case.settings, table: &case.table, liveness: &case.liveness };
            let explanation = decide(&ground, &case.flow, case.bytes.as_ref());
            if arguments.json {
                writeln!(out, "{:#}", told::of(&case.settings, &case.table, &case.flow, &case.assumed, &explanation).as_value())?
            } else {
                write!(out, "{}", as_text(&case, &explanation))?
            }
            Ok(if matches!(explanation.verdict, Verdict::Refused(_)) { REFUSED } else { ADMITTED })
        }
        Err(trouble) => {
            writeln!(out, "{trouble}")?;
            Ok(UNUSABLE)
        }
    }
}

/// The question, made from the command line.
struct Case {
    settings: Settings,
    table: PeerTable,
    /// Of those that were said to be down.
    liveness: Board,
    flow: Flow,
    /// `None`: nothing is known but where it came from.
    bytes: Option<Bytes>,
    /// What was assumed in place of what the network would have said.
    assumed: Vec<String>,
}

fn read(arguments: &Explain) -> Result<Case, String> {
    let (settings, _) =
        config::load(Path::new(&arguments.policy_set)).map_err(|problems| format!("the policy set has problems (see `portcullis check`):\n{problems}"))?;
    let (bytes, printed) = message(arguments)?;
    let mut assumed = Vec::new();
    let names = resolve(&arguments.resolve, &settings.policy, &mut assumed)?;
    let table = PeerTable::build(1, &settings.policy, &|name| names.get(name).cloned().unwrap_or_default());
    let of_line = printed.as_ref().and_then(printed::Printed::source);
    let remote = match (&arguments.from, of_line) {
        (Some(from), _) => source(from, &names)?,
        (None, Some((from, _))) => from,
        (None, None) => return Err(String::from("say where it came from with --from ADDRESS")),
    };
    let transport = match of_line.and_then(|(_, transport)| transport).filter(|_| arguments.transport.is_none()) {
        Some(transport) => transport,
        None => transport(arguments, &table, remote.ip(), bytes.as_deref().unwrap_or_default(), &mut assumed)?,
    };
    let flow = flow(arguments, &settings, &table, remote, transport, &mut assumed);
    let liveness = liveness(&arguments.down, &settings.policy, &mut assumed)?;
    Ok(Case { settings, table, liveness, flow, bytes: bytes.map(Bytes::from), assumed })
}

/// Only a running border knows who answers OPTIONS: here all do but those that are said not to.
fn liveness(down: &[String], set: &PolicySet, assumed: &mut Vec<String>) -> Result<Board, String> {
    let mut board = Board::default();
    let state = Liveness::Down { since: Time::ZERO, why: Reason::LivenessTimeout };
    for name in down {
        let peer = set.peer(name).ok_or_else(|| format!("--down {name}: the set has no such peer"))?;
        board.set(&peer.name, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), state);
    }
    if down.is_empty() && set.peers.iter().any(|peer| peer.probe.is_some()) {
        assumed.push(String::from("every peer answers OPTIONS (say who does not with --down PEER)"));
    }
    Ok(board)
}

/// The message's bytes, or what a line of the log says.
fn message(arguments: &Explain) -> Result<(Option<Vec<u8>>, Option<printed::Printed>), String> {
    let Some(written) = &arguments.message else { return Ok((None, None)) };
    match (std::fs::read(written), printed::recognise(written)) {
        (Ok(bytes), _) => Ok((Some(bytes), None)),
        (Err(_), Some(printed)) => Ok((None, Some(printed))),
        (Err(error), None) => Err(format!("{written}: {error}; name a file with one SIP message, or give a line of the log")),
    }
}

/// Where each host name of the set lives: as told, or at a stand-in address.
fn resolve(told: &[String], set: &PolicySet, assumed: &mut Vec<String>) -> Result<HashMap<String, Vec<IpAddr>>, String> {
    let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for entry in told {
        let (name, address) = entry.split_once('=').ok_or_else(|| format!("--resolve {entry}: write NAME=ADDR"))?;
        let address = address.parse().map_err(|_| format!("--resolve {entry}: {address} is no address"))?;
        names.entry(name.to_ascii_lowercase()).or_default().push(address);
    }
    let hosts = set.peers.iter().flat_map(|peer| &peer.hosts);
    for (index, name) in hosts.filter_map(|host| if let PeerHost::Name(name) = host { Some(name) } else { None }).enumerate() {
        names.entry(String::from(&**name)).or_insert_with(|| {
            let address = IpAddr::V6(Ipv6Addr::from((0x0100_u128 << 112) | (index as u128 + 1)));
            assumed.push(format!("{name} lives at {address}, a stand-in (say where with --resolve {name}=ADDR)"));
            vec![address]
        });
    }
    Ok(names)
}

fn source(from: &str, names: &HashMap<String, Vec<IpAddr>>) -> Result<SocketAddr, String> {
    if let Ok(remote) = from.parse::<SocketAddr>() {
        return Ok(remote);
    }
    let bare = from.strip_prefix('[').and_then(|from| from.strip_suffix(']')).unwrap_or(from);
    let named = || names.get(&from.to_ascii_lowercase()).and_then(|addresses| addresses.first().copied());
    match bare.parse().ok().or_else(named) {
        // A source port is of no consequence to any decision.
        Some(address) => Ok(SocketAddr::new(address, 49_152)),
        None => Err(format!("--from {from}: write an address, an address and port, or a host name of the set")),
    }
}

fn transport(arguments: &Explain, table: &PeerTable, address: IpAddr, bytes: &[u8], assumed: &mut Vec<String>) -> Result<Transport, String> {
    if let Some(token) = &arguments.transport {
        let transport = Transport::from_token(token).ok_or_else(|| format!("--transport {token}: write udp, tcp or tls"))?;
        if transport != Transport::Tls && !arguments.tls_name.is_empty() {
            return Err(format!("--tls-name with --transport {token}: a certificate is shown over tls only"));
        }
        return Ok(transport);
    }
    if !arguments.tls_name.is_empty() {
        return Ok(Transport::Tls);
    }
    let at = table.at(address);
    let of_peers = at.first().map(|peer| peer.transport).filter(|first| at.iter().all(|peer| peer.transport == *first));
    let of_via =
        || Message::parse(Bytes::copy_from_slice(bytes), &Limits::default()).ok().and_then(|message| Transport::from_token(message.top_via().ok()?.transport));
    let (transport, why) = match of_peers {
        Some(transport) => (transport, "that of the peers at the address"),
        None if bytes.is_empty() => (Transport::Udp, "since nothing says another"),
        None => (of_via().unwrap_or(Transport::Udp), "that of the message's Via"),
    };
    assumed.push(format!("the transport is {transport}, {why}"));
    Ok(transport)
}

fn flow(arguments: &Explain, settings: &Settings, table: &PeerTable, remote: SocketAddr, transport: Transport, assumed: &mut Vec<String>) -> Flow {
    let listener = settings.signaling.listeners.iter().find(|listener| listener.transport == transport);
    let tls = (transport == Transport::Tls).then(|| {
        let peers = table.expected(remote.ip(), Transport::Tls);
        if !arguments.tls_name.is_empty() && !peers.is_empty() {
            assumed.push(String::from("the certificate chains to the CA of each peer at the address, is in date and has the right usage"));
        }
        Arc::new(TlsIdentity {
            version: String::from("TLSv1.3"),
            cipher: String::new(),
            backend: Default::default(),
            names: arguments.tls_name.iter().map(|name| name.to_ascii_lowercase()).collect(),
            trusted_for: peers.iter().map(|peer| Arc::clone(&peer.name)).collect(),
        })
    });
    let local = listener.map_or(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), transport.default_port()), |listener| listener.bound);
    Flow { id: FlowId(0), transport, listener: listener.map_or(ListenerId(0), |listener| listener.id), local, remote, tls }
}

/// Its start line, or what stands for one.
fn start_line(explanation: &Explanation) -> String {
    match explanation.message.as_ref().map(|message| (message.method(), message.request_uri(), message.status())) {
        Some((Some(method), uri, _)) => format!("{method} {}", uri.unwrap_or_default()),
        Some((_, _, Some(status))) => format!("{status} {}", phrase(status)),
        _ => String::from("anything"),
    }
}

fn as_text(case: &Case, explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(text, "message          {} from {} over {}", start_line(explanation), case.flow.remote, case.flow.transport);
    let _ = writeln!(text, "decided by       policy set load {}, peer table {}", case.settings.policy.number, case.table.number);
    for assumption in &case.assumed {
        let _ = writeln!(text, "assumed          {assumption}");
    }
    for decision in &explanation.trail {
        let verdict = if decision.refused.is_some() { "REFUSED" } else { "passed" };
        let _ = writeln!(text, "{:<16} {verdict:<8} {}", decision.stage, decision.rule);
        for (name, value) in &decision.compared {
            let _ = writeln!(text, "{:26}{name}: {value}", "");
        }
    }
    match &explanation.verdict {
        Verdict::Admitted(admitted) => {
            let targets: Vec<&str> = admitted.targets.iter().map(|peer| &*peer.name).collect();
            let _ = writeln!(text, "verdict          admitted: peer \"{}\" to {}", admitted.peer.name, targets.join(", then "));
            for target in admitted.targets.iter().filter(|target| target.limits_towards.is_any()) {
                let said = |limit: Option<u32>| limit.map_or_else(|| String::from("any number"), |limit| format!("at most {limit}"));
                let (calls, rate) = (said(target.limits_towards.calls), said(target.limits_towards.rate));
                let _ = writeln!(text, "{:<16} calls to {}: {calls} at once, {rate} a second; without room it is passed over", "limit", target.name);
            }
            let _ = writeln!(text, "A leg            {}", leg(&admitted.a));
            let _ = writeln!(text, "B leg            {}", leg(&admitted.b));
            for (name, value) in &explanation.preview {
                let _ = writeln!(text, "sent on          {name}: {value}");
            }
            for (name, value) in explanation.carried.iter().flat_map(|carried| &carried.headers) {
                let _ = writeln!(text, "carried          {name}: {value}");
            }
            let _ = writeln!(text, "stays behind     {}", explanation.behind.join(", "));
        }
        Verdict::Allowed(what) => {
            let _ = writeln!(text, "verdict          allowed: {what}");
        }
        Verdict::Refused(reason) => {
            let answer = reason.status().map_or_else(|| String::from("no answer, nothing is parsed"), |status| format!("{status} {}", phrase(status)));
            // Whoever is no peer at all gets silence, whatever the code says of a peer's own message.
            let answer = if explanation.is_silence() { String::from("no answer, nothing is parsed") } else { answer };
            let _ = writeln!(text, "verdict          refused: {answer}");
            let _ = writeln!(text, "reason           {reason}: {}", reason.meaning());
            let _ = writeln!(text, "what to do       {}", reason.remedy());
        }
    }
    text
}
