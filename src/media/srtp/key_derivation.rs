//! Session keys from a master key (RFC 3711 §4.3, RFC 6188 §3, RFC 7714 §11), with a key derivation rate of zero: once per master key.

use crate::media::srtp::cipher::Aes;

/// What a session key is for: the labels of RFC 3711 §4.3.1, §4.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the keystream of AES-CM under the master key, started at (label || 0) XOR salt, shifted left by 16 bits. The PRF is AES of the master
/// key's own length (RFC 6188 §3, RFC 7714 §11); a 12-byte salt has two zero bytes appended (RFC 7714 §11).
pub fn derive(master_key: &Aes, master_salt: &[u8; 14], label: Label, out: &mut [u8]) {
    let mut block = [0; 16];
    for (n, part) in out.chunks_mut(16).enumerate() {
        block[..14].copy_from_slice(master_salt);
        block[7] ^= label as u8;
        block[14..].copy_from_slice(&(n as u16).to_be_bytes());
        let mut stream = block.into();
        master_key.encrypt(&mut stream);
        part.copy_from_slice(&stream[..part.len()]);
        zeroize::Zeroize::zeroize(stream.as_mut_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::srtp::keys::tests::hex;

    /// RFC 3711 appendix B.3.
    #[test]
    fn appendix_b3() {
        let key = Aes::new(&hex("E1F97A0D3E018BE0D64FA32C06DE4139")).unwrap();
        let salt: [u8; 14] = hex("0EC675AD498AFEEBB6960B3AABE6").try_into().unwrap();
        let derived = |label, length| {
            let mut out = vec![0; length];
            derive(&key, &salt, label, &mut out);
            out
        };
        assert_eq!(derived(Label::RtpEncryption, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derived(Label::RtpSalt, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let authentication = "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
            6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2";
        assert_eq!(derived(Label::RtpAuthentication, 94), hex(authentication));
    }

    /// RFC 6188 §7.3 and §7.4.
    #[test]
    fn rfc_6188() {
        let long = ("f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6", "3b04803de51ee7c96423ab5b78d2");
        let long_keys =
            ["5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4", "fa31791685ca444a9e07c6c64e93", "fd9c32d39ed5fbb5a9dc96b30818454d 1313dc05"];
        let middle = ("73edc66c4fa15776fb57f9505c171365 50ffda71f3e8e5f1", "c8522f3acd4ce86d5add78edbb11");
        let middle_keys = ["31874736a8f1143870c26e4857d8a5b2 c4a354407faadabb", "2372b82d639b6d8503a47adc0a6c", "355b10973cd95b9eacf4061c7e1a7151 e7cfbfcb"];
        for ((key, salt), expected) in [(long, long_keys), (middle, middle_keys)] {
            let (key, salt): (Aes, [u8; 14]) = (Aes::new(&hex(key)).unwrap(), hex(salt).try_into().unwrap());
            for (label, expected) in [Label::RtpEncryption, Label::RtpSalt, Label::RtpAuthentication].into_iter().zip(expected) {
                let expected = hex(expected);
                let mut out = vec![0; expected.len()];
                derive(&key, &salt, label, &mut out);
                assert_eq!(out, expected, "{label:?}");
            }
        }
    }
}
