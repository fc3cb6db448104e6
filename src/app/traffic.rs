//! What the network tells, as the core and whoever watches take it.

use crate::adapters::driver::Input;
use crate::adapters::net::{NetEvent, Parting};
use crate::signaling::event::Event;
use crate::signaling::fact::What;

impl From<NetEvent> for Input {
    fn from(event: NetEvent) -> Input {
        match event {
            NetEvent::Received { flow, bytes } => Input::Event(Event::Received { flow, bytes }),
            NetEvent::Handed { flow, bytes } => Input::Event(Event::Handed { flow, bytes }),
            NetEvent::FlowClosed { flow } => Input::Event(Event::FlowClosed { flow }),
            NetEvent::TransportFailed { id, error } => Input::Event(Event::TransportFailed { id, error }),
            NetEvent::TlsRefused { peer, remote, refusal } => Input::Fact(What::TlsRefused { peer, remote, refusal }),
            NetEvent::Stranger { transport, remote, decision } => Input::Fact(What::Stranger { transport, remote, decision }),
            NetEvent::Untrusted { party: Parting { flow, peer, outbound, age }, decision } => {
                Input::Fact(What::ConnectionUntrusted { flow, peer, outbound, age, decision })
            }
            NetEvent::HandshakesHeld { source, delayed, refused, decision } => Input::Fact(What::HandshakesHeld { source, delayed, refused, decision }),
            NetEvent::Parted { party: Parting { flow, peer, outbound, age } } => Input::Fact(What::ConnectionParted { flow, peer, outbound, age }),
        }
    }
}
