//! `border.toml`: listeners, media addresses, limits, timers, and what the operator sees.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::adapters::dns::Dnssec;
use crate::adapters::telemetry::log::{self, Format};
use crate::adapters::{admin, dns, media, net, nft, telemetry, tls};
use crate::config::finding::{At, Written};
use crate::config::table::Table;
use crate::signaling::settings::{RemovedPeers, SessionTimer, Timers};
use crate::sip::Transport;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

pub const TRANSPORTS: [(&str, Transport); 3] = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];

const REMOVED_PEERS: [(&str, RemovedPeers); 2] = [("keep-calls", RemovedPeers::KeepCalls), ("release-calls", RemovedPeers::ReleaseCalls)];
const KERNEL: [(&str, media::kernel::Mode); 4] =
    [("off", media::kernel::Mode::Off), ("auto", media::kernel::Mode::Auto), ("xdp", media::kernel::Mode::Xdp), ("nft", media::kernel::Mode::Nft)];
const FRAMES: [(&str, media::frames::Mode); 2] = [("off", media::frames::Mode::Off), ("auto", media::frames::Mode::Auto)];
const DNSSEC: [(&str, Dnssec); 3] = [("off", Dnssec::Off), ("validate", Dnssec::Validate), ("require", Dnssec::Require)];

#[derive(Default)]
pub struct Border {
    pub name: Option<String>,
    pub listeners: Vec<Listener>,
    pub media: Option<Media>,
    pub media_plane: media::Settings,
    pub limits: net::Limits,
    pub timers: Timers,
    pub session_timer: SessionTimer,
    pub drain: Option<Duration>,
    pub removed_peers: RemovedPeers,
    pub admin: Option<Written<String>>,
    pub admin_beyond_loopback: bool,
    pub telemetry: telemetry::Settings,
    pub records: super::records::Records,
    pub hep: Option<super::hep::Hep>,
    pub otlp: Option<super::otlp::Otlp>,
    pub policy_sets: super::policy_sets::PolicySets,
    pub api: super::api::Api,
    pub dns: dns::Settings,
    pub dns_servers: Vec<Written<String>>,
    /// Relative to the set's folder.
    pub dns_trust_anchor: Option<Written<String>>,
    pub dns_unsigned: Vec<Written<String>>,
    pub certificates: tls::Upkeep,
    pub crl_refresh: Option<Duration>,
    /// Relative to the set's folder.
    pub crl_cache: Option<Written<String>>,
    pub firewall: nft::Settings,
}

pub struct Listener {
    pub at: At,
    pub name: Option<Written<String>>,
    pub transport: Option<Written<Transport>>,
    pub address: Option<Written<String>>,
    pub advertised: Option<Written<String>>,
    pub certificate: Option<Written<String>>,
    pub key: Option<Written<String>>,
}

pub struct Media {
    pub at: At,
    pub inside: Vec<Written<String>>,
    pub outside: Vec<Written<String>>,
    pub ports: Option<Written<(i64, i64)>>,
    /// `Some(ZERO)`: switched off.
    pub silence: Option<Duration>,
}

pub fn read(root: &Table<'_, '_>) -> Border {
    let mut border = Border {
        name: root.text("name", "\"border\"").map(|name| name.value),
        drain: root.duration("drain", Duration::ZERO, DAY).map(|drain| drain.value),
        removed_peers: root.choice("removed_peers", &REMOVED_PEERS).map(|choice| choice.value).unwrap_or_default(),
        listeners: root.tables("listener", "[[listener]]").into_iter().map(read_listener).collect(),
        ..Border::default()
    };
    read_media(root, &mut border);
    read_limits(root, &mut border.limits);
    read_timers(root, &mut border);
    read_operator(root, &mut border);
    read_ladder(root, &mut border);
    read_dns(root, &mut border);
    read_certificates(root, &mut border);
    border.hep = super::hep::read(root);
    border.otlp = super::otlp::read(root);
    border.policy_sets = super::policy_sets::read(root);
    border.api = super::api::read(root);
    super::firewall::read(root, &mut border.firewall);
    border
}

fn read_listener(table: Table<'_, '_>) -> Listener {
    let listener = Listener {
        at: table.at(),
        name: table.required_text("name", "\"outside\""),
        transport: table.required_choice("transport", &TRANSPORTS),
        address: table.required_text("address", "\"192.0.2.1:5061\""),
        advertised: table.text("advertised", "\"sbc.example.com:5061\""),
        certificate: table.text("certificate", "\"certs/sbc.pem\""),
        key: table.text("key", "\"certs/sbc.key\""),
    };
    table.finish();
    listener
}

const IO: [(&str, media::IoChoice); 3] = [("auto", media::IoChoice::Auto), ("epoll", media::IoChoice::Epoll), ("io_uring", media::IoChoice::IoUring)];

fn read_media(root: &Table<'_, '_>, border: &mut Border) {
    let Some(table) = root.table("media", "[media]") else { return };
    border.media = Some(Media {
        at: table.at(),
        inside: table.texts("inside", "\"192.0.2.1\"").unwrap_or_default(),
        outside: table.texts("outside", "\"198.51.100.1\"").unwrap_or_default(),
        ports: table.pair("ports", 1024..=65_535, "[20000, 29999]"),
        silence: table.duration("silence", Duration::ZERO, DAY).map(|silence| silence.value),
    });
    if let Some(workers) = table.integer("workers", 1..=256) {
        border.media_plane.workers = workers.value as usize;
    }
    if let Some(io) = table.choice("io", &IO) {
        border.media_plane.io = io.value;
    }
    set_duration(&mut border.media_plane.gather, table.duration("gather", Duration::ZERO, Duration::from_millis(2)));
    if let Some(dscp) = table.integer("dscp", 0..=63) {
        border.media_plane.dscp = dscp.value as u8;
    }
    if let Some(mode) = table.choice("frames", &FRAMES) {
        border.media_plane.frames.mode = mode.value;
    }
    if let Some(mode) = table.choice("kernel", &KERNEL) {
        border.media_plane.kernel.mode = mode.value;
    }
    let interfaces = table.texts("interfaces", "\"eth0\"").unwrap_or_default();
    border.media_plane.kernel.interfaces = interfaces.into_iter().map(|name| name.value).collect();
    table.finish();
}

fn read_limits(root: &Table<'_, '_>, limits: &mut net::Limits) {
    let Some(table) = root.table("limits", "[limits]") else { return };
    let set = |number: &mut usize, written: Option<Written<i64>>| {
        if let Some(written) = written {
            *number = written.value as usize;
        }
    };
    set(&mut limits.connections, table.integer("connections", 1..=1_000_000));
    set(&mut limits.connections_per_source, table.integer("connections_per_source", 1..=1_000_000));
    set(&mut limits.handshake_threads, table.integer("handshake_threads", 0..=64));
    set(&mut limits.handshakes, table.integer("handshakes", 1..=100_000));
    set(&mut limits.handshakes_per_source, table.integer("handshakes_per_source", 1..=100_000));
    if let Some(rate) = table.integer("handshake_rate", 1..=100_000) {
        limits.handshake_rate = rate.value as u32;
    }
    set(&mut limits.queue_messages, table.integer("queue_messages", 16..=1_000_000));
    set_duration(&mut limits.connect, table.duration("connect", SECOND, Duration::from_secs(30)));
    set_duration(&mut limits.handshake, table.duration("handshake", SECOND, Duration::from_secs(30)));
    set_duration(&mut limits.partial_message, table.duration("partial_message", SECOND, Duration::from_secs(60)));
    set_duration(&mut limits.idle, table.duration("idle", Duration::from_secs(60), DAY));
    table.finish();
}

fn set_duration(target: &mut Duration, written: Option<Written<Duration>>) {
    if let Some(written) = written {
        *target = written.value;
    }
}

fn read_timers(root: &Table<'_, '_>, border: &mut Border) {
    let Some(table) = root.table("timers", "[timers]") else { return };
    let timers = &mut border.timers;
    set_duration(&mut timers.t1, table.duration("t1", Duration::from_millis(50), Duration::from_secs(5)));
    set_duration(&mut timers.t2, table.duration("t2", SECOND, Duration::from_secs(30)));
    set_duration(&mut timers.t4, table.duration("t4", SECOND, Duration::from_secs(30)));
    // RFC 3261 §16.6 item 11: more than three minutes; table 4: at least 32 s.
    set_duration(&mut timers.c, table.duration("c", Duration::from_secs(181), HOUR));
    set_duration(&mut timers.d, table.duration("d", Duration::from_secs(32), HOUR));
    if let Some(expires) = table.integer("session_expires", 90..=86_400) {
        border.session_timer.expires = expires.value as u32;
    }
    if let Some(least) = table.integer("min_se", 90..=86_400) {
        border.session_timer.min_se = least.value as u32;
    }
    table.finish();
}

fn read_operator(root: &Table<'_, '_>, border: &mut Border) {
    if let Some(table) = root.table("admin", "[admin]") {
        border.admin = table.text("listen", "\"127.0.0.1:9160\"");
        border.admin_beyond_loopback = table.flag("beyond_loopback").is_some_and(|flag| flag.value);
        table.finish();
    }
    if let Some(table) = root.table("log", "[log]") {
        if let Some(format) = table.choice("format", &[("human", Format::Human), ("json", Format::Json)]) {
            border.telemetry.log.format = format.value;
        }
        if let Some(filter) = table.text("filter", "\"info\"") {
            if !log::is_filter(&filter.value) {
                let what = format!("\"{}\" is no log filter", filter.value);
                table.findings().problem(filter.at, what, "write a level, such as \"info\" or \"debug\", or \"info,portcullis::adapters=debug\"");
            }
            border.telemetry.log.filter = filter.value;
        }
        if let Some(lines) = table.integer("flood_lines", 0..=100_000) {
            border.telemetry.log.flood_lines = lines.value as u32;
        }
        table.finish();
    }
    border.records = super::records::read(root, &mut border.telemetry);
}

fn read_ladder(root: &Table<'_, '_>, border: &mut Border) {
    let Some(table) = root.table("ladder", "[ladder]") else { return };
    if let Some(calls) = table.integer("calls", 0..=1_000_000) {
        border.telemetry.ladder.calls = calls.value as usize;
    }
    if let Some(megabytes) = table.integer("megabytes", 1..=16_384) {
        border.telemetry.ladder.bytes = (megabytes.value as usize) << 20;
    }
    if let Some(traces) = table.flag("traces") {
        border.telemetry.ladder.traces = traces.value;
    }
    table.finish();
}

fn read_dns(root: &Table<'_, '_>, border: &mut Border) {
    let Some(table) = root.table("dns", "[dns]") else { return };
    border.dns_servers = table.texts("servers", "[\"192.0.2.53\"]").unwrap_or_default();
    if let Some(flag) = table.flag("hosts_file") {
        border.dns.hosts_file = border.dns.hosts_file.take().filter(|_| flag.value);
    }
    set_duration(&mut border.dns.timeout, table.duration("timeout", Duration::from_millis(100), Duration::from_secs(30)));
    set_duration(&mut border.dns.floor, table.duration("floor", SECOND, HOUR));
    set_duration(&mut border.dns.ceiling, table.duration("ceiling", SECOND, DAY));
    set_duration(&mut border.dns.grace, table.duration("grace", Duration::ZERO, Duration::from_secs(7 * 86_400)));
    if let Some(jitter) = table.integer("jitter", 0..=50) {
        border.dns.jitter = jitter.value as u8;
    }
    if let Some(dnssec) = table.choice("dnssec", &DNSSEC) {
        border.dns.dnssec = dnssec.value;
    }
    border.dns_trust_anchor = table.text("trust_anchor", "\"certs/anchor.key\"");
    border.dns_unsigned = table.texts("unsigned", "[\"corp.example.com\"]").unwrap_or_default();
    table.finish();
}

fn read_certificates(root: &Table<'_, '_>, border: &mut Border) {
    let Some(table) = root.table("certificates", "[certificates]") else { return };
    let upkeep = &mut border.certificates;
    if let Some(watch) = table.duration("watch", Duration::ZERO, DAY) {
        if watch.value < SECOND && !watch.value.is_zero() {
            let what = "watch below 1 s would take half-written files for whole ones";
            table.findings().problem(watch.at, what, "write watch = \"10s\", or \"0s\" to switch it off");
        }
        upkeep.watch = Some(watch.value).filter(|period| !period.is_zero());
    }
    set_duration(&mut upkeep.recheck, table.duration("recheck", SECOND, DAY));
    border.crl_refresh = table.duration("crl_refresh", Duration::from_secs(10), DAY).map(|refresh| refresh.value);
    border.crl_cache = table.text("crl_cache", "\"/var/lib/portcullis\"");
    table.finish();
}

/// What an address of ours must look like.
pub fn socket_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address| SocketAddr::new(address, default_port)))
}

/// `file:` before a path says the same as the path alone.
pub fn path(source: &dyn crate::config::source::Source, written: &str) -> PathBuf {
    source.path(written.strip_prefix("file:").unwrap_or(written))
}

pub fn admin(address: Option<SocketAddr>, beyond_loopback: bool) -> admin::Settings {
    admin::Settings { address, beyond_loopback }
}
