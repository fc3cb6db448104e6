//! Session descriptions read and written again: samples in the manner of the field, and properties.

use proptest::prelude::*;

use super::*;

/// In the manner of a Lync mediation server.
const LYNC: &str = "v=0\r\no=- 0 0 IN IP4 198.51.100.43\r\ns=session\r\nc=IN IP4 198.51.100.43\r\nb=CT:99980\r\nt=0 0\r\na=x-devicecaps:audio:send,recv;video:recv\r\n\
    m=audio 50052 RTP/SAVP 9 0 8 13 101\r\na=label:main-audio\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
    a=candidate:1 1 UDP 2130706431 198.51.100.43 50052 typ host \r\n\
    a=cryptoscale:1 client AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31|1:1\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31|1:1\r\n\
    a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31\r\n\
    a=maxptime:200\r\na=rtcp:50053\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtcp-mux\r\na=ptime:20\r\n";

fn parse(text: &str) -> Description {
    Description::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn lync_in_canonical_order_comes_back_as_it_was() {
    let description = parse(LYNC);
    assert_eq!(String::from_utf8(description.write()).unwrap(), LYNC);
    let audio = &description.media[0];
    assert_eq!((audio.port, &audio.proto, audio.formats.len(), audio.ptime()), (50052, &Proto::Savp, 5, Some(20)));
    assert_eq!(audio.cryptos().filter_map(Result::ok).map(|c| (c.tag, c.has_mki())).collect::<Vec<_>>(), [(2, true), (3, false)]);
    assert_eq!(audio.rtcp().unwrap().port, 50053);
    assert_eq!(description.connection_of(audio).unwrap().ip(), "198.51.100.43".parse().ok());
    assert_eq!(audio.rtpmap_of("101").unwrap().encoding, "telephone-event");
    assert_eq!(audio.rtpmap_of("18").unwrap().encoding, "G729");
}

#[test]
fn debug_shows_no_key() {
    let description = parse(&LYNC.replace("t=0 0\r\n", "t=0 0\r\nk=base64:c2VjcmV0\r\n"));
    let shown = format!("{description:?}");
    for secret in ["AAECAwQF", "c2VjcmV0", "abcdefghijklmnopqrstuvwx"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("telephone-event"));
}

/// Awkward in, canonical out: what is kept and how it is written.
#[test]
fn awkward_descriptions_are_kept() {
    for (what, text, written) in [
        ("bare LF", "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\n", "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"),
        ("bare CR", "v=0\rs=-\rt=0 0", "v=0\r\ns=-\r\nt=0 0\r\n"),
        ("no v=, s=, t=", "o=- 1 1 IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n", "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n"),
        ("empty lines, leading blanks", "\r\n v=0\r\n\r\n\ts=-\r\n\r\n", "v=0\r\ns=-\r\n"),
        ("t= before c=", "v=0\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\ns=s=s\r\n", "v=0\r\ns=s=s\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"),
        ("unknown lines", "v=0\r\nx=1\r\nY=2\r\ns=-\r\nnonsense\r\n", "v=0\r\ns=-\r\nx=1\r\nY=2\r\nnonsense\r\n"),
        (
            "huge and negative numbers in o=",
            "v=0\r\no=- -5 99999999999999999999999999999 IN IP4 192.0.2.1\r\n",
            "v=0\r\no=- -5 99999999999999999999999999999 IN IP4 192.0.2.1\r\n",
        ),
        ("spaces in the user name", "v=0\r\no=John Q Doe 1 2 IN IP4 192.0.2.1\r\n", "v=0\r\no=John Q Doe 1 2 IN IP4 192.0.2.1\r\n"),
        ("o= too short", "v=0\r\no=- 1 IN\r\ns=-\r\n", "v=0\r\ns=-\r\no=- 1 IN\r\n"),
        ("two c= lines", "v=0\r\nc=IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.2\r\n", "v=0\r\nc=IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.2\r\n"),
        (
            "m= with two blanks, a count, no formats",
            "v=0\r\nm=audio  4000/2  rtp/savp\r\ni=x\r\nt=1 2\r\n",
            "v=0\r\nm=audio 4000/2 RTP/SAVP\r\ni=x\r\nt=1 2\r\n",
        ),
        (
            "T.38",
            "v=0\r\nm=image 4002 UDPTL t38\r\na=T38FaxVersion:0\r\na=T38FaxFillBitRemoval\r\n",
            "v=0\r\nm=image 4002 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxFillBitRemoval\r\n",
        ),
        (
            "an application line",
            "v=0\r\nm=application 5000 TCP/TLS/BFCP *\r\na=setup:passive\r\n",
            "v=0\r\nm=application 5000 TCP/TLS/BFCP *\r\na=setup:passive\r\n",
        ),
        ("an empty value, an empty name", "v=0\r\na=x:\r\na=:y\r\na=\r\n", "v=0\r\na=x:\r\na=:y\r\na=\r\n"),
    ] {
        let description = parse(text);
        let out = description.write();
        assert_eq!(String::from_utf8_lossy(&out), written, "{what}");
        assert_eq!(Description::parse(&out), Ok(description), "{what}");
    }
    let latin = b"v=0\r\ns=Zo\xeb\r\na=note:caf\xe9\r\na=\xe9\r\n";
    assert_eq!(Description::parse(latin).unwrap().write(), latin);
}

#[test]
fn what_is_no_description() {
    for (bytes, error) in [
        (&b""[..], SdpError::NotADescription),
        (b"\r\n\r\n", SdpError::NotADescription),
        (b"hello\r\nv=0\r\n", SdpError::NotADescription),
        (b"s=only a name\r\n", SdpError::NotADescription),
        (b"\x00\x01\x02", SdpError::NotADescription),
        (b"v=1\r\n", SdpError::Version),
        (b"v=\r\n", SdpError::Version),
        (b"v=0\r\nm=audio\r\n", SdpError::MediaLine),
        (b"v=0\r\nm=audio 4000\r\n", SdpError::MediaLine),
        (b"v=0\r\nm=audio 65536 RTP/AVP 0\r\n", SdpError::MediaLine),
        (b"v=0\r\nm=audio -1 RTP/AVP 0\r\n", SdpError::MediaLine),
        (b"v=0\r\nm=audio 4000/x RTP/AVP 0\r\n", SdpError::MediaLine),
        (b"v=0\r\nm=audio 4000 RTP/AVP \xe9\r\n", SdpError::MediaLine),
    ] {
        assert_eq!(Description::parse(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(Description::parse("v=0\r\n".repeat(2001).as_bytes()), Err(SdpError::TooLong));
    assert_eq!(Description::parse(format!("v=0\r\n{}", "m=audio 0 RTP/AVP 0\r\n".repeat(65)).as_bytes()), Err(SdpError::TooLong));
}

#[test]
fn direction_by_level_and_letter_case() {
    for (session, media, direction) in [
        ("", "", Direction::SendRecv),
        ("a=sendonly\r\n", "", Direction::SendOnly),
        ("a=sendonly\r\n", "a=INACTIVE\r\n", Direction::Inactive),
        ("", "a=recvonly\r\na=sendrecv\r\n", Direction::RecvOnly),
        ("", "a=sendonly:x\r\n", Direction::SendRecv),
    ] {
        let description = parse(&format!("v=0\r\n{session}m=audio 4000 RTP/AVP 0\r\n{media}"));
        assert_eq!(description.direction_of(&description.media[0]), direction, "{session}{media}");
    }
}

/// RFC 3264 §6.1: the rows an answer may use.
#[test]
fn what_an_offer_leaves_of_an_answer() {
    use Direction::*;
    for (offer, answer, left) in [
        (SendRecv, SendRecv, SendRecv),
        (SendRecv, Inactive, Inactive),
        (SendOnly, SendRecv, RecvOnly),
        (SendOnly, RecvOnly, RecvOnly),
        (SendOnly, SendOnly, Inactive),
        (RecvOnly, SendRecv, SendOnly),
        (Inactive, SendRecv, Inactive),
    ] {
        assert_eq!(offer.limits(answer), left, "{offer:?} {answer:?}");
    }
    assert_eq!(SendOnly.reversed(), RecvOnly);
}

#[test]
fn no_value_can_begin_a_line() {
    let mut description = parse("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n");
    description.name = Some(Text::from("x\r\na=crypto:1"));
    description.attributes.push(Attribute::new("tool\r\nm=audio 1 RTP/AVP 0", "y\nz"));
    description.media[0].formats.push("0\r\na=evil".into());
    let out = String::from_utf8(description.write()).unwrap();
    assert_eq!(out.lines().count(), 5, "{out}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(description) = Description::parse(&bytes) {
            prop_assert_eq!(Description::parse(&description.write()), Ok(description));
        }
    }

    /// Lines that look like SDP in any order and mutilation.
    #[test]
    fn read_is_the_inverse_of_write(lines in proptest::collection::vec("[ \t]{0,2}([voscbtrziuepkamxY=][= ]{0,1}(IN IP4 |audio 9 RTP/AVP |- 1 1 IN IP6 )?[ -~é]{0,20}|[^\r\n]{0,9})", 0..30), end in "(\r\n|\n|\r)") {
        let text = format!("v=0{end}{}", lines.join(&end));
        if let Ok(description) = Description::parse(text.as_bytes()) {
            prop_assert_eq!(Description::parse(&description.write()), Ok(description));
        }
    }

    #[test]
    fn mutilated_lync_is_read_or_refused(at in 0..LYNC.len(), byte in any::<u8>(), cut in 0..LYNC.len()) {
        let mut bytes = LYNC.as_bytes().to_vec();
        bytes[at] = byte;
        bytes.truncate(cut);
        if let Ok(description) = Description::parse(&bytes) {
            prop_assert_eq!(Description::parse(&description.write()), Ok(description));
        }
    }
}
