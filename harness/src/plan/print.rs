//! The plan as text: what `sse-soak plan` prints.

use std::fmt::{self, Write as _};

use super::{Batch, Length, Plan, Stay, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factors: Vec<_> = self.factors.iter().map(|factor| factor.name()).collect();
        writeln!(
            f,
            "seed {}, {} priming and {} judged cycles, at most {}",
            self.seed,
            self.priming,
            self.cycles,
            duration(self.longest())
        )?;
        writeln!(f, "factors: {}", factors.join(", "))?;
        writeln!(
            f,
            "standing: {} streams; at most {} connections at once",
            self.standing,
            self.most_open()
        )?;
        writeln!(
            f,
            "\n{:>5}  {:8}  {:18}  clients",
            "cycle", "phase", "length"
        )?;
        for step in &self.steps {
            writeln!(
                f,
                "{:>5}  {:8}  {:18}  {}",
                step.cycle,
                step.phase,
                length(step.length),
                self.clients(step)
            )?;
        }
        Ok(())
    }
}

impl Plan {
    fn clients(&self, step: &Step) -> String {
        let mut out = step
            .batches
            .iter()
            .map(|batch| self.batch(batch))
            .collect::<Vec<_>>()
            .join(", ");
        if let Some(retain) = step.retain {
            let comma = if out.is_empty() { "" } else { ", " };
            write!(out, "{comma}retain {} × {} B", retain.blocks, retain.bytes)
                .expect("a string takes everything");
        }
        out
    }

    fn batch(&self, batch: &Batch) -> String {
        let script = self
            .scripts
            .get(batch.script)
            .map_or("?", |script| script.name.as_str());
        let stay = match batch.stay {
            Stay::For(time) => format!(" after {}", duration(time)),
            Stay::Until(time) => format!(" at {}", duration(time)),
            Stay::ToTheEnd => String::new(),
            Stay::Standing => " at the end".into(),
        };
        format!("{} × {script} → {}{stay}", batch.count, batch.leave)
    }
}

fn length(length: Length) -> String {
    match length {
        Length::For(time) => duration(time),
        Length::UntilQuiet { at_least, at_most } => {
            format!("{} … {}", duration(at_least), duration(at_most))
        }
        Length::UntilStanding { at_most } | Length::UntilGone { at_most } => {
            format!("… {}", duration(at_most))
        }
    }
}

fn duration(time: std::time::Duration) -> String {
    humantime::format_duration(time).to_string()
}
