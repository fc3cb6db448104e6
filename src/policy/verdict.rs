//! Verdicts: every decision carries the rule that decided and the values compared; every refusal a stable reason code, which maps by one total
//! function to a SIP status.

use std::borrow::Cow;

/// Who is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    None,
    Peer,
    Policy,
    Resource,
    Us,
}

impl Fault {
    pub const ALL: [Fault; 5] = [Fault::None, Fault::Peer, Fault::Policy, Fault::Resource, Fault::Us];

    pub const fn word(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Peer => "peer",
            Fault::Policy => "policy",
            Fault::Resource => "resource",
            Fault::Us => "us",
        }
    }
}

/// Declares the reasons once: variant, stable code, fault, SIP status towards the peer (0: none is sent), what it means.
macro_rules! reasons {
    ($($variant:ident, $code:literal, $fault:ident, $status:literal, $meaning:literal;)*) => {
        /// Why a call ended or a request was refused. Codes are stable: they stand in logs, metrics and call records.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason { $(#[doc = $meaning] $variant,)* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            pub const fn code(self) -> &'static str { match self { $(Reason::$variant => $code,)* } }

            pub const fn fault(self) -> Fault { match self { $(Reason::$variant => Fault::$fault,)* } }

            /// The bare status the untrusted side gets; `None`: silence.
            pub const fn status(self) -> Option<u16> {
                match self { $(Reason::$variant => if $status == 0 { None } else { Some($status) },)* }
            }

            pub const fn meaning(self) -> &'static str { match self { $(Reason::$variant => $meaning,)* } }
        }
    };
}

reasons! {
    NormalClearing,        "call.normal",                   None,     200, "the call was answered and one side hung up";
    Cancelled,             "call.cancelled",                Peer,     487, "the caller gave up before an answer";
    StrangerAddress,       "peer.stranger_address",         Peer,     0,   "no enabled peer lives at this source address on this transport";
    StrangerCertificate,   "peer.stranger_certificate",     Peer,     0,   "the certificate names no peer of this source address, or did not verify";
    PeerAmbiguous,         "peer.ambiguous",                Policy,   0,   "two peers live at this address and nothing tells them apart";
    TlsNoCertificate,      "tls.no_certificate",            Peer,     0,   "the other end showed no certificate";
    TlsUnknownIssuer,      "tls.unknown_issuer",            Peer,     0,   "the certificate chains to no CA that its peer is trusted by";
    TlsExpired,            "tls.expired",                   Peer,     0,   "a certificate of the chain has expired";
    TlsNotYetValid,        "tls.not_yet_valid",             Peer,     0,   "a certificate of the chain is not valid yet, or a clock is wrong";
    TlsRevoked,            "tls.revoked",                   Peer,     0,   "a certificate of the chain is on its issuer's CRL";
    TlsRevocationUnknown,  "tls.revocation_unknown",        Policy,   0,   "no current CRL says whether a certificate of the chain is revoked, and the peer's stale_crl is refuse";
    TlsUsage,              "tls.usage",                     Peer,     0,   "the certificate does not name the usage it was shown for (serverAuth, clientAuth)";
    TlsName,               "tls.name",                      Peer,     0,   "the certificate carries none of the names expected";
    TlsBadCertificate,     "tls.bad_certificate",           Peer,     0,   "a certificate cannot be read, or a signature is wrong";
    TlsChainLimit,         "tls.chain_limit",               Peer,     0,   "the certificate chain is longer or larger than any real one";
    TlsNothingShared,      "tls.nothing_shared",            Peer,     0,   "no protocol version, cipher suite or signature scheme that both ends speak";
    TlsOursRefused,        "tls.ours_refused",              Peer,     0,   "the other end refused our certificate";
    TlsTimeout,            "tls.timeout",                   Peer,     0,   "the handshake was not finished in time";
    TlsHandshakeRate,      "tls.handshake_rate",            Peer,     0,   "TLS handshakes come from the address faster than allowed, or too many at once: it is slowed";
    TlsBroken,             "tls.broken",                    Peer,     0,   "the connection ended in the handshake, or what came was not TLS";
    TlsUnprepared,         "tls.unprepared",                Us,       0,   "we have no certificate to show, no CA to verify by, or no name to expect";
    FirewallStranger,      "firewall.stranger",             Peer,     0,   "the kernel dropped it: nobody lives at this source address, and it was for a SIP port of ours";
    FirewallTransport,     "firewall.transport",            Peer,     0,   "the kernel dropped it: a peer lives at this source address, but speaks another transport";
    FirewallBanned,        "firewall.banned",               Peer,     0,   "dropped, by the kernel or at the door: the source is banned";
    FirewallMediaClosed,   "firewall.media_closed",         Peer,     0,   "the kernel dropped it: no call uses this media port";
    BanTrusted,            "ban.trusted",                   Policy,   0,   "a ban was not made: a peer lives there, and no ban touches a trusted address";
    BanFull,               "ban.full",                      Resource, 0,   "a ban was not made: as many are held as may be";
    BanUnknown,            "ban.unknown",                   Policy,   0,   "a ban was not lifted: there is none of exactly this address or network";
    PeerDisabled,          "peer.disabled",                 Policy,   403, "the peer's status is disabled";
    PeerNoNewCalls,        "peer.no_new_calls",             Policy,   503, "the peer's status is no-new-calls";
    PeerRemoved,           "peer.removed",                  Policy,   503, "the peer, or its address, is no longer in the peer table (a call that is up ends so only where removed_peers is release-calls)";
    MethodNotAllowed,      "access.method",                 Peer,     405, "the method is not allowed from this peer";
    NotAllowedHere,        "access.refused",                Policy,   403, "policy allows this peer no such request";
    ExtensionRequired,     "access.extension",              Peer,     420, "the request requires an extension that is not supported";
    CallLimit,             "admission.calls",               Resource, 503, "as many calls are up as the border may carry";
    PeerCallLimit,         "admission.peer_calls",          Resource, 503, "as many calls are up as this peer may have";
    RateLimit,             "admission.rate",                Resource, 503, "calls come faster than allowed";
    PeerRateLimit,         "admission.peer_rate",           Resource, 503, "calls come from this peer faster than it may begin them";
    PlanCallLimit,         "admission.plan_calls",          Resource, 503, "as many calls are up as the dial plan may have";
    PlanRateLimit,         "admission.plan_rate",           Resource, 503, "calls of the dial plan come faster than allowed";
    TargetCallLimit,       "admission.target_calls",        Resource, 503, "as many calls are under way to the target as may go there (see calls_to of the peer)";
    TargetRateLimit,       "admission.target_rate",         Resource, 503, "calls go to the target as fast as they may (see rate_to of the peer)";
    Occupied,              "admission.occupancy",           Resource, 503, "signalling has no time for more calls just now: of new ones a share is taken, and this one was not in it (see occupancy in admission.toml)";
    MemorySpent,           "admission.memory",              Resource, 503, "the process holds as much memory as it may (see memory in admission.toml)";
    ListenerRemoved,       "listener.removed",              Policy,   503, "the listener it came by was taken out by a reload: calls that are up over it go on, nothing new begins there (over UDP: silence)";
    Draining,              "admission.draining",            Us,       503, "the border is shutting down gracefully";
    NoHuntGroup,           "hunt_group.none",               Policy,   404, "no hunt group of this peer matches the called number (Exchange: UM IP gateway, dial plan or hunt group not located)";
    PlanMismatch,          "dial_plan.uri",                 Peer,     404, "a URI does not fit the dial plan's URI type";
    CallerUnfit,           "dial_plan.caller",              Peer,     403, "the caller's address does not fit the dial plan's URI type, and UM would refuse the call for it (see the plan's unfit_caller and number rules)";
    CallerUnproven,        "dial_plan.caller_unproven",     Policy,   403, "the caller names himself by an extension of the plan, but the peer is not believed in identities (see the plan's extension_callers)";
    DiversionUnfit,        "diversion.unfit",               Peer,     404, "no diverting user fits the dial plan, so that UM could name no mailbox (see unfit of the UM pool's diversion, digits and number rules of the plan)";
    IntervalTooSmall,      "call.interval_too_small",       Peer,     422, "the session interval asked for is below our Min-SE (RFC 4028)";
    PrackMissing,          "call.prack_missing",            Peer,     504, "a reliable provisional response was never acknowledged (RFC 3262)";
    MediaType,             "media.type",                    Peer,     415, "the body is neither application/sdp nor holds such a part";
    ModeTransport,         "security_mode.transport",       Policy,   403, "the transport is below the security mode";
    ModeMedia,             "security_mode.media",           Policy,   488, "the media profile is below, or not, what the security mode demands";
    ModeInterwork,         "security_mode.interwork",       Policy,   403, "the peer's mode is below the dial plan's and the plan does not name it in interwork";
    FaxUnprotected,        "security_mode.fax",             Policy,   488, "T.38 fax was offered, and a leg of the call demands SRTP: UDPTL cannot be protected by SDES keys, the fax must stay in G.711";
    CodecRefused,          "media.codecs",                  Policy,   488, "no codec that a description names is among the `codecs` of the peers on both sides: nothing is transcoded";
    FaxDeclined,           "media.fax",                     Policy,   488, "T.38 fax was offered by or to a peer whose `fax` is not t38: the fax must stay in G.711";
    KeysInClear,           "security_mode.keys_in_clear",   Peer,     488, "SRTP keys came over an unencrypted leg";
    MediaUnacceptable,     "media.unacceptable",            Peer,     488, "the session description offers nothing both sides can use";
    MediaMalformed,        "media.malformed",               Peer,     488, "the session description cannot be read";
    MediaFingerprint,      "media.fingerprint",             Peer,     488, "the session description is to be keyed by DTLS and announces no certificate that proves anything (a=fingerprint of SHA-256 or better), or no handshake (a=setup)";
    MediaKeying,           "media.keying",                  Peer,     488, "the DTLS handshake that keys the media came to nothing: see the fact told of it, and whether the peer is keying = \"dtls\"";
    MediaMux,              "media.rtcp_mux",                Peer,     488, "RTCP was to share the port of RTP (a=rtcp-mux) with payload types of 64 to 95 listed, which look like RTCP there (RFC 5761 section 4)";
    MediaPorts,            "media.ports",                   Resource, 503, "no media ports are free, or they could not be bound";
    MediaSharedKeys,       "media.shared_keys",            Peer,     488, "SRTP keys are shared by both legs (`srtp_passthrough`), and what the peer answers or changes would have packets changed, or its key without the other peer knowing; take `srtp_passthrough` from one of the two peers";
    MediaWorker,           "media.worker",                  Us,       503, "the thread that carried the call's media has ended by a fault, and was started anew: the log has the fault";
    MediaSilent,           "media.silent",                  Peer,     0,   "no media from either side for the configured time";
    TollDenied,            "toll.denied",                   Policy,   403, "a toll rule denies calls to this number";
    TollNoRule,            "toll.no_rule",                  Policy,   403, "no toll rule allows calls to this number, and it is no extension of the plan";
    NoRoute,               "routing.none",                  Policy,   404, "nowhere to send this call";
    SharedDomain,          "routing.shared_domain",         Policy,   404, "the called SIP URI is of the shared SIP address space (shared_domains): no trunk can reach who lives there";
    OutcallsRefused,       "routing.outcalls",              Policy,   403, "no gateway of the dial plan takes calls that UM makes (outcalls)";
    LocateFailed,          "locating.failed",               Resource, 503, "the target's name could not be resolved";
    TargetsExhausted,      "failover.exhausted",            Resource, 503, "every target was tried and none answered";
    TargetTimeout,         "failover.timeout",              Peer,     408, "the target did not answer in time";
    TargetUnreachable,     "failover.unreachable",          Peer,     503, "the target could not be reached";
    TargetCertificate,     "failover.certificate",          Peer,     503, "the target's certificate did not verify";
    TargetUnavailable,     "failover.unavailable",          Peer,     503, "the target answered 503";
    LivenessUp,            "liveness.up",                   None,     0,   "the address answers";
    LivenessUnknown,       "liveness.unknown",              None,     0,   "the address is watched from now on and has not answered yet";
    LivenessRecovering,    "liveness.recovering",           None,     0,   "the address answers again, and is up when it has done so twice";
    LivenessDamped,        "liveness.damped",               Peer,     0,   "the address went up and down so often that it must answer longer before it is up";
    LivenessTimeout,       "liveness.timeout",              Peer,     0,   "no answer to OPTIONS in time (Exchange events 1088 and 1400)";
    LivenessUnreachable,   "liveness.unreachable",          Peer,     0,   "OPTIONS could not be sent: the connection was refused or lost, or there is no way there (Exchange events 1088 and 1400)";
    LivenessStatus,        "liveness.status",               Peer,     0,   "OPTIONS was answered with 408 or a 5xx that shows no life";
    LivenessDraining,      "liveness.draining",             Peer,     0,   "OPTIONS was answered with 503: the peer takes no new calls";
    LivenessUnwatched,     "liveness.unwatched",            None,     0,   "the address is watched no more: it left the peer table, or its peer has no probe now";
    RedirectUntrusted,     "redirection.untrusted",         Peer,     502, "a redirect led to a host that is no trusted UM server of the pool";
    RedirectDowngrade,     "redirection.downgrade",         Peer,     502, "a redirect led to a weaker transport";
    RedirectLoop,          "redirection.loop",              Peer,     502, "a redirect led to a target already tried";
    RedirectTooDeep,       "redirection.too_deep",          Peer,     502, "more redirects than allowed";
    RedirectEmpty,         "redirection.empty",             Peer,     502, "a redirect without a usable Contact";
    UmUnavailable,         "route.um_unavailable",          Resource, 503, "Unified Messaging cannot be had: the call goes over the PSTN where its plan says so (Lync: event 44009, ms-diagnostics 15030)";
    RerouteNowhere,        "route.no_number",               Policy,   503, "the plan's reroute has no number for what this call is for";
    RerouteLoop,           "route.loop",                    Policy,   482, "the call came from a reroute number, or went to one just now: sent on, it would go round";
    RerouteLimit,          "route.limit",                   Resource, 503, "as many calls are under way to the reroute number as may";
    Rejected,              "call.rejected",                 Peer,     480, "the called side refused the call";
    Transferred,           "call.transferred",              None,     0,   "the leg was taken into another call by a transfer";
    TransferTarget,        "transfer.target",               Policy,   403, "the target is neither a number, nor a UM server of the pool, nor the plan's fax server";
    TransferMethod,        "transfer.method",               Policy,   403, "REFER asks for another method than INVITE";
    TransferReferTo,       "transfer.refer_to",             Peer,     400, "Refer-To is missing, given more than once, or cannot be read";
    TransferPending,       "transfer.pending",              None,     491, "an earlier transfer of this call is still under way";
    TransferLimit,         "transfer.limit",                Policy,   403, "the call has been transferred as often as a call may be";
    TransferDialog,        "transfer.dialog",               Peer,     481, "the dialog to be replaced is none of this peer's";
    TransferElsewhere,     "transfer.elsewhere",            None,     481, "the dialog to be replaced is not of this process, and another takes over: calls of two processes cannot be joined";
    TransferFailed,        "transfer.failed",               Peer,     0,   "the transfer failed, who transferred had left, and the caller could not be taken back";
    HeldTooLong,           "call.held_too_long",            Peer,     0,   "the call was on hold longer than a call may be";
    NoAnswer,              "call.no_answer",                Peer,     408, "it rang longer than allowed (timer C)";
    CallerGone,            "call.caller_gone",              Peer,     503, "the caller has closed its connection, and cannot be reached by another";
    AckMissing,            "call.ack_missing",              Peer,     0,   "the 2xx was never acknowledged";
    SessionExpired,        "call.session_expired",          Peer,     0,   "the session was not refreshed in time (RFC 4028)";
    DialogGone,            "call.dialog_gone",              Peer,     481, "the peer no longer knows the dialog";
    RequestRefused,        "request.refused",               Peer,     480, "the other side refused a request of ours outside a call";
    MwiEvent,              "message_waiting.event",         Peer,     489, "a NOTIFY outside a dialog that is not about waiting messages";
    MwiContentType,        "message_waiting.content_type",  Peer,     415, "a notice of waiting messages whose body is no simple-message-summary";
    MwiBody,               "message_waiting.body",          Peer,     400, "a notice of waiting messages that cannot be read, or names no mailbox";
    MwiRate,               "message_waiting.rate",          Resource, 480, "notices of waiting messages come faster than they are taken";
    MwiNoGateway,          "message_waiting.no_gateway",    Policy,   404, "no gateway is told of this mailbox's waiting messages (mwi, mwi_accounts)";
    MwiUndelivered,        "message_waiting.undelivered",   Peer,     480, "the gateway could not be told of waiting messages, or refused to be";
    Malformed,             "message.malformed",             Peer,     400, "not a well-formed SIP message";
    TooManyHops,           "message.max_forwards",          Peer,     483, "Max-Forwards has reached zero";
    Loop,                  "message.loop",                  Peer,     482, "the request has come through here before";
    HeaderTooLarge,        "message.header_too_large",      Peer,     513, "the header part is over the limit";
    BodyTooLarge,          "message.body_too_large",        Peer,     413, "the body is over the limit";
    UnsupportedScheme,     "message.uri_scheme",            Peer,     416, "the Request-URI's scheme is not supported";
    UnsupportedVersion,    "message.version",               Peer,     505, "the SIP version is not 2.0";
    NoSuchDialog,          "message.no_dialog",             Peer,     481, "no call or transaction matches";
    GlareRetry,            "message.glare",                 None,     491, "an offer is already under way in this dialog";
    ServerBusy,            "message.invite_pending",        None,     500, "an earlier INVITE of this dialog is still unanswered";
    Overload,              "load.overload",                 Resource, 503, "the border has more work than it can do in time";
    Shutdown,              "call.shutdown",                 Us,       503, "the border ended the call at the end of its drain time";
    Operator,              "call.operator",                 None,     480, "an operator ended the call";
    Answered,              "request.answered",              None,     200, "the request was answered";
}

impl Reason {
    pub fn of_code(code: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.code() == code)
    }

    /// Event numbers under which Exchange's Unified Messaging tells of the same: what an administrator of Exchange may search for.
    pub const fn exchange_events(self) -> &'static [u16] {
        match self {
            Reason::PeerAmbiguous => &[1175],
            Reason::PlanMismatch | Reason::CallerUnfit => &[1021],
            Reason::DiversionUnfit => &[1109],
            Reason::MwiRate | Reason::MwiNoGateway | Reason::MwiUndelivered => &[1344],
            Reason::UmUnavailable => &[44009, 15030],
            Reason::TransferFailed => &[1025, 1136],
            _ => &[],
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// One step of the border's deliberation.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Decision {
    /// The file of `policy/` that decided, which is also the policy set's file: `hunt_group`, `security_mode`, …
    pub stage: &'static str,
    /// The rule, as an operator finds it: `hunt group "main"`, `default`.
    pub rule: Cow<'static, str>,
    /// `None`: passed.
    pub refused: Option<Reason>,
    /// What was compared with what: name and value.
    pub compared: Vec<(&'static str, Cow<'static, str>)>,
}

impl Decision {
    pub fn passed(stage: &'static str, rule: impl Into<Cow<'static, str>>) -> Decision {
        Decision { stage, rule: rule.into(), refused: None, compared: Vec::new() }
    }

    pub fn refused(stage: &'static str, rule: impl Into<Cow<'static, str>>, reason: Reason) -> Decision {
        Decision { stage, rule: rule.into(), refused: Some(reason), compared: Vec::new() }
    }

    pub fn comparing(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Decision {
        self.compared.push((name, value.into()));
        self
    }
}
