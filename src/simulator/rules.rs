//! What UM refuses, and what it makes of a call it takes. Pure; written from what is published of Exchange's behaviour, not from what a border sends.
//!
//! | looked at | refused with | Exchange's event |
//! |---|---|---|
//! | source: a UM IP gateway's address; over TLS its name in the certificate, no wildcard | 403 | |
//! | quotes that do not balance in an address header | 400 | 1021 |
//! | hosted: the host in To is the hosted name | 488 | |
//! | Request-URI, To, From, P-Asserted-Identity, History-Info fit the plan's URI type | 403 | 1021 |
//! | Diversion, CC-Diversion fit it; the diverting extension has the plan's length | 404 | 1109 |
//! | the called number is one of the plan's | 404 | |
//! | Session-Expires is no shorter than 1800 s | 422 | |
//! | an offer of G.711 or G.723.1, RTP/SAVP with AES_CM_128_HMAC_SHA1_80 exactly where the mode is Secured, no ICE, no rtcp-mux | 488 | |
//!
//! The statuses of source, plan and number are guesses: no document names them. 400, 403 and 488 towards hosted UM were seen.

use std::net::IpAddr;

use crate::policy::settings::{SecurityMode, UriType};
use crate::sdp::crypto::{Suite, SuiteName};
use crate::sdp::{Description, Proto};
use crate::simulator::connection::Shown;
use crate::simulator::profile::Profile;
use crate::sip::{HeaderName, Message, NameAddr, Scheme, Uri};

/// UM's Min-SE, seconds.
pub const MIN_SE: u32 = 1800;

/// The headers by which UM chooses a mailbox, in its stack's order of precedence.
const DIVERTING: [HeaderName; 3] = [HeaderName::Diversion, HeaderName::CcDiversion, HeaderName::HistoryInfo];

/// Which of several Diversion values counts: it differs between builds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    First,
    Last,
}

#[derive(Clone, Debug)]
pub struct Rules {
    pub profile: Profile,
    pub uri_type: UriType,
    /// `None`: a diverting extension may be of any length.
    pub digits: Option<u8>,
    pub mode: SecurityMode,
    /// Addresses of UM IP gateways; empty: any.
    pub gateways: Vec<IpAddr>,
    /// Names of UM IP gateways, compared with certificates; empty: any certificate of the CA.
    pub gateway_names: Vec<String>,
    /// Pilot and subscriber access numbers; with the auto-attendants empty: every number that fits is one of them.
    pub access_numbers: Vec<String>,
    pub auto_attendants: Vec<String>,
    /// What the host of To must be.
    pub hosted_name: Option<String>,
    pub which_diversion: Which,
}

impl Rules {
    /// An extension plan that knows every gateway and every number: strict in form alone.
    pub fn new(profile: Profile, mode: SecurityMode) -> Rules {
        Rules {
            profile,
            uri_type: UriType::Extension,
            digits: None,
            mode,
            gateways: Vec::new(),
            gateway_names: Vec::new(),
            access_numbers: Vec::new(),
            auto_attendants: Vec::new(),
            hosted_name: None,
            which_diversion: Which::Last,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: u16,
    pub why: String,
    /// The event Exchange would log.
    pub event: Option<u16>,
}

impl Refusal {
    fn new(status: u16, why: impl Into<String>) -> Refusal {
        Refusal { status, why: why.into(), event: None }
    }

    fn event(mut self, event: u16) -> Refusal {
        self.event = Some(event);
        self
    }
}

/// What UM does with a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Service {
    /// The greeting of this mailbox.
    CallAnswering {
        mailbox: String,
        /// The header it was read from.
        from: &'static str,
    },
    AutoAttendant,
    /// Outlook Voice Access; the extension is asked for unless the caller's number is one.
    SubscriberAccess {
        asks_extension: bool,
    },
    /// No UM's: somebody picks up.
    PickedUp,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Service::CallAnswering { mailbox, from } => write!(f, "call answering for mailbox {mailbox} (by {from})"),
            Service::AutoAttendant => f.write_str("auto attendant"),
            Service::PickedUp => f.write_str("picked up"),
            Service::SubscriberAccess { asks_extension: true } => f.write_str("subscriber access, asks for extension and PIN"),
            Service::SubscriberAccess { asks_extension: false } => f.write_str("subscriber access, asks for the caller's PIN"),
        }
    }
}

impl Rules {
    /// Whether requests from there are listened to at all.
    pub fn source(&self, remote: IpAddr, shown: Option<&Shown>) -> Result<(), Refusal> {
        if !self.gateways.is_empty() && !self.gateways.contains(&remote) {
            return Err(Refusal::new(403, format!("{remote} is the address of no UM IP gateway")));
        }
        let Some(shown) = shown else { return Ok(()) };
        let wildcard = shown.common_name.iter().chain(self.is_hosted().then_some(&shown.names).into_iter().flatten()).find(|name| name.contains('*'));
        if let Some(wildcard) = wildcard {
            return Err(Refusal::new(403, format!("the certificate's name {wildcard} is a wildcard")));
        }
        if self.gateway_names.is_empty() {
            return Ok(());
        }
        let common_name = shown.common_name.as_deref().unwrap_or("(none)");
        let known = if self.is_hosted() {
            // Both, letter by letter.
            self.gateway_names.iter().any(|name| name == common_name && shown.names.contains(name))
        } else {
            let carries = |name: &String| common_name.eq_ignore_ascii_case(name) || shown.names.iter().any(|carried| carried.eq_ignore_ascii_case(name));
            self.gateway_names.iter().any(carries)
        };
        let why =
            || format!("the certificate (CN {common_name}, SAN {}) is that of no UM IP gateway ({})", shown.names.join(" "), self.gateway_names.join(" "));
        if known { Ok(()) } else { Err(Refusal::new(403, why())) }
    }

    fn is_hosted(&self) -> bool {
        self.profile == Profile::Hosted
    }

    /// Whether it is UM that is played.
    pub fn is_strict(&self) -> bool {
        !matches!(self.profile, Profile::Mediation | Profile::Telephone)
    }

    /// What every role looks at in an INVITE: form, URIs, number.
    pub fn invite(&self, message: &Message) -> Result<Service, Refusal> {
        if !self.is_strict() {
            return Ok(Service::PickedUp);
        }
        quotes(message)?;
        self.hosted(message)?;
        let called = self.part("Request-URI", message.request_uri().unwrap_or_default(), false)?;
        for (place, name, may_hide) in [
            ("To", HeaderName::To, false),
            ("From", HeaderName::From, true),
            ("P-Asserted-Identity", HeaderName::PAssertedIdentity, true),
            ("History-Info", HeaderName::HistoryInfo, false),
        ] {
            for value in message.values(name) {
                self.part(place, address(place, value)?.uri, may_hide)?;
            }
        }
        for (place, name) in [("Diversion", HeaderName::Diversion), ("CC-Diversion", HeaderName::CcDiversion)] {
            for value in message.values(name) {
                self.part(place, address(place, value)?.uri, false).map_err(|refusal| Refusal { status: 404, event: Some(1109), ..refusal })?;
            }
        }
        if message.from().is_err() || message.to().is_err() {
            return Err(Refusal::new(400, "From or To is missing").event(1021));
        }
        let service = self.service(message, &called)?;
        if let Ok(Some(expires)) = message.session_expires()
            && expires.seconds < MIN_SE
        {
            return Err(Refusal::new(422, format!("Session-Expires {} is below {MIN_SE}", expires.seconds)));
        }
        Ok(service)
    }

    fn hosted(&self, message: &Message) -> Result<(), Refusal> {
        let Some(wanted) = &self.hosted_name else { return Ok(()) };
        let to = message.to().ok().and_then(|to| to.parsed_uri().ok().map(|uri| uri.host)).unwrap_or_default();
        if to.eq_ignore_ascii_case(wanted) { Ok(()) } else { Err(Refusal::new(488, format!("the host of To is {to}, not {wanted}"))) }
    }

    /// The user part of a URI that fits the plan's type. `may_hide`: anonymous fits too.
    fn part(&self, place: &str, text: &str, may_hide: bool) -> Result<String, Refusal> {
        let unfit = || {
            let plan = match self.uri_type {
                UriType::Extension => "extension",
                UriType::SipUri => "sip-uri",
                UriType::E164 => "e164",
            };
            Refusal::new(403, format!("{place} {text} does not fit the {plan} plan")).event(1021)
        };
        let uri = Uri::parse(text).map_err(|_| unfit())?;
        if matches!(uri.scheme, Scheme::Other(_)) {
            return Err(unfit());
        }
        let user = uri.user_decoded().into_owned();
        let user = user.split(';').next().unwrap_or_default();
        if may_hide && (user.eq_ignore_ascii_case("anonymous") || uri.host.eq_ignore_ascii_case("anonymous.invalid")) {
            return Ok("anonymous".into());
        }
        let digits = user.strip_prefix('+').unwrap_or(user);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let fits = match self.uri_type {
            UriType::Extension => is_number && digits.len() <= 20,
            UriType::E164 => is_number && user.starts_with('+') && digits.len() <= 15,
            UriType::SipUri => !user.is_empty() && uri.scheme != Scheme::Tel,
        };
        if fits { Ok(user.to_owned()) } else { Err(unfit()) }
    }

    fn service(&self, message: &Message, called: &str) -> Result<Service, Refusal> {
        let is = |number: &String| number.eq_ignore_ascii_case(called);
        let known = |numbers: &[String]| numbers.iter().any(is);
        let any = self.access_numbers.is_empty() && self.auto_attendants.is_empty();
        if !(any || known(&self.access_numbers) || known(&self.auto_attendants)) {
            let why = format!("the UM IP gateway, dial plan, or hunt group information can't be located: {called} is no number of the plan");
            return Err(Refusal::new(404, why));
        }
        if known(&self.auto_attendants) {
            return Ok(Service::AutoAttendant);
        }
        if let Some((mailbox, from)) = self.diverted(message) {
            if self.auto_attendants.iter().any(|number| number.eq_ignore_ascii_case(&mailbox)) {
                return Ok(Service::AutoAttendant);
            }
            self.length(&mailbox, from)?;
            return Ok(Service::CallAnswering { mailbox, from });
        }
        let caller = message.from().ok().and_then(|from| self.part("From", from.uri, true).ok()).unwrap_or_default();
        let is_extension = self.digits.is_none_or(|digits| caller.len() == usize::from(digits)) && caller.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Service::SubscriberAccess { asks_extension: !is_extension || caller.is_empty() })
    }

    /// The diverting user by the first header there is, and which that was.
    fn diverted(&self, message: &Message) -> Option<(String, &'static str)> {
        let name = DIVERTING.into_iter().find(|name| message.first(*name).is_some())?;
        let users: Vec<(String, bool)> = message.values(name).filter_map(user).collect();
        let user = match (name, self.which_diversion) {
            // The last entry is the pilot, the one before it the mailbox, with the reason why it was left.
            (HeaderName::HistoryInfo, _) => {
                let [.., (mailbox, has_reason), (pilot, _)] = users.as_slice() else { return None };
                (*has_reason && mailbox != pilot).then(|| mailbox.clone())
            }
            (_, Which::First) => users.first().map(|(user, _)| user.clone()),
            (_, Which::Last) => users.last().map(|(user, _)| user.clone()),
        };
        Some((user?, name.as_str()))
    }

    fn length(&self, mailbox: &str, from: &str) -> Result<(), Refusal> {
        let Some(digits) = self.digits else { return Ok(()) };
        let is_number = mailbox.bytes().all(|byte| byte.is_ascii_digit());
        let fits = match self.uri_type {
            UriType::Extension => is_number && mailbox.len() == usize::from(digits),
            // A mailbox of such a plan is a SIP URI: a bare extension names none.
            UriType::SipUri => !is_number,
            UriType::E164 => true,
        };
        if fits { Ok(()) } else { Err(Refusal::new(404, format!("{from} names {mailbox}, no extension of {digits} digits")).event(1109)) }
    }

    /// What the worker looks at besides: the offer.
    pub fn offer(&self, sdp: Option<&[u8]>) -> Result<(), Refusal> {
        let unfit = |why: &str| Err(Refusal::new(488, why));
        let Some(sdp) = sdp else { return unfit("an offer is needed") };
        let Ok(description) = Description::parse(sdp) else { return unfit("the session description cannot be read") };
        let attributes = description.attributes.iter().chain(description.media.iter().flat_map(|media| &media.attributes));
        for attribute in attributes.filter(|_| self.is_strict()) {
            if let Some(name) = REFUSED_ATTRIBUTES.iter().find(|name| attribute.is(name)) {
                return unfit(&format!("a={name} is in the offer"));
            }
        }
        let Some(audio) = description.media.iter().find(|media| media.is_audio() && media.port != 0) else { return unfit("no audio is offered") };
        let spoken = |format: &String| matches!(format.as_str(), "0" | "4" | "8");
        if !audio.formats.iter().any(spoken) {
            return unfit("neither G.711 nor G.723.1 is offered");
        }
        match (self.mode, &audio.proto) {
            (SecurityMode::Secured, Proto::Savp) => {
                let has_key = audio.cryptos().flatten().any(|line| line.suite == SuiteName::Known(Suite::AesCm128HmacSha1_80) && line.usable().is_ok());
                if has_key { Ok(()) } else { unfit("no a=crypto line with AES_CM_128_HMAC_SHA1_80") }
            }
            (SecurityMode::Secured, _) => unfit("SRTP (RTP/SAVP) is demanded by a secured plan"),
            (_, Proto::Avp) => Ok(()),
            (_, proto) => unfit(&format!("{proto} is offered to a plan whose media is RTP/AVP: incompatible security setting")),
        }
    }
}

const REFUSED_ATTRIBUTES: [&str; 9] =
    ["ice-ufrag", "ice-pwd", "ice-options", "ice-lite", "ice-mismatch", "candidate", "remote-candidates", "end-of-candidates", "rtcp-mux"];

/// Exchange 2010 and later refuse the whole INVITE for one broken value.
fn quotes(message: &Message) -> Result<(), Refusal> {
    let addresses = [HeaderName::From, HeaderName::To, HeaderName::PAssertedIdentity, HeaderName::Diversion, HeaderName::CcDiversion, HeaderName::HistoryInfo];
    for field in message.fields().filter(|field| addresses.contains(&field.name)) {
        let mut escaped = false;
        let mut count = 0u32;
        for byte in field.value {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => count += 1,
                _ => {}
            }
        }
        if count % 2 == 1 {
            return Err(Refusal::new(400, format!("Invalid {} header: mismatched character", field.name.as_str())).event(1021));
        }
    }
    Ok(())
}

fn address<'a>(place: &str, value: &'a [u8]) -> Result<NameAddr<'a>, Refusal> {
    NameAddr::parse(value).map_err(|what| Refusal::new(400, format!("Invalid {place} header: {what}")).event(1021))
}

/// The user part of one value, and whether its URI carries an escaped Reason.
fn user(value: &[u8]) -> Option<(String, bool)> {
    let uri = NameAddr::parse(value).ok()?.parsed_uri().ok()?;
    let has_reason = uri.headers.is_some_and(|headers| headers.to_ascii_lowercase().contains("reason="));
    Some((uri.user_decoded().split(';').next()?.to_owned(), has_reason))
}

#[cfg(test)]
mod tests;
