//! Ctrl-C: the first ends the run in good order, the second at once.

use std::{io, process, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::say;
use crate::soak::Stop;

/// From the second signal on we leave at once, as the shell would say it; whoever guards the target stops it with us.
const AT_ONCE: i32 = 130;

/// Listens for signals on a thread of its own for the rest of the program.
///
/// # Errors
/// The system refuses handlers or threads.
pub(super) fn listen(stop: Stop) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let heed = move || {
        for _ in &mut signals {
            if stop.asked() {
                process::exit(AT_ONCE);
            }
            stop.ask();
            say("\nstopping: what was recorded will be judged (once more: stop at once)");
        }
    };
    thread::Builder::new().name("signals".into()).spawn(heed)?;
    Ok(())
}
