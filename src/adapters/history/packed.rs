//! Ladders as they lie in the file: as LZ4 blocks, the size before them, since the messages of a call repeat one another. Text is one of an earlier program.

use lz4_flex::block::{compress_prepend_size, decompress};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// None is larger; what says so is damaged.
const MOST: usize = 16 << 20;

/// A ladder on its way into the file.
pub(super) struct Packed(Vec<u8>);

/// One that came out of it.
pub(super) struct Unpacked(pub String);

impl Packed {
    pub fn of(ladder: &str) -> Packed {
        Packed(compress_prepend_size(ladder.as_bytes()))
    }
}

impl ToSql for Packed {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

impl FromSql for Unpacked {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Unpacked> {
        let ValueRef::Blob(bytes) = value else { return String::column_result(value).map(Unpacked) };
        let (size, block) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let size = usize::try_from(u32::from_le_bytes(*size)).ok().filter(|size| *size <= MOST).ok_or_else(damaged)?;
        let text = decompress(block, size).ok().filter(|text| text.len() == size).ok_or_else(damaged)?;
        String::from_utf8(text).map(Unpacked).map_err(|_| damaged())
    }
}

fn damaged() -> FromSqlError {
    FromSqlError::Other("the ladder in the store is damaged".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(held: &[u8]) -> FromSqlResult<String> {
        Unpacked::column_result(ValueRef::Blob(held)).map(|Unpacked(text)| text)
    }

    #[test]
    fn a_ladder_comes_back_as_it_went_and_is_much_smaller_meanwhile() {
        let message =
            |n: u32| format!("Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{n}\r\nFrom: <sip:+4930@carrier.example>;tag=a\r\nCall-ID: 17@x\r\nCSeq: {n}\r\n");
        let ladder: String = (0..40).map(message).collect();
        let packed = Packed::of(&ladder);
        assert!(packed.0.len() * 4 < ladder.len(), "{} of {}", packed.0.len(), ladder.len());
        assert_eq!(unpacked(&packed.0).unwrap(), ladder);
        assert_eq!(unpacked(&Packed::of("").0).unwrap(), "");
        let text = Unpacked::column_result(ValueRef::Text(b"of an earlier program")).unwrap();
        assert_eq!(text.0, "of an earlier program");
    }

    #[test]
    fn what_is_damaged_is_an_error_and_takes_no_memory() {
        let whole = Packed::of(&"a line of a ladder\n".repeat(50)).0;
        (0..whole.len()).for_each(|end| assert!(unpacked(&whole[..end]).is_err(), "{end}"));
        assert!(unpacked(&[0xff, 0xff, 0xff, 0xff, 0x10, b'a']).is_err());
        assert!(unpacked(&[2, 0, 0, 0, 0x20, 0xff, 0xfe]).is_err(), "no text");
    }
}
