//! The law of the security modes through the whole signalling core: virtual time, no sockets, and an observer (`observer`) that sees every message,
//! media command, fact and record the core emits, and knows nothing but the definitions. `tests/policy_law.rs` does the same for the pure decisions.
//!
//! A full product of all that can vary is out of reach, so there is one product for each set of axes that act on one another, complete in itself:
//!
//! | product | complete over |
//! |---|---|
//! | `setup` | trunk's mode x transport, plan's mode, UM's mode x transport, interwork, direction, offer |
//! | `setup`, certificates | callers that need no certificate: proof shown, plan, other side's mode x transport, direction, offer |
//! | `answers` | legs*, direction, lawful offer, answer, moment (200, 183, reliable 183, forks, late 200) |
//! | `answers`, delayed offers | legs*, direction, the called side's offer, the caller's answer in its ACK |
//! | `changes` | legs*, direction, re-INVITE or UPDATE, side, offer, answer; refreshes of ours: side, method, answer, connection gone or not |
//! | `changes` after changes | legs*, direction, what was before (hold, off, refused, glare, other keys), its side, method, side, offer |
//! | `redirects` | trunk's leg*, plan with router, server's mode x transport, form of Contact, what the server does |
//! | `failovers` | trunk's leg*, plan with first target, second's mode x transport, how the first ends, the second's answer; gateways alike |
//! | `failovers`, locating | trunk's leg*, plan with router, transport and address DNS leads to |
//! | `reload` | legs*, direction, side, its peer's new mode x transport* (and plan), moment, what is said, by the old way or the new |
//! | `strangers` | legs*, direction, side, who speaks in its name and with what proof, moment, what is said |
//! | `colleagues` | legs*, direction, mode x transport of another server of the pool, moment, what is said |
//! | `reload`, removed peers | legs*, direction, side, what becomes of its peer, moment, calls kept or released |
//! | `calls` | legs*, direction, two calls of which one changes |
//! | `contacts` | legs*, direction, side, place named in Contact or Record-Route, when, connection gone or not |
//! | `reports` | legs*, direction, course of the call; what record, metrics and ladder say |
//! | `digits` | legs*, direction, side, type and body of INFO |
//! | `faxes` | legs*, direction, first offer, re-INVITE or UPDATE, side, form of the T.38 offer, answer |
//! | `dtls` | pairs with a leg keyed by DTLS, direction: first offer; lawful offer, answer, moment; re-INVITE or UPDATE, side, offer, answer |
//! | `sharing` | pairs with a leg that may share its SRTP keys, direction: first offer; lawful offer, answer, moment; re-INVITE or UPDATE, side, offer, answer |
//! | `transfers` | legs*, direction, side, REFER inside or outside the call, target |
//!
//! "Legs" are the pairs of what a leg may be: Unsecured over UDP, TCP or TLS, SIP secured, Secured. What a call does once it is admitted depends on its
//! admission by the plans of its two legs alone (`Admitted`), and each pair is reached by a policy set of its own; so the products after `setup` go over
//! pairs of legs instead of policy sets. A star: without optimisation only one leg of each mode is taken (`world::most_legs`); an optimised
//! run takes all five, and so does `MODES_LAW=all`.
//!
//! Each product says how many states it played, and fails if they have become fewer: `cargo test --test modes_law -- --nocapture`. That the observer can
//! fail is shown by `violations`, rule by rule.
//!
//! Not covered: what the media plane does with the commands (`tests/media_relay.rs`), what the network does with the routes (`tests/net_transports.rs`,
//! `tests/tls_certificates.rs`), two changes at once in one message, more than one call at a time but for the difference of their keys, and what a peer
//! writes of its own keys where words are free (a display name, a user part).

mod answers;
mod calls;
mod changes;
mod colleagues;
mod contacts;
mod digits;
mod dtls;
mod failovers;
mod faxes;
mod intrusion;
mod observer;
mod play;
mod profiles;
mod redirects;
mod reload;
mod reports;
mod setup;
mod sharing;
mod stage;
mod strangers;
mod talk;
mod transfers;
mod violations;
mod world;
