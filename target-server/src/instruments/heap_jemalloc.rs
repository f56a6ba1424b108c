//! jemalloc's own view: statistics, cache flush, purge, sampled profiles. The only file with `unsafe`.
//!
//! Under dhat these functions are never called. Cost: reading advances `epoch`, which sums a few counters under the arena locks.
#![expect(
    unsafe_code,
    reason = "mallctl is a C interface; two calls of it are not covered by jemalloc-ctl"
)]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    ptr,
};

use jemalloc_ctl::{epoch, raw, stats, thread};

use super::{Heap, InstrumentError};

unsafe extern "C" {
    #[link_name = "_rjem_mallctl"]
    fn mallctl(
        name: *const c_char,
        old: *mut c_void,
        old_len: *mut usize,
        new: *mut c_void,
        new_len: usize,
    ) -> c_int;
}

/// A mallctl that takes and gives nothing.
fn command(name: &'static CStr) -> Result<(), InstrumentError> {
    // SAFETY: the name is a C string, and commands require exactly these nulls.
    match unsafe {
        mallctl(
            name.as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            0,
        )
    } {
        0 => Ok(()),
        code => Err(refused(
            name,
            std::io::Error::from_raw_os_error(code).to_string(),
        )),
    }
}

fn refused(name: &'static CStr, reason: String) -> InstrumentError {
    InstrumentError::Refused {
        call: name.to_str().unwrap_or("mallctl"),
        reason,
    }
}

pub(super) fn flush_thread() {
    if let Err(error) = command(c"thread.tcache.flush") {
        tracing::warn!(%error, "the thread cache stays");
    }
}

pub(super) fn purge() {
    // 4096 is MALLCTL_ARENAS_ALL.
    if let Err(error) = command(c"arena.4096.purge") {
        tracing::warn!(%error, "unused pages stay");
    }
}

pub(super) fn read() -> Option<Heap> {
    epoch::advance().ok()?;
    let size = |read: Result<usize, _>| read.ok().map(|bytes| bytes as u64);
    Some(Heap {
        allocated_bytes: size(stats::allocated::read())?,
        active_bytes: size(stats::active::read()),
        resident_bytes: size(stats::resident::read()),
        mapped_bytes: size(stats::mapped::read()),
        retained_bytes: size(stats::retained::read()),
        metadata_bytes: size(stats::metadata::read()),
    })
}

/// What the calling thread allocated and did not free, as far as it freed it itself: good for differences only.
pub(super) fn thread_bytes() -> Option<u64> {
    let (allocated, freed) = (thread::allocatedp::read(), thread::deallocatedp::read());
    Some(allocated.ok()?.get().wrapping_sub(freed.ok()?.get()))
}

pub(super) fn start_profile(lg_sample: u8) -> Result<(), InstrumentError> {
    compiled_in()?;
    let (reset, active) = (c"prof.reset", c"prof.active");
    // SAFETY: prof.reset takes a size_t, prof.active a bool; both names end in a zero byte.
    unsafe {
        raw::write::<usize>(reset.to_bytes_with_nul(), lg_sample.into())
            .map_err(|e| refused(reset, e.to_string()))?;
        raw::write::<bool>(active.to_bytes_with_nul(), true)
            .map_err(|e| refused(active, e.to_string()))
    }
}

/// A thread draws how many bytes to let pass until its next sample, and `prof.reset` does not draw again: after a profile at a
/// finer rate was started, half a megabyte or more may go by unseen. So that many bytes go by here: allocated, untouched, freed.
pub(super) fn resample_thread() {
    const MORE_THAN_WAS_DRAWN: usize = 32 << 20; // 64 times the mean at the rate we start with
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        MORE_THAN_WAS_DRAWN,
    )));
}

pub(super) fn reset_profile() -> Result<(), InstrumentError> {
    active()?;
    command(c"prof.reset")
}

pub(super) fn dump_profile() -> Result<Vec<u8>, InstrumentError> {
    active()?;
    let folder = super::private_folder()?;
    let file = folder.join("heap.prof");
    let mut path = file.as_os_str().as_bytes().to_vec();
    path.push(0);
    let name = c"prof.dump";
    // SAFETY: prof.dump takes a pointer to a C string that it only reads during the call; `path` outlives it.
    let dumped = unsafe { raw::write::<*const u8>(name.to_bytes_with_nul(), path.as_ptr()) };
    let text = dumped
        .map_err(|e| refused(name, e.to_string()))
        .and_then(|()| Ok(std::fs::read(&file)?));
    std::fs::remove_dir_all(&folder)?;
    text
}

fn compiled_in() -> Result<(), InstrumentError> {
    flag(c"opt.prof")?
        .then_some(())
        .ok_or(InstrumentError::NotHere(
            "heap profiling was switched off at start (opt.prof:false)",
        ))
}

fn active() -> Result<(), InstrumentError> {
    compiled_in()?;
    flag(c"prof.active")?
        .then_some(())
        .ok_or(InstrumentError::NotHere(
            "no heap profile is running: POST /v1/heap/profile/start first",
        ))
}

fn flag(name: &'static CStr) -> Result<bool, InstrumentError> {
    // SAFETY: both flags read through here are bool.
    unsafe { raw::read::<bool>(name.to_bytes_with_nul()) }.map_err(|e| refused(name, e.to_string()))
}

/// Up to here jemalloc 5.3.1 has size classes (`USIZE_GROW_SLOW_THRESHOLD`); above, sizes grow by pages.
const LAST_CLASS: usize = 32 << 10;
const PAGE: usize = 4096;

/// Bytes taken by a request: multiples of 16 up to 128, then four classes per doubling (jemalloc manual, "Size classes"), then pages.
pub(super) fn size_class(size: usize) -> usize {
    match size {
        0..=8 => 8,
        9..=128 => size.next_multiple_of(16),
        129..=LAST_CLASS => size.next_multiple_of(size.next_power_of_two() / 8),
        _ => size.next_multiple_of(PAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_are_the_ones_of_the_manual() {
        for (size, class) in [
            (1, 8),
            (9, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (700, 768),
            (769, 896),
            (1024, 1024),
            (1025, 1280),
            (8192, 8192),
            (14337, 16384),
            (16385, 20480),
            (28673, 32768),
            (32769, 36864),
            (65537, 69632),
            (100_000, 102_400),
        ] {
            assert_eq!(size_class(size), class, "{size}");
        }
    }
}
