//! A shipped policy set on the pure core with virtual time: its own peers, listeners and plans, every host name at an address of its own. What the
//! peers say is written by hand.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use portcullis::config::{self, Settings};
use portcullis::media::control::{self, Command, Report};
use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{Peer, PeerHost, PolicySet, SecurityMode};
use portcullis::signaling::core::Core;
use portcullis::signaling::event::{Action, Event, Route, Target};
use portcullis::signaling::fact::{CallRecord, Fact, What};
use portcullis::sip::{HeaderName, Limits, Message, Method, Transport};
use portcullis::time::Time;

pub fn sets() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let mut sets: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    sets.sort();
    sets
}

/// One message of the border, as it left.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The peer it went to.
    pub to: Arc<str>,
    pub message: Message,
}

impl Sent {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.message.bytes()).into_owned()
    }

    pub fn header(&self, name: HeaderName) -> String {
        self.message.first(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }
}

pub struct Stage {
    pub settings: Settings,
    pub table: Arc<PeerTable>,
    core: Core,
    now: Time,
    pub sent: VecDeque<Sent>,
    pub facts: Vec<Fact>,
    branch: u32,
}

/// Where the peer lives on this stage.
fn address(set: &PolicySet, name: &str) -> IpAddr {
    let names = set.peers.iter().flat_map(|peer| &peer.hosts).filter_map(|host| if let PeerHost::Name(name) = host { Some(&**name) } else { None });
    let mut known: Vec<&str> = names.collect();
    known.sort_unstable();
    known.dedup();
    let index = known.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or(250);
    IpAddr::from([10, 99, 0, index as u8 + 1])
}

impl Stage {
    pub fn new(set: &str) -> Stage {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(set);
        let (settings, _) = config::load(&folder).unwrap_or_else(|problems| panic!("{set}:\n{problems}"));
        let policy = Arc::clone(&settings.policy);
        let table = Arc::new(PeerTable::build(1, &policy, &|name| vec![address(&policy, name)]));
        let core = Core::new(Arc::new(settings.signaling.clone()), policy, Arc::clone(&table), [7; 32]);
        Stage { settings, table, core, now: Time::from_millis(1_000_000), sent: VecDeque::new(), facts: Vec::new(), branch: 0 }
    }

    pub fn peer(&self, name: &str) -> Arc<Peer> {
        Arc::clone(self.settings.policy.peer(name).unwrap_or_else(|| panic!("no peer {name}")))
    }

    pub fn address_of(&self, peer: &Peer) -> SocketAddr {
        let ip = peer.hosts.iter().find_map(|host| match host {
            PeerHost::Address(address) => Some(*address),
            PeerHost::Name(name) => Some(address(&self.settings.policy, name)),
            PeerHost::Network(_) => None,
        });
        SocketAddr::new(ip.expect("an address"), peer.port.unwrap_or(peer.transport.default_port()))
    }

    fn flow(&self, peer: &Peer) -> Arc<Flow> {
        let listeners = &self.settings.signaling.listeners;
        let listener = listeners.iter().find(|listener| match &peer.listener {
            Some(name) => listener.name == *name,
            None => listener.transport == peer.transport,
        });
        let listener = listener.expect("a listener");
        let tls = (peer.transport == Transport::Tls).then(|| {
            Arc::new(TlsIdentity {
                version: "TLSv1.3".into(),
                cipher: "TLS13_AES_256_GCM_SHA384".into(),
                backend: Default::default(),
                names: peer.tls_names.iter().map(ToString::to_string).collect(),
                trusted_for: vec![Arc::clone(&peer.name)],
            })
        });
        let position = self.settings.policy.peers.iter().position(|other| other.name == peer.name).unwrap_or_default();
        Arc::new(Flow {
            id: FlowId(100 + position as u64),
            transport: peer.transport,
            listener: ListenerId(listener.id.0),
            local: listener.bound,
            remote: self.address_of(peer),
            tls,
        })
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(self.now, event);
        let mut follow = Vec::new();
        while let Some(action) = self.core.poll() {
            match action {
                Action::Transmit { route, bytes, .. } => {
                    let to = self.party(&route);
                    let message = Message::parse(bytes, &Limits::default()).expect("the border wrote something that is not SIP");
                    self.sent.push_back(Sent { to, message });
                }
                Action::Locate { id, query } => {
                    let transport = query.transport.or(query.allowed.first().copied()).expect("a transport");
                    let address = SocketAddr::new(address(&self.settings.policy, &query.host), query.port.unwrap_or(transport.default_port()));
                    follow.push(Event::Located { id, targets: Ok(vec![Target { transport, address }]) });
                }
                Action::Media(Command::Close { stream }) => {
                    follow.push(Event::Media(control::Event::Closed { stream, report: Box::new(Report::default()) }));
                }
                Action::Fact(fact) => self.facts.push(fact),
                _ => {}
            }
        }
        for event in follow {
            self.handle(event);
        }
    }

    /// The peer a message goes to, by its way.
    fn party(&self, route: &Route) -> Arc<str> {
        let peers = &self.settings.policy.peers;
        match route {
            Route::Connect(connect) => Arc::clone(&connect.peer),
            Route::Datagram { remote, .. } => Arc::clone(&self.table.at(remote.ip()).first().expect("a peer at that address").name),
            Route::Flow { id, .. } => Arc::clone(&peers[(id.0 - 100) as usize].name),
        }
    }

    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.handle(Event::Tick);
        }
        self.now = end;
    }

    pub fn receive(&mut self, from: &str, text: &str) {
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let (head, body) = (head.replace('\n', "\r\n"), body.replace('\n', "\r\n"));
        let bytes = Bytes::from(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let flow = self.flow(&self.peer(from));
        self.handle(Event::Received { flow, bytes });
    }

    /// The next request of this method, whoever it goes to; OPTIONS and answers before it are passed over.
    pub fn request(&mut self, method: &Method) -> Sent {
        let index = self.sent.iter().position(|sent| sent.message.method() == Some(method));
        match index {
            Some(index) => self.sent.remove(index).expect("just found"),
            None => panic!("no {method:?} was sent\n{}", self.ladder()),
        }
    }

    pub fn response(&mut self, status: u16) -> Sent {
        let index = self.sent.iter().position(|sent| sent.message.status() == Some(status));
        match index {
            Some(index) => self.sent.remove(index).expect("just found"),
            None => panic!("no {status} was sent\n{}", self.ladder()),
        }
    }

    pub fn ladder(&self) -> String {
        portcullis::adapters::telemetry::ladder::render(&self.facts)
    }

    pub fn records(&self) -> Vec<&CallRecord> {
        self.facts.iter().filter_map(|fact| if let What::CallEnded(record) = &fact.what { Some(&**record) } else { None }).collect()
    }

    pub fn branch(&mut self) -> u32 {
        self.branch += 1;
        self.branch
    }

    /// A description as `peer` writes it on a leg of this mode.
    pub fn description(&self, peer: &Peer, mode: SecurityMode) -> String {
        let ip = self.address_of(peer).ip();
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        let key = base64::engine::general_purpose::STANDARD.encode([peer.name.len() as u8; 30]);
        let (profile, crypto) = match mode {
            SecurityMode::Secured => ("RTP/SAVP", format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\n")),
            SecurityMode::SipSecured | SecurityMode::Unsecured => ("RTP/AVP", String::new()),
        };
        format!(
            "v=0\no=- 1 1 IN {family} {ip}\ns=-\nc=IN {family} {ip}\nt=0 0\nm=audio 40000 {profile} 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\n{crypto}a=sendrecv\n"
        )
    }

    /// Answers a request as the peer it went to.
    pub fn answer(&mut self, request: &Sent, status: u16, extra: &str, body: &str) {
        let to = self.peer(&request.to);
        let mut text = format!("SIP/2.0 {status} Answer\n");
        for via in request.message.values(HeaderName::Via) {
            text.push_str(&format!("Via: {}\n", String::from_utf8_lossy(via)));
        }
        let called = request.header(HeaderName::To);
        let called = if called.contains(";tag=") || status == 100 { called } else { format!("{called};tag=um-{status}") };
        let contact = format!("<sip:{};transport={}>", self.address_of(&to), to.transport.uri_token());
        let contact = if (200..300).contains(&status) { format!("Contact: {contact}\n") } else { String::new() };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        text.push_str(&format!(
            "From: {}\nTo: {called}\nCall-ID: {}\nCSeq: {}\n{contact}{extra}{kind}\n{body}",
            request.header(HeaderName::From),
            request.header(HeaderName::CallId),
            request.header(HeaderName::CSeq)
        ));
        let from = Arc::clone(&request.to);
        self.receive(&from, &text);
    }
}

/// A caller at a peer: one dialog, written by hand.
pub struct Caller {
    pub peer: Arc<Peer>,
    called: String,
    from: String,
    to: String,
    target: String,
    call_id: String,
}

impl Caller {
    /// A call of this peer to a number, with these headers besides; INVITE is sent.
    pub fn invite(stage: &mut Stage, peer: &str, called: &str, from: &str, extra: &str) -> Caller {
        let peer = stage.peer(peer);
        let ours = stage.flow(&peer).local;
        let called_uri = if called.contains('@') { format!("sip:{called}") } else { format!("sip:{called}@{ours}") };
        let mut caller = Caller {
            called: called_uri.clone(),
            from: format!("<sip:{from}@{}>;tag=caller", stage.address_of(&peer).ip()),
            to: format!("<{called_uri}>"),
            target: called_uri,
            call_id: format!("call-{}", stage.branch()),
            peer,
        };
        let body = stage.description(&caller.peer, caller.peer.mode);
        caller.request(stage, "INVITE", 1, extra, &body);
        caller
    }

    pub fn request(&mut self, stage: &mut Stage, method: &str, cseq: u32, extra: &str, body: &str) {
        let address = stage.address_of(&self.peer);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        let target = if method == "INVITE" { &self.called } else { &self.target };
        let text = format!(
            "{method} {target} SIP/2.0\nVia: SIP/2.0/{} {address};branch=z9hG4bK-{}\nMax-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nContact: <sip:{address};transport={}>\n{extra}{kind}\n{body}",
            self.peer.transport.via_token(),
            stage.branch(),
            self.from,
            self.to,
            self.call_id,
            self.peer.transport.uri_token(),
        );
        stage.receive(&self.peer.name, &text);
    }

    /// Takes the To tag and Contact of a 200, and acknowledges it.
    pub fn accepted(&mut self, stage: &mut Stage, answer: &Sent) {
        self.to = answer.header(HeaderName::To);
        if let Ok(Some(contact)) = answer.message.contact() {
            self.target = contact.uri.to_owned();
        }
        self.request(stage, "ACK", 1, "", "");
    }

    /// Hangs up; the called side's BYE is answered.
    pub fn hangs_up(&mut self, stage: &mut Stage) {
        self.request(stage, "BYE", 2, "", "");
        stage.response(200);
        let bye = stage.request(&Method::Bye);
        stage.answer(&bye, 200, "", "");
        stage.pass(Duration::from_secs(120));
    }
}
