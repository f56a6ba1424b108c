//! A worker: plays its segment, and reports. The hidden `sse-soak worker`.

use std::{
    convert::Infallible,
    io::{Read, Write},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
};

use super::{
    EVERY,
    frame::{self, FrameError},
    message::{Answer, Asked, Greeting, Latencies, MOST_PORTS, Order, Report, Start},
    room,
};
use crate::{
    drive::Driver,
    plan::{Batch, Segment},
    timeline::{Clock, Elapsed, PortBook, Tally},
};

/// Orders that may wait.
const ORDERS: usize = 64;

/// Why a worker ends before the run does.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// What came over the pipe.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The run is another version of us.
    #[error("{0}")]
    Version(String),
    /// The first order must say what is to be played.
    #[error("the first order was not to start")]
    NotStarted,
    /// Nobody is started twice.
    #[error("was told to start a second time")]
    StartedTwice,
    /// The load cannot be started.
    #[error("cannot start the load: {0}")]
    Drive(std::io::Error),
    /// The load's thread ended by itself.
    #[error("{0}")]
    Died(String),
}

/// Obeys what comes in and reports to the other side, until the input ends: then the run is gone, and so are we.
///
/// # Errors
/// A frame makes no sense, the run is another version, or the load cannot go on. The run is told, too.
pub fn serve(input: impl Read + Send + 'static, mut output: impl Write) -> Result<(), WorkerError> {
    match obey(input, &mut output) {
        Err(WorkerError::Frame(error)) if error.is_end() => Ok(()),
        Err(error) => {
            // Whoever is not there to hear it finds it on standard error.
            frame::write(&mut output, &Answer::Failed(error.to_string())).ok();
            Err(error)
        }
    }
}

fn obey(
    mut input: impl Read + Send + 'static,
    output: &mut impl Write,
) -> Result<Infallible, WorkerError> {
    let greeting: Greeting = frame::read(&mut input)?;
    if let Some(why) = greeting.mismatch("the run") {
        return Err(WorkerError::Version(why));
    }
    frame::write(output, &Greeting::ours())?;
    let Order::Start(start) = frame::read(&mut input)? else {
        return Err(WorkerError::NotStarted);
    };
    room::raise_the_limit();
    let mut worker = Worker::start(*start)?;
    let orders = listen(input)?;
    let mut due = worker.clock.now() + EVERY;
    loop {
        let order = orders.recv_timeout(due.since(worker.clock.now()));
        match order {
            Ok(order) => worker.obey(order?, output)?,
            Err(RecvTimeoutError::Timeout) => {
                worker.report(None, output)?;
                due = worker.clock.now() + EVERY;
            }
            Err(RecvTimeoutError::Disconnected) => return Err(FrameError::End.into()),
        }
    }
}

/// Reads on a thread of its own: only so is the end of the input noticed at once.
fn listen(
    mut input: impl Read + Send + 'static,
) -> Result<Receiver<Result<Order, FrameError>>, WorkerError> {
    let (sender, orders) = mpsc::sync_channel(ORDERS);
    let read = move || {
        loop {
            let order = frame::read(&mut input);
            let is_last = order.is_err();
            if sender.send(order).is_err() || is_last {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("orders".into()).spawn(read);
    thread.map_err(WorkerError::Drive)?;
    Ok(orders)
}

struct Worker {
    clock: Clock,
    tally: Arc<Tally>,
    ports: Arc<PortBook>,
    driver: Driver,
    segment: Segment,
    told: u64,
}

impl Worker {
    fn start(start: Start) -> Result<Self, WorkerError> {
        let clock = Clock::anchored(start.anchor);
        let (tally, ports) = (Arc::<Tally>::default(), Arc::<PortBook>::default());
        let segment = start.config.segment;
        let driver = Driver::start(start.config, clock, Arc::clone(&tally), Arc::clone(&ports))
            .map_err(WorkerError::Drive)?;
        Ok(Self {
            clock,
            tally,
            ports,
            driver,
            segment,
            told: 0,
        })
    }

    fn obey(&mut self, order: Order, output: &mut impl Write) -> Result<(), WorkerError> {
        match order {
            Order::Start(_) => return Err(WorkerError::StartedTwice),
            Order::Time => frame::write(output, &Answer::Time(self.clock.now()))?,
            Order::Play(began, batches) => self.play(began, batches),
            Order::ReleaseStanding => self.driver.release_standing(),
            Order::Recall => self.driver.recall(),
            Order::Stop => self.driver.stop(),
            Order::Report(ticket) => self.report(Some(ticket), output)?,
        }
        Ok(())
    }

    fn play(&mut self, began: Elapsed, batches: Vec<Batch>) {
        let share = |batch: &Batch| u64::from(self.segment.share(batch.count));
        self.told += batches.iter().map(share).sum::<u64>();
        self.driver.play(began, batches);
    }

    /// Says what was done. If asked to, waits first until the loop has done all that it was told.
    fn report(&self, ticket: Option<u64>, output: &mut impl Write) -> Result<(), WorkerError> {
        if let Some(why) = self.driver.died() {
            return Err(WorkerError::Died(why));
        }
        let asked = ticket.map(|ticket| Asked {
            ticket,
            latency: Latencies::from(&self.driver.take_latency()),
            problems: self.driver.problems().into_iter().map(Into::into).collect(),
        });
        // Counted before they are named: what is counted is named.
        let report = Report {
            at: self.clock.now(),
            counts: self.tally.counts(),
            told: self.told,
            standing: self.driver.standing(),
            noted: self.ports.noted(),
            asked,
        };
        let ports: Vec<_> = self.ports.drain().collect();
        for some in ports.chunks(MOST_PORTS) {
            frame::write(output, &Answer::Ports(some.to_vec()))?;
        }
        Ok(frame::write(output, &Answer::Report(Box::new(report)))?)
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    fn said(orders: &[impl Serialize]) -> Vec<u8> {
        let mut bytes = vec![];
        for order in orders {
            frame::write(&mut bytes, order).unwrap();
        }
        bytes
    }

    fn sentence(input: Vec<u8>) -> String {
        let mut output = vec![];
        let error = serve(std::io::Cursor::new(input), &mut output).unwrap_err();
        let text = String::from_utf8_lossy(&output).into_owned();
        assert!(text.contains(r#"{"failed":""#), "{text}");
        error.to_string()
    }

    #[test]
    fn a_worker_without_a_run_ends_without_a_word() {
        let hello = said(&[Greeting::ours()]);
        for input in [vec![], hello] {
            serve(std::io::Cursor::new(input), std::io::sink()).unwrap();
        }
    }

    #[test]
    fn whatever_is_not_our_protocol_ends_it_with_a_sentence() {
        let hello = said(&[Greeting::ours()]);
        let mut early = hello.clone();
        early.extend(said(&[Order::Recall]));
        let other = Greeting::Hello {
            protocol: 99,
            version: "9".into(),
        };
        for (input, start) in [
            (early, "the first order was not to start"),
            (said(&[other]), "the run (sse-soak 9) speaks version 99"),
            (said(&[Order::Recall]), "a frame makes no sense"),
            (b"hello, worker".to_vec(), "a frame of 1819043176 B"),
            (hello[..9].to_vec(), "the pipe ended in the middle"),
        ] {
            let sentence = sentence(input);
            assert!(sentence.starts_with(start), "{sentence}");
        }
    }
}
