//! Names of functions as a person reads them: demangled, without hashes, type arguments and compiler's numbering.

/// A symbol of a binary as a person reads it.
pub fn demangled(symbol: &str) -> String {
    let symbol = symbol.split("@@").next().unwrap_or(symbol);
    match rustc_demangle::try_demangle(symbol) {
        Ok(name) => shortened(&format!("{name:#}")),
        Err(_) => shortened(symbol),
    }
}

/// A function by the name that debug information gives it, and its file. Line tables alone name functions without their modules;
/// the modules of Rust code are its files: `enter` in `target-server/src/sessions.rs` is `target_server::sessions::enter`. All frames
/// are named so, whether they were inlined or not, or a stack would change its name with the optimiser's mood.
pub fn in_file(name: &str, file: Option<&str>) -> String {
    let demangled = demangled(name);
    let modules = file.and_then(modules).filter(|_| !demangled.contains("::"));
    let function = match demangled.trim_start().get(..1) {
        Some("{") => "{closure}",
        _ => demangled.as_str(),
    };
    modules.map_or_else(
        || demangled.clone(),
        |modules| format!("{modules}::{function}"),
    )
}

/// `…/hyper-1.12.0/src/proto/h1/io.rs` → `hyper::proto::h1::io`; `None` if it is no Rust of the usual layout.
fn modules(file: &str) -> Option<String> {
    let (before, inside) = file.strip_suffix(".rs")?.rsplit_once("/src/")?;
    let name = before.rsplit('/').next()?;
    let versioned = name
        .rsplit_once('-')
        .filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
    let crate_name = versioned.map_or(name, |(name, _)| name).replace('-', "_");
    let mut parts: Vec<&str> = inside.split('/').collect();
    if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
        parts.pop();
    }
    Some(
        [crate_name.as_str()]
            .into_iter()
            .chain(parts)
            .collect::<Vec<_>>()
            .join("::"),
    )
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
    match (out.is_empty(), plain.is_empty()) {
        (false, _) => out,
        (true, false) => plain,
        (true, true) => name.into(),
    }
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

    #[test]
    fn functions_of_line_tables_are_named_by_their_file() {
        for (name, file, whole) in [
            (
                "enter",
                "/w/target-server/src/sessions.rs",
                "target_server::sessions::enter",
            ),
            (
                "new<Vec<u8>>",
                "/r/hyper-1.12.0/src/proto/h1/io.rs",
                "hyper::proto::h1::io::new",
            ),
            (
                "push<u8>",
                "/rustc/0/library/alloc/src/vec/mod.rs",
                "alloc::vec::push",
            ),
            ("{async_fn#0}", "/w/server/src/main.rs", "server::{closure}"),
            ("a::b::c", "/w/server/src/main.rs", "a::b::c"),
            ("main", "/w/server/main.c", "main"),
        ] {
            assert_eq!(in_file(name, Some(file)), whole);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_is_too_strange(name in "[a-z<>:{}# &*()-]{0,40}") {
            shortened(&name);
            demangled(&name);
        }
    }
}
