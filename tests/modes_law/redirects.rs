//! Where redirects lead: every form of Contact, to servers of every kind, for every plan and router, seen from every kind of trunk.

use crate::play::{self, Ringing, Way, is_protected};
use crate::profiles::{Answer, Offer};
use crate::stage::{Stage, Tally};
use crate::talk::{Talk, response};
use crate::world::{Kind, MODES, Router, SecurityMode, Server, Snapshot, Tls, Transport, Trunk, World, kinds, most_legs};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lead {
    /// The server's name, no transport said.
    Name,
    NameOver(Transport),
    Sips,
    /// A sips URI that says `transport=tcp`.
    SipsOverTcp,
    Address,
    /// Another name, and the server's address in maddr.
    MaddrToServer,
    /// The server's name, and a stranger's address in maddr.
    MaddrToStranger,
    Stranger,
    StrangerAddress,
    OtherPool,
    /// To where we come from.
    Back,
    /// To the trunk.
    Trunk,
}

const LEADS: [Lead; 14] = [
    Lead::Name,
    Lead::NameOver(Transport::Udp),
    Lead::NameOver(Transport::Tcp),
    Lead::NameOver(Transport::Tls),
    Lead::Sips,
    Lead::SipsOverTcp,
    Lead::Address,
    Lead::MaddrToServer,
    Lead::MaddrToStranger,
    Lead::Stranger,
    Lead::StrangerAddress,
    Lead::OtherPool,
    Lead::Back,
    Lead::Trunk,
];

impl Lead {
    fn contact(self, world: &World) -> String {
        let spoken = world.server.transport.uri_token();
        match self {
            Lead::Name => "<sip:1000@server.test>".into(),
            Lead::NameOver(transport) => format!("<sip:1000@server.test;transport={}>", transport.uri_token()),
            Lead::Sips => "<sips:1000@server.test>".into(),
            Lead::SipsOverTcp => "<sips:1000@server.test;transport=tcp>".into(),
            Lead::Address => format!("<sip:1000@198.51.100.30:{};transport={spoken}>", world.server.port()),
            Lead::MaddrToServer => format!("<sip:1000@elsewhere.example;maddr=198.51.100.30;transport={spoken}>"),
            Lead::MaddrToStranger => format!("<sip:1000@server.test;maddr=203.0.113.66;transport={spoken}>"),
            Lead::Stranger => format!("<sip:1000@stranger.test;transport={spoken}>"),
            Lead::StrangerAddress => format!("<sip:1000@203.0.113.66;transport={spoken}>"),
            Lead::OtherPool => format!("<sip:1000@foreign.test;transport={}>", world.foreign.transport.uri_token()),
            Lead::Back => format!("<sip:1000@198.51.100.20:{};transport={}>", world.router.port(), world.router.transport.uri_token()),
            Lead::Trunk => format!("<sip:1000@trunk.test;transport={}>", world.trunk.transport.uri_token()),
        }
    }

    /// The transport it stands for, where it leads to the server.
    fn transport(self, world: &World) -> Option<Transport> {
        match self {
            Lead::Name => Some(world.router.transport),
            Lead::NameOver(transport) => Some(transport),
            Lead::Sips | Lead::SipsOverTcp => Some(Tls),
            Lead::Address | Lead::MaddrToServer => Some(world.server.transport),
            Lead::MaddrToStranger | Lead::Stranger | Lead::StrangerAddress | Lead::OtherPool | Lead::Back | Lead::Trunk => None,
        }
    }

    /// Whether the definitions let it be followed: to the server, by its own transport, no weaker than the one in use, with a leg it can carry.
    fn is_lawful(self, world: &World) -> bool {
        let by = self.transport(world);
        by == Some(world.server.transport) && world.server.transport >= world.router.transport && world.can_carry(Server)
    }
}

/// What the server does that the redirect led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Answers(Answer),
    /// Back to the router, which was tried.
    RedirectsBack,
    Early(Answer),
}

const THENS: [Then; 6] = [
    Then::Answers(Answer::Good),
    Then::Answers(Answer::Rtp),
    Then::Answers(Answer::Srtp),
    Then::Answers(Answer::SrtpWithoutKey),
    Then::RedirectsBack,
    Then::Early(Answer::Good),
];

/// Every plan with the routers that can serve it: 8 pairs.
pub fn plans_with_routers() -> impl Iterator<Item = (SecurityMode, Kind)> {
    MODES.into_iter().flat_map(|plan| {
        let serves = move |um: &Kind| um.mode <= plan && World::of(*um, plan, *um).can_carry(Router);
        kinds().filter(serves).map(move |um| (plan, um))
    })
}

/// Complete, over most legs of the trunk: 8 plans with routers x 9 kinds of server x 14 Contacts x, where it is followed, 6 things the server does.
/// The router has given an early answer before, or has not.
#[test]
fn no_redirect_leads_to_a_weaker_leg() {
    let mut tally = Tally::new("redirects");
    for trunk in most_legs() {
        for (plan, router) in plans_with_routers() {
            for server in kinds() {
                let interwork = if trunk.mode < plan { vec![Trunk] } else { Vec::new() };
                let snapshot = Snapshot::new(1, World { server, interwork, ..World::of(*trunk, plan, router) });
                for lead in LEADS {
                    for then in THENS {
                        if !one(&mut tally, &snapshot, *trunk, lead, then) {
                            break;
                        }
                    }
                }
            }
        }
    }
    tally.finish(8765, 5259);
}

fn one(tally: &mut Tally, snapshot: &Snapshot, trunk: Kind, lead: Lead, then: Then) -> bool {
    let world = snapshot.world.clone();
    let what = || format!("trunk {trunk:?}, plan {:?}, router {:?}, server {:?}, {lead:?}, {then:?}", world.plan, world.router, world.server);
    let mut stage = Stage::new(snapshot);
    let ringing = play::call(&mut stage, Way::In, Offer::proper(trunk)).unwrap_or_else(|status| panic!("refused, {status}: {}\n{}", what(), stage.ladder()));
    if matches!(then, Then::Early(_)) {
        let early = ringing.answer_text(&mut stage, Answer::Good);
        ringing.b.reply(&mut stage, &ringing.invite.clone(), 183, "", &early);
    }
    let moved = response(&ringing.invite, 302, "r1", &format!("Contact: {}\r\n", lead.contact(&world)), "");
    stage.say(&ringing.invite.flow.clone(), &moved);
    let Some(invite) = stage.request_to(Server, "INVITE") else {
        tally.expect(!lead.is_lawful(&world), &stage, || format!("a lawful redirect was not followed: {}", what()));
        tally.state(stage, what);
        return false;
    };
    tally.expect(lead.is_lawful(&world), &stage, || format!("an unlawful redirect was followed: {}", what()));
    let b = Talk::callee(&invite, "s1");
    let server = Kind { mode: world.demanded(Server), ..world.server };
    let ringing = Ringing { b, invite, ..ringing };
    match then {
        Then::Answers(answer) | Then::Early(answer) => {
            let text = ringing.answer_text(&mut stage, answer);
            let up = ringing.answered(&mut stage, &text).is_ok();
            tally.expect(up == answer.is_lawful(server), &stage, || format!("up: {up}: {}", what()));
            tally.up += u64::from(up);
            tally.expect(!up || is_protected(&stage, trunk, server), &stage, || format!("media: {:?}: {}", stage.observer.sides(), what()));
        }
        Then::RedirectsBack => {
            let back = response(&ringing.invite, 302, "s1", &format!("Contact: {}\r\n", Lead::Back.contact(&world)), "");
            stage.say(&ringing.invite.flow.clone(), &back);
            tally.expect(stage.request_to(Router, "INVITE").is_none(), &stage, || format!("round in a circle: {}", what()));
        }
    }
    tally.state(stage, what);
    true
}
