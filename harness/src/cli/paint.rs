//! The colour of a verdict, where colours are wanted: the words say everything without it.

use std::io::{self, IsTerminal as _};

use super::{Exit, progress::is_coloured};

/// The first words of a report in the colour of its exit code, on a terminal that wants colours.
pub(super) fn verdict(text: &str, exit: Exit) -> String {
    if io::stdout().is_terminal() && is_coloured() {
        painted(text, exit)
    } else {
        text.into()
    }
}

fn painted(text: &str, exit: Exit) -> String {
    let colour = match exit {
        Exit::NoLeak => 32,
        Exit::Inconclusive => 33,
        _ => 31,
    };
    let end = text
        .find("  ")
        .or_else(|| text.find(" above "))
        .unwrap_or(0);
    let (title, rest) = text.split_at(end);
    format!("\x1b[1;{colour}m{title}\x1b[0m{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_verdict_is_painted() {
        for (text, exit, wanted) in [
            ("LEAK  619 B", Exit::Leak, "\x1b[1;31mLEAK\x1b[0m  619 B"),
            (
                "NO LEAK above 9 B\n",
                Exit::NoLeak,
                "\x1b[1;32mNO LEAK\x1b[0m above 9 B\n",
            ),
            (
                "INCONCLUSIVE  x",
                Exit::Inconclusive,
                "\x1b[1;33mINCONCLUSIVE\x1b[0m  x",
            ),
        ] {
            assert_eq!(painted(text, exit), wanted);
        }
    }
}
