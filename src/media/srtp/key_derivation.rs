//! Session keys from a master key (RFC 3711 §4.3), with a key derivation rate of zero: once per master key.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

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

/// Fills `out` with the keystream of AES-CM under the master key, started at (label || 0) XOR salt, shifted left by 16 bits.
pub fn derive(master_key: &[u8; 16], master_salt: &[u8; 14], label: Label, out: &mut [u8]) {
    let aes = Aes128Enc::new(&(*master_key).into());
    let mut block = [0; 16];
    for (n, part) in out.chunks_mut(16).enumerate() {
        block[..14].copy_from_slice(master_salt);
        block[7] ^= label as u8;
        block[14..].copy_from_slice(&(n as u16).to_be_bytes());
        let mut stream = block.into();
        aes.encrypt_block(&mut stream);
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
        let key: [u8; 16] = hex("E1F97A0D3E018BE0D64FA32C06DE4139").try_into().unwrap();
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
}
