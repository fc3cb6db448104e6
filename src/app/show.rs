//! `portcullis show NOUN`: what a running border knows, as tables for people or as JSON.

mod calls;
mod events;
pub mod explained;
mod limits;
mod listeners;
mod media;
mod policy;
mod records;

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use unicode_width::UnicodeWidthStr;

use crate::app::ask::{Socket, ask};
use crate::config::{duration, nearest};
use crate::policy::verdict::{Fault, Reason};

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Show {
    /// The border as a whole: since when, by which rules, how much is under way, whether it takes calls.
    Status(Socket),
    /// Calls that are up or being set up.
    Calls(Calls),
    /// What changes, as it changes: a line for each kind of thing, which the other nouns then show.
    Events(Socket),
    /// How many calls there may be and how many there are, by peer and dial plan, and what the border can carry just now.
    Limits(Socket),
    /// Where the border listens for SIP, and what a reload took out and calls still use.
    Listeners(Socket),
    /// Calls that have ended, newest first, or one of them whole.
    Records(Box<Records>),
    /// The store of call records: how many it holds, how large it is, what waits for the disk.
    Store(Socket),
    /// The policy set in force, since when and by whom, and those before it that can be gone back to.
    Policy(Socket),
    /// Why calls end and requests are refused: every code, what it means and what to do about it.
    Reasons(Reasons),
    /// Who changed what since the start, and what was refused.
    Audit(Socket),
    /// Who may talk: names and what DNS says of them, addresses, how they prove themselves, whether they answer.
    Peers(Peers),
    /// The media of calls that are up: how it travels, what is heard, and in one sentence for each direction why it is or is not.
    Media(Media),
    /// Who is shut out, why, by whom and for how long.
    Bans(Socket),
    /// Our certificates, the CAs and CRLs peers are held against, and how long each is good for.
    Certs(Socket),
    /// What the kernel enforces, and what it has dropped.
    Firewall(Socket),
    /// Notices of missed calls: what waits, what was put aside and why, and how it stands with the WAN.
    MissedCalls(Socket),
}

#[derive(clap::Args, Clone, Debug)]
pub struct Peers {
    /// Test clients too (`simulator = true`).
    #[arg(long)]
    pub simulators: bool,
    #[command(flatten)]
    pub socket: Socket,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Reasons {
    /// Only those whose code or meaning has this word.
    pub word: Option<String>,
    #[command(flatten)]
    pub socket: Socket,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Calls {
    /// One of them, by its number.
    #[arg(value_parser = call_number, conflicts_with_all = ["peer", "number"])]
    pub call: Option<u64>,
    /// Only those with a leg of this peer.
    #[arg(long)]
    pub peer: Option<String>,
    /// Only those whose caller or called contains this.
    #[arg(long)]
    pub number: Option<String>,
    #[command(flatten)]
    pub socket: Socket,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Records {
    /// One, by its number in the store: the whole record, and its ladder where that was kept.
    pub number: Option<i64>,
    /// The caller or the called: whole, or with * at its end or beginning.
    #[arg(long)]
    pub of: Option<String>,
    /// The peer of a leg.
    #[arg(long)]
    pub peer: Option<String>,
    /// A reason code, such as media.silent.
    #[arg(long, value_parser = reason_code)]
    pub reason: Option<String>,
    /// Who has to do something about it.
    #[arg(long, value_parser = Fault::ALL.map(Fault::word))]
    pub fault: Option<String>,
    /// Begun at this time or later: 2026-11-22T13:00:00Z, a day (of UTC), or how long ago, such as 12h.
    #[arg(long, value_name = "TIME", value_parser = point_in_time)]
    pub from: Option<String>,
    /// Begun before this time, written likewise; of a day, before its end.
    #[arg(long, value_name = "TIME", value_parser = end_in_time)]
    pub until: Option<String>,
    /// Only those in which a direction was not heard, or not well.
    #[arg(long)]
    pub silent: bool,
    /// Only those that were answered.
    #[arg(long, conflicts_with = "unanswered")]
    pub answered: bool,
    /// Only those that were not.
    #[arg(long)]
    pub unanswered: bool,
    /// Goes on where an earlier page ended, as its last line says.
    #[arg(long, value_name = "PLACE")]
    pub after: Option<String>,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    #[command(flatten)]
    pub socket: Socket,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Media {
    /// Of this call alone, by the number that log lines and records carry.
    #[arg(value_parser = call_number)]
    pub call: Option<u64>,
    #[command(flatten)]
    pub socket: Socket,
}

pub fn show(show: &Show, out: &mut dyn Write) -> io::Result<u8> {
    match show {
        Show::Status(socket) => ask(socket, "GET", "/v1/status", None, out, calls::status),
        Show::Events(socket) => events::events(socket, out),
        Show::Store(socket) => ask(socket, "GET", "/v1/records-store", None, out, records::store),
        Show::Calls(Calls { socket, call: Some(call), .. }) => ask(socket, "GET", &format!("/v1/calls/{call}"), None, out, calls::one),
        Show::Calls(Calls { socket, peer, number, call: None }) => {
            let chosen = [("peer", peer), ("number", number)].into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
            let query: Vec<String> = chosen.map(|(key, value)| format!("{key}={}", encoded(value))).collect();
            ask(socket, "GET", &format!("/v1/calls?{}", query.join("&")), None, out, calls::calls)
        }
        Show::Records(records) => {
            let Records { socket, number, .. } = &**records;
            match number {
                Some(number) => ask(socket, "GET", &format!("/v1/records/{number}"), None, out, records::one),
                None => ask(socket, "GET", &records::path(records), None, out, |answer| records::all(answer, records)),
            }
        }
        Show::Limits(socket) => ask(socket, "GET", "/v1/limits", None, out, limits::limits),
        Show::Listeners(socket) => ask(socket, "GET", "/v1/listeners", None, out, listeners::listeners),
        Show::Policy(socket) => ask(socket, "GET", "/v1/policy", None, out, policy::policy),
        Show::Reasons(Reasons { socket, word }) => ask(socket, "GET", "/v1/reasons", None, out, |answer| reasons(answer, word.as_deref())),
        Show::Audit(socket) => ask(socket, "GET", "/v1/audit", None, out, calls::audit),
        Show::Peers(Peers { socket, simulators }) => ask(socket, "GET", "/v1/peers", None, out, |answer| peers(answer, *simulators)),
        Show::Media(Media { socket, call: None }) => ask(socket, "GET", "/v1/media", None, out, media::all),
        Show::Media(Media { socket, call: Some(call) }) => ask(socket, "GET", &format!("/v1/media/{call}"), None, out, media::one),
        Show::Bans(socket) => ask(socket, "GET", "/v1/bans", None, out, bans),
        Show::Certs(socket) => ask(socket, "GET", "/v1/certs", None, out, certificates),
        Show::Firewall(socket) => ask(socket, "GET", "/v1/firewall", None, out, firewall),
        Show::MissedCalls(socket) => ask(socket, "GET", "/v1/missed-calls", None, out, missed_calls),
    }
}

/// As the API takes it.
fn point_in_time(written: &str) -> Result<String, String> {
    if OffsetDateTime::parse(written, &Rfc3339).is_ok() {
        return Ok(String::from(written));
    }
    let day = format!("{written}T00:00:00Z");
    if OffsetDateTime::parse(&day, &Rfc3339).is_ok() {
        return Ok(day);
    }
    let ago = duration(written).and_then(|ago| OffsetDateTime::now_utc().checked_sub(ago.try_into().ok()?));
    ago.and_then(|time| time.format(&Rfc3339).ok())
        .ok_or_else(|| String::from("write a time as 2026-11-22T13:00:00Z, a day as 2026-11-22, or how long ago, as 12h"))
}

/// As [`point_in_time`], but of a day its end.
fn end_in_time(written: &str) -> Result<String, String> {
    let day = OffsetDateTime::parse(&format!("{written}T00:00:00Z"), &Rfc3339).ok();
    let end = day.and_then(|day| day.checked_add(time::Duration::DAY)?.format(&Rfc3339).ok());
    end.map_or_else(|| point_in_time(written), Ok)
}

fn reason_code(written: &str) -> Result<String, String> {
    if Reason::of_code(written).is_some() {
        return Ok(written.to_owned());
    }
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let near = nearest(written, &codes).map(|code| format!("the nearest is {code}; ")).unwrap_or_default();
    Err(format!("no reason is called so; {near}`portcullis show reasons WORD` lists those with a word"))
}

/// Of a call, on the command line.
pub fn call_number(written: &str) -> Result<u64, String> {
    written.parse().map_err(|_| String::from("write the number of a call, as `show calls`, `show records` and the log have it"))
}

/// A paragraph for each: sentences do not fit a table's columns.
fn reasons(answer: &Value, word: Option<&str>) -> String {
    let word = word.unwrap_or_default().to_lowercase();
    let has = |reason: &&Value| ["code", "meaning"].iter().any(|key| text(&reason[*key]).to_lowercase().contains(&word));
    let known = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<String> = known
        .iter()
        .filter(has)
        .map(|reason| {
            let (code, meaning, remedy) = (text(&reason["code"]), text(&reason["meaning"]), text(&reason["remedy"]));
            format!("{code}  (fault: {}, status: {})\n  means  {meaning}\n  do     {remedy}\n", text(&reason["fault"]), text(&reason["status"]))
        })
        .collect();
    if shown.is_empty() { format!("no reason has \"{word}\" in its code or meaning\n") } else { shown.join("\n") }
}

fn peers(answer: &Value, simulators: bool) -> String {
    let mut table = Columns::new(&["PEER", "KIND", "STATUS", "MODE", "VIA", "HOST", "STATE", "ADDRESS", "TTL", "LIVENESS", "GATEWAY"]);
    let shown = |peer: &&Value| simulators || peer["simulator"] != true;
    for peer in list(answer, "peers").iter().filter(shown) {
        let mut of_peer = [text(&peer["name"]), text(&peer["kind"]), text(&peer["status"]), text(&peer["mode"]), text(&peer["transport"])];
        let mut gateway = gateway(peer);
        for [host, state, address, ttl, liveness] in places(peer) {
            table.row(std::mem::take(&mut of_peer).into_iter().chain([host, state, address, ttl, liveness, std::mem::take(&mut gateway)]));
        }
    }
    let mut page = format!("peer table {}\n{table}", text(&answer["table"]));
    for shared in list(answer, "shared") {
        let peers: Vec<String> = list(shared, "peers").iter().map(text).collect();
        let verdict = match shared["resolution"].as_str() {
            Some("certificate") => String::from("their certificates tell them apart"),
            Some("preferred") => format!("{} is preferred, the others cannot call from there (event 1175)", text(&shared["preferred"])),
            _ => String::from("nothing tells them apart, each is a stranger there (event 1175)"),
        };
        // Writing into a String does not fail.
        let _ = writeln!(
            page,
            "{} is shared over {} by {} since {}: {verdict}",
            text(&shared["place"]),
            text(&shared["transport"]),
            peers.join(", "),
            text(&shared["since"])
        );
    }
    for peer in list(answer, "peers").iter().filter(shown) {
        page.extend(list(peer, "addresses").iter().filter_map(|address| why_unused(&text(&peer["name"]), address)));
    }
    for name in list(answer, "peers").iter().flat_map(|peer| list(peer, "names")).filter(|name| !name["last_error"].is_null()) {
        let _ = writeln!(page, "{}: {}", text(&name["name"]), text(&name["last_error"]));
    }
    page
}

/// What it may be told and asked, as a UM IP gateway's properties.
fn gateway(peer: &Value) -> String {
    if text(&peer["kind"]).starts_with("um-") {
        return String::from("-");
    }
    let mut words: Vec<&str> = ["outcalls", "mwi", "delayed_source_party", "simulator"].into_iter().filter(|key| peer[*key] == true).collect();
    words.extend(peer["address_family"].as_str().filter(|family| *family != "any"));
    if words.is_empty() { String::from("-") } else { words.join(",") }
}

/// Host, its state, address, TTL left, liveness: a line for each address, and one for each host that has none.
fn places(peer: &Value) -> Vec<[String; 5]> {
    let names = list(peer, "names");
    let mut places = Vec::new();
    for address in list(peer, "addresses") {
        let name = names.iter().find(|name| list(name, "addresses").iter().any(|held| held["address"] == address["address"]));
        let (host, state) = name.map_or((text(&address["address"]), String::from("-")), |name| (text(&name["name"]), text(&name["state"])));
        let ttl = address["ttl_left_seconds"].as_u64().map_or_else(|| String::from("-"), |seconds| format!("{seconds}s"));
        places.push([host, state, text(&address["address"]), ttl, liveness(&address["liveness"])]);
    }
    for name in names.iter().filter(|name| list(name, "addresses").is_empty()) {
        places.push([text(&name["name"]), text(&name["state"]), String::from("-"), String::from("-"), String::from("-")]);
    }
    for network in list(peer, "hosts").iter().filter(|host| host.as_str().is_some_and(|host| host.contains('/'))) {
        places.push([text(network), String::from("-"), text(network), String::from("-"), String::from("-")]);
    }
    places
}

fn liveness(watched: &Value) -> String {
    match (&watched["state"], watched["since_seconds"].as_u64()) {
        (Value::Null, _) => String::from("-"),
        (state, Some(seconds)) => format!("{} {}", text(state), span(seconds)),
        (state, None) => text(state),
    }
}

/// A line for an address of a peer that calls pass over.
fn why_unused(peer: &str, address: &Value) -> Option<String> {
    let watched = &address["liveness"];
    let state = watched["state"].as_str().filter(|state| ["down", "draining"].contains(state))?;
    let code = text(&watched["reason"]);
    let meaning = Reason::of_code(&code).map(Reason::meaning).unwrap_or_default();
    Some(format!("{peer} at {} is {state}: {code}: {meaning} (`portcullis show reasons {code}`)\n", text(&address["address"])))
}

/// In the largest unit that leaves a number of some size.
fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn bans(answer: &Value) -> String {
    let mut table = Columns::new(&["SOURCE", "CAUSE", "BY", "SINCE", "LEFT", "WHY"]);
    for ban in list(answer, "bans") {
        let seconds = |key: &str| ban[key].as_u64().map_or_else(|| String::from("-"), span);
        table.row([text(&ban["net"]), text(&ban["cause"]), text(&ban["owner"]), seconds("since_seconds"), seconds("left_seconds"), text(&ban["why"])]);
    }
    if list(answer, "bans").is_empty() { String::from("nobody is banned\n") } else { table.to_string() }
}

fn certificates(answer: &Value) -> String {
    let mut table = Columns::new(&["FILE", "WHAT", "OF", "ENDS", "DAYS LEFT", "FOR"]);
    let all = |value: &Value, key: &str| list(value, key).iter().map(text).collect::<Vec<_>>().join(", ");
    for own in list(answer, "own") {
        table.row([text(&own["file"]), "ours".into(), all(own, "names"), text(&own["not_after"]), text(&own["days_left"]), all(own, "shown_by")]);
    }
    for ca in list(answer, "authorities") {
        let what = if ca["pinned"] == true { "pinned" } else { "CA" };
        let operators = (ca["operators"] == true).then(|| String::from("operators"));
        let whom = list(ca, "peers").iter().map(text).chain(operators).collect::<Vec<_>>().join(", ");
        table.row([text(&ca["file"]), what.into(), text(&ca["subject"]), text(&ca["not_after"]), text(&ca["days_left"]), whom]);
    }
    for crl in list(answer, "crls") {
        let peers = list(crl, "peers").iter().map(|peer| format!("{} ({} when stale)", text(&peer["peer"]), text(&peer["stale_crl"])));
        let peers = peers.collect::<Vec<_>>().join(", ");
        let what = format!("CRL, {}", text(&crl["state"]));
        for held in list(crl, "lists") {
            let days = held["seconds_left"].as_i64().map_or_else(|| String::from("-"), |seconds| seconds.div_euclid(86_400).to_string());
            table.row([text(&crl["source"]), what.clone(), text(&held["issuer"]), text(&held["next_update"]), days, peers.clone()]);
        }
        if list(crl, "lists").is_empty() {
            table.row([text(&crl["source"]), what, "-".into(), "-".into(), "-".into(), peers]);
        }
    }
    let nothing = ["own", "authorities", "crls"].iter().all(|part| list(answer, part).is_empty());
    let table = if nothing { String::from("no certificate is in use: no listener, no peer and no [api] of this set has TLS\n") } else { table.to_string() };
    let mut page = format!("load {} of {}\n{table}", text(&answer["generation"]), text(&answer["loaded_at"]));
    for crl in list(answer, "crls").iter().filter(|crl| !crl["last_error"].is_null()) {
        // Writing into a String does not fail.
        let _ = writeln!(page, "{}: {}", text(&crl["source"]), text(&crl["last_error"]));
    }
    page
}

fn firewall(answer: &Value) -> String {
    let kernel = &answer["kernel"];
    let in_force = if kernel["in_force"] == true { "yes" } else { "no: strangers are turned away by the border itself" };
    let mut page = format!(
        "mode             {}\nin the kernel    {in_force}\npeer table       {}\nelements         {}\nbans             {}\nrebuilt          {} times\n",
        text(&kernel["mode"]),
        text(&answer["peer_table"]),
        text(&kernel["elements"]),
        text(&answer["bans"]),
        text(&kernel["rebuilt"])
    );
    for (reason, packets) in kernel["dropped"].as_object().into_iter().flatten() {
        // Writing into a String does not fail.
        let _ = writeln!(page, "dropped          {packets} firewall.{reason}");
    }
    if !kernel["last_error"].is_null() {
        let _ = writeln!(page, "last error       {}", text(&kernel["last_error"]));
    }
    page
}

fn missed_calls(answer: &Value) -> String {
    let status = &answer["status"];
    let mut page = format!("to               {}\nWAN              {}\n", text(&answer["target"]), text(&answer["wan"]));
    match answer["store"].as_str() {
        Some("awaited") => page.push_str("store            on its way from one process of this border to the next: missed calls wait in memory for a moment\n"),
        Some("elsewhere") => page.push_str("store            another process of this border has it: ask that one\n"),
        _ => {}
    }
    for count in ["queued", "parked", "delivered", "overflowed", "dropped", "unwritten"] {
        // Writing into a String does not fail.
        let _ = writeln!(page, "{count:<17}{}", text(&status[count]));
    }
    for (what, error) in [("disk", &status["error"]), ("last error", &answer["last_error"])] {
        if !error.is_null() {
            let _ = writeln!(page, "{what:<17}{}", text(error));
        }
    }
    let mut table = Columns::new(&["NUMBER", "STATE", "MAILBOX", "TIME", "ID", "WHY"]);
    for (state, held) in ["parked", "queued"].into_iter().flat_map(|state| list(answer, state).iter().map(move |held| (state, held))) {
        table.row([text(&held["number"]), state.into(), text(&held["mailbox"]), text(&held["time"]), text(&held["id"]), text(&held["why"])]);
    }
    if !(list(answer, "queued").is_empty() && list(answer, "parked").is_empty()) {
        let _ = write!(page, "{table}");
    }
    page
}

/// For a query (RFC 3986 §2.1).
pub(super) fn encoded(value: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    value.bytes().map(|octet| if plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") }).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], |list| list)
}

/// As a person reads it; what is not known is a dash.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::from("-"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Left-aligned columns, two spaces between them.
struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    fn new(heads: &[&str]) -> Columns {
        Columns { rows: vec![heads.iter().map(|head| String::from(*head)).collect()] }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl std::fmt::Display for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| UnicodeWidthStr::width(cell.as_str())).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing into a String does not fail.
                let _ = write!(line, "{cell}{:1$}  ", "", width.saturating_sub(UnicodeWidthStr::width(cell.as_str())));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
