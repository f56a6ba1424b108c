//! Names of functions as a person reads them: demangled, without hashes, type arguments and compiler's numbering.

/// A symbol of a binary as a person reads it.
pub fn demangled(symbol: &str) -> String {
    let symbol = symbol.split("@@").next().unwrap_or(symbol);
    match rustc_demangle::try_demangle(symbol) {
        Ok(name) => shortened(&format!("{name:#}")),
        Err(_) => shortened(symbol),
    }
}

/// `<alloc::vec::Vec<T, A> as Extend>::extend::{{closure}}` → `alloc::vec::Vec::extend::{closure}`.
pub fn shortened(name: &str) -> String {
    let plain = without_arguments(name);
    let parts = plain
        .split("::")
        .map(str::trim)
        .filter(|part| !is_noise(part));
    let mut out = String::with_capacity(plain.len());
    for part in parts {
        let part = if part.starts_with("{closure") || part.starts_with("{{closure") {
            "{closure}"
        } else {
            part
        };
        if !out.is_empty() {
            out.push_str("::");
        }
        out.push_str(part);
    }
    if out.is_empty() { name.into() } else { out }
}

/// What the compiler puts between the names that people gave: `{impl#3}`, `{async_fn#0}`, `{async_block#0}`.
fn is_noise(part: &str) -> bool {
    part.is_empty()
        || part.starts_with("{impl#")
        || part.starts_with("{async_")
        || part.starts_with("{gen_")
        || part.starts_with("{shim:")
}

/// Drops what is between angle brackets, but for a path that begins with them: there it keeps the type.
fn without_arguments(name: &str) -> String {
    if let Some(inner) = name.strip_prefix('<')
        && let Some(end) = closing(inner)
    {
        let (qualified, rest) = (&inner[..end], &inner[end + 1..]);
        let subject = before_as(qualified);
        let subject = subject
            .trim_start_matches(['&', '*', '('])
            .trim_start_matches("mut ");
        return without_arguments(subject) + &without_arguments(rest);
    }
    let mut depth = 0_u32;
    let mut out = String::with_capacity(name.len());
    let mut last = ' ';
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' if last != '-' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(letter),
            _ => {}
        }
        last = letter;
    }
    out
}

/// The place of the bracket that closes one opened before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_u32;
    let mut last = ' ';
    for (place, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' if last != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
        last = letter;
    }
    None
}

/// `Vec<A> as Trait<B>` → `Vec<A>`.
fn before_as(text: &str) -> &str {
    let mut depth = 0_u32;
    for (place, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 && text[place..].starts_with(" as ") => return &text[..place],
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_only_a_compiler_needs() {
        for (name, short) in [
            (
                "server::sessions::Sessions::enter",
                "server::sessions::Sessions::enter",
            ),
            (
                "<alloc::vec::Vec<T, A> as core::iter::Extend<T>>::extend::{{closure}}",
                "alloc::vec::Vec::extend::{closure}",
            ),
            (
                "server::routes::answer::{async_fn#0}",
                "server::routes::answer",
            ),
            (
                "server::sessions::{impl#3}::enter",
                "server::sessions::enter",
            ),
            ("server::go::{closure#0}", "server::go::{closure}"),
            ("call_once<fn() -> u8, ()>", "call_once"),
            ("<&mut F as Future>::poll", "F::poll"),
            ("malloc", "malloc"),
            ("main.handler.func1", "main.handler.func1"),
            ("<<", "<<"),
        ] {
            assert_eq!(shortened(name), short, "{name}");
        }
        assert_eq!(
            demangled("_ZN6server8sessions8Sessions5enter17h0123456789abcdefE"),
            "server::sessions::Sessions::enter"
        );
        assert_eq!(demangled("malloc@@GLIBC_2.2.5"), "malloc");
    }

    proptest::proptest! {
        #[test]
        fn no_name_is_too_strange(name in "[a-z<>:{}# &*()-]{0,40}") {
            shortened(&name);
            demangled(&name);
        }
    }
}
