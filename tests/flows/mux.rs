//! A trunk whose RTCP may share the port of RTP calls UM, which is never told of such a thing.

use std::sync::Arc;

use portcullis::media::control::{Command as MediaCommand, Side};
use portcullis::sip::Method;

use crate::lab::{Callee, Caller, Lab, Party, Scene, hang_up};

fn shared(lab: &Lab, of: Side) -> Option<bool> {
    lab.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { side, set, .. } if *side == of => set.mux,
        _ => None,
    })
}

#[test]
fn one_port_towards_the_trunk_and_two_towards_um() {
    for scene in Scene::everywhere() {
        for allowed in [true, false] {
            let mut lab = Lab::with(scene.clone(), |set| {
                // UM is not offered it even if somebody had written it there.
                for peer in &mut set.peers {
                    Arc::make_mut(peer).rtcp_mux = allowed;
                }
            });
            let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
            let offer = lab.sdp_saying(Party::Trunk, 4000, "a=rtcp-mux\na=sendrecv\n");
            caller.invite(&mut lab, "", &offer);
            lab.response_to(Party::Trunk, 100);
            let invite = lab.request_to(Party::Router, Method::Invite);
            assert!(!invite.sdp().contains("rtcp-mux"), "{}", invite.sdp());
            let callee = Callee::new(Party::Router, invite, "b1");
            let answer = lab.sdp(Party::Router, 6000);
            callee.answer(&mut lab, 200, "", &answer);
            let answer = lab.response_to(Party::Trunk, 200);
            assert_eq!(answer.sdp().contains("a=rtcp-mux"), allowed, "{}", answer.sdp());
            caller.learn(&answer);
            caller.ack(&mut lab, "");
            lab.request_to(Party::Router, Method::Ack);
            assert_eq!((shared(&lab, Side::A), shared(&lab, Side::B)), (Some(allowed), Some(false)));
            hang_up(&mut lab, &mut caller, &callee);
            lab.finish();
        }
    }
}
