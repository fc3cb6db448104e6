//! libsrtp2, the reference implementation in C, as an oracle and a yardstick: Debian's `libsrtp2-dev`. Tests and benchmarks only.
#![allow(dead_code)]

use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::ptr;
use std::sync::Once;

use portcullis::sdp::crypto::Suite;

/// `srtp_crypto_policy_t`, filled in by the library itself.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CryptoPolicy {
    cipher_type: u32,
    cipher_key_len: c_int,
    auth_type: u32,
    auth_key_len: c_int,
    auth_tag_len: c_int,
    sec_serv: c_uint,
}

/// `srtp_policy_t`.
#[repr(C)]
struct Policy {
    ssrc_type: c_uint,
    ssrc_value: c_uint,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *const u8,
    keys: *mut *mut MasterKey,
    num_master_keys: c_ulong,
    deprecated_ekt: *mut c_void,
    window_size: c_ulong,
    allow_repeat_tx: c_int,
    enc_xtn_hdr: *mut c_int,
    enc_xtn_hdr_count: c_int,
    next: *mut Policy,
}

/// `srtp_master_key_t`.
#[repr(C)]
struct MasterKey {
    key: *const u8,
    mki_id: *const u8,
    mki_size: c_uint,
}

type Set = unsafe extern "C" fn(*mut CryptoPolicy);

#[link(name = "srtp2")]
unsafe extern "C" {
    fn srtp_init() -> c_int;
    fn srtp_create(session: *mut *mut c_void, policy: *const Policy) -> c_int;
    fn srtp_dealloc(session: *mut c_void) -> c_int;
    fn srtp_protect_mki(session: *mut c_void, packet: *mut c_void, len: *mut c_int, use_mki: c_uint, mki: c_uint) -> c_int;
    fn srtp_unprotect_mki(session: *mut c_void, packet: *mut c_void, len: *mut c_int, use_mki: c_uint) -> c_int;
    fn srtp_protect_rtcp_mki(session: *mut c_void, packet: *mut c_void, len: *mut c_int, use_mki: c_uint, mki: c_uint) -> c_int;
    fn srtp_unprotect_rtcp_mki(session: *mut c_void, packet: *mut c_void, len: *mut c_int, use_mki: c_uint) -> c_int;
    fn srtp_crypto_policy_set_rtp_default(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_128_16_auth(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_256_16_auth(policy: *mut CryptoPolicy);
}

/// `ssrc_any_inbound`, `ssrc_any_outbound`.
const INBOUND: c_uint = 2;
const OUTBOUND: c_uint = 3;
/// Room the library wants behind a packet (`SRTP_MAX_TRAILER_LEN`).
pub const ROOM: usize = 144 + 128;

/// One direction.
pub struct Context {
    session: *mut c_void,
    use_mki: c_uint,
}

impl Context {
    pub fn sender(suite: Suite, key_and_salt: &[u8]) -> Context {
        Context::new(suite, key_and_salt, None, OUTBOUND)
    }

    pub fn receiver(suite: Suite, key_and_salt: &[u8]) -> Context {
        Context::new(suite, key_and_salt, None, INBOUND)
    }

    pub fn sender_with_mki(suite: Suite, key_and_salt: &[u8], mki: &[u8]) -> Context {
        Context::new(suite, key_and_salt, Some(mki), OUTBOUND)
    }

    pub fn receiver_with_mki(suite: Suite, key_and_salt: &[u8], mki: &[u8]) -> Context {
        Context::new(suite, key_and_salt, Some(mki), INBOUND)
    }

    fn new(suite: Suite, key_and_salt: &[u8], mki: Option<&[u8]>, direction: c_uint) -> Context {
        static INIT: Once = Once::new();
        // SAFETY: called once, before anything else of the library.
        INIT.call_once(|| assert_eq!(unsafe { srtp_init() }, 0));
        assert_eq!(key_and_salt.len(), suite.key_length() + suite.salt_length());
        let (set_rtp, set_rtcp): (Set, Set) = match suite {
            Suite::AesCm128HmacSha1_80 => (srtp_crypto_policy_set_rtp_default, srtp_crypto_policy_set_rtp_default),
            Suite::AesCm128HmacSha1_32 => (srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32, srtp_crypto_policy_set_rtp_default),
            Suite::Aes192CmHmacSha1_80 => (srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80, srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80),
            Suite::Aes192CmHmacSha1_32 => (srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32, srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80),
            Suite::Aes256CmHmacSha1_80 => (srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80, srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80),
            Suite::Aes256CmHmacSha1_32 => (srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32, srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80),
            Suite::AeadAes128Gcm => (srtp_crypto_policy_set_aes_gcm_128_16_auth, srtp_crypto_policy_set_aes_gcm_128_16_auth),
            Suite::AeadAes256Gcm => (srtp_crypto_policy_set_aes_gcm_256_16_auth, srtp_crypto_policy_set_aes_gcm_256_16_auth),
        };
        let (mut rtp, mut rtcp) = (CryptoPolicy::default(), CryptoPolicy::default());
        // SAFETY: each fills the policy it is given.
        unsafe { (set_rtp(&mut rtp), set_rtcp(&mut rtcp)) };
        let mut master = mki.map(|mki| MasterKey { key: key_and_salt.as_ptr(), mki_id: mki.as_ptr(), mki_size: mki.len() as c_uint });
        let mut list = [master.as_mut().map_or(ptr::null_mut(), ptr::from_mut)];
        let policy = Policy {
            ssrc_type: direction,
            ssrc_value: 0,
            rtp,
            rtcp,
            key: if mki.is_some() { ptr::null() } else { key_and_salt.as_ptr() },
            keys: if mki.is_some() { list.as_mut_ptr() } else { ptr::null_mut() },
            num_master_keys: mki.iter().count() as c_ulong,
            deprecated_ekt: ptr::null_mut(),
            window_size: 128,
            allow_repeat_tx: 0,
            enc_xtn_hdr: ptr::null_mut(),
            enc_xtn_hdr_count: 0,
            next: ptr::null_mut(),
        };
        let mut session = ptr::null_mut();
        // SAFETY: the policy and what it points to outlive the call; the library copies the keys.
        assert_eq!(unsafe { srtp_create(&mut session, &policy) }, 0, "libsrtp2 has no {suite:?}");
        Context { session, use_mki: mki.is_some().into() }
    }

    /// In place: `buffer[..len]` to its new length; the library's status otherwise.
    pub fn protect(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, c_int> {
        assert!(buffer.len() >= len + 144);
        self.run(len, |session, use_mki, len| unsafe {
            // SAFETY: the session lives, and the buffer has room for any trailer.
            srtp_protect_mki(session, buffer.as_mut_ptr().cast(), len, use_mki, 0)
        })
    }

    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, c_int> {
        self.run(packet.len(), |session, use_mki, len| unsafe {
            // SAFETY: the session lives, and `len` is the packet's.
            srtp_unprotect_mki(session, packet.as_mut_ptr().cast(), len, use_mki)
        })
    }

    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, c_int> {
        assert!(buffer.len() >= len + 148);
        self.run(len, |session, use_mki, len| unsafe {
            // SAFETY: as in `protect`.
            srtp_protect_rtcp_mki(session, buffer.as_mut_ptr().cast(), len, use_mki, 0)
        })
    }

    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, c_int> {
        self.run(packet.len(), |session, use_mki, len| unsafe {
            // SAFETY: as in `unprotect`.
            srtp_unprotect_rtcp_mki(session, packet.as_mut_ptr().cast(), len, use_mki)
        })
    }

    fn run(&mut self, len: usize, call: impl FnOnce(*mut c_void, c_uint, *mut c_int) -> c_int) -> Result<usize, c_int> {
        let mut len = len as c_int;
        match call(self.session, self.use_mki, &mut len) {
            0 => Ok(len as usize),
            status => Err(status),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `srtp_create`, and used no more.
        unsafe { srtp_dealloc(self.session) };
    }
}
