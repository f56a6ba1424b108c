//! A limit on the memory of a target that we start, as production has one: a control group where we may make one, else a limit on the
//! data of each of its processes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::cgroup::{Cgroup, MOUNT};
use crate::units::ByteSize;

/// What holds the target; what was made for it goes when this is dropped, after its processes.
#[derive(Debug)]
pub(super) struct Confinement {
    limit: ByteSize,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// A control group of its own: this folder.
    Group(PathBuf),
    /// `RLIMIT_DATA`, since no group can be made: for this reason.
    Data(String),
}

impl Confinement {
    /// Makes what will hold the target.
    pub(super) fn prepare(limit: ByteSize) -> Self {
        let way = match group(limit) {
            Ok(folder) => Way::Group(folder),
            Err(why) => Way::Data(why),
        };
        Self { limit, way }
    }

    /// The command that enters it and then becomes the target: the same process, so its pid is the target's.
    pub(super) fn around(&self, command: &[String]) -> Vec<String> {
        let (enter, with) = match &self.way {
            Way::Group(folder) => (
                r#"echo $$ > "$0" && exec "$@""#,
                folder.join("cgroup.procs").to_string_lossy().into_owned(),
            ),
            Way::Data(_) => (
                r#"ulimit -d "$0" && exec "$@""#,
                (self.limit.0 / 1024).to_string(), // the shell counts in KiB
            ),
        };
        let enter = ["/bin/sh", "-c", enter, &with].map(str::to_owned);
        enter.into_iter().chain(command.iter().cloned()).collect()
    }

    /// How it is held, for the report.
    pub(super) fn words(&self) -> String {
        match &self.way {
            Way::Group(_) => format!(
                "the target may use {} of memory, all its processes together: a control group of its own",
                self.limit
            ),
            Way::Data(why) => format!(
                "each process of the target may have {} of data (RLIMIT_DATA); no control group can be made here ({why})",
                self.limit
            ),
        }
    }
}

impl Drop for Confinement {
    fn drop(&mut self) {
        if let Way::Group(folder) = &self.way {
            fs::remove_dir(folder).ok(); // somebody is left in it: then it stays as long as he does
        }
    }
}

/// A control group below our own.
fn group(limit: ByteSize) -> Result<PathBuf, String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let own = Cgroup::of(std::process::id(), Path::new(MOUNT));
    let own = own.map_err(|error| error.to_string())?;
    let number = COUNT.fetch_add(1, Relaxed);
    let name = format!("sse-soak-{}-{number}", std::process::id());
    own.make_below(&name, limit)
        .map_err(|error: io::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_entered_by_the_process_that_becomes_it() {
        let data = Confinement {
            limit: ByteSize(64 << 20),
            way: Way::Data("no".into()),
        };
        let command = data.around(&["server".into(), "--port 1".into()]);
        assert_eq!(&command[..2], ["/bin/sh", "-c"]);
        assert_eq!(&command[3..], ["65536", "server", "--port 1"]);
        assert!(data.words().contains("RLIMIT_DATA"), "{}", data.words());
    }
}
