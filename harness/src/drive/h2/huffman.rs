//! The Huffman code of header strings (RFC 7541, appendix B), decoded without a table of states.
//!
//! The code is canonical: codes of one length follow one another in the order of their symbols, and shorter codes come first. So the lengths
//! alone are the code, and a symbol is found by counting. A head has a few hundred bytes, once a stream: a bit at a time is fast enough.

/// Bits of the code of every byte, and of the end of a string (256).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const LONGEST: usize = 30;
const END_OF_STRING: usize = 256;
/// A string ends with the start of [`END_OF_STRING`], which is all ones, up to the next byte.
const MOST_PADDING: usize = 7;

/// How many codes have each length.
const COUNTS: [u32; LONGEST + 1] = {
    let mut counts = [0; LONGEST + 1];
    let mut symbol = 0;
    while symbol < LENGTHS.len() {
        counts[LENGTHS[symbol] as usize] += 1;
        symbol += 1;
    }
    counts
};

/// The symbols in the order of their codes.
const SYMBOLS: [u16; LENGTHS.len()] = {
    let mut symbols = [0; LENGTHS.len()];
    let (mut place, mut length) = (0, 1);
    while length <= LONGEST {
        let mut symbol: u16 = 0;
        while (symbol as usize) < LENGTHS.len() {
            if LENGTHS[symbol as usize] as usize == length {
                symbols[place] = symbol;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    symbols
};

/// Appends what `coded` stands for; `None` if it is no such code.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut walk = Walk::default();
    for byte in coded {
        for shift in (0..8).rev() {
            if let Some(symbol) = walk.step(byte >> shift & 1)? {
                out.push(u8::try_from(symbol).ok()?); // the end of a string is none of its bytes
                walk = Walk::default();
            }
        }
    }
    (walk.bits <= MOST_PADDING && walk.is_all_ones).then_some(())
}

/// The way to one symbol, bit by bit.
struct Walk {
    bits: usize,
    code: u32,
    /// The first code of this length, and its place among the symbols.
    first: u32,
    place: u32,
    is_all_ones: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            bits: 0,
            code: 0,
            first: 0,
            place: 0,
            is_all_ones: true,
        }
    }
}

impl Walk {
    /// `None`: no symbol begins like this. `Some(None)`: it goes on.
    fn step(&mut self, bit: u8) -> Option<Option<usize>> {
        self.bits += 1;
        self.is_all_ones &= bit == 1;
        self.code = self.code << 1 | u32::from(bit);
        let count = *COUNTS.get(self.bits)?;
        let beyond = self.code - self.first;
        if beyond < count {
            let symbol = usize::from(SYMBOLS[(self.place + beyond) as usize]);
            return (symbol != END_OF_STRING).then_some(Some(symbol));
        }
        self.place += count;
        self.first = (self.first + count) << 1;
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<String> {
        let mut out = vec![];
        decode(coded, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    /// RFC 7541, C.4 and C.6.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        for (coded, text) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (b"\x64\x02", "302"),
            (b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            (b"", ""),
        ] {
            assert_eq!(decoded(coded).as_deref(), Some(text));
        }
    }

    #[test]
    fn padding_that_is_none_and_the_end_in_the_middle_are_refused() {
        // Eight ones, half a symbol of zeros, and the end of a string itself.
        for coded in [
            &b"\xff"[..],
            b"\x25\xa8\x00\x00\x00\x01",
            b"\xff\xff\xff\xff",
        ] {
            assert_eq!(decoded(coded), None, "{coded:x?}");
        }
    }

    #[test]
    fn the_code_is_complete() {
        let whole: u64 = (1..=LONGEST)
            .map(|length| u64::from(COUNTS[length]) << (LONGEST - length))
            .sum();
        assert_eq!(whole, 1 << LONGEST);
    }
}
