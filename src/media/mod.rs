//! Part IV, the media plane: one packet in, one verdict out, in the same buffer.

pub mod control;
pub mod demux;
pub mod e_model;
pub mod events;
pub mod fax;
pub mod flights;
pub mod ice;
pub mod icmp;
pub mod keying;
pub mod latch;
pub mod packet;
pub mod payloads;
pub mod ports;
pub mod protection;
pub mod quality;
pub mod relay;
pub mod rtcp;
pub mod rtp;
pub mod shortcut;
pub mod srtp;
pub mod stun;
pub mod udptl;
pub mod upkeep;
pub mod verdict;
