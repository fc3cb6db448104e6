//! Any bytes as an RTCP compound: walking and concealing never panic; the packets stay the same in kind and size; concealing twice is concealing once.

use portcullis::media::{rtcp, rtp};

pub fn run(data: &[u8]) {
    if let Ok(header) = rtp::Header::parse(data) {
        assert!(header.length <= data.len());
        if let Ok(padding) = header.padding(data) {
            assert!(header.length + padding <= data.len());
        }
    }
    let shape = |bytes: &[u8]| rtcp::packets(bytes).map(|packet| packet.map(|packet| (packet.kind, packet.count, packet.size))).collect::<Vec<_>>();
    let mut concealed = data.to_vec();
    rtcp::conceal(&mut concealed);
    assert_eq!(shape(data), shape(&concealed));
    let once = concealed.clone();
    rtcp::conceal(&mut concealed);
    assert_eq!(once, concealed);
}
