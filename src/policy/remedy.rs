//! What an operator does about each reason: one sentence, the first thing to look at or to change. What a reason means is `verdict`'s; here is what follows from it.

use crate::policy::verdict::Reason;

/// Declares what to do about each: a reason left out does not compile.
macro_rules! remedies {
    ($($($variant:ident)|+ => $remedy:literal,)*) => {
        impl Reason {
            /// What to do, in one sentence without its full stop.
            pub const fn remedy(self) -> &'static str {
                match self { $($(Reason::$variant)|+ => $remedy,)* }
            }
        }
    };
}

remedies! {
    NormalClearing | Answered | LivenessUp => "nothing: all is well",
    Transferred => "nothing: its sound is now in the call it was taken into, which the record names",
    Cancelled => "nothing, unless many do after the same time: then see in `portcullis ladder CALL` what they waited for",
    Operator => "see who and why in `portcullis show audit`",
    Shutdown => "give `drain` more time, or take over with `portcullis run SET --take-over`, which ends no call",
    ListenerRemoved => "point the peer at a listener that is in force (`portcullis show listeners`), or write this one into border.toml again and reload",
    Draining => "`portcullis resume` takes calls again; until then peers should send them elsewhere",
    StrangerAddress => "if it is a peer, write its address into `hosts` of peers.toml with its transport; else leave it, or ban it",
    StrangerCertificate => "compare the names in the log with the peer's `tls_names`, and its chain with the peer's `ca`",
    PeerAmbiguous => "give each peer its `tls_names`, make them one, or write `prefer = true` for the one that is meant",
    TlsNoCertificate => "have the other end show its certificate (mutual TLS), or write `mutual = false` for a phone that has none",
    TlsUnknownIssuer => "put the CA its chain ends at, which the log names, into the peer's `ca`, with any intermediate it does not send",
    TlsExpired => "renew the certificate the log names; `portcullis show certs` says which of ours end soon",
    TlsNotYetValid => "compare the clocks of both ends (NTP), then the certificate's first day",
    TlsRevoked => "the other end needs a new certificate; do not switch `crl` off for it",
    TlsRevocationUnknown => "see in `portcullis show certs` why the CRL is old or missing and let it be fetched again",
    TlsUsage => "have it issued anew with serverAuth and clientAuth, or write `server_certificate_as_client = true` for a peer whose CA issues no other",
    TlsName => "write the name it carries into the peer's `tls_names` if it is the right one, or have it issued with the name expected",
    TlsBadCertificate => "look at it with `portcullis certs inspect`: it is damaged or signed by a way nobody accepts any more",
    TlsChainLimit => "have the other end send its own certificate and its intermediates only",
    TlsNothingShared => "allow TLS 1.2 or 1.3 with AES-GCM at the other end; for Windows Server 2012 R2 see `tls_backend`",
    TlsOursRefused => "have the other end trust the CA of our certificate and expect the name in it",
    TlsTimeout => "see whether it speaks TLS on that port at all, whether it is overloaded, and what lies between",
    TlsHandshakeRate => "see why the peer does not keep its connections open, or raise `handshake_rate` in `[limits]`",
    TlsBroken => "see whether the other end speaks TLS on that port, and its own log of the same second",
    TlsUnprepared => "write `certificate`, `key` and `ca` for it; `portcullis check` names what is missing",
    FirewallStranger => "nothing; if it is a peer, write its address into peers.toml",
    FirewallTransport => "have the peer use the transport of its entry in peers.toml, or change that",
    FirewallBanned => "`portcullis show bans` says why and until when; `portcullis unban SOURCE` ends it",
    FirewallMediaClosed => "nothing, if it is late packets of a call that is over; else see from where, and ban it",
    BanTrusted => "take the peer out of peers.toml first, or set its `status = \"disabled\"`",
    BanFull => "let bans end, or ban networks instead of single addresses",
    BanUnknown => "`portcullis show bans` lists them as they were made: lift exactly that one",
    PeerDisabled => "set the peer's `status = \"enabled\"` and reload, if it is to call again",
    PeerNoNewCalls => "set the peer's `status = \"enabled\"` and reload, once it may take calls",
    PeerRemoved => "put it back into peers.toml, or see in `portcullis show peers` what DNS says of its name now",
    MethodNotAllowed => "nothing, unless the peer needs it: `refer` lets it transfer, other methods are not supported",
    NotAllowedHere => "see in `portcullis ladder` what it asked for, and whether the peer's kind is the right one",
    ExtensionRequired => "switch the extension off at the peer; the response's Unsupported says which",
    CallLimit => "`portcullis show limits` says who has them; raise `calls` in admission.toml if the machine carries more",
    PeerCallLimit => "`portcullis show limits`: has its traffic grown, raise the peer's `calls`; else find out why it calls so much",
    RateLimit => "find out in `portcullis show records` who calls so often; raise `rate` in admission.toml if that is wanted",
    PeerRateLimit => "find out why it calls so often (a loop, a dialler), or raise the peer's `rate`",
    PlanCallLimit => "raise `calls` of the dial plan, if what it leads to carries more",
    PlanRateLimit => "raise `rate` of the dial plan, if what it leads to carries more",
    TargetCallLimit => "add targets to the pool or the plan, or raise the peer's `calls_to` to what it really carries",
    TargetRateLimit => "add targets to the pool or the plan, or raise the peer's `rate_to` to what it really carries",
    Occupied => "limit who calls too much (`portcullis show limits`), log less, or give the border a faster core",
    MemorySpent => "grant the process more memory, or limit calls in admission.toml to what it has",
    Overload => "as for admission.occupancy: limit who sends too much, or give the border a faster core",
    NoHuntGroup => "compare the number in the log with the peer's pilots in hunt_groups.toml; a group without `pilot` takes all others",
    PlanMismatch => "translate the number by a rule of the plan's `numbers`, or set the plan's `uri_type` and `digits` right",
    CallerUnfit => "translate the caller by a number rule, or write `unfit_caller` for the plan so that the call goes on without",
    CallerUnproven => "write `identity = true` for a peer that answers for its callers, or set the plan's `extension_callers`",
    DiversionUnfit => "translate the diverting number by a rule of the plan, or change `unfit` of the pool's diversion",
    TollDenied => "if the call is wanted, change the rule the log names in toll.toml",
    TollNoRule => "if the call is wanted, add a rule to toll.toml that allows its number",
    NoRoute => "see in the decisions which plan or pool has no enabled target; `portcullis explain` shows the same without a call",
    SharedDomain => "take the user's domain out of `shared_domains` if a trunk does reach it; else nothing",
    OutcallsRefused => "write `outcalls = true` for a gateway of the plan, if UM may call by it",
    UmUnavailable => "see in `portcullis show peers` which UM servers do not answer, and bring them back",
    RerouteNowhere => "write `auto_attendant` and `subscriber_access` in the plan's `reroute`",
    RerouteLoop => "have the PSTN lead the reroute number elsewhere than back here",
    RerouteLimit => "raise `limit` of the plan's `reroute` if the number takes more, and bring UM back",
    ModeTransport => "have the peer use TLS, or lower its `mode` if its calls may travel in clear",
    ModeMedia => "have the peer offer SRTP (or plain RTP) as its `mode` says, or change the mode to what it really speaks",
    ModeInterwork => "raise the peer's `mode`, or name it in the plan's `interwork` if weaker calls may come in by it",
    FaxUnprotected => "have the peer send faxes in G.711, or make both legs `unsecured`",
    FaxDeclined => "write `fax = \"t38\"` for the peer if it does T.38, else have the sender use G.711",
    KeysInClear => "have the peer use TLS for its signalling, or offer no keys",
    CodecRefused => "add a codec that both sides have to `codecs` of the peers the log names",
    MediaUnacceptable => "see the offer in `portcullis ladder CALL`: have the peer offer one audio stream of a kind both sides do",
    MediaMalformed => "see the description in `portcullis ladder CALL` and report it to the peer's maker",
    MediaType => "have the peer send application/sdp; `portcullis ladder CALL` shows what came",
    MediaFingerprint => "have the peer send a=fingerprint of SHA-256 and a=setup, or write `keying = \"sdes\"` for it",
    MediaKeying => "see the fact before it in `portcullis ladder CALL`, and whether UDP passes between both media addresses",
    MediaMux => "write `rtcp_mux = false` for the peer, or have it use payload types outside 64 to 95",
    MediaPorts => "widen the port range in `[media]`: one call takes two pairs on each side; `portcullis show status` says how many are used",
    MediaSharedKeys => "take `srtp_passthrough` from one of the two peers",
    MediaWorker => "report the fault with the log's lines before it; calls of the other threads went on",
    MediaSilent => "look for a firewall between here and both media addresses of the record",
    LocateFailed => "`portcullis show peers` says what DNS answers for the name; see the name servers, or write an address",
    TargetsExhausted => "see in `portcullis ladder CALL` what each target did, and `portcullis show peers`",
    TargetTimeout => "see whether the target runs and knows this border by its name (a UM IP gateway), and what drops SIP on the way",
    TargetUnreachable => "see whether the target runs and listens at that port, and what lies between",
    TargetCertificate => "the decision's `tls` names the fault: then as for that `tls.` code",
    TargetUnavailable => "see at the target why it takes no calls; the next one was tried meanwhile",
    LivenessUnknown => "nothing: the first answer decides",
    LivenessRecovering => "nothing: the next answer decides",
    LivenessUnwatched => "nothing, unless it should be watched: write `probe` for the peer",
    LivenessDamped => "find what goes up and down, the peer or the way to it: the log has each change",
    LivenessTimeout => "see whether the peer runs, and knows this border (UM answers its UM IP gateways only)",
    LivenessUnreachable => "see whether the peer listens at that port, and the route and firewall to it",
    LivenessStatus => "see at the peer what its answer means: it is there and does not do well",
    LivenessDraining => "nothing, if the peer is being taken down; else see why it answers 503",
    RedirectUntrusted => "write the server the log names into `servers` of the pool and into peers.toml, if it is one of yours",
    RedirectDowngrade => "have UM redirect to TLS, as it was called",
    RedirectLoop => "see at UM why it redirects in a circle: each redirect is in `portcullis ladder CALL`",
    RedirectTooDeep => "see at UM why it redirects so often, or raise `max_redirects` of the pool",
    RedirectEmpty => "see at UM why it redirects to nowhere (no server of the pool may be up)",
    Rejected => "see in the record with which status, and at that side why",
    NoAnswer => "nothing, unless nobody ever answers there: then see who is called in `portcullis ladder CALL`",
    CallerGone => "look at the caller: why it closes its connection in the middle of a call and listens nowhere",
    AckMissing => "see whether our 2xx reaches the caller: NAT or a firewall between, a Contact it cannot reach",
    PrackMissing => "see whether our 18x reaches the caller, and whether it does 100rel as it says",
    IntervalTooSmall => "have the peer ask for a session interval of our Min-SE or more",
    SessionExpired => "see whether the side that was to refresh is still there, and lets re-INVITE or UPDATE through",
    DialogGone => "see at the peer why it forgot the call: a restart, or another server of it answered",
    HeldTooLong => "nothing, if it was forgotten on hold; who needs a call held for hours must take it up in between",
    TransferTarget => "add what UM refers to: a number toll.toml allows, a server of the pool, or the plan's `fax_server`",
    TransferMethod | TransferReferTo => "see the REFER in `portcullis ladder CALL` and report it to the peer's maker",
    TransferPending => "nothing: the peer asks again once the first is through",
    TransferLimit => "see in `portcullis ladder CALL` who transfers in a circle",
    TransferDialog => "see whether the call it names is up here; one that another border carries cannot be joined",
    TransferElsewhere => "nothing: who transfers keeps both calls; when the old process has ended, transfers are as ever",
    TransferFailed => "see in `portcullis ladder CALL` why the target was not to be had",
    RequestRefused => "see the other side's status in the log, and there why",
    MwiEvent | MwiContentType | MwiBody => "see what UM sent with `portcullis trace`; only simple-message-summary is taken",
    MwiRate => "nothing, if UM tells of all mailboxes at once, since it tells again; else see why it does so often",
    MwiNoGateway => "write `mwi = true` for the gateway of that mailbox, and its numbers into `mwi_accounts`",
    MwiUndelivered => "see why the gateway refuses NOTIFY; UM tells again",
    Malformed | UnsupportedVersion => "see from whom in the log; of a peer, report it to its maker with the message",
    TooManyHops => "see in its Vias and Record-Routes where the request went round",
    Loop => "find who sends our requests back to us: a route, a forwarded number, a proxy",
    HeaderTooLarge | BodyTooLarge => "see from whom in the log: a header of over 16 KiB or a body of over 64 KiB is no call's; its sender has to send less",
    UnsupportedScheme => "have the peer call sip, sips or tel URIs",
    NoSuchDialog => "nothing, if it is late; many say that the peer lost or mixed up our calls, or the border was restarted",
    GlareRetry | ServerBusy => "nothing: the peer asks again",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_a_sentence_that_fits_a_table() {
        for reason in Reason::ALL {
            let remedy = reason.remedy();
            assert!(remedy.len() >= 20 && !remedy.ends_with('.'), "{reason}: {remedy:?}");
            assert!(!remedy.contains('|') && !remedy.contains('\n'), "{reason}: it stands in a table");
        }
    }
}
