//! `/proc/PID/smaps_rollup` and `status`: what a process's memory is made of.
//!
//! `smaps_rollup` walks the page tables under the process's mmap lock (240 µs for a small process, milliseconds for a large one):
//! once a sample, never while polling. `status` costs 20 µs and holds nothing up. (`statm` is 12 µs cheaper, but says less and needs the
//! size of a page.)

use crate::target::proc::{self, Malformed, ProcError};

/// `smaps_rollup`: exact, and shared pages divided by who shares them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rollup {
    pub(super) rss_bytes: u64,
    pub(super) pss_bytes: u64,
    /// Kernels before 5.9 do not tell.
    pub(super) pss_anon_bytes: Option<u64>,
    pub(super) huge_bytes: u64,
    pub(super) lazy_free_bytes: u64,
}

/// `status`: cheap, and readable whoever owns the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) rss_bytes: u64,
    pub(super) anon_bytes: Option<u64>,
    pub(super) swap_bytes: Option<u64>,
    pub(super) threads: u64,
}

impl Rollup {
    pub(super) fn read(pid: u32) -> Result<Self, ProcError> {
        parsed(pid, "smaps_rollup", Self::parse)
    }

    /// `None` for the empty file of a process without memory: it has ended.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Malformed> {
        let file = Fields::of("smaps_rollup", text);
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            rss_bytes: file.needed_size("Rss")?,
            pss_bytes: file.needed_size("Pss")?,
            pss_anon_bytes: file.size("Pss_Anon")?,
            huge_bytes: file.needed_size("AnonHugePages")?,
            lazy_free_bytes: file.size("LazyFree")?.unwrap_or(0), // older kernels have no such pages
        }))
    }
}

impl Status {
    pub(super) fn read(pid: u32) -> Result<Self, ProcError> {
        parsed(pid, "status", Self::parse)
    }

    /// `None` for a zombie: it has no memory to speak of.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Malformed> {
        let file = Fields::of("status", text);
        let Some(rss_bytes) = file.size("VmRSS")? else {
            return Ok(None);
        };
        Ok(Some(Self {
            rss_bytes,
            anon_bytes: file.size("RssAnon")?,
            swap_bytes: file.size("VmSwap")?,
            threads: file.needed_count("Threads")?,
        }))
    }
}

fn parsed<T>(
    pid: u32,
    file: &'static str,
    parse: impl Fn(&str) -> Result<Option<T>, Malformed>,
) -> Result<T, ProcError> {
    let text = proc::read(pid, file)?;
    parse(&text)
        .map_err(|malformed| ProcError::Malformed { pid, malformed })?
        .ok_or(ProcError::Gone { pid })
}

/// A file of lines `Key:   value`.
struct Fields<'a> {
    file: &'static str,
    text: &'a str,
}

impl<'a> Fields<'a> {
    const fn of(file: &'static str, text: &'a str) -> Self {
        Self { file, text }
    }

    /// The value of the first line with this key, and where it is.
    fn find(&self, key: &str) -> Option<(usize, &'a str)> {
        let lines = self.text.lines().enumerate();
        lines
            .filter_map(|(index, line)| {
                Some((index + 1, line.strip_prefix(key)?.strip_prefix(':')?.trim()))
            })
            .next()
    }

    fn size(&self, key: &str) -> Result<Option<u64>, Malformed> {
        let parse = |value: &str| {
            let kib = value.strip_suffix("kB")?.trim_end().parse::<u64>().ok()?;
            kib.checked_mul(1024)
        };
        self.find(key)
            .map(|(line, value)| {
                parse(value).ok_or_else(|| self.malformed(line, "a size in kB", value))
            })
            .transpose()
    }

    fn needed_size(&self, key: &'static str) -> Result<u64, Malformed> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    fn needed_count(&self, key: &'static str) -> Result<u64, Malformed> {
        let (line, value) = self.find(key).ok_or_else(|| self.missing(key))?;
        value
            .parse()
            .map_err(|_| self.malformed(line, "a whole number", value))
    }

    fn missing(&self, key: &'static str) -> Malformed {
        let line = self.text.lines().count();
        self.malformed(line.max(1), key, "end of file")
    }

    fn malformed(&self, line: usize, expected: &'static str, found: &str) -> Malformed {
        Malformed {
            file: self.file,
            line,
            expected,
            found: proc::shortened(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &str =
        "55aae9af1000-7ffe443db000 ---p 00000000 00:00 0                          [rollup]
Rss:                4020 kB
Pss:                1093 kB
Pss_Dirty:           589 kB
Pss_Anon:            588 kB
Anonymous:           968 kB
LazyFree:              4 kB
AnonHugePages:      2048 kB
Swap:                  0 kB
";

    #[test]
    fn a_rollup_is_read_in_bytes() {
        let rollup = Rollup::parse(ROLLUP).unwrap().unwrap();
        assert_eq!(
            rollup,
            Rollup {
                rss_bytes: 4020 << 10,
                pss_bytes: 1093 << 10,
                pss_anon_bytes: Some(588 << 10),
                huge_bytes: 2 << 20,
                lazy_free_bytes: 4096,
            }
        );
    }

    #[test]
    fn an_old_kernel_tells_less_and_a_dead_process_nothing() {
        let old = "head\nRss: 4 kB\nPss: 4 kB\nAnonHugePages: 0 kB\n";
        assert_eq!(Rollup::parse(old).unwrap().unwrap().pss_anon_bytes, None);
        assert_eq!(Rollup::parse(""), Ok(None));
        assert_eq!(
            Status::parse("Name:\tsleep\nState:\tZ (zombie)\nThreads:\t1\n"),
            Ok(None)
        );
    }

    #[test]
    fn status_is_read_in_bytes() {
        let text = "Name:\tbash\nVmRSS:\t    4020 kB\nRssAnon:\t     968 kB\nVmSwap:\t       8 kB\nThreads:\t3\n";
        assert_eq!(
            Status::parse(text).unwrap().unwrap(),
            Status {
                rss_bytes: 4020 << 10,
                anon_bytes: Some(968 << 10),
                swap_bytes: Some(8 << 10),
                threads: 3
            }
        );
    }

    #[test]
    fn what_is_not_a_size_is_said_with_file_and_line() {
        for (text, complaint) in [
            (
                "head\nRss: x\n",
                "smaps_rollup, line 2: expected a size in kB, found `x`",
            ),
            (
                "head\nRss: 12 MB\n",
                "smaps_rollup, line 2: expected a size in kB, found `12 MB`",
            ),
            (
                "head\nRss: 12 kB\n",
                "smaps_rollup, line 2: expected Pss, found `end of file`",
            ),
        ] {
            assert_eq!(Rollup::parse(text).unwrap_err().to_string(), complaint);
        }
    }

    #[test]
    fn both_files_agree_about_our_own_memory() {
        let me = std::process::id();
        let rollup = Rollup::read(me).unwrap();
        let status = Status::read(me).unwrap();
        assert!(rollup.pss_bytes <= rollup.rss_bytes);
        assert!(status.threads >= 1);
        let apart = rollup.rss_bytes.abs_diff(status.rss_bytes);
        assert!(apart < 8 << 20, "{rollup:?} {status:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC*") {
            for text in [text.clone(), format!("Rss: {text} kB\nPss:{text}"), format!("VmRSS:{text}\nThreads:{text}")] {
                drop(Rollup::parse(&text));
                drop(Status::parse(&text));
            }
        }
    }
}
