//! Any bytes as UDPTL datagrams, cut at their first byte's length: no panic; what passes is within the bound, passes again, and with a byte less or more does not;
//! a fax's sequence takes no more than was sent, and nothing of it crosses a stream that is told to carry sound.

use portcullis::media::udptl::{LONGEST, Sequence, check};

pub fn run(data: &[u8]) {
    let mut sequence = Sequence::default();
    let mut rest = data;
    while let Some((&length, more)) = rest.split_first() {
        let (datagram, next) = more.split_at(more.len().min(usize::from(length)));
        rest = next;
        let Ok(number) = check(datagram) else { continue };
        assert!(datagram.len() <= LONGEST);
        assert_eq!(number.to_be_bytes(), datagram[..2]);
        assert!(check(&datagram[..datagram.len() - 1]).is_err());
        assert!(check(&[datagram, &[0]].concat()).is_err());
        sequence.accept(number);
    }
    // 2^16 numbers, and as many again for each new start.
    assert!(sequence.lost() <= 65_536 * (1 + data.len() as u64));
}
