//! The process that takes over: from the request on the control socket to the first call, and on until the old process has ended.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::between::{Before, Between, End};
use super::pulse::{self, Sign};
use super::words::{Claims, Offer, Use, VERSION, Word};
use crate::adapters::api::{self, Start};
use crate::adapters::driver::Input;
use crate::adapters::handover::{self, Heard, Opening};
use crate::adapters::net::{Companion, Gates, Inherited, Network};
use crate::adapters::nft::Mode;
use crate::adapters::store;
use crate::app::api::takeover::{PROTOCOL, TakeOver};
use crate::app::border::{Border, StartError};
use crate::config;
use crate::signaling::companion::{Bequest, Change};
use crate::signaling::event::Event;

/// Peers' names that are not resolved by then are resolved later, as after any start.
const SETTLING: Duration = Duration::from_secs(10);

/// The old process says how things stand within this time, or does not work any more.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whoever does not take a connection within this time hangs.
const TAKEN: Duration = Duration::from_secs(5);

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// The running border's control socket; `None`: the one of the policy set.
    pub socket: Option<PathBuf>,
    /// After so long, calls that are still up in the old process are ended; `None`: they end by themselves.
    pub release_after: Option<Duration>,
}

/// What of another process's sockets is there to be used.
#[derive(Debug, Default)]
pub struct Inheritance {
    pub sip: Vec<Inherited>,
    /// The store of missed calls is open in the other process.
    pub awaits_store: bool,
    doors: Vec<(Use, SocketAddr, OwnedFd)>,
}

impl Inheritance {
    fn of(offer: &Offer, sockets: Vec<OwnedFd>) -> Inheritance {
        let mut inheritance = Inheritance::default();
        for ((usage, address), socket) in offer.sockets.iter().zip(sockets) {
            match usage {
                Use::Datagrams => inheritance.sip.push(Inherited { is_datagram: true, address: *address, socket }),
                Use::Connections => inheritance.sip.push(Inherited { is_datagram: false, address: *address, socket }),
                Use::Admin | Use::Api => inheritance.doors.push((*usage, *address, socket)),
            }
        }
        inheritance
    }

    fn door(&mut self, wanted: Use, address: Option<SocketAddr>) -> Option<OwnedFd> {
        let index = self.doors.iter().position(|(usage, bound, _)| *usage == wanted && Some(*bound) == address)?;
        Some(self.doors.swap_remove(index).2)
    }

    pub fn admin(&mut self, address: Option<SocketAddr>) -> Option<OwnedFd> {
        self.door(Use::Admin, address)
    }

    pub fn api(&mut self, address: Option<SocketAddr>) -> Start {
        Start::Aside { inherited: self.door(Use::Api, address) }
    }
}

/// Takes the place of the running border, which goes on as if nothing had been asked until this has come to its end. Where none runs it starts as ever, so that a service can always
/// be started this way.
pub async fn start(settings: config::Settings, wanted: &Wanted) -> Result<Border, StartError> {
    let failed = |line: String| StartError(vec![line]);
    let place = wanted.socket.clone().or_else(|| settings.api.socket.clone()).unwrap_or_else(|| api::DEFAULT.into());
    let process = match holder(&place).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            tracing::warn!(socket = %place.display(), %error, "no border runs there to take over from; this one starts as ever");
            return Border::start(settings).await;
        }
        held => held.unwrap_or_default(),
    };
    let asked = TakeOver {
        protocol: VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        release_after_seconds: wanted.release_after.map(|after| after.as_secs().max(1)),
    };
    let asked = serde_json::to_value(&asked).unwrap_or_default();
    let answer = handover::ask(&place, "/v1/take-over", PROTOCOL, &asked).await;
    let answer = answer.map_err(|error| failed(unreached(&place, process, &error)))?;
    let mut opening = answer.map_err(|(status, why)| failed(refused(status, &why)))?;
    let heard = timeout(PATIENCE, opening.hear(|offer: &Offer| offer.sockets.len())).await;
    let (offer, sockets) = heard
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
        .map_err(|error| failed(format!("the running border was asked for its sockets, and gave none: {error}; it goes on")))?;
    tracing::info!(
        from = offer.pid,
        version = offer.version,
        sockets = sockets.len(),
        "taking over: the running border has given its sockets, and goes on meanwhile"
    );
    let claims = claims(&settings, &offer).map_err(failed);
    let started = match claims {
        Ok(claims) => {
            let inheritance = Inheritance { awaits_store: claims.awaits_store, ..Inheritance::of(&offer, sockets) };
            Border::start_after(settings, Some(inheritance)).await.map(|border| (border, claims))
        }
        Err(error) => Err(error),
    };
    match started {
        Ok((border, claims)) => follow(border, opening, &offer, claims).await,
        Err(error) => {
            // It goes on whether it hears this or not.
            let _ = opening.say(&Word::Refused { why: error.to_string() }, &[]).await;
            Err(error)
        }
    }
}

/// From ready to in force.
async fn follow(border: Border, mut opening: Opening, offer: &Offer, claims: Claims) -> Result<Border, StartError> {
    let old = offer.pid;
    if timeout(SETTLING, border.settled()).await.is_err() {
        tracing::warn!(seconds = SETTLING.as_secs(), "taking over: not all names of peers are resolved yet; those peers are strangers until they are");
    }
    let lost = |what: &str| StartError(vec![format!("the running border (process {old}) {what}: if it runs, it goes on as before; see its log")]);
    opening.say(&Word::Ready(claims), &[]).await.map_err(|error| lost(&format!("is not reached any more, {error}")))?;
    match timeout(PATIENCE, opening.hear(|_: &Word| 0)).await {
        Ok(Ok((Word::Go { bequest }, _))) => {
            take_place(&border, bequest, opening, offer).await.map_err(|error| lost(&format!("has left its place, which could not be taken, {error}")))?;
            Ok(border)
        }
        Ok(Ok((Word::Refused { why }, _))) => Err(lost(&format!("has changed its mind, {why}"))),
        Ok(Ok(_)) => Err(lost("says something that makes no sense")),
        Ok(Err(error)) => Err(lost(&format!("has broken off, {error}"))),
        Err(_) => Err(lost("says nothing any more")),
    }
}

async fn take_place(border: &Border, bequest: Bequest, opening: Opening, offer: &Offer) -> std::io::Result<()> {
    let old = offer.pid;
    let (between, network, firewall) = (border.between.clone(), border.network.clone(), border.firewall.clone());
    let (link, mut heard) = opening.open();
    tracing::info!(from = old, next_call = bequest.next_call, kept_port_pairs = bequest.ports.len(), "taking over: in force from here on");
    let socket = border.control_place().map(|place| api::aside(&place, old));
    between.come_after(Before { process: old, socket, next_call: bequest.next_call }, link);
    network.accompany(Some(between.clone() as Arc<dyn Companion>)).await;
    let _ = border.commands.send(Input::Event(Event::Companion(Change::Follow(bequest))));
    border.api.take_place()?;
    if let Some(admin) = &border.admin {
        admin.open(true);
    }
    network.gate(Gates { datagrams: false, ..Gates::OPEN });
    let commands = border.commands.clone();
    let table = firewall_to_come(border, offer);
    tokio::spawn(pulse::keep(between.clone(), watching(network.clone(), old)));
    tokio::spawn(async move {
        let end = between.listen(&network, &firewall, &mut heard).await;
        firewall.be_alone();
        if let Some(table) = table {
            // What waits for us does not wait for the kernel.
            let firewall = firewall.clone();
            tokio::spawn(async move { firewall.take(Some(table), Vec::new()).await });
        }
        be_alone(&between, &network, end, old).await;
        let _ = commands.send(Input::Event(Event::Companion(Change::Alone)));
        drop::<Heard>(heard);
    });
    Ok(())
}

/// What is done about an old process that hangs.
fn watching(network: Arc<Network>, old: u32) -> impl FnMut(Sign) {
    move |sign| match sign {
        Sign::Silent => {
            tracing::error!(
                process = old,
                "the old process hangs: nothing is heard of it; this one reads datagrams itself now, so that new calls are answered; the calls of the old one \
                 may still have sound, but nobody answers for them. If it does not come back: kill -9 {old}, which ends them"
            );
            network.gate(Gates::OPEN);
        }
        Sign::Hopeless => {
            tracing::error!(process = old, "the old process still hangs: end it with kill -9 {old}, or its calls and their ports stay as they are")
        }
        Sign::Back => {
            tracing::warn!(process = old, "the old process is heard of again, and goes on with its calls");
            network.gate(Gates { datagrams: false, ..Gates::OPEN });
        }
    }
}

/// The old process reads nothing any more.
async fn be_alone(between: &Between, network: &Network, end: End, old: u32) {
    between.end();
    network.gate(Gates::OPEN);
    network.accompany(None).await;
    if let Some(missed_calls) = between.missed_calls().cloned() {
        tokio::spawn(async move { missed_calls.take_store().await });
    }
    let (handed, taken) = between.counts();
    match end {
        End::Done => {
            tracing::info!(process = old, messages_taken = taken, messages_handed = handed, "taking over is over: the old process has ended its last call")
        }
        End::Gone => tracing::error!(
            process = old,
            messages_taken = taken,
            messages_handed = handed,
            "the old process has ended before its calls had: those are lost, unless it was told to end; this process serves everything now"
        ),
    }
}

/// What cannot be taken over, as an error.
fn claims(settings: &config::Settings, offer: &Offer) -> Result<Claims, String> {
    Ok(Claims { keeps_firewall: settings.firewall.mode != Mode::Off, awaits_store: awaits_store(settings, offer)? })
}

/// Whether the set keeps missed calls in the very file that the old process has open.
fn awaits_store(settings: &config::Settings, offer: &Offer) -> Result<bool, String> {
    let (Some(ours), Some(theirs)) = (&settings.missed_calls, &offer.missed_calls) else { return Ok(false) };
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if whole(&ours.store.path) != whole(&theirs.path) {
        return Ok(false);
    }
    if theirs.format > store::VERSION {
        let (path, format, known) = (theirs.path.display(), theirs.format, store::VERSION);
        return Err(format!(
            "[missed_calls] store {path} has form {format}, of a newer version, and this one reads up to {known}: take over with that version"
        ));
    }
    Ok(true)
}

/// The kernel's firewall as this set has it, where the old process has none. That knows neither which media ports its calls have to be let in at nor could it take the table
/// away, should it have to take its place again: so there is none until it has ended.
fn firewall_to_come(border: &Border, offer: &Offer) -> Option<Arc<str>> {
    let firewall = &border.settings().firewall;
    let is_to_come = firewall.mode != Mode::Off && !offer.keeps_firewall;
    if is_to_come {
        tracing::warn!(
            "taking over: the running border has its [firewall] off, so the kernel's is in force here when that has ended its last call; until then the border turns strangers away by itself"
        );
        border.firewall.puts_off("it comes into force when the process before this one has ended its last call");
    }
    is_to_come.then(|| firewall.table.clone())
}

/// The process that listens at a control socket, if that can be seen from here; an error: none can be reached.
async fn holder(place: &Path) -> std::io::Result<Option<i32>> {
    match timeout(TAKEN, UnixStream::connect(place)).await {
        Ok(Ok(stream)) => Ok(stream.peer_cred().ok().and_then(|holder| holder.pid())),
        // As many wait already as may.
        Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn unreached(place: &Path, process: Option<i32>, error: &std::io::Error) -> String {
    let place = place.display();
    if error.kind() == ErrorKind::TimedOut {
        let (named, number) =
            process.map_or_else(|| (String::new(), "its process".to_owned()), |process| (format!(" (process {process})"), process.to_string()));
        return format!(
            "the border at {place}{named} does not answer: it hangs, and can give nothing; its calls may still have sound. See its log and its disk; kill -9 {number} ends it and its calls, \
             then start again"
        );
    }
    format!("no border to take over from at {place}: {error}; name its control socket with --socket, or start without --take-over")
}

fn refused(status: u16, why: &str) -> String {
    match status {
        404 | 405 => "the running border is of a version that gives its place to no other: drain and restart it".to_owned(),
        _ => format!("the running border keeps its place: {why}"),
    }
}
