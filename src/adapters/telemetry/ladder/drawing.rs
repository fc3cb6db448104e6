//! What a ladder shows, as values: from it come the text, the picture, the capture file and what programs read. Free of keys and credentials, unless it was
//! made of messages that were kept with them, which an operator has to ask for.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A call's signalling, or that of one exchange outside calls.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Ladder)]
pub struct Drawing {
    /// One line for each leg: its mode, what TLS came to, how its media is protected.
    pub legs: Vec<String>,
    /// Who stands where, from the left: the caller's side, the border, the called side in the order of first sight. Of a side with more addresses than there is
    /// room for, the rest share its outermost column, `N others`; arrows there have the address before their label.
    pub columns: Vec<String>,
    /// Which of the columns is ours.
    pub border: usize,
    /// In the order of their times.
    pub rows: Vec<Row>,
    /// What the arrows stand for.
    pub messages: Vec<Passed>,
    /// Messages and notes that found no room: so many are kept of one call.
    pub left_out: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LadderRow)]
pub struct Row {
    /// Microseconds since 1970.
    pub at: i64,
    /// Since the row before.
    pub after_us: u64,
    #[serde(flatten)]
    pub mark: Mark,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LadderMark)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mark {
    /// A message.
    Arrow {
        /// Columns.
        from: usize,
        to: usize,
        label: String,
        class: Class,
        /// Sent or received again.
        again: bool,
        /// Its session description in short.
        description: Option<String>,
        /// Of `messages`.
        message: usize,
    },
    /// A step of the border's deliberation.
    Decision {
        /// The file of the policy set, and of `policy/`.
        stage: String,
        rule: String,
        /// The code of the reason, where it refused.
        refused: Option<String>,
        meaning: Option<String>,
        /// What was compared.
        values: Vec<Compared>,
    },
    /// What became of the call.
    Note { text: String, trouble: bool },
    /// RTP in one direction on one leg, at the time of its first packet.
    Media {
        /// Columns.
        from: usize,
        to: usize,
        packets: u64,
        /// Known of what was received only.
        lost: Option<u64>,
        /// Microseconds since 1970: the last packet.
        last: i64,
        /// The call was up when this was drawn.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        so_far: bool,
        /// Address and port of the far end, where its column does not name it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        far: Option<String>,
    },
}

/// How a message went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LadderClass)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Request,
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    Refusal,
    /// 5xx and 6xx.
    Failure,
    /// No SIP.
    Unreadable,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LadderValue)]
pub struct Compared {
    pub name: String,
    pub value: String,
}

/// A message as it passed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LadderMessage)]
pub struct Passed {
    /// Microseconds since 1970.
    pub at: i64,
    #[schema(value_type = String)]
    pub from: SocketAddr,
    #[schema(value_type = String)]
    pub to: SocketAddr,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    pub text: String,
    /// In base64 (RFC 4648), where `text` cannot show every octet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub octets: Option<String>,
}

impl Passed {
    pub fn new(at: i64, (from, to): (SocketAddr, SocketAddr), transport: &str, bytes: &[u8]) -> Passed {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let octets = (text.as_bytes() != bytes).then(|| BASE64_STANDARD.encode(bytes));
        Passed { at, from, to, transport: transport.to_owned(), text, octets }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let octets = self.octets.as_ref().and_then(|octets| BASE64_STANDARD.decode(octets).ok());
        octets.unwrap_or_else(|| self.text.clone().into_bytes())
    }
}

impl Class {
    pub fn of(status: Option<u16>) -> Class {
        match status {
            None => Class::Request,
            Some(..200) => Class::Provisional,
            Some(..300) => Class::Success,
            Some(..400) => Class::Redirection,
            Some(..500) => Class::Refusal,
            Some(_) => Class::Failure,
        }
    }
}

impl Mark {
    /// In words, where it is none of the arrows and bars.
    pub fn words(&self) -> Option<String> {
        match self {
            Mark::Note { text, trouble } => Some(format!("{} {text}", if *trouble { '!' } else { '=' })),
            Mark::Decision { stage, rule, refused, meaning, values } => {
                let values: Vec<String> = values.iter().map(|Compared { name, value }| format!("{name}={value}")).collect();
                let values = if values.is_empty() { String::new() } else { format!(" [{}]", values.join(" ")) };
                Some(match refused {
                    None => format!("* {stage}: {rule}{values}"),
                    Some(reason) => format!("! {stage}: {rule} refused, {reason}: {}{values}", meaning.as_deref().unwrap_or_default()),
                })
            }
            Mark::Arrow { .. } | Mark::Media { .. } => None,
        }
    }
}
