//! dhat's view: exact windows. Between start and stop every allocation is recorded with its stack; 9 to 20 times slower.

use std::{path::PathBuf, sync::Mutex};

use super::{Allocator, Heap, InstrumentError};

/// The one window that may be open. Dropping it writes nothing anybody asked for.
#[derive(Default)]
pub(crate) struct Windows(Mutex<Option<Window>>);

struct Window {
    profiler: dhat::Profiler,
    folder: PathBuf,
}

const ELSEWHERE: InstrumentError =
    InstrumentError::NotHere("dhat windows need target-dhat; this is target-jemalloc");

impl Windows {
    /// Opens a window; blocks that exist already are not part of it.
    pub(crate) fn start(&self, allocator: Allocator) -> Result<(), InstrumentError> {
        let mut open = self.lock(allocator)?;
        if open.is_some() {
            return Err(InstrumentError::NotHere(
                "a dhat window is open: POST /v1/dhat/stop first",
            ));
        }
        let folder = super::private_folder()?;
        let profiler = dhat::Profiler::builder()
            .file_name(folder.join("dhat.json"))
            .build();
        *open = Some(Window { profiler, folder });
        Ok(())
    }

    /// Closes the window and answers its DHAT JSON: `eb`/`ebk` per stack are what it allocated and is still live.
    pub(crate) fn stop(&self, allocator: Allocator) -> Result<Vec<u8>, InstrumentError> {
        let Some(Window { profiler, folder }) = self.lock(allocator)?.take() else {
            return Err(InstrumentError::NotHere(
                "no dhat window is open: POST /v1/dhat/start first",
            ));
        };
        drop(profiler); // writes the file
        let text = std::fs::read(folder.join("dhat.json"))?;
        std::fs::remove_dir_all(folder)?;
        Ok(text)
    }

    /// What the open window holds now.
    pub(crate) fn read(&self) -> Option<Heap> {
        let open = self.0.lock().ok()?;
        open.as_ref().map(|_| Heap {
            allocated_bytes: dhat::HeapStats::get().curr_bytes as u64,
            ..Heap::default()
        })
    }

    fn lock(
        &self,
        allocator: Allocator,
    ) -> Result<std::sync::MutexGuard<'_, Option<Window>>, InstrumentError> {
        if allocator != Allocator::Dhat {
            return Err(ELSEWHERE);
        }
        Ok(self
            .0
            .lock()
            .expect("nothing panics while a window is opened or closed"))
    }
}
