//! Whose memory it is: who of the target's tree carries it from reading to reading, and when that became somebody else.
//!
//! In: who is there, look by look. Out: a number that rises whenever the level of memory cannot be continued, and a sentence for each
//! such event. Pure. A worker is who was there when the roll was called, with nobody connected; who takes its place (same parent, same
//! program) is one, too. Helpers that come and go under load never are: a process that a session starts and that ends with it
//! changes nothing in the level that is left when everybody has gone.

use crate::{target::proc::ProcessId, units::bytes};

/// A process of the tree, as one look saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: ProcessId,
    pub(super) parent: u32,
    /// The name of its program (`comm`).
    pub(super) program: String,
    pub(super) rss_bytes: Option<u64>,
}

/// A place in the tree that somebody holds, or held.
#[derive(Debug)]
struct Post {
    holder: Seen,
    is_vacant: bool,
}

/// Counts the generations of the target.
#[derive(Debug, Default)]
pub(super) struct Generations {
    number: u64,
    /// Empty until the roll is called: before the first dose nothing is compared with anything.
    posts: Vec<Post>,
}

impl Generations {
    /// The generation now.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Goes on from there: the run was resumed.
    pub(super) const fn resume_at(&mut self, number: u64) {
        self.number = number;
    }

    /// Everybody who is there now, but for the root, is a worker.
    pub(super) fn take_roll(&mut self, root: ProcessId, seen: Vec<Seen>) {
        let worker = |holder: Seen| Post {
            holder,
            is_vacant: false,
        };
        let workers = seen.into_iter().filter(|one| one.id != root);
        self.posts = workers.map(worker).collect();
    }

    /// Another root: nothing of the old tree counts.
    pub(super) fn follow(&mut self, root: ProcessId, seen: Vec<Seen>) {
        self.number += 1;
        self.take_roll(root, seen);
    }

    /// Compares who is there with who holds a post; a sentence for each change. All changes of one look make one generation.
    pub(super) fn look(&mut self, seen: &[Seen]) -> Vec<String> {
        let mut said = Vec::new();
        for post in 0..self.posts.len() {
            let now = seen.iter().find(|one| one.id == self.posts[post].holder.id);
            let successor = self.successor(&self.posts[post].holder, seen);
            let post = &mut self.posts[post];
            let ends = !post.is_vacant && now.is_none();
            if let Some(now) = now {
                post.holder.clone_from(now);
            }
            post.is_vacant |= ends;
            match (ends, successor.filter(|_| post.is_vacant)) {
                (false, None) => {}
                (true, None) => said.push(ended(&post.holder)),
                (ends, Some(new)) => {
                    said.push(replaced(&post.holder, &new, ends));
                    *post = Post {
                        holder: new,
                        is_vacant: false,
                    };
                }
            }
        }
        self.number += u64::from(!said.is_empty());
        said
    }

    /// The youngest of the same parent and program who holds no post. If the parent went, too, whoever runs the program.
    fn successor(&self, old: &Seen, seen: &[Seen]) -> Option<Seen> {
        let has_post = |one: &Seen| self.posts.iter().any(|post| post.holder.id == one.id);
        let parent_is_there = seen.iter().any(|one| one.id.pid == old.parent);
        let fits = |one: &&Seen| {
            one.program == old.program
                && (one.parent == old.parent || !parent_is_there)
                && !has_post(one)
        };
        let fitting = seen.iter().filter(fits);
        fitting.max_by_key(|one| one.id.started).cloned()
    }
}

fn memory(of: &Seen) -> String {
    let rss = of.rss_bytes.map(|rss| bytes(rss as f64));
    rss.map_or_else(
        || "memory that nobody read".into(),
        |rss| format!("{rss} of resident memory"),
    )
}

fn ended(old: &Seen) -> String {
    format!(
        "process {} ({}) of the target ended, and {} went with it",
        old.id,
        old.program,
        memory(old)
    )
}

fn replaced(old: &Seen, new: &Seen, ends: bool) -> String {
    if !ends {
        return format!(
            "process {} ({}) of the target took the place of {}",
            new.id, new.program, old.id
        );
    }
    format!(
        "process {} ({}) of the target was replaced by {}, and {} went with it",
        old.id,
        old.program,
        new.id,
        memory(old)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, program: &str) -> Seen {
        Seen {
            id: ProcessId {
                pid,
                started: u64::from(pid),
            },
            parent,
            program: program.into(),
            rss_bytes: Some(20 << 20),
        }
    }

    /// A root with two workers, at work.
    fn tree() -> (Generations, Vec<Seen>) {
        let tree = vec![
            process(1, 0, "gunicorn"),
            process(10, 1, "gunicorn"),
            process(11, 1, "gunicorn"),
        ];
        let mut generations = Generations::default();
        generations.take_roll(tree[0].id, tree.clone());
        (generations, tree)
    }

    #[test]
    fn a_worker_that_is_replaced_is_a_new_generation_and_so_is_its_successors_end() {
        let (mut generations, mut tree) = tree();
        assert_eq!(generations.look(&tree), [] as [&str; 0]);
        tree[1] = process(20, 1, "gunicorn");
        assert_eq!(
            generations.look(&tree),
            [
                "process 10 (gunicorn) of the target was replaced by 20, and 20.0 MiB of resident memory went with it"
            ]
        );
        tree[1] = process(30, 1, "gunicorn");
        assert_eq!(generations.look(&tree).len(), 1);
        assert_eq!(generations.number(), 2);
    }

    #[test]
    fn a_place_that_stays_empty_for_a_while_changes_the_level_twice() {
        let (mut generations, mut tree) = tree();
        let gone = tree.remove(1);
        assert_eq!(
            generations.look(&tree),
            [
                "process 10 (gunicorn) of the target ended, and 20.0 MiB of resident memory went with it"
            ]
        );
        assert_eq!(generations.look(&tree), [] as [&str; 0]);
        tree.push(process(20, gone.parent, "gunicorn"));
        assert_eq!(
            generations.look(&tree),
            ["process 20 (gunicorn) of the target took the place of 10"]
        );
        assert_eq!(generations.number(), 2);
    }

    #[test]
    fn all_workers_replaced_at_once_are_one_generation() {
        let (mut generations, mut tree) = tree();
        (tree[1], tree[2]) = (process(20, 1, "gunicorn"), process(21, 1, "gunicorn"));
        assert_eq!(generations.look(&tree).len(), 2);
        assert_eq!(generations.number(), 1);
    }

    #[test]
    fn helpers_of_sessions_come_and_go_and_nothing_is_counted() {
        let (mut generations, mut tree) = tree();
        for pid in 100..140 {
            tree.push(process(pid, 10, "mcp-server"));
            assert_eq!(generations.look(&tree), [] as [&str; 0]);
            tree.retain(|one| one.id.pid + 3 > pid || one.id.pid < 100);
            assert_eq!(generations.look(&tree), [] as [&str; 0]);
        }
        assert_eq!(generations.number(), 0);
    }

    #[test]
    fn another_root_is_a_new_generation_with_workers_of_its_own() {
        let (mut generations, _) = tree();
        let tree = vec![process(50, 0, "gunicorn"), process(51, 50, "gunicorn")];
        generations.follow(tree[0].id, tree.clone());
        assert_eq!(generations.look(&tree), [] as [&str; 0]);
        assert_eq!(generations.number(), 1);
        assert_eq!(generations.look(&tree[..1]).len(), 1);
    }

    #[test]
    fn before_the_roll_is_called_nobody_is_missed() {
        let mut generations = Generations::default();
        assert_eq!(
            generations.look(&[process(1, 0, "x"), process(2, 1, "x")]),
            [] as [&str; 0]
        );
        assert_eq!(generations.look(&[process(1, 0, "x")]), [] as [&str; 0]);
    }
}
