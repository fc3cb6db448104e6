//! The rest of border.toml, by the keys it is written with: telemetry, operators' doors, where things are sent, limits, the ways of media. Of a secret it is said
//! that it is another, and never what it is. The same comparison says which keys wait for another process.

use super::{Change, Key, Order, What, changed, named, secret, shown};
use crate::adapters::admin::Settings as Admin;
use crate::adapters::api::{Settings as Api, Token};
use crate::adapters::dns::Settings as Dns;
use crate::adapters::hep::Settings as Hep;
use crate::adapters::history::Settings as History;
use crate::adapters::media::Settings as Media;
use crate::adapters::media::frames::Settings as Frames;
use crate::adapters::media::kernel::Settings as Kernel;
use crate::adapters::net::Limits;
use crate::adapters::nft::Settings as Firewall;
use crate::adapters::postgres::{Server, Settings as Postgres, Tls};
use crate::adapters::store::Settings as Store;
use crate::adapters::telemetry::Settings as Telemetry;
use crate::adapters::telemetry::ladder::Settings as Ladder;
use crate::adapters::telemetry::log::Settings as Log;
use crate::adapters::tls::Upkeep;
use crate::adapters::webhook::{Settings as Webhook, Token as Bearer};
use crate::config::mailboxes::TableFile;
use crate::config::{MissedCalls, Otlp, PolicySets, Settings, Target};
use crate::policy::ban::Rules;
use crate::signaling::settings::{SessionTimer, Settings as Signaling, Timers};

/// The fields in which two differ, by the keys they are written with. Every field is named, or the code does not compile.
macro_rules! written {
    ($old:expr, $new:expr, $type:ident { $($field:ident: $key:literal),* $(,)? } $(without { $($left_out:ident),* $(,)? })?) => {{
        let (old, new): (&$type, &$type) = ($old, $new);
        let $type { $($field: _,)* $($($left_out: _,)*)? } = old;
        let mut keys: Vec<Key> = Vec::new();
        $(keys.extend(key($key, &old.$field, &new.$field));)*
        keys
    }};
}

/// One value, if it differs.
fn key<T: PartialEq + std::fmt::Debug>(key: &'static str, old: &T, new: &T) -> Option<Key> {
    (old != new).then(|| Key { key, values: Some([shown(old), shown(new)]) })
}

/// One value as it is written, if it differs.
fn text(key: &'static str, old: String, new: String) -> Option<Key> {
    (old != new).then_some(Key { key, values: Some([old, new]) })
}

pub(super) fn rest(all: &mut Vec<Change>, old: &Settings, new: &Settings) {
    let mut keys = written!(&old.signaling, &new.signaling, Signaling { drain: "drain", removed_peers: "removed_peers" } without {
        listeners, media, timers, session_timer, product, retry_after,
    });
    keys.extend(key("name", &old.name, &new.name));
    changed(all, "border.toml", keys);
    changed(all, "admission.toml", key("retry_after", &old.signaling.retry_after, &new.signaling.retry_after).into_iter().collect());
    let mut keys = written!(&old.signaling.timers, &new.signaling.timers, Timers { t1: "t1", t2: "t2", t4: "t4", c: "c", d: "d" });
    let (timer, other) = (&old.signaling.session_timer, &new.signaling.session_timer);
    keys.extend(written!(timer, other, SessionTimer { expires: "session_expires", min_se: "min_se" }));
    changed(all, "[timers]", keys);
    changed(all, "[limits]", limits(old, new));
    changed(all, "[media]", ways(old, new));
    changed(all, "[certificates]", written!(&old.certificates, &new.certificates, Upkeep { watch: "watch", recheck: "recheck" }));
    changed(all, "[dns]", dns(&old.dns, &new.dns));
    changed(all, "[firewall]", firewall(&old.firewall, &new.firewall));
    telemetry(all, old, new);
    let reports = optional(all, "[hep]", old.hep.as_ref(), new.hep.as_ref(), hep);
    changed(all, "[hep]", reports);
    let traces = optional(all, "[otlp]", old.otlp.as_ref(), new.otlp.as_ref(), otlp);
    changed(all, "[otlp]", traces);
    changed(all, "[admin]", written!(&old.admin, &new.admin, Admin { address: "listen", beyond_loopback: "beyond_loopback" }));
    doors(all, &old.api, &new.api);
    let notices = optional(all, "[missed_calls]", old.missed_calls.as_ref(), new.missed_calls.as_ref(), missed_calls);
    changed(all, "[missed_calls]", notices);
    changed(all, "[policy_sets]", written!(&old.policy_sets, &new.policy_sets, PolicySets { folder: "kept_in", keep: "keep" }));
    let table = match (&old.mailboxes, &new.mailboxes) {
        (Some(old), Some(new)) => written!(old, new, TableFile { name: "table", poll: "poll" } without { path }),
        (old, new) => key("table", &old.as_ref().map(|table| &table.name), &new.as_ref().map(|table| &table.name)).into_iter().collect(),
    };
    changed(all, "routing.toml", table);
}

/// Keys whose change waits for another process, with the part they are of.
pub fn waits(old: &Settings, new: &Settings) -> Vec<String> {
    let firewall = firewall(&old.firewall, &new.firewall).into_iter().filter(|key| matches!(key.key, "mode" | "table" | "nft" | "keep_on_stop" | "check"));
    let notices = match (&old.missed_calls, &new.missed_calls) {
        (Some(old), Some(new)) => missed_calls(old, new),
        (None, None) => Vec::new(),
        _ => vec![secret("store")],
    };
    let parts = [
        ("[limits]", limits(old, new)),
        ("[media]", ways(old, new)),
        ("[control]", key("socket", &old.api.socket, &new.api.socket).into_iter().collect()),
        ("[firewall]", firewall.collect()),
        ("[missed_calls]", notices),
    ];
    let told = |(part, keys): (&str, Vec<Key>)| {
        let keys: Vec<&str> = keys.iter().map(|key| key.key).collect();
        (!keys.is_empty()).then(|| format!("{part} {}", keys.join(", ")))
    };
    parts.into_iter().filter_map(told).collect()
}

/// A part that is there or not.
fn optional<T>(all: &mut Vec<Change>, part: &'static str, old: Option<&T>, new: Option<&T>, compare: fn(&T, &T) -> Vec<Key>) -> Vec<Key> {
    let mut note = |what| all.push(Change { part, name: None, what });
    match (old, new) {
        (Some(old), Some(new)) => return compare(old, new),
        (Some(_), None) => note(What::Removed),
        (None, Some(_)) => note(What::Added),
        (None, None) => {}
    }
    Vec::new()
}

fn limits(old: &Settings, new: &Settings) -> Vec<Key> {
    written!(
        &old.net.limits,
        &new.net.limits,
        Limits {
            connections: "connections",
            connections_per_source: "connections_per_source",
            connect: "connect",
            handshake: "handshake",
            handshake_threads: "handshake_threads",
            handshakes: "handshakes",
            handshakes_per_source: "handshakes_per_source",
            handshake_rate: "handshake_rate",
            partial_message: "partial_message",
            idle: "idle",
            write: "write",
            leave: "leave",
            leave_quiet: "leave_quiet",
            queue_messages: "queue_messages",
            queue_bytes: "queue_bytes",
            queue_datagrams: "queue_datagrams",
            message: "message",
        }
    )
}

/// How media is carried. The addresses and ports are told of with calls.
fn ways(old: &Settings, new: &Settings) -> Vec<Key> {
    let (old, new) = (&old.media, &new.media);
    let mut keys = written!(old, new, Media {
        workers: "workers", io: "io", batch: "batch", receive_buffer: "receive_buffer", dscp: "dscp", gather: "gather",
    } without { frames, kernel });
    let mut frames = written!(&old.frames, &new.frames, Frames { mode: "frames", addresses: "addresses that share sockets" });
    let mut kernel = written!(
        &old.kernel,
        &new.kernel,
        Kernel { mode: "kernel", interfaces: "interfaces", addresses: "addresses the kernel forwards for", attach: "attach" }
    );
    // Which addresses they are follows where the way itself is new, or given up.
    let derived = |keys: &mut Vec<Key>, of: &str| {
        if keys.iter().any(|key| key.key == of) {
            keys.retain(|key| !key.key.starts_with("addresses"));
        }
    };
    derived(&mut frames, "frames");
    derived(&mut kernel, "kernel");
    keys.extend(frames.into_iter().chain(kernel));
    keys
}

fn dns(old: &Dns, new: &Dns) -> Vec<Key> {
    written!(
        old,
        new,
        Dns {
            servers: "servers",
            hosts_file: "hosts_file",
            timeout: "timeout",
            limit: "limit",
            floor: "floor",
            ceiling: "ceiling",
            grace: "grace",
            jitter: "jitter",
            dnssec: "dnssec",
            trust_anchor: "trust_anchor",
            unsigned: "unsigned",
        }
    )
}

fn firewall(old: &Firewall, new: &Firewall) -> Vec<Key> {
    let mut keys = written!(old, new, Firewall {
        mode: "mode", table: "table", notrack: "notrack", keep_on_stop: "keep_on_stop", check: "check", program: "nft",
    } without { rules, shut_media });
    let media = |firewall: &Firewall| String::from(if firewall.shut_media { "signalled" } else { "open" });
    keys.extend(text("media", media(old), media(new)));
    keys.extend(written!(&old.rules, &new.rules, Rules { length: "ban" } without { scan, flood }));
    let count = |rate: &Option<crate::policy::ban::Rate>| rate.as_ref().map_or(0, |rate| rate.count);
    keys.extend(key("scan", &count(&old.rules.scan), &count(&new.rules.scan)));
    keys.extend(key("flood", &count(&old.rules.flood), &count(&new.rules.flood)));
    keys
}

fn telemetry(all: &mut Vec<Change>, before: &Settings, after: &Settings) {
    let (old, new) = (&before.telemetry, &after.telemetry);
    changed(all, "[log]", written!(&old.log, &new.log, Log { format: "format", filter: "filter", flood_lines: "flood_lines" }));
    let mut ladder = written!(&old.ladder, &new.ladder, Ladder { calls: "calls", entries: "entries", traces: "traces" } without { bytes });
    ladder.extend(key("megabytes", &(old.ladder.bytes >> 20), &(new.ladder.bytes >> 20)));
    changed(all, "[ladder]", ladder);
    let mut records = written!(old, new, Telemetry {
        records: "file", invites_kept: "invites", ladders_kept: "ladders", queue: "queue",
    } without { log, ladder });
    records.extend(match (&before.history, &after.history) {
        (Some(old), Some(new)) => history(old, new),
        (old, new) => text("store", store(old.as_ref()), store(new.as_ref())).into_iter().collect(),
    });
    changed(all, "[records]", records);
    let rows = optional(all, "[records.postgres]", before.postgres.as_ref(), after.postgres.as_ref(), postgres);
    changed(all, "[records.postgres]", rows);
}

fn history(old: &History, new: &History) -> Vec<Key> {
    let mut keys = written!(old, new, History { days: "keep_days" } without { path, size, is_required });
    keys.extend(text("store", store(Some(old)), store(Some(new))));
    keys.extend(key("keep_megabytes", &(old.size >> 20), &(new.size >> 20)));
    keys
}

/// One that is not written need not be there.
fn store(history: Option<&History>) -> String {
    match history {
        None => String::from("nothing"),
        Some(history) if history.is_required => shown(&history.path),
        Some(history) => format!("{:?}, by default", history.path),
    }
}

fn postgres(old: &Postgres, new: &Postgres) -> Vec<Key> {
    // What the rows say they are from is the border's name.
    let mut keys = written!(old, new, Postgres { user: "user", database: "database", password_file: "password_file" } without { server, border });
    keys.extend(text("host", old.server.to_string(), new.server.to_string()));
    let ca = |server: &Server| match server {
        Server::Network { tls: Tls::Verified { ca }, .. } => Some(ca.clone()),
        Server::Network { tls: Tls::Off, .. } | Server::Socket { .. } => None,
    };
    keys.extend(key("ca", &ca(&old.server), &ca(&new.server)));
    keys
}

fn hep(old: &Hep, new: &Hep) -> Vec<Key> {
    let mut keys = written!(old, new, Hep { transport: "transport", ca: "ca", capture_id: "capture_id", reports: "reports" } without { host, port, password });
    let server = |hep: &Hep| if hep.host.contains(':') { format!("[{}]:{}", hep.host, hep.port) } else { format!("{}:{}", hep.host, hep.port) };
    keys.extend(text("server", server(old), server(new)));
    keys.extend((old.password != new.password).then(|| secret("password")));
    keys
}

fn otlp(old: &Otlp, new: &Otlp) -> Vec<Key> {
    let mut keys = written!(old, new, Otlp { calls: "calls" } without { to });
    keys.extend(webhook(&old.to, &new.to));
    keys
}

fn webhook(old: &Webhook, new: &Webhook) -> Vec<Key> {
    let mut keys = written!(old, new, Webhook { ca: "ca", timeout: "timeout" } without { url, token });
    // A query may hold a key.
    let url = |webhook: &Webhook| webhook.url.to_string().split('?').next().unwrap_or_default().to_owned();
    match text("url", url(old), url(new)) {
        None => keys.extend((old.url != new.url).then(|| secret("url"))),
        differs => keys.extend(differs),
    }
    keys.extend(match (&old.token, &new.token) {
        (old, new) if old == new => None,
        (Some(Bearer::File(old)), Some(Bearer::File(new))) => key("token_file", old, new),
        (old, new) => Some(secret(if [old, new].iter().any(|token| matches!(token, Some(Bearer::Text(_)))) { "token" } else { "token_file" })),
    });
    keys
}

fn doors(all: &mut Vec<Change>, old: &Api, new: &Api) {
    changed(all, "[control]", key("socket", &old.socket, &new.socket).into_iter().collect());
    let (before, after) = (old.listen.as_ref(), new.listen.as_ref());
    let mut keys: Vec<Key> = key("audit", &old.audit, &new.audit).into_iter().collect();
    keys.extend(key("listen", &before.map(|listen| listen.address), &after.map(|listen| listen.address)));
    let (shows, other) = (before.and_then(|listen| listen.tls.as_ref()), after.and_then(|listen| listen.tls.as_ref()));
    keys.extend(key("certificate", &shows.map(|tls| &tls.certificate), &other.map(|tls| &tls.certificate)));
    keys.extend(key("key", &shows.map(|tls| &tls.key), &other.map(|tls| &tls.key)));
    keys.extend(key("client_ca", &shows.and_then(|tls| tls.client_ca.as_ref()), &other.and_then(|tls| tls.client_ca.as_ref())));
    changed(all, "[api]", keys);
    let tokens = |listen: Option<&crate::adapters::api::Listen>| listen.map(|listen| listen.tokens.clone()).unwrap_or_default();
    named(
        all,
        ("[[api.token]]", Order::Aside),
        &tokens(before),
        &tokens(after),
        |token: &Token| token.name.clone(),
        |old, new| {
            let mut keys = written!(old, new, Token { role: "role" } without { name, digest });
            keys.extend((old.digest != new.digest).then(|| secret("sha256")));
            keys
        },
    );
    let clients = |listen: Option<&crate::adapters::api::Listen>| listen.map(|listen| listen.certificates.clone()).unwrap_or_default();
    type Client = (String, crate::adapters::api::Role);
    named(
        all,
        ("[[api.client]]", Order::Aside),
        &clients(before),
        &clients(after),
        |client: &Client| client.0.clone(),
        |old, new| key("role", &old.1, &new.1).into_iter().collect(),
    );
}

fn missed_calls(old: &MissedCalls, new: &MissedCalls) -> Vec<Key> {
    let mut keys = written!(&old.store, &new.store, Store { path: "store", most: "max" });
    keys.extend(match (&old.target, &new.target) {
        (Target::Webhook(old), Target::Webhook(new)) => webhook(old, new),
        (old, new) if old == new => Vec::new(),
        // A query of the URL may hold a key.
        _ => vec![secret("target")],
    });
    if let (Target::Sip(old), Target::Sip(new)) = (&old.target, &new.target)
        && old != new
    {
        keys.retain(|key| key.key != "target");
        keys.extend([key("peer", &old.peer, &new.peer), key("uri", &old.uri, &new.uri), key("method", &old.by, &new.by)].into_iter().flatten());
    }
    keys
}
