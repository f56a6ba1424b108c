//! What the conductor does about alarms: writes each of them down, tells whoever watches, and ends the run if one asks for it.

use std::time::Duration;

use super::{Change, Seen, lasts};
use crate::{
    record::{EventKind, SampleRow},
    soak::{Conductor, Halt, Progress},
};

impl Conductor<'_> {
    /// Lets every alarm see a sample that was just recorded.
    pub(in crate::soak) fn heed_alarms(
        &mut self,
        row: &SampleRow,
        told: &Progress,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<(), Halt> {
        if self.watchdog.is_idle() {
            return Ok(());
        }
        let first_event_p99 = self.first_event_p99();
        let seen = Seen::of(&row.sample, &row.counts, first_event_p99);
        let mut stop = None;
        for change in self.watchdog.see(&seen) {
            let text = self.sound(&change)?;
            if change.raised && self.alarms[change.alarm].then.stop {
                stop.get_or_insert_with(|| text.clone());
            }
            tell(&Progress {
                alarm: Some(text),
                ..told.clone()
            });
        }
        for failure in self.actor.failures() {
            self.event(EventKind::Loss, failure)?;
        }
        stop.map_or(Ok(()), |text| Err(Halt::Alarm(text)))
    }

    /// Writes an alarm down before anybody is told of it.
    fn sound(&mut self, change: &Change) -> Result<String, Halt> {
        let alarm = &self.alarms[change.alarm];
        let text = change.text(alarm.when, lasts(alarm));
        self.event(EventKind::Alarm, text.clone())?;
        if change.raised {
            for lost in self.actor.act(&alarm.then, self.clock.now(), &text) {
                self.event(EventKind::Loss, lost)?;
            }
        }
        Ok(text)
    }

    /// Of the first events since the last sample; what was taken for it is kept for latency.csv.
    fn first_event_p99(&mut self) -> Option<Duration> {
        if !self.watchdog.asks_for_latency() {
            return None;
        }
        let fresh = self.crew.take_latency();
        self.latency.add(&fresh);
        let micros = fresh.first_event.value_at_quantile(0.99);
        (!fresh.first_event.is_empty()).then(|| Duration::from_micros(micros))
    }
}
