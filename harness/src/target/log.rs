//! The target's own output: kept, but bounded; a target never waits for us to read it.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, PipeReader, Read, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use crate::units::ByteSize;

/// What became of the target's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogKept {
    /// Bytes written to the log.
    pub kept_bytes: u64,
    /// Bytes read from the target and not kept, because of the limit or a full disk.
    pub lost_bytes: u64,
    /// Why writing stopped, if it was not the limit.
    pub problem: Option<String>,
}

/// How much of the end is remembered in memory, for error messages and for the end of a log that was cut.
const TAIL_BYTES: usize = 16 << 10;

#[derive(Debug, Default)]
struct State {
    kept: LogKept,
    tail: VecDeque<u8>,
}

/// A thread that drains the target's output into a file until the last writer closes it.
#[derive(Debug)]
pub(super) struct LogPump {
    state: Arc<Mutex<State>>,
    ended: Receiver<()>,
}

impl LogPump {
    /// Starts draining.
    pub(super) fn start(from: PipeReader, into: File, limit: ByteSize) -> io::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let (end, ended) = sync_channel(1);
        let theirs = Arc::clone(&state);
        thread::Builder::new()
            .name("target-log".into())
            .spawn(move || pump(from, into, limit.0, &theirs, &end))?;
        Ok(Self { state, ended })
    }

    /// The last lines of the output, at most `lines`.
    pub(super) fn last_lines(&self, lines: usize) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = state.tail.iter().copied().collect();
        drop(state);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Waits until the output has ended, so that the last lines are in.
    pub(super) fn wait_for_the_end(&self, within: Duration) {
        // Either it ends or we stop waiting; a writer that outlives the target must not hold us up.
        self.ended.recv_timeout(within).ok();
    }

    /// What became of the output so far.
    pub(super) fn kept(&self) -> LogKept {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .kept
            .clone()
    }
}

fn pump(mut from: PipeReader, into: File, limit: u64, state: &Mutex<State>, end: &SyncSender<()>) {
    let mut log = BoundedLog { into, limit };
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => log.keep(&buffer[..length], state),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    log.finish(state);
    end.try_send(()).ok(); // nobody waits: the target outlived its interest
}

struct BoundedLog {
    into: File,
    limit: u64,
}

impl BoundedLog {
    fn keep(&mut self, bytes: &[u8], state: &Mutex<State>) {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.remember(bytes);
        let room = self.limit.saturating_sub(state.kept.kept_bytes);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let first_cut = fits < bytes.len() && state.kept.lost_bytes == 0;
        if state.kept.problem.is_none() && fits > 0 {
            match self.into.write_all(&bytes[..fits]) {
                Ok(()) => state.kept.kept_bytes += fits as u64,
                Err(error) => state.kept.problem = Some(error.to_string()),
            }
        }
        if first_cut {
            let mark = format!(
                "\n[sse-soak: the limit of {} is reached; what follows is not kept]\n",
                ByteSize(self.limit)
            );
            self.mark(&mark, &mut state);
        }
        let kept = if state.kept.problem.is_some() {
            0
        } else {
            fits
        };
        state.kept.lost_bytes += (bytes.len() - kept) as u64;
    }

    /// The end of a cut log says what the target said last: that is what one looks for.
    fn finish(&mut self, state: &Mutex<State>) {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.kept.lost_bytes == 0 {
            return;
        }
        let mark = format!(
            "[sse-soak: {} were not kept; the last lines were:]\n",
            ByteSize(state.kept.lost_bytes)
        );
        self.mark(&mark, &mut state);
        let tail: Vec<u8> = state.tail.iter().copied().collect();
        if let Err(error) = self.into.write_all(&tail) {
            state.kept.problem.get_or_insert_with(|| error.to_string());
        }
    }

    fn mark(&mut self, text: &str, state: &mut State) {
        if let Err(error) = self.into.write_all(text.as_bytes()) {
            state.kept.problem.get_or_insert_with(|| error.to_string());
        }
    }
}

impl State {
    fn remember(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let too_many = (self.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..too_many);
        self.tail.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pumped(chunks: &[&str], limit: u64) -> (String, LogPump) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target.log");
        let (reader, mut writer) = io::pipe().unwrap();
        let pump = LogPump::start(reader, File::create(&path).unwrap(), ByteSize(limit)).unwrap();
        for chunk in chunks {
            writer.write_all(chunk.as_bytes()).unwrap();
        }
        drop(writer);
        pump.wait_for_the_end(Duration::from_secs(10));
        (std::fs::read_to_string(path).unwrap(), pump)
    }

    #[test]
    fn short_output_is_kept_as_it_is() {
        let (text, pump) = pumped(&["one\n", "two\n"], 1 << 20);
        assert_eq!(text, "one\ntwo\n");
        assert_eq!(pump.last_lines(1), "two");
        assert_eq!(
            pump.kept(),
            LogKept {
                kept_bytes: 8,
                ..LogKept::default()
            }
        );
    }

    #[test]
    fn long_output_is_cut_with_a_mark_and_its_end_is_kept() {
        let long = "x".repeat(100_000);
        let (text, pump) = pumped(&["begin\n", &long, "\nthe end\n"], 10);
        assert!(
            text.starts_with("begin\nxxxx\n[sse-soak: the limit of 10 B is reached"),
            "{text:.80}"
        );
        assert!(text.ends_with("the end\n"));
        assert!(text.len() < TAIL_BYTES + 300);
        assert_eq!(pump.kept().lost_bytes, 100_015 - 10);
        assert_eq!(pump.last_lines(1), "the end");
    }
}
