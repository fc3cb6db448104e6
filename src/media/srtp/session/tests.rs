//! RFC 7714 §16 and §17, at the level of session keys: 00 01 02 …, salt "Quid pro quo".

use super::*;
use crate::media::srtp::keys::tests::hex;

const SALT: &[u8; 12] = b"Quid pro quo";
const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
const FACTS: Facts = Facts { ssrc: 0x5501_a0b2, index: 0xf17b, header: 12 };
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
const INDEX: u32 = 0x5d4;

fn aead(length: u8) -> Aead {
    let key: Vec<u8> = (0..length).collect();
    Aead::new(&key, SALT).unwrap()
}

fn suite(length: u8) -> Suite {
    if length == 16 { Suite::AeadAes128Gcm } else { Suite::AeadAes256Gcm }
}

#[test]
fn section_16_1_and_16_2() {
    let short = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
        899d7f27beb16a9152cf765ee4390cce";
    let long = "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
        7aa3db36dfffd6b0f9bb7878d7a76c13";
    for (length, sealed) in [(16, hex(short)), (32, hex(long))] {
        let session = Session::Aead(aead(length));
        let mut message = hex(RTP);
        let mut trailer = [0; 16];
        session.seal(FACTS, &mut message, &mut trailer, &[]).unwrap();
        assert_eq!([&message[..], &trailer].concat(), sealed);
        assert!(session.is_authentic(FACTS, &message, &trailer));
        assert!(!session.is_authentic(Facts { index: 0x1_f17b, ..FACTS }, &message, &trailer), "the ROC is part of the nonce");
        assert_eq!(message, sealed[..50], "a check changes nothing");
        assert!(session.open(FACTS, &mut message, &trailer));
        assert_eq!(message, hex(RTP));
    }
}

#[test]
fn section_17_1_and_17_2() {
    let short = "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b
        c84aa45896cf4d2fc5abf87245d9eade800005d4";
    let long = "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad
        1d1eb30c4446839f57ff6f6cb26ac3be800005d4";
    for (length, sealed) in [(16, hex(short)), (32, hex(long))] {
        let (session, clear) = (RtcpSession::Aead(aead(length)), hex(RTCP));
        let layout = RtcpLayout::behind(clear.len(), suite(length), 0);
        let mut packet = clear.clone();
        packet.resize(sealed.len(), 0);
        session.seal(INDEX, &mut packet, layout, &[]).unwrap();
        assert_eq!(packet, sealed);
        let mut damaged = packet.clone();
        damaged[20] ^= 1;
        let before = damaged.clone();
        assert!(!session.open(&mut damaged, layout) && damaged == before, "refused and left as it was");
        assert!(session.open(&mut packet, RtcpLayout::of(sealed.len(), suite(length), 0).unwrap()));
        assert_eq!(packet[..clear.len()], clear);
    }
}

/// §17.3: tagged, not encrypted, the E flag clear.
#[test]
fn section_17_3() {
    let session = RtcpSession::Aead(aead(16));
    let mut packet = [hex(RTCP), hex("841dd9683dd78ec92ae58790125f62b3000005d4")].concat();
    let layout = RtcpLayout::of(packet.len(), Suite::AeadAes128Gcm, 0).unwrap();
    let before = packet.clone();
    assert!(session.open(&mut packet, layout));
    assert_eq!(packet, before);
    packet[layout.word] ^= 0x80;
    let before = packet.clone();
    assert!(!session.open(&mut packet, layout), "the E flag is authenticated");
    assert_eq!(packet, before);
    packet[layout.word] ^= 0x80;
    packet[9] ^= 1;
    let before = packet.clone();
    assert!(!session.open(&mut packet, layout));
    assert_eq!(packet, before);
}

#[test]
fn the_mki_stands_behind_the_tag_of_aead_and_before_that_of_hmac() {
    let session = Session::Aead(aead(16));
    let mut message = hex(RTP);
    let mut trailer = [0; 18];
    session.seal(FACTS, &mut message, &mut trailer, &[7, 8]).unwrap();
    assert_eq!(trailer[..16], hex("899d7f27beb16a9152cf765ee4390cce"), "RFC 7714 §8.1, figure 1");
    assert_eq!(session.part(&trailer, 2), (&trailer[..16], &[7, 8][..]));
    let word = RtcpLayout::behind(40, Suite::AeadAes128Gcm, 2);
    assert_eq!((word.tag, word.word, word.mki), (40, 56, 60));
    let word = RtcpLayout::behind(40, Suite::AesCm128HmacSha1_80, 2);
    assert_eq!((word.word, word.mki, word.tag), (40, 44, 46));
}
