//! A target that somebody else keeps alive may come back as another process: found again at the same address, or not in time.
//!
//! Only one that was found by its address is looked for: who named a pid meant that process, and one that we started is ours to keep.

use std::{net::SocketAddr, time::Duration};

use super::{Conductor, Halt, SoakError};
use crate::{
    plan::Batch,
    record::EventKind,
    target::{Life, Target},
    timeline::Elapsed,
};

/// How often the address is asked for: finding out who listens reads the descriptors of every process.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// The search for whoever takes the place of a target that is gone.
#[derive(Debug)]
pub(super) struct Search {
    addr: SocketAddr,
    within: Duration,
    /// Who stands during the whole run, to be opened again.
    standing: Vec<Batch>,
    /// Since when, and when was asked last; `None` while the target lives.
    since: Option<(Elapsed, Elapsed)>,
}

impl Search {
    /// Will search at this address, for so long.
    pub(super) const fn at(addr: SocketAddr, within: Duration, standing: Vec<Batch>) -> Self {
        Self {
            addr,
            within,
            standing,
            since: None,
        }
    }
}

impl Conductor<'_> {
    /// The target is gone: looks for its successor, or ends the run.
    pub(super) fn look_for_a_successor(&mut self, now: Elapsed, gone: Life) -> Result<(), Halt> {
        let died = || Halt::TargetDied(gone.to_string());
        let search = self.search.as_mut().ok_or_else(died)?;
        let Some((since, asked)) = search.since else {
            search.since = Some((now, now));
            let text = format!(
                "process {} of the target ended: whoever listens at {} within {} takes its place",
                self.target.pid().unwrap_or_default(),
                search.addr,
                humantime::format_duration(search.within)
            );
            return Ok(self.event(EventKind::Restart, text)?);
        };
        if now.since(since) > search.within {
            let text = format!(
                "{gone}, and nobody listened at {} within {}",
                search.addr,
                humantime::format_duration(search.within)
            );
            return Err(Halt::TargetDied(text));
        }
        if now.since(asked) < ASK_EVERY {
            return Ok(());
        }
        search.since = Some((since, now));
        // Two who listen for a moment, or one whose memory is not ours to read: asked again until the time is over.
        match Target::attach_by_addr(search.addr) {
            Ok(Some(new)) => Ok(self.follow(now, new)?),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn follow(&mut self, now: Elapsed, new: Target) -> Result<(), SoakError> {
        let Some((search, pid)) = self.search.as_mut().zip(new.pid()) else {
            return Ok(());
        };
        let waited = search
            .since
            .take()
            .map_or(Duration::ZERO, |(since, _)| now.since(since));
        let standing = search.standing.clone();
        self.observer.follow(pid)?;
        let text = format!(
            "process {pid} listens in its place, {:.1} s later",
            waited.as_secs_f64()
        );
        self.event(EventKind::Restart, text)?;
        self.target = new;
        self.manifest.target.pid = Some(pid);
        self.dir.manifest(&self.manifest)?;
        self.crew.play(now, &standing);
        Ok(())
    }
}
