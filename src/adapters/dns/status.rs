//! How it stands with each name, for `show`: a snapshot that costs a few hundred nanoseconds a name.

use std::net::IpAddr;
use std::sync::Arc;

use super::names::Entry;
use crate::policy::address_scope::AddressScope;
use crate::sip::Transport;
use crate::time::Time;

/// One host name, or SRV owner, of one or several peers. Times in whole seconds.
#[derive(Clone, PartialEq, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct NameStatus {
    #[schema(value_type = String)]
    pub name: Arc<str>,
    /// The service (`udp`, `tcp`, `tls`) whose SRV records lead to the hosts; null where the peer has a port and only addresses are asked for.
    pub service: Option<&'static str>,
    /// What DNS may say of it.
    #[schema(value_type = String)]
    pub scope: AddressScope,
    /// The peers that have it, in the set's order.
    #[schema(value_type = Vec<String>)]
    pub peers: Vec<Arc<str>>,
    pub state: NameStateWord,
    /// For how long the state has been this one.
    pub since_seconds: u64,
    pub addresses: Vec<AddressStatus>,
    /// Of the last good answer; null before the first.
    pub dnssec: Option<Signed>,
    /// Since the last good answer; null before the first.
    pub age_seconds: Option<u64>,
    /// Of a stale name: until its last good addresses are given up.
    pub grace_left_seconds: Option<u64>,
    /// Null while a question is under way.
    pub next_question_in_seconds: Option<u64>,
    /// Of the last question; null where it was answered.
    pub last_error: Option<String>,
}

/// What DNSSEC says of an answer, the weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signed {
    /// Nobody asked: DNSSEC is off, the zone is excepted, or the hosts file answered.
    Unchecked,
    /// The zone is proven not to be signed.
    Insecure,
    /// Every record it rests on is signed, from a trust anchor down.
    Secure,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameStateWord {
    Fresh,
    Stale,
    Unresolved,
}

#[derive(Clone, PartialEq, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct AddressStatus {
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// 0 where it is over; null where it never ends.
    pub ttl_left_seconds: Option<u64>,
}

impl Entry {
    pub(super) fn status(&self, now: Time) -> NameStatus {
        let seconds_until = |at: Time| at.since(now).as_secs();
        let name = &self.freshness;
        NameStatus {
            name: Arc::clone(&self.key.name),
            service: self.key.service.map(Transport::uri_token),
            scope: self.key.scope,
            peers: self.peers.clone(),
            state: name.word(),
            since_seconds: now.since(name.since()).as_secs(),
            addresses: name.held().iter().map(|held| AddressStatus { address: held.ip, ttl_left_seconds: held.ends.map(seconds_until) }).collect(),
            dnssec: self.signed,
            age_seconds: name.last_answer().map(|at| now.since(at).as_secs()),
            grace_left_seconds: name.grace_until().map(seconds_until),
            next_question_in_seconds: name.next_question().map(seconds_until),
            last_error: name.last_error().map(|error| format!("{error}: {}", error.meaning())),
        }
    }
}
