//! jemalloc's `heap_v2`: what was sampled and is live, by stack, and what was mapped where.
//!
//! Counts are taken as they stand: raw if the target runs with `prof_unbias:false`, as ours does. Memory: what the stacks need,
//! whatever the length of the file; a line or a profile beyond its bounds is refused.

use std::io::{self, BufRead};

/// The longest line that is read: 128 frames (jemalloc's limit) or a long path take much less.
const LONGEST_LINE: u64 = 64 << 10;

/// Addresses kept at most, all stacks together: 64 MB of them.
const MOST_ADDRESSES: usize = 8 << 20;

/// A heap profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Mean bytes between two samples.
    pub sample_bytes: u64,
    /// Who allocated what is live.
    pub traces: Vec<Trace>,
    /// What was mapped where.
    pub mappings: Vec<Mapping>,
}

/// Live samples of one stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Return addresses, the innermost first.
    pub addresses: Vec<u64>,
    /// Blocks sampled.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A line of the memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// Which file.
    pub path: String,
}

/// Why a file is no heap profile that can be used. Lines are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    /// It begins otherwise.
    #[error("it is no jemalloc heap profile: it begins with `{0}` instead of `heap_v2/`")]
    OtherFormat(String),
    /// A line is not what it should be.
    #[error("line {line} should be {wanted}, found `{found}`")]
    Malformed {
        /// Which line.
        line: usize,
        /// What should be there.
        wanted: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// A line does not end.
    #[error("line {line} is longer than {LONGEST_LINE} bytes")]
    LongLine {
        /// Which line.
        line: usize,
    },
    /// It ends before the memory map.
    #[error("it is cut short: the memory map at its end is missing; take the profile again")]
    Truncated,
    /// Too many stacks.
    #[error(
        "it has more than {MOST_ADDRESSES} addresses: sample more coarsely (a larger `lg-sample`)"
    )]
    TooLarge,
}

impl Dump {
    /// Reads a profile.
    ///
    /// # Errors
    /// It is none, is cut short, or is beyond the bounds.
    pub fn read(input: impl BufRead) -> Result<Self, DumpError> {
        let mut lines = Lines {
            input,
            line: String::new(),
            number: 0,
        };
        let sample_bytes = header(lines.next()?.unwrap_or_default())?;
        let mut dump = Self {
            sample_bytes,
            ..Self::default()
        };
        let mut kept = 0;
        let mut waiting = None;
        loop {
            let number = lines.number + 1;
            let Some(line) = lines.next()? else {
                return Err(DumpError::Truncated);
            };
            if line.trim_end() == "MAPPED_LIBRARIES:" {
                break;
            }
            if let Some(addresses) = line.strip_prefix('@') {
                let addresses = self::addresses(number, addresses)?;
                kept += addresses.len();
                if kept > MOST_ADDRESSES {
                    return Err(DumpError::TooLarge);
                }
                waiting = Some(addresses);
            } else if let (Some(counts), true) =
                (line.trim_start().strip_prefix("t*:"), waiting.is_some())
            {
                let (blocks, bytes) = self::counts(number, counts)?;
                let addresses = waiting.take().unwrap_or_default();
                dump.traces.push(Trace {
                    addresses,
                    blocks,
                    bytes,
                });
            } else if !is_of_a_thread(line) {
                return Err(malformed(number, "a stack or its counts", line));
            }
        }
        while let Some(line) = lines.next()? {
            dump.mappings.extend(mapping(line));
        }
        Ok(dump)
    }
}

struct Lines<R> {
    input: R,
    line: String,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<&str>, DumpError> {
        use std::io::Read as _;
        self.number += 1;
        let line = self.number;
        let mut bytes = std::mem::take(&mut self.line).into_bytes();
        bytes.clear();
        let read = self
            .input
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut bytes)?;
        if read as u64 == LONGEST_LINE && bytes.last() != Some(&b'\n') {
            return Err(DumpError::LongLine { line });
        }
        self.line = String::from_utf8(bytes).unwrap_or_else(|error| {
            String::from_utf8_lossy(error.as_bytes()).into_owned() // a path may be anything
        });
        Ok((read > 0).then_some(self.line.trim_end_matches(['\n', '\r'])))
    }
}

fn header(line: &str) -> Result<u64, DumpError> {
    let rate = line.strip_prefix("heap_v2/");
    rate.and_then(|rate| rate.trim().parse().ok())
        .filter(|rate| *rate > 0)
        .ok_or_else(|| DumpError::OtherFormat(shortened(line)))
}

fn addresses(line: usize, text: &str) -> Result<Vec<u64>, DumpError> {
    text.split_ascii_whitespace()
        .map(|word| {
            let digits = word.strip_prefix("0x").unwrap_or(word);
            u64::from_str_radix(digits, 16).map_err(|_| malformed(line, "addresses", word))
        })
        .collect()
}

/// ` 24: 9856 [0: 0]`: live blocks and bytes; what is in brackets is only kept by `prof_accum`.
fn counts(line: usize, text: &str) -> Result<(u64, u64), DumpError> {
    let parsed = || {
        let (blocks, rest) = text.split_once(':')?;
        let bytes = rest.split_ascii_whitespace().next()?;
        Some((blocks.trim().parse().ok()?, bytes.parse().ok()?))
    };
    parsed().ok_or_else(|| malformed(line, "counts such as ` t*: 24: 9856 [0: 0]`", text))
}

/// `  t3: 5: 20592 [0: 0]`, the sum over all threads before the first stack, or nothing.
fn is_of_a_thread(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || (line.starts_with('t') && line.contains(':'))
}

fn mapping(line: &str) -> Option<Mapping> {
    let path = line.find('/').map(|at| line[at..].to_owned())?;
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(words.nth(1)?)?,
        path: path.trim_end_matches(" (deleted)").into(),
    })
}

/// The file that an address lies in.
pub fn locate(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    mappings
        .iter()
        .find(|mapping| (mapping.start..mapping.end).contains(&address))
}

/// Where a file begins in memory: its mapping from offset 0, or what that would be.
pub fn base(mappings: &[Mapping], path: &str) -> u64 {
    let own = mappings.iter().filter(|mapping| mapping.path == path);
    own.min_by_key(|mapping| mapping.offset)
        .map_or(0, |mapping| mapping.start.saturating_sub(mapping.offset))
}

fn malformed(line: usize, wanted: &'static str, found: &str) -> DumpError {
    DumpError::Malformed {
        line,
        wanted,
        found: shortened(found),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "\
heap_v2/8192
  t*: 3: 900 [0: 0]
  t0: 3: 900 [0: 0]
@ 0x1010 0x2020
  t*: 1: 320 [0: 0]
  t0: 1: 320 [0: 0]
@ 0x1010 0x3030
  t*: 2: 580 [0: 0]
  t1: 2: 580 [0: 0]

MAPPED_LIBRARIES:
1000-2000 r--p 00000000 fe:00 1    /srv/server
2000-4000 r-xp 00001000 fe:00 1    /srv/server
7000-8000 rw-p 00000000 00:00 0
";

    #[test]
    fn stacks_keep_their_raw_counts_and_addresses_their_file() {
        let dump = Dump::read(SMALL.as_bytes()).unwrap();
        assert_eq!(dump.sample_bytes, 8192);
        let traces: Vec<_> = dump
            .traces
            .iter()
            .map(|trace| (trace.addresses.as_slice(), trace.blocks, trace.bytes))
            .collect();
        assert_eq!(
            traces,
            [
                ([0x1010, 0x2020].as_slice(), 1, 320),
                (&[0x1010, 0x3030], 2, 580)
            ]
        );
        assert_eq!(locate(&dump.mappings, 0x2020).unwrap().path, "/srv/server");
        assert_eq!(locate(&dump.mappings, 0x7010), None);
        assert_eq!(base(&dump.mappings, "/srv/server"), 0x1000);
    }

    #[test]
    fn what_is_no_whole_profile_is_refused_with_a_sentence() {
        let cut = SMALL.split("MAPPED").next().unwrap();
        for (text, part) in [
            ("", "begins with"),
            ("{\"dhatFileVersion\":2}", "begins with `{\"dhat"),
            ("heap_v2/0\n", "begins with"),
            (cut, "cut short"),
            (&cut[..60], "cut short"),
            (
                "heap_v2/1\n@ 0x1 zz\n",
                "line 2 should be addresses, found `zz`",
            ),
            ("heap_v2/1\n@ 0x1\n  t*: many\n", "line 3 should be counts"),
        ] {
            let said = Dump::read(text.as_bytes()).map_err(|error| error.to_string());
            assert!(
                said.as_ref().is_err_and(|said| said.contains(part)),
                "{text}: {said:?}"
            );
        }
        let endless = format!("heap_v2/1\n@ {}", "0x1 ".repeat(40_000));
        assert!(matches!(
            Dump::read(endless.as_bytes()),
            Err(DumpError::LongLine { line: 2 })
        ));
    }
}
