//! Exchange's objects, read tolerantly: each kind is known by the properties it has, enumerations by their words or numbers.

use std::fmt;

use serde_json::Value;

use super::document::{Object, name_of, property, word, words};
use crate::policy::settings::{PeerStatus, SecurityMode, StartUp, UriType};

/// Something that was not mapped, or guessed: of what, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    pub of: String,
    pub what: String,
    pub instead: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.of, self.what, self.instead)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct DialPlan {
    pub name: String,
    pub uri_type: UriType,
    pub digits: u8,
    pub mode: SecurityMode,
    pub country_code: Option<String>,
    pub access_numbers: Vec<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Gateway {
    pub name: String,
    /// An address or a name, as Exchange has it.
    pub address: String,
    pub port: Option<u16>,
    pub status: PeerStatus,
    pub outcalls: bool,
    pub mwi: bool,
    pub delayed_source_party: bool,
    pub simulator: bool,
    pub family: Family,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Ipv4,
    Ipv6,
    Any,
}

#[derive(Clone, PartialEq, Debug)]
pub struct HuntGroup {
    pub name: String,
    pub gateway: String,
    pub plan: String,
    pub pilot: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Server {
    pub name: String,
    /// The UM service of a Mailbox server, not a call router alone.
    pub is_mailbox: bool,
    pub start_up: StartUp,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Exchange {
    pub plans: Vec<DialPlan>,
    pub gateways: Vec<Gateway>,
    pub groups: Vec<HuntGroup>,
    pub servers: Vec<Server>,
    pub remarks: Vec<Remark>,
}

/// What Exchange allows in no name, nor a policy set.
const FORBIDDEN: &str = "\"/\\[]:;|=,+*?<>";
/// Of a UM IP gateway's name.
const NAME_CHARACTERS: usize = 64;

/// A name as a set takes it: what Exchange itself would not have allowed is changed, in the object and where others name it alike.
fn fitting_name(value: &Value) -> Option<String> {
    let name = name_of(value)?;
    let fitting = |character: char| if FORBIDDEN.contains(character) || character.is_control() { '_' } else { character };
    let name: String = name.chars().map(fitting).take(NAME_CHARACTERS).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

impl Exchange {
    pub fn read(objects: &[Object]) -> Exchange {
        let mut exchange = Exchange::default();
        for object in objects {
            exchange.take(object);
        }
        exchange
    }

    fn take(&mut self, object: &Object) {
        let has = |key: &str| object.keys().any(|known| known.eq_ignore_ascii_case(key));
        let name = property(object, "Name").or_else(|| property(object, "Identity")).or_else(|| property(object, "Fqdn")).and_then(fitting_name);
        let Some(name) = name else {
            return self.remark("an object without a name", "it was left out", "export it with its Name");
        };
        let mut reader = Reader { object, of: String::new(), remarks: &mut self.remarks };
        if has("URIType") && has("NumberOfDigitsInExtension") {
            reader.of = format!("UM dial plan \"{name}\"");
            self.plans.push(reader.plan(name));
        } else if has("UMDialPlan") && has("UMIPGateway") {
            reader.of = format!("UM hunt group \"{name}\"");
            if let Some(group) = reader.group(name) {
                self.groups.push(group);
            }
        } else if has("OutcallsAllowed") || has("MessageWaitingIndicatorAllowed") {
            reader.of = format!("UM IP gateway \"{name}\"");
            if let Some(gateway) = reader.gateway(name) {
                self.gateways.push(gateway);
            }
        } else if has("UMStartupMode") {
            reader.of = format!("UM server \"{name}\"");
            self.servers.push(reader.server(name, has("SipTlsListeningPort") || has("SipTcpListeningPort")));
        } else {
            self.remark(&format!("object \"{name}\""), "it is of no kind that a policy set has a place for", "nothing need be done, unless you miss it");
        }
    }

    pub fn remark(&mut self, of: &str, what: impl Into<String>, instead: impl Into<String>) {
        self.remarks.push(Remark { of: of.into(), what: what.into(), instead: instead.into() });
    }
}

struct Reader<'r> {
    object: &'r Object,
    of: String,
    remarks: &'r mut Vec<Remark>,
}

/// The words of an enumeration, with the numbers its members have where a shell wrote those.
type Words<T, const N: usize> = [(&'static str, u64, T); N];

const URI_TYPES: Words<UriType, 3> = [("TelExtn", 1, UriType::Extension), ("E164", 2, UriType::E164), ("SipName", 3, UriType::SipUri)];
const SECURITY: Words<SecurityMode, 3> =
    [("SIPSecured", 1, SecurityMode::SipSecured), ("Unsecured", 2, SecurityMode::Unsecured), ("Secured", 3, SecurityMode::Secured)];
const STATUS: Words<PeerStatus, 3> = [("Enabled", 0, PeerStatus::Enabled), ("Disabled", 1, PeerStatus::Disabled), ("NoNewCalls", 2, PeerStatus::NoNewCalls)];
const FAMILIES: Words<Family, 3> = [("IPv4Only", 0, Family::Ipv4), ("IPv6Only", 1, Family::Ipv6), ("Any", 2, Family::Any)];
const START_UPS: Words<StartUp, 3> = [("TCP", 0, StartUp::Tcp), ("TLS", 1, StartUp::Tls), ("Dual", 2, StartUp::Dual)];

impl Reader<'_> {
    fn remark(&mut self, what: impl Into<String>, instead: impl Into<String>) {
        self.remarks.push(Remark { of: self.of.clone(), what: what.into(), instead: instead.into() });
    }

    fn text(&self, key: &str) -> Option<String> {
        property(self.object, key).and_then(word)
    }

    /// A member of an enumeration. A number is a guess, which is said; what is unknown is `otherwise`.
    fn choice<T: Copy, const N: usize>(&mut self, key: &str, all: &Words<T, N>, otherwise: T) -> T {
        let Some(text) = self.text(key) else { return otherwise };
        if let Some((_, _, value)) = all.iter().find(|(word, _, _)| word.eq_ignore_ascii_case(&text)) {
            return *value;
        }
        if let Some((word, _, value)) = all.iter().find(|(_, number, _)| number.to_string() == text) {
            self.remark(
                format!("{key} is the number {text}, taken for {word}"),
                format!("compare it with what the shell shows as {key}, or export with ConvertTo-Json -EnumsAsStrings"),
            );
            return *value;
        }
        let words: Vec<&str> = all.iter().map(|(word, _, _)| *word).collect();
        self.remark(format!("{key} is \"{text}\", none of {}", words.join(", ")), "set it in the policy set yourself");
        otherwise
    }

    fn flag(&self, key: &str, otherwise: bool) -> bool {
        match self.text(key).as_deref() {
            Some(text) if text.eq_ignore_ascii_case("true") || text == "1" => true,
            Some(text) if text.eq_ignore_ascii_case("false") || text == "0" => false,
            _ => otherwise,
        }
    }

    fn plan(&mut self, name: String) -> DialPlan {
        let digits = self.text("NumberOfDigitsInExtension").and_then(|text| text.parse().ok()).filter(|digits| (1..=20).contains(digits));
        if digits.is_none() {
            self.remark("NumberOfDigitsInExtension is no number from 1 to 20, 5 was written", "correct digits in dial_plans.toml");
        }
        DialPlan {
            uri_type: self.choice("URIType", &URI_TYPES, UriType::Extension),
            digits: digits.unwrap_or(5),
            mode: self.choice("VoIPSecurity", &SECURITY, SecurityMode::Secured),
            country_code: self.text("CountryOrRegionCode"),
            access_numbers: property(self.object, "AccessTelephoneNumbers").map(words).unwrap_or_default(),
            name,
        }
    }

    fn gateway(&mut self, name: String) -> Option<Gateway> {
        let Some(address) = self.text("Address") else {
            self.remark("it has no Address, and was left out", "export it with ConvertTo-Json -Depth 4");
            return None;
        };
        Some(Gateway {
            port: self.text("Port").and_then(|text| text.parse().ok()).filter(|port| *port != 0),
            status: self.choice("Status", &STATUS, PeerStatus::Enabled),
            outcalls: self.flag("OutcallsAllowed", true),
            mwi: self.flag("MessageWaitingIndicatorAllowed", true),
            delayed_source_party: self.flag("DelayedSourcePartyInfoEnabled", false),
            simulator: self.flag("Simulator", false),
            family: self.choice("IPAddressFamily", &FAMILIES, Family::Ipv4),
            name,
            address,
        })
    }

    fn group(&mut self, name: String) -> Option<HuntGroup> {
        let gateway = property(self.object, "UMIPGateway").and_then(fitting_name);
        let plan = property(self.object, "UMDialPlan").and_then(fitting_name);
        let (Some(gateway), Some(plan)) = (gateway, plan) else {
            self.remark("it does not name its gateway and dial plan, and was left out", "export it with ConvertTo-Json -Depth 4");
            return None;
        };
        Some(HuntGroup { pilot: self.text("PilotIdentifier"), name, gateway, plan })
    }

    fn server(&mut self, name: String, is_router: bool) -> Server {
        let name = self.text("ExternalHostFqdn").or_else(|| self.text("Fqdn")).unwrap_or(name);
        Server { start_up: self.choice("UMStartupMode", &START_UPS, StartUp::Tcp), is_mailbox: !is_router, name }
    }
}
