//! Against what the program `nft` sends for the same change (strace of nft 1.0.6), and against broken answers.

use super::*;
use proptest::prelude::*;

fn bytes(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn range(first: &str, last: &str) -> Element {
    Element::Range(Range { first: first.parse().unwrap(), last: last.parse().unwrap() })
}

fn addresses(addresses: &[&str]) -> Vec<Element> {
    addresses.iter().map(|address| Element::Address(address.parse().unwrap())).collect()
}

/// The elements' part of a message: what stands after its table and set.
fn list_of(batch: Batch) -> Vec<u8> {
    let all = batch.finish();
    let end = all.len() - HEADER - FAMILY_HEADER;
    find(&all[2 * (HEADER + FAMILY_HEADER)..end], 3).unwrap().to_vec()
}

#[test]
#[cfg(target_endian = "little")]
fn a_transaction_is_what_nft_sends() {
    let mut batch = Batch::new(0);
    batch.remove("p", "a", &addresses(&["192.0.2.1"]));
    let mut nfts = bytes(
        "14 00 00 00 10 00 01 00 00 00 00 00 00 00 00 00 00 00 00 0a 38 00 00 00 0e 0a 01 00 01 00 00 00 00 00 00 00 01 00 00 00 06 00 01 00 70 00 00 00 \
         06 00 02 00 61 00 00 00 14 00 03 80 10 00 01 80 0c 00 01 80 08 00 01 00 c0 00 02 01 14 00 00 00 11 00 01 00 02 00 00 00 00 00 00 00 00 00 00 0a",
    );
    // But that we ask for an acknowledgement.
    nfts[26] |= ACK as u8;
    assert_eq!((batch.asked(), batch.finish()), (1, nfts));

    let mut batch = Batch::new(0);
    batch.delete_table("p");
    let mut nfts = bytes(
        "14 00 00 00 10 00 01 00 00 00 00 00 00 00 00 00 00 00 00 0a 1c 00 00 00 02 0a 01 00 01 00 00 00 00 00 00 00 01 00 00 00 06 00 01 00 70 00 00 00 \
         14 00 00 00 11 00 01 00 02 00 00 00 00 00 00 00 00 00 00 0a",
    );
    nfts[26] |= ACK as u8;
    assert_eq!(batch.finish(), nfts);
}

#[test]
#[cfg(target_endian = "little")]
fn elements_are_what_nft_sends() {
    // nft numbers the elements of a list, and names the set's id: neither matters to the kernel.
    let of = |set: &str, elements: &[Element]| {
        let mut batch = Batch::new(0);
        batch.add("p", set, elements);
        list_of(batch)
    };
    let nfts = bytes("10 00 01 80 0c 00 01 80 08 00 01 00 c0 00 02 01 10 00 01 80 0c 00 01 80 08 00 01 00 c0 00 02 02");
    assert_eq!(of("a", &addresses(&["192.0.2.1", "192.0.2.2"])), nfts);
    let nfts = bytes("14 00 01 80 10 00 01 80 0c 00 01 00 c0 00 02 01 4e 20 00 00");
    assert_eq!(of("m", &[Element::Port("192.0.2.1:20000".parse().unwrap())]), nfts);
    let nfts = bytes("10 00 01 80 0c 00 01 80 08 00 01 00 0a 00 00 00 18 00 01 80 08 00 03 00 00 00 00 01 0c 00 01 80 08 00 01 00 0a 00 00 0a");
    assert_eq!(of("r4", &[range("10.0.0.0", "10.0.0.9")]), nfts);
    let nfts = bytes(
        "1c 00 01 80 18 00 01 80 14 00 01 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00 \
         24 00 01 80 08 00 03 00 00 00 00 01 18 00 01 80 14 00 01 00 20 01 0d b9 00 00 00 00 00 00 00 00 00 00 00 00",
    );
    assert_eq!(of("r", &[range("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")]), nfts);
}

#[test]
fn a_thousand_elements_go_into_one_transaction_of_bounded_messages() {
    let many: Vec<Element> = (0..5_000u32).map(|n| Element::Address(Ipv6Addr::from_bits(u128::from(n)).into())).collect();
    let mut batch = Batch::new(7);
    batch.remove("portcullis", "udp6", &many);
    batch.add("portcullis", "udp6", &many);
    let asked = batch.asked();
    let all = batch.finish();
    let kinds: Vec<u16> = messages(&all).iter().map(|message| u16_of(&message[4..6]).unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last(), kinds.len()), (Some(&BATCH_BEGIN), Some(&BATCH_END), asked as usize + 2));
    let sequences: Vec<u32> = messages(&all).iter().map(|message| u32_of(&message[8..12]).unwrap()).collect();
    assert!(sequences.iter().copied().eq(7..7 + asked + 2), "{sequences:?}");
    let mut found = 0;
    for message in messages(&all).into_iter().filter(|message| message.len() > HEADER + FAMILY_HEADER) {
        assert!(message.len() < 40_000, "{}", message.len());
        found += raw_elements(&message[HEADER + FAMILY_HEADER..]).len();
    }
    assert_eq!(found, 10_000);
}

fn messages(all: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (all, Vec::new());
    while !rest.is_empty() {
        let length = u32_of(&rest[..4]).unwrap() as usize;
        found.push(&rest[..length]);
        rest = &rest[length..];
    }
    found
}

/// What is written as elements is read back as the same, in whatever order the kernel gives the edges.
#[test]
fn a_dump_is_read_back_as_what_was_written() {
    for (form, written) in [
        (Form::Addresses, addresses(&["192.0.2.1", "2001:db8::1"])),
        (Form::Ports, vec![Element::Port("192.0.2.1:20000".parse().unwrap()), Element::Port("[2001:db8::1]:65535".parse().unwrap())]),
        (Form::Ranges, vec![range("0.0.0.0", "0.0.0.9"), range("10.0.0.0", "10.0.0.9"), range("192.0.2.0", "255.255.255.255")]),
        (Form::Ranges, vec![range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]),
    ] {
        let mut batch = Batch::new(0);
        batch.add("p", "s", &written);
        let all = batch.finish();
        let mut raw = raw_elements(&messages(&all)[1][HEADER + FAMILY_HEADER..]);
        raw.reverse();
        if form == Form::Ranges {
            // As nft makes sets: with an end at zero that ends nothing.
            let zero = raw.last().unwrap().key.iter().map(|_| 0).collect();
            raw.push(Raw { key: zero, is_end: true, left: None });
        }
        let mut read = elements(raw, form);
        read.sort_unstable();
        assert_eq!(read, written);
    }
}

#[test]
fn answers_are_told_apart() {
    let error = |sequence: u32, errno: i32| {
        let mut message = Vec::new();
        let at = begin(&mut message, NLMSG_ERROR, 0, sequence, (-errno).to_ne_bytes());
        message.extend_from_slice(&[0; 16]);
        end(&mut message, at);
        message
    };
    let mut datagram = error(5, 0);
    datagram.extend(error(6, libc::ENOENT));
    datagram.extend(question(GET_TABLE, 9, false, &[(1, "p")]));
    let found: Vec<Answer<'_>> = answers(&datagram).collect();
    assert_eq!(found[0], Answer::Acknowledged { sequence: 5, errno: 0 });
    assert_eq!(found[1], Answer::Acknowledged { sequence: 6, errno: libc::ENOENT });
    assert!(matches!(found[2], Answer::Data { sequence: 9, kind: GET_TABLE, attributes, .. } if text_of(find(attributes, 1).unwrap()) == "p"));
    assert_eq!(found.len(), 3);
}

proptest! {
    /// Whatever arrives, reading it ends, and panics never.
    #[test]
    fn broken_answers_are_survived(datagram in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300, length in any::<u16>()) {
        let mut good = question(GET_ELEMENTS, 3, true, &[(1, "portcullis"), (3, "xxxxxxxxxxxx")]);
        let at = cut.min(good.len() - 2);
        good[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        for bytes in [&datagram, &good] {
            for answer in answers(bytes) {
                if let Answer::Data { attributes: inner, .. } = answer {
                    let _ = attributes(inner).count();
                    let raw = raw_elements(inner);
                    for form in [Form::Addresses, Form::Ranges, Form::Ports] {
                        let _ = elements(raw.clone(), form);
                    }
                }
            }
        }
    }
}

/// Netlink's numbers go round; a border that has counted to the end goes on.
#[test]
fn a_sequence_number_at_its_end_goes_round() {
    let mut batch = Batch::new(u32::MAX - 1);
    for _ in 0..3 {
        batch.delete_table("t");
    }
    assert!(!batch.finish().is_empty());
}
