//! `a=crypto` lines (RFC 4568), good and bad.

use super::*;
use Suite::*;

/// Thirty bytes, 0 to 29.
const K1: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
/// Thirty bytes of 0xff.
const K2: &str = "////////////////////////////////////////";

fn line(rest: &str) -> Result<Crypto, CryptoError> {
    Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{K1}{rest}"))
}

#[test]
fn a_bare_key() {
    let crypto = line("").unwrap();
    assert_eq!((crypto.tag, &crypto.suite, crypto.keys.len()), (1, &SuiteName::Known(AesCm128HmacSha1_80), 1));
    assert_eq!(crypto.keys[0].key_and_salt, (0..30).collect::<Vec<u8>>());
    assert_eq!((crypto.keys[0].lifetime, &crypto.keys[0].mki), (None, &None));
    assert_eq!(crypto.usable(), Ok(AesCm128HmacSha1_80));
}

#[test]
fn lifetimes_and_mkis() {
    for (rest, lifetime, mki) in [
        ("|2^31", Some(1 << 31), None),
        ("|2^48", Some(1 << 48), None),
        ("|2^0", Some(1), None),
        ("|1048576", Some(1_048_576), None),
        ("|1000", Some(1000), None),
        ("|2^31|1:1", Some(1 << 31), Some(vec![1])),
        ("|1:4", None, Some(vec![0, 0, 0, 1])),
        ("|2^20|66051:4", Some(1 << 20), Some(vec![0, 1, 2, 3])),
        ("|255:1", None, Some(vec![255])),
        ("|0:1", None, Some(vec![0])),
        ("|007:2", None, Some(vec![0, 7])),
    ] {
        let crypto = line(rest).unwrap_or_else(|e| panic!("{rest}: {e:?}"));
        assert_eq!((crypto.keys[0].lifetime, &crypto.keys[0].mki), (lifetime, &mki), "{rest}");
    }
    let long = line(&format!("|{}:128", "9".repeat(308))).unwrap();
    assert_eq!(long.keys[0].mki.as_ref().map(Vec::len), Some(128));
    assert_eq!(Crypto::parse(&long.value()), Ok(long));
}

#[test]
fn what_cannot_be_read() {
    use CryptoError::*;
    for (rest, error) in [
        ("|2^49", Lifetime),
        ("|2^64", Lifetime),
        ("|2^4294967296", Lifetime),
        ("|2^", Lifetime),
        ("|2^-1", Lifetime),
        ("|0", Lifetime),
        ("|", Lifetime),
        ("|281474976710657", Lifetime),
        ("|99999999999999999999999", Lifetime),
        ("|2^31|1:0", Mki),
        ("|2^31|1:129", Mki),
        ("|2^31|256:1", Mki),
        ("|2^31|:1", Mki),
        ("|2^31|x:1", Mki),
        ("|2^31|1:", Mki),
        ("|2^31|1:+1", Mki),
        ("|1:1|2^31", Syntax),
        ("|2^31|2^31", Syntax),
        ("|1:1|1:1", Syntax),
        ("=", Key),
        ("A", Key),
        ("AAAA", Key),
    ] {
        assert_eq!(line(rest), Err(error), "{rest}");
    }
    for (value, error) in [
        ("", Syntax),
        ("1", Syntax),
        ("1 AES_CM_128_HMAC_SHA1_80", Syntax),
        ("1 AES_CM_128_HMAC_SHA1_80 inline", Syntax),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:", Key),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:AAAA", Key),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:!!!!", Key),
        ("1 AES_CM_128_HMAC_SHA1_80 uri:https", Method),
        ("-1 AES_CM_128_HMAC_SHA1_80 inline:AAAA", Tag),
        ("+1 AES_CM_128_HMAC_SHA1_80 inline:AAAA", Tag),
        ("1234567890 AES_CM_128_HMAC_SHA1_80 inline:AAAA", Tag),
        ("x AES_CM_128_HMAC_SHA1_80 inline:AAAA", Tag),
        ("1 AEAD_AES_256_GCM inline:", Key),
        // A key of 128 bits under a suite that has 256, and a salt of 14 bytes under one that has 12.
        ("1 AES_256_CM_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd", Key),
        ("1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd", Key),
    ] {
        assert_eq!(Crypto::parse(value), Err(error), "{value}");
    }
}

#[test]
fn several_keys_need_mkis_that_differ() {
    let two = line(&format!("|2^20|1:4;inline:{K2}|2^20|2:4")).unwrap();
    assert_eq!(two.keys.len(), 2);
    assert!(two.has_mki());
    for rest in
        [format!(";inline:{K2}"), format!("|1:4;inline:{K2}"), format!("|1:4;inline:{K2}|1:4"), format!("|1:4;inline:{K2}|2:1"), format!(";inline:{K2}|1:1")]
    {
        assert_eq!(line(&rest), Err(CryptoError::Keys), "{rest}");
    }
    let many: String = (2..40).map(|i| format!(";inline:{K2}|{i}:1")).collect();
    assert_eq!(line(&format!("|1:1{many}")), Err(CryptoError::Keys));
}

#[test]
fn session_parameters() {
    for (parameters, usable) in [
        ("", Ok(AesCm128HmacSha1_80)),
        (" WSH=64", Ok(AesCm128HmacSha1_80)),
        (" wsh=128  KDR=0", Ok(AesCm128HmacSha1_80)),
        (" -UNKNOWN=3", Ok(AesCm128HmacSha1_80)),
        (" KDR=1", Err(Unusable::SessionParameter)),
        (" KDR=24", Err(Unusable::SessionParameter)),
        (" WSH=", Err(Unusable::SessionParameter)),
        (" UNENCRYPTED_SRTP", Err(Unusable::SessionParameter)),
        (" unencrypted_srtp", Err(Unusable::SessionParameter)),
        (" UNENCRYPTED_SRTCP", Err(Unusable::SessionParameter)),
        (" WSH=64 UNAUTHENTICATED_SRTP", Err(Unusable::SessionParameter)),
        (" FEC_ORDER=FEC_SRTP", Err(Unusable::SessionParameter)),
        (" UNKNOWN=3", Err(Unusable::SessionParameter)),
    ] {
        assert_eq!(line(parameters).unwrap().usable(), usable, "{parameters}");
    }
}

#[test]
fn suites_by_name() {
    for (name, usable) in [
        ("AES_CM_128_HMAC_SHA1_80", Ok(AesCm128HmacSha1_80)),
        ("aes_cm_128_hmac_sha1_32", Ok(AesCm128HmacSha1_32)),
        ("NULL_HMAC_SHA1_80", Err(Unusable::Suite)),
        ("F8_128_HMAC_SHA1_80", Err(Unusable::Suite)),
        ("AES_CM_128_HMAC_SHA1_8", Err(Unusable::Suite)),
    ] {
        assert_eq!(Crypto::parse(&format!("0 {name} inline:{K1}")).unwrap().usable(), usable, "{name}");
    }
    assert_eq!(Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 INLINE:{K1}")).unwrap().usable(), Ok(AesCm128HmacSha1_80));
}

#[test]
fn every_suite_has_its_name_and_its_lengths() {
    // RFC 4568 §6.2, RFC 6188 §4 table 1 and 2, RFC 7714 §12 table 1: key, salt, SRTP tag, SRTCP tag.
    let lengths = [(16, 14, 10, 10), (16, 14, 4, 10), (24, 14, 10, 10), (24, 14, 4, 10), (32, 14, 10, 10), (32, 14, 4, 10), (16, 12, 16, 16), (32, 12, 16, 16)];
    for (suite, expected) in Suite::ALL.into_iter().zip(lengths) {
        assert_eq!((suite.key_length(), suite.salt_length(), suite.rtp_tag(), suite.rtcp_tag()), expected, "{suite:?}");
        let key = MasterKey { key_and_salt: (0..(expected.0 + expected.1) as u8).collect(), lifetime: None, mki: None };
        let line = Crypto::ours(1, suite, key);
        assert_eq!(Crypto::parse(&line.value()).as_ref(), Ok(&line));
        assert_eq!(serde_json::to_string(&suite).unwrap(), format!("\"{}\"", suite.name()));
    }
}

#[test]
fn written_as_read() {
    for rest in ["", "|2^31", "|2^31|1:1", "|1:4", "|1000|4660:2", " WSH=64 -X=1"] {
        let value = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{K1}{rest}");
        assert_eq!(Crypto::parse(&value).unwrap().value(), value);
    }
    let padded = "7 AEAD_AES_256_GCM inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ";
    assert_eq!(Crypto::parse(padded).unwrap().value(), padded.trim());
}

#[test]
fn debug_shows_no_key() {
    let crypto = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{K1} FEC_KEY=inline:{K2}")).unwrap();
    let shown = format!("{crypto:?}");
    assert!(!shown.contains(K1) && !shown.contains(K2) && !shown.contains("0, 1, 2"), "{shown}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        if let Ok(crypto) = Crypto::parse(&text) {
            proptest::prop_assert_eq!(Crypto::parse(&crypto.value()), Ok(crypto));
        }
    }

    #[test]
    fn near_lines_are_read_or_refused(tag in "[0-9]{0,10}", life in "(\\|(2\\^)?[0-9]{0,4})?", mki in "(\\|[0-9]{0,6}:[0-9]{0,3})?", extra in "( [A-Z=0-9-]{0,9})?") {
        if let Ok(crypto) = Crypto::parse(&format!("{tag} AES_CM_128_HMAC_SHA1_32 inline:{K1}{life}{mki}{extra}")) {
            proptest::prop_assert_eq!(Crypto::parse(&crypto.value()), Ok(crypto));
        }
    }
}
