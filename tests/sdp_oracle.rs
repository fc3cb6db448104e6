//! Our reading of session descriptions beside that of an independent implementation (`sdp-types`): the same on what both accept; and what is kept of awkward
//! descriptions by each, which is why the line model is our own.

use portcullis::sdp::crypto::SuiteName;
use portcullis::sdp::{Description, Media};
use proptest::prelude::*;
use sdp_types::{CryptoSuite, Session};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

/// Origin, addresses, m-lines and attributes must be understood alike.
fn agree(text: &[u8]) -> Result<(), String> {
    let (Ok(ours), Ok(theirs)) = (Description::parse(text), Session::parse(text)) else { return Ok(()) };
    let differ = |what: &str, a: String, b: String| if a == b { Ok(()) } else { Err(format!("{what}: {a} | {b} in {}", String::from_utf8_lossy(text))) };
    if let Some(o) = &ours.origin {
        let t = &theirs.origin;
        let mine = format!("{} {} {}", o.session_id, o.session_version.parse::<u64>().unwrap_or_default(), o.address);
        differ("o=", mine, format!("{} {} {}", t.sess_id, t.sess_version, t.unicast_address))?;
    }
    if let Some(c) = &ours.connection {
        differ("c=", format!("{:?}", Some(&c.address)), format!("{:?}", theirs.connection.as_ref().map(|c| &c.connection_address)))?;
    }
    differ("m= lines", ours.media.len().to_string(), theirs.medias.len().to_string())?;
    let attribute = |name: &str, value: Option<&str>| format!("{name}:{value:?};");
    let mine: String = ours.attributes.iter().map(|a| attribute(&a.name, a.text())).collect();
    differ("a=", mine, theirs.attributes.iter().map(|a| attribute(&a.attribute, a.value.as_deref())).collect())?;
    for (m, t) in ours.media.iter().zip(&theirs.medias) {
        let fmt: Vec<_> = t.fmt.split_ascii_whitespace().collect();
        let mine = format!("{} {} {:?} {} {:?}", m.kind, m.port, m.port_count, m.proto.name().to_ascii_uppercase(), m.formats);
        differ("m=", mine, format!("{} {} {:?} {} {:?}", t.media, t.port, t.num_ports, t.proto.to_ascii_uppercase(), fmt))?;
        let mine = m.connection.as_ref().map(|c| c.address.clone());
        differ("media c=", format!("{mine:?}"), format!("{:?}", t.connections.first().map(|c| c.connection_address.clone())))?;
        let mine: String = m.attributes.iter().map(|a| attribute(&a.name, a.text())).collect();
        differ("media a=", mine, t.attributes.iter().map(|a| attribute(&a.attribute, a.value.as_deref())).collect())?;
        cryptos_agree(m, t)?;
    }
    Ok(())
}

/// Tag, suite, key, lifetime and MKI of each line both can read.
fn cryptos_agree(ours: &Media, theirs: &sdp_types::Media) -> Result<(), String> {
    let lines = theirs
        .attributes
        .iter()
        .filter(|a| a.attribute.eq_ignore_ascii_case("crypto"))
        .map(|a| a.value.as_deref().unwrap_or_default().parse::<sdp_types::Crypto>());
    for (mine, other) in ours.cryptos().zip(lines) {
        let (Ok(mine), Ok(other)) = (mine, other) else { continue };
        let suite = match &other.crypto_suite {
            CryptoSuite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80".to_owned(),
            CryptoSuite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32".to_owned(),
            suite => format!("{suite:?}"),
        };
        if mine.tag != other.tag || mine.keys.len() != other.key_params.len() || matches!(mine.suite, SuiteName::Known(known) if known.name() != suite) {
            return Err(format!("a=crypto:{} is read differently", mine.tag));
        }
        for (key, param) in mine.keys.iter().zip(&other.key_params) {
            let mki = key.mki.as_ref().map(|mki| (mki.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)), mki.len() as u64));
            let their_mki = param.mki_and_length.map(|(value, length)| (u64::from(value), u64::from(length)));
            if key.lifetime != param.lifetime || mki != their_mki {
                return Err(format!("a=crypto:{}: {:?} {mki:?} | {:?} {their_mki:?}", mine.tag, key.lifetime, param.lifetime));
            }
        }
    }
    Ok(())
}

#[test]
fn both_read_alike_what_both_accept() {
    let crypto = format!(
        "a=cryptoscale:1 client AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1\r\n\
         a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31\r\na=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|1000|66051:4;inline:{KEY}|1000|7:4 WSH=64\r\n\
         a=crypto:5 F8_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP\r\n"
    );
    let mut accepted = 0;
    for media in [
        "m=audio 4000 RTP/SAVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtcp:4001 IN IP4 192.0.2.1\r\na=sendonly\r\n",
        "m=audio 4000/2 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\nb=AS:64\r\ni=title\r\na=ptime:20\r\n",
        "m=audio 0 RTP/AVP 3\r\nm=image 4002 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:0\r\na=ice-ufrag:x\r\na=candidate:1 1 UDP 2130706431 192.0.2.1 9 typ host\r\na=rtcp-mux\r\na=ssrc:1 cname:y\r\n",
        "m=application 5000 TCP/TLS/BFCP *\r\na=setup:passive\r\na=x:\r\n",
    ] {
        for head in [
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n",
            "v=0\r\no=alice 2890844526 2890842807 IN IP6 2001:db8::1\r\ns=a b c\r\ni=x\r\nu=http://example.com\r\ne=a@example.com\r\np=+1\r\nc=IN IP6 2001:db8::1\r\nb=CT:1000\r\nt=1 2\r\nr=7d 1h 0 25h\r\na=sendrecv\r\na=tool:x y\r\n",
        ] {
            for extra in ["", crypto.as_str()] {
                for end in ["\r\n", "\n"] {
                    let text = format!("{head}{media}{extra}").replace("\r\n", end);
                    assert!(Description::parse(text.as_bytes()).is_ok() && Session::parse(text.as_bytes()).is_ok(), "{text}");
                    agree(text.as_bytes()).unwrap();
                    accepted += 1;
                }
            }
        }
    }
    assert_eq!(accepted, 40);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// The same with one byte changed: wherever both still accept it, they understand it alike.
    #[test]
    fn both_read_alike_after_damage(at in any::<prop::sample::Index>(), byte in "[ -~]") {
        let mut text = format!(
            "v=0\r\no=- 12 34 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=tool:x\r\nm=audio 4000 RTP/SAVP 0 8\r\na=rtcp:4001\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1\r\na=sendrecv\r\n"
        ).into_bytes();
        let at = at.index(text.len());
        // Line ends stay: where a lone CR or LF ends a line the two differ by intention. So does the letter of a line: what is out of place is kept by us.
        prop_assume!(!matches!(text[at], b'\r' | b'\n') && text.get(at + 1) != Some(&b'=') && text[at] != b'=');
        text[at] = byte.as_bytes()[0];
        prop_assume!(agree(&text).is_ok() || !differs_by_intention(&text));
        agree(&text).map_err(TestCaseError::fail)?;
    }
}

/// White space at the edge of fields, and signs and leading zeros in numbers, are taken literally by one and leniently by the other.
fn differs_by_intention(text: &[u8]) -> bool {
    text.windows(2).any(|pair| pair == b"  " || pair[0] == b' ' && pair[1] == b'\r' || pair[0] == b'=' && pair[1] == b' ')
}

/// The fate of one awkward description with the other implementation.
#[derive(PartialEq, Debug)]
enum Fate {
    Rejected,
    /// Lines of the input that writing does not bring back.
    Lost(usize),
    Kept,
}

fn lost(text: &[u8], written: &[u8]) -> usize {
    let lines = |bytes: &[u8]| bytes.split(|b| matches!(b, b'\r' | b'\n')).filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut after = lines(written);
    lines(text).into_iter().filter(|line| after.iter().position(|other| other == line).map(|at| after.remove(at)).is_none()).count()
}

/// What trunks, PBXs and phones send: ours keeps every line of each.
#[test]
fn awkward_descriptions() {
    let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    let audio = "m=audio 4000 RTP/AVP 0\r\n";
    let cases: Vec<(&str, Vec<u8>, Fate)> = vec![
        ("plain", format!("{head}{audio}").into(), Fate::Kept),
        ("LF line ends", format!("{head}{audio}").replace("\r\n", "\n").into(), Fate::Kept),
        ("no s=", format!("{head}{audio}").replace("s=-\r\n", "").into(), Fate::Kept),
        ("no t=", format!("{head}{audio}").replace("t=0 0\r\n", "").into(), Fate::Kept),
        ("no v=", format!("{head}{audio}").replace("v=0\r\n", "").into(), Fate::Rejected),
        ("negative version in o=", format!("{head}{audio}").replace("- 1 1", "- 1 -1").into(), Fate::Rejected),
        ("huge version in o=", format!("{head}{audio}").replace("- 1 1", "- 1 123456789012345678901234567890").into(), Fate::Rejected),
        ("Latin-1 in s=", [b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=Zo\xeb\r\nt=0 0\r\n".as_slice(), audio.as_bytes()].concat(), Fate::Rejected),
        ("Latin-1 in an attribute", [head.as_bytes(), audio.as_bytes(), b"a=note:caf\xe9\r\n"].concat(), Fate::Rejected),
        ("spaces in the user name of o=", format!("{head}{audio}").replace("o=- 1", "o=John Doe 1").into(), Fate::Rejected),
        ("an unknown line", format!("{head}x=1\r\n{audio}").into(), Fate::Lost(1)),
        ("a line that is none", format!("{head}hello world\r\n{audio}").into(), Fate::Rejected),
        ("t= before c=", format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=s=s\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\n{audio}").into(), Fate::Kept),
        ("c= after a=", format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\na=x\r\nc=IN IP4 192.0.2.1\r\n{audio}").into(), Fate::Kept),
        ("two c= lines", format!("{head}c=IN IP4 192.0.2.2\r\n{audio}").into(), Fate::Rejected),
        ("two s= lines", format!("{head}s=again\r\n{audio}").into(), Fate::Rejected),
        ("t= in a media section", format!("{head}{audio}t=0 0\r\n").into(), Fate::Lost(1)),
        ("b= that is no number", format!("{head}b=AS:64.5\r\n{audio}").into(), Fate::Rejected),
        ("z= of odd length", format!("{head}z=1\r\n{audio}").into(), Fate::Rejected),
        ("r= with a broken number", format!("{head}r=x\r\n{audio}").into(), Fate::Rejected),
        ("m= without formats", format!("{head}m=audio 4000 RTP/AVP\r\n").into(), Fate::Rejected),
        ("T.38", format!("{head}m=audio 0 RTP/AVP 0\r\nm=image 4002 udptl t38\r\na=T38FaxVersion:0\r\n").into(), Fate::Kept),
        ("a host name in c=", format!("{head}{audio}").replace("c=IN IP4 192.0.2.1", "c=IN IP4 media.example.com").into(), Fate::Kept),
        ("k=", format!("{head}{audio}k=base64:c2VjcmV0\r\n").into(), Fate::Kept),
        ("an unusable key", format!("{head}{audio}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short|2^99|1:0\r\n").into(), Fate::Kept),
    ];
    let mut wrong = Vec::new();
    let mut only_ours = 0;
    for (what, text, fate) in cases {
        let ours = Description::parse(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(lost(&text, &ours.write()), 0, "{what}: {}", String::from_utf8_lossy(&ours.write()));
        let theirs = match Session::parse(&text) {
            Err(_) => Fate::Rejected,
            Ok(session) => {
                let mut written = Vec::new();
                session.write(&mut written).unwrap();
                match lost(&text, &written) {
                    0 => Fate::Kept,
                    lines => Fate::Lost(lines),
                }
            }
        };
        only_ours += usize::from(theirs != Fate::Kept);
        if theirs != fate {
            wrong.push(format!("{what}: {theirs:?}, not {fate:?}"));
        }
    }
    assert!(wrong.is_empty(), "the other implementation fares differently by now: {wrong:#?}");
    assert!(only_ours >= 10, "{only_ours} of the cases are the reason for a line model of our own");
}
