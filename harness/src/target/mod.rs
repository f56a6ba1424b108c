//! Target: the process under test. Started, attached to or found; watched; stopped, with nothing left behind.
//!
//! In: a [`Launch`], a pid or an address. Out: a [`Target`] that says whether it lives and what it died of. Start at [`Target`].
//! [`proc`], [`tcp_table`] and [`cgroup`] read the kernel's files; `observe` reads more of them the same way.
//! Cost: [`Target::alive`] reads one `stat` a process and one `children` a thread of the target, about 0.1 ms.
//! Only processes that we started are ever signalled from here, and only by pid *and* start time.
//! Never reads memory: that is [`observe`](crate::observe).

mod attach;
pub mod cgroup;
mod confine;
mod error;
mod family;
mod guard;
pub mod image;
mod launch;
mod life;
mod log;
pub mod proc;
mod ready;
pub mod tcp_table;

use std::{net::SocketAddr, time::Duration};

pub(crate) use attach::is_local;
pub use error::TargetError;
pub use family::Family;
pub use launch::{Launch, Stopped};
pub use life::{Life, OutOfMemory};
pub use log::LogKept;
pub use ready::{Readiness, Ready};

use crate::timeline::Clock;
use launch::Launched;
use ready::ReadyFile;

/// The server under test: a process tree, or only an address. Dropping it kills what we started, without grace.
#[derive(Debug)]
pub struct Target(Kind);

#[derive(Debug)]
enum Kind {
    Launched(Box<Launched>),
    Attached(Family),
    Remote,
}

impl Target {
    /// Starts the target in its own process group, its output drained into a bounded log.
    ///
    /// The harness becomes the adoptive parent of the target's orphans, and a small guard kills the group if the harness is killed.
    ///
    /// # Errors
    /// If the program does not start, or its log cannot be written.
    pub fn launch(launch: &Launch) -> Result<Self, TargetError> {
        Launched::start(launch).map(|launched| Self(Kind::Launched(Box::new(launched))))
    }

    /// Takes a running process as the target.
    ///
    /// # Errors
    /// If it does not exist, is not ours to read, or neither it nor a descendant listens on the address's port.
    pub fn attach(pid: u32, addr: SocketAddr) -> Result<Self, TargetError> {
        attach::family_serving(pid, addr).map(|family| Self(Kind::Attached(family)))
    }

    /// Finds who serves an address. `None` if that is not this machine, or nobody whose memory we may read.
    ///
    /// # Errors
    /// If several unrelated servers share the port.
    pub fn attach_by_addr(addr: SocketAddr) -> Result<Option<Self>, TargetError> {
        let found = attach::find_server(addr)?;
        Ok(found.and_then(|id| Self::attach(id.pid, addr).ok()))
    }

    /// A server that can only be loaded, not looked at.
    pub const fn remote() -> Self {
        Self(Kind::Remote)
    }

    /// The head of the process tree; `None` if the target is out of sight.
    pub fn pid(&self) -> Option<u32> {
        match &self.0 {
            Kind::Launched(launched) => Some(launched.family().root().pid),
            Kind::Attached(family) => Some(family.root().pid),
            Kind::Remote => None,
        }
    }

    /// How it is held, if it is, in words.
    pub fn confinement(&self) -> Option<String> {
        match &self.0 {
            Kind::Launched(launched) => launched.confinement(),
            Kind::Attached(_) | Kind::Remote => None,
        }
    }

    /// Whether we started it, and so may stop it.
    pub const fn is_ours(&self) -> bool {
        matches!(self.0, Kind::Launched(_))
    }

    /// Waits until the target serves.
    ///
    /// # Errors
    /// If it ends before (with its last lines), does not serve in time, or somebody else answers on its port.
    pub fn wait_ready(
        &mut self,
        probe: &Readiness,
        within: Duration,
        clock: &Clock,
    ) -> Result<Ready, TargetError> {
        let begun = clock.now();
        loop {
            let life = self.alive();
            if life.has_ended() {
                return Err(TargetError::Ended {
                    life,
                    last_lines: self.last_lines(),
                });
            }
            let waited = clock.now().since(begun);
            match self.probe(probe, waited)? {
                Ok(ready) => return Ok(ready),
                Err(missing) if waited >= within => return Err(self.not_ready(within, missing)),
                Err(_) => launch::pause(Duration::from_millis(20)),
            }
        }
    }

    /// How the target is now. Also buries what the target left for us to bury, so ask about once a second.
    pub fn alive(&mut self) -> Life {
        match &mut self.0 {
            Kind::Launched(launched) => launched.look(),
            Kind::Attached(family) => {
                family.refresh();
                if family.root_is_alive() {
                    Life::Running
                } else {
                    Life::Gone
                }
            }
            Kind::Remote => Life::Unseen,
        }
    }

    /// Ends the target if we started it: SIGTERM to all of it, SIGKILL after `grace`. Otherwise leaves it alone.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        if let Kind::Launched(launched) = &mut self.0 {
            return launched.stop(grace);
        }
        Stopped {
            life: self.alive(),
            killed: Vec::new(),
            log: LogKept::default(),
        }
    }

    /// The end of the target's output; empty if we did not start it.
    pub fn last_lines(&self) -> String {
        match &self.0 {
            Kind::Launched(launched) => launched.last_lines(),
            Kind::Attached(_) | Kind::Remote => String::new(),
        }
    }

    /// One try. `Ok(Err(what))` says what is still missing.
    fn probe(
        &self,
        probe: &Readiness,
        took: Duration,
    ) -> Result<Result<Ready, String>, TargetError> {
        let said = match probe
            .ready_file
            .as_deref()
            .map(ReadyFile::read)
            .transpose()?
        {
            None => ReadyFile::default(),
            Some(Ok(said)) => said,
            Some(Err(missing)) => return Ok(Err(missing)),
        };
        let addr = probe.addr.or_else(|| said.public_addr());
        if let Some(addr) = addr {
            if let Err(missing) = ready::answers(addr) {
                return Ok(Err(missing));
            }
            self.check_that_it_is_the_target_that_answers(addr)?;
        }
        Ok(Ok(Ready {
            addr,
            admin: said.admin,
            token_file: said.token_file,
            pid: said.pid,
            took,
        }))
    }

    /// A forgotten server on the same port answers at once, and would be judged instead.
    fn check_that_it_is_the_target_that_answers(
        &self,
        addr: SocketAddr,
    ) -> Result<(), TargetError> {
        let Kind::Launched(launched) = &self.0 else {
            return Ok(());
        };
        let mut family = launched.family().clone();
        family.refresh();
        match attach::listens(&family, addr.port()) {
            Some(false) if is_local(addr) => Err(TargetError::PortTaken { port: addr.port() }),
            _ => Ok(()),
        }
    }

    fn not_ready(&self, waited: Duration, missing: String) -> TargetError {
        TargetError::NotReady {
            waited: humantime::format_duration(waited),
            missing,
            last_lines: self.last_lines(),
        }
    }
}
