//! Letting go of what only the start needed.
//!
//! Arguments, profile, plan and the first connections run through most of our machine code, and then never again: two thirds of what we would
//! weigh for the rest of the run. Its pages are the file's own, so letting go of them loses nothing; what is needed after all comes
//! back with a fault, from the page cache.

use std::{fs, ops::Range};

/// Lets go of the pages of our machine code. Does nothing where the kernel does not say where it is.
pub(super) fn startup_code() {
    let (Ok(program), Ok(maps)) = (
        fs::read_link("/proc/self/exe"),
        fs::read_to_string("/proc/self/maps"),
    ) else {
        return;
    };
    for range in code_of(&program.to_string_lossy(), &maps) {
        #[expect(
            unsafe_code,
            reason = "there is no safe call that tells the kernel what is not needed"
        )]
        // SAFETY: the range is mapped from our own program, and nobody can write to it: no page of it differs from the file, which is
        // what the next access reads.
        unsafe {
            libc::madvise(range.start as *mut _, range.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Where this program's code is mapped. Not its data: pages of that were changed when it was loaded.
fn code_of(program: &str, maps: &str) -> Vec<Range<usize>> {
    let code = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let is_code =
            rest.starts_with("r-xp ") && rest.trim_end().ends_with(&format!(" {program}"));
        let (start, end) = range.split_once('-').filter(|_| is_code)?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_itself_is_let_go() {
        let maps = "\
1000-2000 r--p 00000000 fe:00 1 /bin/sse-soak
2000-5000 r-xp 00001000 fe:00 1                    /bin/sse-soak
5000-6000 rw-p 00004000 fe:00 1 /bin/sse-soak
7000-8000 r-xp 00000000 fe:00 2 /lib/libc.so.6
9000-a000 r-xp 00000000 00:00 0 [vdso]
";
        let code = Range {
            start: 0x2000,
            end: 0x5000,
        };
        assert_eq!(code_of("/bin/sse-soak", maps), [code]);
    }

    #[test]
    fn we_run_on_without_our_code() {
        startup_code();
        assert!(std::hint::black_box(format!("{:?}", [1, 2, 3])).contains('2'));
    }
}
