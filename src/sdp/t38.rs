//! What an m-line of T.38 fax over UDPTL says of itself (ITU-T T.38 Annex D §D.2.3; RFC 7345 for `udptl`): read tolerantly, written in one form.
//!
//! Only what is listed here is kept. A value that cannot be read counts as not said, and so does an attribute of another name: vendor lines name their
//! author.

use super::description::Attribute;
use super::media::Media;

/// How the rates of a fax are agreed between the two machines (T.38 §8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateManagement {
    /// Each gateway makes the training check itself: only over TCP, in principle.
    LocalTcf,
    TransferredTcf,
}

/// How lost datagrams are made good (T.38 §9.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCorrection {
    None,
    Redundancy,
    Fec,
}

/// The attributes of one line; `None` and `false`: not said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct T38 {
    pub version: Option<u8>,
    /// Bits a second.
    pub max_bit_rate: Option<u32>,
    pub fill_bit_removal: bool,
    pub transcoding_mmr: bool,
    pub transcoding_jbig: bool,
    pub rate_management: Option<RateManagement>,
    /// Bytes the author can hold before they are played out.
    pub max_buffer: Option<u32>,
    /// Bytes of the longest datagram the author takes.
    pub max_datagram: Option<u32>,
    pub error_correction: Option<ErrorCorrection>,
}

impl T38 {
    /// Of an attribute that comes twice the first readable one counts.
    pub fn read(media: &Media) -> T38 {
        let mut read = T38::default();
        for attribute in &media.attributes {
            let value = attribute.text().map(str::trim);
            match attribute.name.to_ascii_lowercase().as_str() {
                "t38faxversion" => read.version = read.version.or(number(value).and_then(|version| u8::try_from(version).ok())),
                "t38maxbitrate" => read.max_bit_rate = read.max_bit_rate.or(number(value)),
                "t38faxfillbitremoval" => read.fill_bit_removal |= is_set(attribute),
                "t38faxtranscodingmmr" => read.transcoding_mmr |= is_set(attribute),
                "t38faxtranscodingjbig" => read.transcoding_jbig |= is_set(attribute),
                "t38faxratemanagement" => read.rate_management = read.rate_management.or(named(value, &RATE_MANAGEMENT)),
                "t38faxmaxbuffer" => read.max_buffer = read.max_buffer.or(number(value)),
                "t38faxmaxdatagram" => read.max_datagram = read.max_datagram.or(number(value)),
                "t38faxudpec" => read.error_correction = read.error_correction.or(named(value, &ERROR_CORRECTION)),
                _ => {}
            }
        }
        read
    }

    /// In the order and letter case of T.38's own table; a property that is not set is not written.
    pub fn attributes(&self) -> Vec<Attribute> {
        let number = |name, value: Option<u32>| value.map(|value| Attribute::new(name, value.to_string()));
        let property = |name, set: bool| set.then(|| Attribute::property(name));
        [
            number("T38FaxVersion", self.version.map(u32::from)),
            number("T38MaxBitRate", self.max_bit_rate),
            property("T38FaxFillBitRemoval", self.fill_bit_removal),
            property("T38FaxTranscodingMMR", self.transcoding_mmr),
            property("T38FaxTranscodingJBIG", self.transcoding_jbig),
            self.rate_management.map(|kept| Attribute::new("T38FaxRateManagement", name_of(kept, &RATE_MANAGEMENT))),
            number("T38FaxMaxBuffer", self.max_buffer),
            number("T38FaxMaxDatagram", self.max_datagram),
            self.error_correction.map(|kept| Attribute::new("T38FaxUdpEC", name_of(kept, &ERROR_CORRECTION))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

const RATE_MANAGEMENT: [(&str, RateManagement); 2] = [("localTCF", RateManagement::LocalTcf), ("transferredTCF", RateManagement::TransferredTcf)];

const ERROR_CORRECTION: [(&str, ErrorCorrection); 3] =
    [("t38UDPNoEC", ErrorCorrection::None), ("t38UDPRedundancy", ErrorCorrection::Redundancy), ("t38UDPFEC", ErrorCorrection::Fec)];

fn named<T: Copy>(value: Option<&str>, table: &[(&str, T)]) -> Option<T> {
    table.iter().find(|(name, _)| value.is_some_and(|value| value.eq_ignore_ascii_case(name))).map(|(_, meant)| *meant)
}

fn name_of<T: Copy + PartialEq>(meant: T, table: &'static [(&'static str, T)]) -> &'static str {
    table.iter().find(|(_, known)| *known == meant).map_or("", |(name, _)| name)
}

/// At most nine digits: nothing that is counted here is larger.
fn number(value: Option<&str>) -> Option<u32> {
    value.filter(|value| (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())).and_then(|value| value.parse().ok())
}

/// T.38 has properties here; the field writes `:0` and `:1` behind them as well.
fn is_set(attribute: &Attribute) -> bool {
    match attribute.text().map(str::trim) {
        None => attribute.value.is_none(),
        Some(value) => value == "1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Description;

    fn read(lines: &str) -> (T38, Vec<String>) {
        let text = format!("v=0\r\nm=image 4000 udptl t38\r\n{lines}");
        let media = Description::parse(text.as_bytes()).unwrap().media.remove(0);
        let read = T38::read(&media);
        (read, read.attributes().iter().map(|attribute| format!("{attribute:?}")).collect())
    }

    #[test]
    fn every_attribute_is_read_and_written_in_one_form() {
        let (t38, written) = read(
            "a=T38FaxUdpEC:t38UDPRedundancy\r\na=t38faxmaxdatagram: 400 \r\na=T38FaxMaxBuffer:2000\r\na=T38FaxRateManagement:TRANSFERREDtcf\r\n\
             a=T38FaxTranscodingJBIG:1\r\na=T38FaxTranscodingMMR:0\r\na=T38FaxFillBitRemoval\r\na=T38MaxBitRate:14400\r\na=T38FaxVersion:0\r\n",
        );
        let expected = [
            "a=T38FaxVersion:0",
            "a=T38MaxBitRate:14400",
            "a=T38FaxFillBitRemoval",
            "a=T38FaxTranscodingJBIG",
            "a=T38FaxRateManagement:transferredTCF",
            "a=T38FaxMaxBuffer:2000",
            "a=T38FaxMaxDatagram:400",
            "a=T38FaxUdpEC:t38UDPRedundancy",
        ];
        assert_eq!(written, expected);
        assert_eq!((t38.fill_bit_removal, t38.transcoding_mmr, t38.transcoding_jbig), (true, false, true));
        // What was written is read as the same again.
        assert_eq!(read(&(expected.join("\r\n") + "\r\n")).0, t38);
    }

    #[test]
    fn what_is_unknown_or_unreadable_is_dropped() {
        let (t38, written) = read(
            "a=T38VendorInfo:0 0 0\r\na=T38FaxMaxIFP:40\r\na=X-fax:box-7\r\na=T38FaxVersion:256\r\na=T38MaxBitRate:-1\r\na=T38FaxMaxBuffer:99999999999\r\n\
             a=T38FaxUdpEC:other\r\na=T38FaxRateManagement\r\na=T38FaxFillBitRemoval:yes\r\na=T38FaxMaxDatagram:4e2\r\n",
        );
        assert_eq!((t38, written), (T38::default(), Vec::new()));
    }

    /// Whatever is read reads as the same again written, and writing is of one form: no line of a hostile peer's own words comes through.
    #[test]
    fn what_was_read_reads_the_same_again() {
        let names = ["T38FaxVersion", "t38MAXbitrate", "T38FaxFillBitRemoval", "T38FaxTranscodingMMR", "T38FaxRateManagement", "T38FaxMaxBuffer"];
        let more = ["T38FaxMaxDatagram", "T38FaxUdpEC", "T38FaxTranscodingJBIG", "T38VendorInfo", "crypto"];
        let values =
            [":0", ":1", "", ":14400", ":transferredTCF", ":LOCALtcf", ":t38UDPFEC", ":t38UDPRedundancy", ": 7 ", ":-3", ":4294967296", ":\u{e9}", ":a b"];
        let names: Vec<&str> = names.into_iter().chain(more).collect();
        let mut state = 7u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let lines: String = (0..next(12)).map(|_| format!("a={}{}\r\n", names[next(names.len())], values[next(values.len())])).collect();
            let (t38, written) = read(&lines);
            assert_eq!(read(&(written.join("\r\n") + "\r\n")), (t38, written.clone()), "{lines}");
            let is_plain = |line: &String| line.starts_with("a=T38") && line[2..].bytes().all(|b| b.is_ascii_alphanumeric() || b == b':');
            assert!(written.iter().all(is_plain), "{written:?}");
        }
    }

    #[test]
    fn of_two_the_first_readable_one_counts() {
        assert_eq!(read("a=T38FaxVersion:x\r\na=T38FaxVersion:3\r\na=T38FaxVersion:0\r\n").0.version, Some(3));
    }
}
