//! What the workers have reported so far, added up. Pure: whoever reads the pipes hands it in.

use crate::{
    drive::{Latency, Problem},
    plan::Leave,
    timeline::{Counts, Elapsed, End, PortBook, Tally},
};

use super::message::Report;

/// Distinct problems that are kept; each worker keeps no more than half as many.
const MOST_PROBLEMS: usize = 64;

/// Every worker as last heard of.
#[derive(Debug, Default)]
pub(super) struct Muster {
    members: Vec<Member>,
    latency: Latency,
    /// What went wrong, in the order in which it was first heard of: whoever reads it twice finds the new ones at the end.
    problems: Vec<String>,
    losses: Vec<String>,
}

#[derive(Debug, Default)]
struct Member {
    last: Report,
    problems: Vec<Problem>,
    /// Openings of its segment so far, as we told it.
    planned: u64,
    /// Openings that are not pending any more.
    done: u64,
    answered: u64,
    is_gone: bool,
}

impl Member {
    /// By the way they were to leave: those that stood when it was last heard of. What was noted but never connected makes the sum
    /// too large; the surplus is taken from the most frequent.
    fn connected_now(&self) -> [u64; Leave::ALL.len()] {
        let counts = &self.last.counts;
        let mut open: [u64; Leave::ALL.len()] =
            std::array::from_fn(|i| self.last.noted[i].saturating_sub(counts.closed[i]));
        let connected = counts.connected.saturating_sub(counts.closed_total());
        let mut surplus = open.iter().sum::<u64>().saturating_sub(connected);
        while surplus > 0 {
            let most = open.iter_mut().max().expect("there are ways to leave");
            let less = surplus.min(*most);
            *most -= less;
            surplus -= less;
        }
        open
    }
}

/// What a dead worker takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) open: u64,
    pub(super) planned: u64,
    pub(super) heard: Elapsed,
}

impl Muster {
    /// One more worker; returns its index.
    pub(super) fn join(&mut self) -> usize {
        self.members.push(Member::default());
        self.members.len() - 1
    }

    /// So many openings are to come from a worker; from one that is gone, they are lost at once.
    pub(super) fn plan(&mut self, worker: usize, openings: u64, tally: &Tally) {
        let member = &mut self.members[worker];
        if member.is_gone {
            return Tally::add(&tally.not_opened, openings);
        }
        member.planned += openings;
        Tally::add(&tally.pending, openings);
    }

    /// Takes in what a worker has done since its last report.
    ///
    /// # Errors
    /// In a sentence, what about it cannot be.
    pub(super) fn report(
        &mut self,
        worker: usize,
        mut report: Report,
        tally: &Tally,
    ) -> Result<(), String> {
        let member = &mut self.members[worker];
        if member.is_gone {
            return Ok(()); // its work was counted as lost already
        }
        if !report.counts.follows(&member.last.counts) {
            return Err("it reports less than it did before".into());
        }
        let done = report.told.saturating_sub(report.counts.pending);
        if report.told > member.planned || done < member.done {
            return Err("it reports openings that nobody planned".into());
        }
        tally.add_all(&report.counts.since(&member.last.counts));
        take(tally, done - member.done);
        member.done = done;
        if let Some(asked) = report.asked.take() {
            member.answered = member.answered.max(asked.ticket);
            asked.latency.add_to(&mut self.latency);
            member.problems = asked.problems.into_iter().map(Into::into).collect();
            for problem in &member.problems {
                let is_new = !self.problems.contains(&problem.what);
                if is_new && self.problems.len() < MOST_PROBLEMS {
                    self.problems.push(problem.what.clone());
                }
            }
        }
        member.last = report;
        Ok(())
    }

    /// A worker is gone, and with it all that it held. `None` if that was known.
    pub(super) fn lose(&mut self, worker: usize, tally: &Tally) -> Option<Loss> {
        let member = &mut self.members[worker];
        if std::mem::replace(&mut member.is_gone, true) {
            return None;
        }
        let planned = member.planned - member.done;
        let open = member.last.counts.live();
        let mut gone = Counts {
            closed: member.connected_now(),
            not_opened: planned,
            waits_over: member.last.counts.waiting(),
            ..Counts::default()
        };
        gone.ended[End::Lost as usize] = open;
        tally.add_all(&gone);
        take(tally, planned);
        Some(Loss {
            open,
            planned,
            heard: member.last.at,
        })
    }

    pub(super) fn note_loss(&mut self, sentence: String) {
        self.losses.push(sentence);
    }

    /// Whether everyone who is not gone has answered under this number.
    pub(super) fn all_answered(&self, ticket: u64) -> bool {
        self.silent(ticket).next().is_none()
    }

    /// Those who have not.
    pub(super) fn silent(&self, ticket: u64) -> impl Iterator<Item = usize> {
        let silent = move |member: &Member| !member.is_gone && member.answered < ticket;
        let members = self.members.iter().enumerate();
        members
            .filter(move |(_, member)| silent(member))
            .map(|(index, _)| index)
    }

    pub(super) fn all_gone(&self) -> bool {
        self.members.iter().all(|member| member.is_gone)
    }

    pub(super) fn is_gone(&self, worker: usize) -> bool {
        self.members[worker].is_gone
    }

    pub(super) fn standing(&self) -> u64 {
        let here = self.members.iter().filter(|member| !member.is_gone);
        here.map(|member| member.last.standing).sum()
    }

    /// Connections that a worker holds.
    pub(super) fn open(&self, worker: usize) -> u64 {
        let member = &self.members[worker];
        if member.is_gone {
            0
        } else {
            member.last.counts.live()
        }
    }

    pub(super) fn take_latency(&mut self) -> Latency {
        std::mem::take(&mut self.latency)
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let merged = |what: &String| {
            let met = self.members.iter().flat_map(|member| &member.problems);
            let met = met.filter(|problem| problem.what == *what);
            Problem {
                what: what.clone(),
                count: met.clone().map(|problem| problem.count).sum(),
                quote: met.clone().find_map(|problem| problem.quote.clone()),
            }
        };
        self.problems.iter().map(merged).collect()
    }

    pub(super) fn losses(&self) -> &[String] {
        &self.losses
    }
}

/// Openings that are not to come any more.
fn take(tally: &Tally, openings: u64) {
    tally
        .pending
        .fetch_sub(openings, std::sync::atomic::Ordering::Relaxed);
}

/// Takes over which local ports leave how.
pub(super) fn note_ports(book: &PortBook, ports: &[(u16, Leave)]) {
    for (port, leave) in ports {
        book.note(*port, *leave);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::message::{Asked, Latencies};

    fn muster(workers: usize) -> (Muster, Tally) {
        let mut muster = Muster::default();
        (0..workers).for_each(|index| assert_eq!(muster.join(), index));
        (muster, Tally::default())
    }

    fn report(opened: u64, closed: u64, told: u64, pending: u64) -> Report {
        let mut counts = Counts {
            opened,
            connected: opened,
            pending,
            ..Counts::default()
        };
        counts.closed[Leave::Rst.index()] = closed;
        counts.ended[End::AsPlanned as usize] = closed;
        let mut noted = [0; Leave::ALL.len()];
        noted[Leave::Rst.index()] = opened - 1;
        noted[Leave::Stall.index()] = 1;
        Report {
            counts,
            told,
            noted,
            standing: opened - closed,
            ..Report::default()
        }
    }

    #[test]
    fn reports_add_up_and_a_loss_is_counted_once() {
        let (mut muster, tally) = muster(2);
        muster.plan(0, 10, &tally);
        muster.plan(1, 9, &tally);
        assert_eq!(tally.counts().pending, 19);
        muster.report(0, report(6, 2, 10, 4), &tally).unwrap();
        muster.report(1, report(9, 1, 9, 0), &tally).unwrap();
        let counts = tally.counts();
        assert_eq!((counts.live(), counts.pending, counts.opened), (12, 4, 15));
        assert_eq!((muster.standing(), muster.all_gone()), (12, false));
        let loss = muster.lose(0, &tally).unwrap();
        assert_eq!((loss.open, loss.planned), (4, 4));
        assert_eq!(muster.lose(0, &tally), None);
        // What it still says comes too late, and what is planned for it is lost.
        muster.report(0, report(10, 10, 10, 0), &tally).unwrap();
        muster.plan(0, 5, &tally);
        let counts = tally.counts();
        assert_eq!(
            (counts.live(), counts.pending, counts.not_opened),
            (8, 0, 9)
        );
        assert_eq!(counts.ended[End::Lost as usize], 4);
        let closed = |leave: Leave| counts.closed[leave.index()];
        assert_eq!((closed(Leave::Rst), closed(Leave::Stall)), (6, 1));
        assert_eq!(muster.standing(), 8);
        muster.lose(1, &tally);
        assert!(muster.all_gone() && tally.counts().live() == 0);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (mut muster, tally) = muster(1);
        muster.plan(0, 5, &tally);
        muster.report(0, report(5, 3, 5, 0), &tally).unwrap();
        for (wrong, why) in [
            (report(5, 2, 5, 0), "less than it did before"),
            (report(5, 3, 6, 0), "nobody planned"),
            (report(5, 3, 5, 1), "nobody planned"),
        ] {
            let error = muster.report(0, wrong, &tally).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(tally.counts().live(), 2);
    }

    #[test]
    fn equal_problems_of_two_workers_are_one() {
        let (mut muster, tally) = muster(2);
        let problem = |what: &str, count| Problem {
            what: what.into(),
            count,
            quote: None,
        };
        for (worker, problems) in [
            (0, vec![problem("a", 1)]),
            (1, vec![problem("b", 1), problem("a", 2)]),
            (0, vec![problem("a", 4)]),
        ] {
            let asked = Asked {
                ticket: 1,
                latency: Latencies::default(),
                problems: problems.into_iter().map(Into::into).collect(),
            };
            let report = Report {
                asked: Some(asked),
                ..Report::default()
            };
            muster.report(worker, report, &tally).unwrap();
        }
        let told: Vec<_> = muster.problems().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["a (x 6)", "b"]);
        assert!(muster.all_answered(1) && !muster.all_answered(2));
    }
}
