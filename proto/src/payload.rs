//! Finds where the payload of an encoded `WriteRequest` or `ReadReply` begins, from its first bytes.
//!
//! ```text
//! key value, key value, …          every other field: any order, unknown fields too
//! 0x7a length                      field 15: the payload
//! length bytes                     … up to the end of the message
//! ```
//!
//! A `WriteRequest` may have sections in the payload's place, each like such a message:
//!
//! ```text
//! 0x82 0x01 length                 field 16: a section
//!   0x0a length checksums
//!   0x7a length bytes
//! 0x82 0x01 length …               … up to the end of the message
//! ```

/// Key of the payload: field 15, length-delimited. It is one byte on the wire.
pub const PAYLOAD_KEY: u64 = 15 << 3 | 2;
/// Key of a section of a write: field 16, length-delimited.
pub const SECTION_KEY: u64 = 16 << 3 | 2;
/// A gRPC message begins with one byte of flags and four of length, the highest first.
pub const PREFIX_BYTES: usize = 5;

/// Bytes of the longest varint.
const VARINT_BYTES_MAX: usize = 10;

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// What the first bytes of a message tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Not enough: more bytes are needed.
    Short,
    /// The payload is the last field.
    Payload {
        /// Bytes of the other fields.
        head_bytes: usize,
        /// Bytes from the start of the message to the payload's first byte.
        start: usize,
        /// Bytes of the payload.
        length: usize,
    },
    /// Anything else that may be valid, or not: decode it whole.
    Irregular,
}

/// What the first bytes of a write tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteScan {
    /// There are no sections before the payload.
    Plain(Scan),
    /// Sections come after so many bytes of other fields, of which none is the payload.
    Sections {
        /// Bytes of the other fields.
        head_bytes: usize,
    },
}

/// Looks at the first bytes of a message of `message_bytes`.
pub fn scan(first: &[u8], message_bytes: usize) -> Scan {
    match scan_up_to(first, message_bytes, None) {
        WriteScan::Plain(found) => found,
        WriteScan::Sections { .. } => Scan::Irregular,
    }
}

/// The same of a `WriteRequest`, which may have sections.
pub fn scan_write(first: &[u8], message_bytes: usize) -> WriteScan {
    scan_up_to(first, message_bytes, Some(SECTION_KEY))
}

/// Looks for the payload, or for a field of this key before it.
fn scan_up_to(first: &[u8], message_bytes: usize, section_key: Option<u64>) -> WriteScan {
    let plain = WriteScan::Plain;
    let mut at = 0;
    loop {
        let field = at;
        let Some(key) = varint(first, &mut at) else { return plain(short_or_irregular(first, message_bytes)) };
        if section_key == Some(key) {
            return WriteScan::Sections { head_bytes: field };
        }
        let skipped = match key & 7 {
            VARINT => varint(first, &mut at).map(|_| 0),
            FIXED_64 => Some(8),
            FIXED_32 => Some(4),
            LENGTH_DELIMITED => varint(first, &mut at),
            _ => return plain(Scan::Irregular),
        };
        let Some(skipped) = skipped else { return plain(short_or_irregular(first, message_bytes)) };
        let Some(end) = usize::try_from(skipped).ok().and_then(|skipped| at.checked_add(skipped)) else {
            return plain(Scan::Irregular);
        };
        // Longer varints than this may be too long for a number, and a decoder would refuse them.
        if key == PAYLOAD_KEY && end == message_bytes && at - field <= VARINT_BYTES_MAX {
            return plain(Scan::Payload { head_bytes: field, start: at, length: end - at });
        }
        if key == PAYLOAD_KEY || end > message_bytes {
            return plain(Scan::Irregular);
        }
        at = end;
    }
}

fn short_or_irregular(first: &[u8], message_bytes: usize) -> Scan {
    if first.len() < message_bytes { Scan::Short } else { Scan::Irregular }
}

/// The beginning of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionStart {
    /// Where its fields but the payload begin.
    pub head: usize,
    /// Bytes of these.
    pub head_bytes: usize,
    /// Where its payload begins.
    pub start: usize,
    /// Bytes of the payload.
    pub length: usize,
}

/// Something else than a section, or one whose payload is not its last field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSection;

/// Looks at the first of the `left_bytes` that a message has from here on; nothing if more of them are needed.
pub fn scan_section(first: &[u8], left_bytes: usize) -> Result<Option<SectionStart>, NoSection> {
    let first = &first[..first.len().min(left_bytes)];
    let none_yet = if first.len() < left_bytes { Ok(None) } else { Err(NoSection) };
    let mut head = 0;
    let Some(key) = varint(first, &mut head) else { return none_yet };
    if key != SECTION_KEY {
        return Err(NoSection);
    }
    let Some(length) = varint(first, &mut head) else { return none_yet };
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= left_bytes - head) else {
        return Err(NoSection);
    };
    let section = &first[head..first.len().min(head + length)];
    match scan(section, length) {
        Scan::Short => Ok(None),
        Scan::Payload { head_bytes, start, length } => {
            Ok(Some(SectionStart { head, head_bytes, start: head + start, length }))
        }
        Scan::Irregular => Err(NoSection),
    }
}

/// Reads a varint; nothing if it is not all there. One that is too long is cut, and refused when it is decoded.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use proptest::prelude::*;
    use prost::Message;

    fn request(extents: usize, payload: usize) -> v1::WriteRequest {
        v1::WriteRequest {
            stamp: Some(v1::Stamp { boot: 1, holder: None, incarnation: 300 }),
            sequence: 1 << 40,
            object: Some(v1::ObjectId { file_id: 5, slot: 1 }),
            extents: vec![v1::ObjectExtent { offset: 1 << 50, length: 77 }; extents],
            checksums: vec![7; extents],
            payload: vec![9; payload].into(),
            sections: Vec::new(),
        }
    }

    fn section(checksums: usize, payload: usize) -> v1::WriteSection {
        v1::WriteSection { checksums: vec![7; checksums], payload: vec![9; payload].into() }
    }

    proptest! {
        /// However much of a message is there, the answer is right, or "more" if it can not be known yet.
        #[test]
        fn the_payload_is_found(extents in 0usize..20, payload in 1usize..5000, cut in 0usize..6000) {
            let request = request(extents, payload);
            let bytes = request.encode_to_vec();
            let start = bytes.len() - payload;
            let first = &bytes[..cut.min(bytes.len())];
            match scan(first, bytes.len()) {
                Scan::Payload { head_bytes, start: found, length } => {
                    prop_assert_eq!((found, length), (start, payload));
                    prop_assert!(first.len() >= start);
                    let head = v1::WriteRequest::decode(&bytes[..head_bytes]).unwrap();
                    prop_assert_eq!(head, v1::WriteRequest { payload: Default::default(), ..request });
                }
                Scan::Short => prop_assert!(first.len() < start),
                Scan::Irregular => prop_assert!(false, "irregular"),
            }
        }

        /// The same for sections, one after the other.
        #[test]
        fn sections_are_found(
            extents in 0usize..5,
            sections in prop::collection::vec((0usize..9, 1usize..700), 1..5),
            cut in 0usize..3000,
        ) {
            let sections = sections.into_iter().map(|(checksums, payload)| section(checksums, payload)).collect();
            let request = v1::WriteRequest { checksums: Vec::new(), payload: Default::default(), sections, ..request(extents, 1) };
            let bytes = request.encode_to_vec();
            let head = v1::WriteRequest { sections: Vec::new(), ..request.clone() };
            let mut at = head.encoded_len();
            match scan_write(&bytes[..cut.min(bytes.len())], bytes.len()) {
                WriteScan::Sections { head_bytes } => prop_assert_eq!(head_bytes, at),
                WriteScan::Plain(Scan::Short) => prop_assert!(cut < at + 2),
                WriteScan::Plain(other) => prop_assert!(false, "{:?}", other),
            }
            for expected in request.sections {
                let rest = &bytes[at..];
                let found = scan_section(rest, rest.len()).unwrap().unwrap();
                let decoded = v1::WriteSection::decode(&rest[found.head..found.head + found.head_bytes]).unwrap();
                prop_assert_eq!(&decoded.checksums, &expected.checksums);
                prop_assert_eq!(&rest[found.start..found.start + found.length], &expected.payload[..]);
                let first = &rest[..cut.min(rest.len())];
                match scan_section(first, rest.len()).unwrap() {
                    Some(same) => prop_assert_eq!(same, found),
                    None => prop_assert!(first.len() < found.start),
                }
                at += found.start + found.length;
            }
            prop_assert_eq!(at, bytes.len());
        }

        /// Arbitrary bytes do no harm.
        #[test]
        fn nonsense_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), more in 0usize..100) {
            if let Scan::Payload { head_bytes, start, length } = scan(&bytes, bytes.len() + more) {
                prop_assert!(head_bytes < start && start <= bytes.len());
                prop_assert_eq!(start + length, bytes.len() + more);
            }
            if let Ok(Some(found)) = scan_section(&bytes, bytes.len() + more) {
                prop_assert!(found.head + found.head_bytes < found.start && found.start <= bytes.len());
                prop_assert!(found.start + found.length <= bytes.len() + more);
            }
        }
    }

    #[test]
    fn what_is_no_section_is_told_at_once_or_with_its_last_byte() {
        let encoded = |section| v1::WriteRequest { sections: vec![section], ..Default::default() }.encode_to_vec();
        let whole = encoded(section(2, 5));
        assert!(scan_section(&whole, whole.len()).unwrap().is_some());
        assert_eq!(scan_section(&whole, whole.len() - 1), Err(NoSection), "longer than the message");
        let without_payload = encoded(section(2, 0));
        for length in 0..without_payload.len() {
            assert_eq!(scan_section(&without_payload[..length], without_payload.len()), Ok(None));
        }
        assert_eq!(scan_section(&without_payload, without_payload.len()), Err(NoSection));
        let other = request(1, 5).encode_to_vec();
        assert_eq!(scan_section(&other, other.len()), Err(NoSection));
        let both = [&other[..], &whole].concat();
        assert_eq!(scan_write(&both, both.len()), WriteScan::Plain(Scan::Irregular), "a payload before sections");
    }

    #[test]
    fn other_orders_are_left_to_the_whole_decoder() {
        let mut reversed = v1::WriteRequest { payload: vec![1; 10].into(), ..Default::default() }.encode_to_vec();
        reversed.extend(v1::WriteRequest { payload: Default::default(), ..request(2, 1) }.encode_to_vec());
        assert_eq!(scan(&reversed, reversed.len()), Scan::Irregular);
        let without = v1::WriteRequest { payload: Default::default(), ..request(2, 1) }.encode_to_vec();
        assert_eq!(scan(&without, without.len()), Scan::Irregular);
        assert_eq!(scan(&[], 0), Scan::Irregular);
        assert_eq!(scan(&[0x0b], 50), Scan::Irregular, "groups are no part of this protocol");
    }

    /// A decoder refuses a number of more than 64 bits, so nobody else may cut it to one that fits.
    #[test]
    fn a_key_or_length_that_is_no_number_is_left_to_the_decoder() {
        let head = v1::WriteRequest { payload: Default::default(), ..request(1, 1) }.encode_to_vec();
        let long_key = [&[0xfa, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7e, 1], &b"x"[..]];
        let long_length = [&[0x7a, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], &b"x"[..]];
        for payload in [long_key, long_length] {
            let message = [&head[..], &payload.concat()[..]].concat();
            assert!(v1::WriteRequest::decode(&message[..]).is_err());
            assert_eq!(scan(&message, message.len()), Scan::Irregular);
        }
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut bytes = vec![0xf8, 0x07, 0x01, 0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8, 0xfd, 0x07, 1, 2, 3, 4];
        let unknown = bytes.len();
        bytes.extend(request(1, 5).encode_to_vec());
        assert_eq!(scan(&bytes[..unknown - 1], bytes.len()), Scan::Short);
        let start = bytes.len() - 5;
        assert!(matches!(scan(&bytes, bytes.len()), Scan::Payload { start: found, length: 5, .. } if found == start));
    }
}
