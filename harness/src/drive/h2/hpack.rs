//! Header compression (RFC 7541) without memory: we say that our table has room for nothing, so nothing is ever put into it.
//!
//! In: a block of fields. Out: the fields, or why it cannot be read. What we send is not compressed at all: a request is sent once a stream.

use super::huffman;

/// A string or number with more bytes than this is none.
const MOST_NUMBER_BYTES: usize = 5;
/// What a field weighs beside its name and value (RFC 7541 §4.1).
const FIELD_OVERHEAD: usize = 32;

/// A field of a head: names are in lower case, pseudo-headers begin with a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value, any bytes.
    pub value: Vec<u8>,
}

/// Why a block cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A number without end, or a string longer than its block.
    #[error("a header block is cut off")]
    CutOff,
    /// Not the code of RFC 7541.
    #[error("a header string is no Huffman code")]
    Huffman,
    /// A place in a table that has none: ours is empty.
    #[error("a header block names entry {0} of a table that must be empty")]
    Index(u64),
    /// A table larger than we allowed.
    #[error("a header block asks for a table of {0} bytes, where none is allowed")]
    TableSize(u64),
    /// Not what HTTP allows in a name.
    #[error("a header name is invalid")]
    Name,
    /// Beyond the limit, as fields.
    #[error("the head of the answer is longer than {limit} bytes")]
    TooLong {
        /// The most bytes a head may have.
        limit: usize,
    },
}

/// Reads a whole block. `limit`: bytes of names and values, and 32 for each field.
///
/// # Errors
/// See [`BlockError`].
pub fn decode(mut block: &[u8], limit: usize) -> Result<Vec<Field>, BlockError> {
    let mut fields = vec![];
    let mut weight = 0;
    while let Some(&first) = block.first() {
        let Some(field) = next(first, &mut block)? else {
            continue;
        };
        weight += field.name.len() + field.value.len() + FIELD_OVERHEAD;
        if weight > limit {
            return Err(BlockError::TooLong { limit });
        }
        fields.push(field);
    }
    Ok(fields)
}

/// One representation: a field, or a word about the table.
fn next(first: u8, block: &mut &[u8]) -> Result<Option<Field>, BlockError> {
    if first & 0x80 != 0 {
        let (name, value) = entry(number(block, 7)?)?;
        return Ok(Some(Field {
            name: name.into(),
            value: value.into(),
        }));
    }
    if first & 0xE0 == 0x20 {
        let size = number(block, 5)?;
        return match size {
            0 => Ok(None),
            _ => Err(BlockError::TableSize(size)),
        };
    }
    // To be put into the table (where it does not fit), or not: all the same here.
    let index = number(block, if first & 0x40 != 0 { 6 } else { 4 })?;
    let name = match index {
        0 => name(string(block)?)?,
        _ => entry(index)?.0.into(),
    };
    let value = string(block)?;
    Ok(Some(Field { name, value }))
}

fn name(bytes: Vec<u8>) -> Result<String, BlockError> {
    let is_visible = |byte: &u8| (0x21..0x7F).contains(byte) && !byte.is_ascii_uppercase();
    if bytes.is_empty() || !bytes.iter().all(is_visible) {
        return Err(BlockError::Name);
    }
    String::from_utf8(bytes).map_err(|_| BlockError::Name)
}

fn entry(index: u64) -> Result<(&'static str, &'static str), BlockError> {
    let place = usize::try_from(index)
        .ok()
        .and_then(|index| index.checked_sub(1));
    let found = place.and_then(|place| STATIC.get(place));
    found.copied().ok_or(BlockError::Index(index))
}

/// A number whose first byte has so many bits for it (RFC 7541 §5.1).
fn number(block: &mut &[u8], bits: u32) -> Result<u64, BlockError> {
    let mask = (1_u64 << bits) - 1;
    let value = u64::from(take(block)?) & mask;
    if value < mask {
        return Ok(value);
    }
    let mut value = value;
    for place in 0..MOST_NUMBER_BYTES {
        let byte = take(block)?;
        value += u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(BlockError::CutOff)
}

fn string(block: &mut &[u8]) -> Result<Vec<u8>, BlockError> {
    let is_coded = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = usize::try_from(number(block, 7)?).map_err(|_| BlockError::CutOff)?;
    let (text, rest) = block.split_at_checked(length).ok_or(BlockError::CutOff)?;
    *block = rest;
    if !is_coded {
        return Ok(text.into());
    }
    let mut out = vec![];
    huffman::decode(text, &mut out).ok_or(BlockError::Huffman)?;
    Ok(out)
}

fn take(block: &mut &[u8]) -> Result<u8, BlockError> {
    let (&first, rest) = block.split_first().ok_or(BlockError::CutOff)?;
    *block = rest;
    Ok(first)
}

/// Begins a block: whatever the peer allows, we keep no table. Some insist on being told.
pub fn begin(out: &mut Vec<u8>) {
    out.push(0x20);
}

/// Writes a field; by its number, or by that of its name, where the static table has one.
pub fn write(name: &str, value: &[u8], out: &mut Vec<u8>) {
    let whole = STATIC
        .iter()
        .position(|(n, v)| *n == name && v.as_bytes() == value);
    if let Some(place) = whole {
        write_number(0x80, 7, place + 1, out);
        return;
    }
    match STATIC.iter().position(|(n, _)| *n == name) {
        Some(place) => write_number(0, 4, place + 1, out),
        None => {
            out.push(0);
            write_string(name.as_bytes(), out);
        }
    }
    write_string(value, out);
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    write_number(0, 7, text.len(), out);
    out.extend_from_slice(text);
}

fn write_number(flags: u8, bits: u32, value: usize, out: &mut Vec<u8>) {
    let most = (1_usize << bits) - 1;
    let low = |value: usize| u8::try_from(value & 0xFF).unwrap_or_default();
    if value < most {
        out.push(flags | low(value));
        return;
    }
    out.push(flags | low(most));
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(low(rest & 0x7F) | 0x80);
        rest >>= 7;
    }
    out.push(low(rest));
}

/// RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""),
    ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""),
    ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(name: &str, value: &str) -> Field {
        Field {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn a_block_is_indexed_literal_or_coded_fields() {
        // An update to nothing; `:status: 200`; `content-type` by name; a coded custom field, to be put into the table.
        let block = b"\x20\x88\x5f\x03a/b\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let fields = decode(block, 1000).unwrap();
        let expected = [
            field(":status", "200"),
            field("content-type", "a/b"),
            field("custom-key", "custom-value"),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_block_that_makes_no_sense_is_refused() {
        for (block, error) in [
            (&b"\xbe"[..], BlockError::Index(62)),
            (b"\x80", BlockError::Index(0)),
            (b"\x3f\xe1\x1f", BlockError::TableSize(4096)),
            (b"\x00\x05ab", BlockError::CutOff),
            (b"\xff\xff\xff\xff\xff\xff\xff", BlockError::CutOff),
            (b"\x00\x81\x00\x00", BlockError::Huffman),
            (b"\x00\x01A\x00", BlockError::Name),
            (b"\x00\x00\x00", BlockError::Name),
            (b"\x88\x88\x88", BlockError::TooLong { limit: 100 }),
        ] {
            assert_eq!(decode(block, 100), Err(error), "{block:x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in prop::collection::vec(("[a-z:][a-z-]{0,200}", ".{0,300}"), 0..9)) {
            let mut block = vec![];
            begin(&mut block);
            for (name, value) in &fields {
                write(name, value.as_bytes(), &mut block);
            }
            let read: Vec<_> = fields.iter().map(|(name, value)| field(name, value)).collect();
            prop_assert_eq!(decode(&block, usize::MAX), Ok(read));
        }

        #[test]
        fn no_bytes_make_it_panic(block in prop::collection::vec(any::<u8>(), 0..300)) {
            decode(&block, 500).ok();
        }
    }
}
