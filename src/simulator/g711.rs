//! G.711, both laws (ITU-T G.711), a sine tone, and Goertzel's question whether a tone is what one hears.

use std::f64::consts::TAU;

/// Samples a second.
pub const RATE: f64 = 8000.0;
/// Samples in 20 ms.
pub const FRAME: usize = 160;

/// Which of G.711's two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Law {
    #[default]
    A,
    Mu,
}

impl Law {
    /// RFC 3551 §6.
    pub const fn payload(self) -> u8 {
        match self {
            Law::A => 8,
            Law::Mu => 0,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Law::A => "PCMA",
            Law::Mu => "PCMU",
        }
    }

    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::A => encode(sample),
            Law::Mu => encode_mu(sample),
        }
    }

    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Law::A => decode(byte),
            Law::Mu => decode_mu(byte),
        }
    }
}

fn encode_mu(sample: i16) -> u8 {
    let mark = if sample < 0 { 0x80u8 } else { 0 };
    let magnitude = i32::from(sample).unsigned_abs().min(32_635) + 132;
    let exponent = 24 - magnitude.leading_zeros();
    !(mark | (exponent << 4) as u8 | ((magnitude >> (exponent + 3)) & 0x0f) as u8)
}

fn decode_mu(byte: u8) -> i16 {
    let value = !byte;
    let magnitude = (((i32::from(value & 0x0f) << 3) + 132) << ((value >> 4) & 7)) - 132;
    (if value & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

/// One 16-bit linear sample as A-law.
pub fn encode(sample: i16) -> u8 {
    let (mark, magnitude) = if sample >= 0 { (0xd5u8, sample as u32) } else { (0x55, (!sample) as u32) };
    let magnitude = (magnitude >> 3).min(0xfff);
    let exponent = if magnitude < 32 { 0 } else { 31 - magnitude.leading_zeros() - 4 };
    let mantissa = if exponent == 0 { magnitude >> 1 } else { (magnitude >> exponent) & 0x0f };
    mark ^ ((exponent << 4) as u8 | (mantissa & 0x0f) as u8)
}

/// One A-law byte as a 16-bit linear sample.
pub fn decode(byte: u8) -> i16 {
    let value = byte ^ 0x55;
    let (exponent, mantissa) = ((value >> 4) & 7, i16::from(value & 0x0f));
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        exponent => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    if value & 0x80 != 0 { magnitude } else { -magnitude }
}

/// A sine tone, frame by frame.
pub struct Tone {
    hertz: f64,
    sample: u64,
}

impl Tone {
    pub fn new(hertz: f64) -> Tone {
        Tone { hertz, sample: 0 }
    }

    /// The next 20 ms.
    pub fn frame(&mut self, law: Law) -> [u8; FRAME] {
        std::array::from_fn(|_| {
            let angle = TAU * self.hertz * self.sample as f64 / RATE;
            self.sample += 1;
            law.encode((angle.sin() * 10_000.0) as i16)
        })
    }
}

/// The share of a frame's energy at `hertz`, 0 to 1; 0 for silence.
pub fn share(frame: &[u8], hertz: f64, law: Law) -> f64 {
    let samples: Vec<f64> = frame.iter().map(|byte| f64::from(law.decode(*byte))).collect();
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    if energy < samples.len() as f64 * 2500.0 {
        return 0.0;
    }
    let k = 2.0 * (TAU * hertz / RATE).cos();
    let (a, b) = samples.iter().fold((0.0, 0.0), |(a, b), sample| (sample + k * a - b, a));
    2.0 * (a * a + b * b - k * a * b) / (samples.len() as f64 * energy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_gives_back_what_it_took_within_its_step() {
        for sample in (-32_000..32_000).step_by(37) {
            let back = i32::from(decode(encode(sample)));
            let step = (i32::from(sample).abs() / 16).max(16);
            assert!((back - i32::from(sample)).abs() <= step, "{sample} came back as {back}");
        }
    }

    #[test]
    fn mu_law_gives_back_what_it_took_within_its_step() {
        for sample in (-32_000..32_000).step_by(37) {
            let back = i32::from(Law::Mu.decode(Law::Mu.encode(sample)));
            let step = (i32::from(sample).abs() / 16).max(16);
            assert!((back - i32::from(sample)).abs() <= step, "{sample} came back as {back}");
        }
    }

    #[test]
    fn known_values_of_g711() {
        assert_eq!((Law::Mu.encode(0), Law::Mu.encode(i16::MAX), Law::Mu.encode(i16::MIN)), (0xff, 0x80, 0x00));
        assert_eq!((encode(0), encode(-1)), (0xd5, 0x55));
        assert_eq!((encode(i16::MAX), encode(i16::MIN)), (0xaa, 0x2a));
    }

    #[test]
    fn a_tone_is_told_from_another_and_from_silence() {
        let mut tone = Tone::new(1000.0);
        for law in [Law::A, Law::Mu] {
            let frame = tone.frame(law);
            assert!(share(&frame, 1000.0, law) > 0.9);
            assert!(share(&frame, 440.0, law) < 0.1);
            assert_eq!(share(&[law.encode(0); FRAME], 1000.0, law), 0.0);
        }
    }
}
