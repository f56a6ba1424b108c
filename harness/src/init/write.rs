//! The profile that fits a portrait: commented, and ready to run.

use std::{fmt::Write as _, time::Duration};

use toml::Value;

use super::{Captured, Portrait, Question, Script, Server, Ttl};
use crate::{
    doctor::allocator::{Allocator, Runtime},
    init::Body,
};

/// Connections of each kind a dose gives: enough to tell some hundred bytes apart, few enough for a server with one thread.
const DOSE: u32 = 40;
/// Fewer cycles say nothing.
const LEAST_CYCLES: u32 = 8;
/// More say no more.
const MOST_CYCLES: u32 = 60;
/// Cycles that are thrown away.
const PRIMING: u32 = 3;

/// The times of a cycle, seconds.
struct Pace {
    dose: f64,
    drain: f64,
    settle: f64,
    read: f64,
    hold: f64,
    cycles: u32,
}

/// The text of a profile. `command` is how the target is started; empty: it runs already. `pid` is written only where the URL does not
/// lead to the process.
pub fn write(
    server: &Server,
    portrait: &Portrait,
    command: &[String],
    pid: Option<u32>,
    length: Duration,
) -> String {
    let pace = pace(portrait, length);
    let seconds = total(&pace);
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    let about = format!(
        "Written by sse-soak init for http://{}: about {} minutes.",
        server.host,
        (seconds / 60.0).ceil().max(1.0)
    );
    line(&format!("about = {}", text(&about)));
    line("seed = 1                # same profile, same seed, same connections");
    line("sample-every = \"500ms\"");
    line("\n[target]");
    line(&format!(
        "url = {}",
        text(&format!("http://{}", server.host))
    ));
    if command.is_empty() {
        line(
            "# command = [\"my-server\", \"--port\", \"8000\"]   # to have it started and stopped for every run: the sharper way",
        );
    } else {
        let words: Vec<String> = command.iter().map(|word| text(word)).collect();
        line(&format!("command = [{}]", words.join(", ")));
    }
    match pid {
        Some(pid) => line(&format!(
            "pid = {pid}               # changes with every start of the server"
        )),
        None if command.is_empty() => line("# The process that listens there is found by itself."),
        None => {}
    }
    line(&process(portrait));
    scripts(&mut out, portrait);
    assay(&mut out, portrait, &pace);
    out
}

/// A TOML string.
fn text(text: &str) -> String {
    Value::String(text.into()).to_string()
}

fn process(portrait: &Portrait) -> String {
    let mut out = String::new();
    let mut note = |text: &str| writeln!(out, "# {text}").expect("a string takes everything");
    if let Some(heap) = portrait.heap {
        note(&format!("Seen: {}, {}.", heap.runtime, heap.allocator));
        match (heap.runtime, heap.allocator) {
            (Runtime::Node | Runtime::Python | Runtime::Java | Runtime::Go, _) => note(
                "Its collector decides when memory falls: bounds are wider than those of a native server. Longer runs narrow them.",
            ),
            (Runtime::Native, Allocator::Glibc) => note(
                "glibc gives little back: MALLOC_ARENA_MAX=2 in its environment, or jemalloc, makes bounds narrower.",
            ),
            _ => {}
        }
    }
    if let Some(path) = portrait.metrics {
        note(&format!("It shows metrics at {path}."));
    }
    if portrait.pprof {
        note("It shows Go profiles at /debug/pprof/.");
    }
    out
}

fn scripts(out: &mut String, portrait: &Portrait) {
    out.push_str(
        "# What clients say. {n} is the connection's number, {session} a session that it made.\n",
    );
    for (name, script) in [("feed", &portrait.feed), ("chat", &portrait.chat)] {
        let Some(script) = script else { continue };
        writeln!(
            out,
            "[scripts.{name}] # {}\nsteps = [{{ {} }}]\n",
            script.words(),
            request(&script.question, script.session.as_ref())
        )
        .expect("a string takes everything");
    }
}

fn request(question: &Question, session: Option<&Captured>) -> String {
    let path = text(&question.path);
    let mut parts = match question.method {
        "GET" => vec![format!("get = {path}")],
        _ => vec![format!("post = {path}")],
    };
    match question.body {
        Body::None => {}
        Body::Form => parts.push("form = { message = \"Hello, {n}.\" }".into()),
        Body::Json => parts.push("json = { message = \"Hello, {n}.\" }".into()),
        Body::OpenAi => parts.push(
            "json = { model = \"any\", stream = true, messages = [{ role = \"user\", content = \"Hello, {n}.\" }] }"
                .into(),
        ),
    }
    if let Some(captured) = session {
        let name = if captured.event.is_empty() {
            "message"
        } else {
            &captured.event
        };
        let by = match (&captured.pointer, &captured.regex) {
            (Some(pointer), _) => format!(", pointer = {}", text(pointer)),
            (None, Some(regex)) => format!(", regex = {}", text(regex)),
            (None, None) => String::new(),
        };
        parts.push(format!(
            "creates-session = {{ event = {}{by} }}",
            text(name)
        ));
    }
    parts.join(", ")
}

/// A chat that ends before a client could leave in the middle of it.
fn is_hasty(script: &Script) -> bool {
    script
        .ends_s
        .is_some_and(|ends| ends - script.first_s < 0.1)
}

fn pace(portrait: &Portrait, length: Duration) -> Pace {
    let answer = portrait
        .chat
        .as_ref()
        .and_then(|chat| chat.ends_s)
        .unwrap_or(0.0);
    let ttl = match portrait.ttl {
        Ttl::Seen(ttl) => ttl.as_secs_f64(),
        _ => 0.0,
    };
    let hold = match (&portrait.feed, &portrait.chat) {
        (Some(_), _) => 0.5,
        (None, Some(chat)) => ((answer - chat.first_s) / 2.0).clamp(0.02, 0.5),
        (None, None) => 0.5,
    };
    let mut pace = Pace {
        dose: (answer * 3.0).clamp(1.5, 60.0),
        drain: (ttl * 1.5 + 0.5).max(1.5),
        settle: 0.5,
        read: 0.5,
        hold,
        cycles: 0,
    };
    let cycle = pace.dose + pace.drain.min(ttl + 1.0) + pace.hold + pace.settle + pace.read;
    let room = (length.as_secs_f64() - 10.0 - f64::from(PRIMING) * cycle) / cycle;
    pace.cycles = (MOST_CYCLES..=MOST_CYCLES)
        .chain(LEAST_CYCLES..MOST_CYCLES)
        .filter(|cycles| f64::from(*cycles) <= room)
        .max()
        .unwrap_or(LEAST_CYCLES);
    pace
}

/// How long the run takes at most, seconds.
fn total(pace: &Pace) -> f64 {
    let cycle = pace.dose + pace.drain + pace.hold + pace.settle + pace.read;
    10.0 + f64::from(PRIMING + pace.cycles) * cycle
}

fn seconds(seconds: f64) -> String {
    format!("\"{:.0}ms\"", (seconds * 1000.0).max(1.0))
}

fn assay(out: &mut String, portrait: &Portrait, pace: &Pace) {
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line("[run.assay]".into());
    line(format!(
        "cycles = {:<12} # more cycles, narrower bounds",
        pace.cycles
    ));
    line(format!(
        "dose = {:<14} # clients come, do and leave: at least three times as long as an answer takes",
        seconds(pace.dose)
    ));
    let ttl = match portrait.ttl {
        Ttl::Seen(ttl) => format!(
            "its sessions were gone after {:.1} s, by its own metrics",
            ttl.as_secs_f64()
        ),
        Ttl::LongerThan(ttl) => format!(
            "a session was still there after {:.0} s: make this longer than the server's TTL, or it looks like a leak",
            ttl.as_secs_f64()
        ),
        Ttl::Unseen => "if the server keeps sessions, make this longer than their TTL, or they look like a leak".into(),
    };
    line(format!("drain-within = {} # {ttl}", seconds(pace.drain)));
    line(format!("settle = {}", seconds(pace.settle)));
    line(format!("read = {}", seconds(pace.read)));
    line("rests = { first = \"2s\", primed = \"2s\", middle = \"2s\", last = \"3s\" }".into());
    let (probe, hasty) = match (&portrait.feed, &portrait.chat) {
        (Some(_), _) => ("feed", false),
        (None, Some(chat)) => ("chat", is_hasty(chat)),
        (None, None) => ("feed", false),
    };
    // A probe whose answers end before it does counts as failed: one of them does no harm.
    let connections = if hasty { 1 } else { DOSE + 20 };
    line(format!(
        "probe = {{ script = \"{probe}\", connections = {connections}, hold = {} }} # the same peak before every reading",
        seconds(pace.hold)
    ));
    line("\n# How much of each factor a cycle gives when it is on. Left out: stall, slow, half-close, vanish (see the README).".into());
    line("[run.assay.doses]".into());
    doses(&mut line, portrait, hasty);
}

fn doses(line: &mut impl FnMut(String), portrait: &Portrait, hasty: bool) {
    let stay = |script: &Script| match script.ends_s {
        None => "100ms".to_owned(),
        Some(ends) => format!("{:.0}ms", ((ends - script.first_s) * 300.0).max(1.0)),
    };
    let leaves = |line: &mut dyn FnMut(String), name: &str, script: &Script| {
        for leave in ["fin", "rst"] {
            line(format!(
                "closed.{leave} = {{ script = \"{name}\", connections = {DOSE}, stay = \"{}\" }}",
                stay(script)
            ));
        }
    };
    match (&portrait.feed, &portrait.chat) {
        (Some(feed), _) => {
            leaves(line, "feed", feed);
            line(format!(
                "closed.early = {{ script = \"feed\", connections = {DOSE} }}"
            ));
        }
        (None, Some(chat)) if !hasty => leaves(line, "chat", chat),
        _ => {}
    }
    let Some(chat) = &portrait.chat else { return };
    if chat.session.is_some() {
        line(format!(
            "session = {{ script = \"chat\", sessions = {DOSE} }}"
        ));
    } else {
        line(format!(
            "closed.complete = {{ script = \"chat\", connections = {DOSE} }}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn script(question: Question, ends_s: Option<f64>, session: Option<Captured>) -> Script {
        Script {
            question,
            first_s: 0.01,
            ends_s,
            events: 7,
            session,
        }
    }

    #[test]
    fn every_portrait_becomes_a_profile_that_parses() {
        let feed = || Some(script(Question::get("/events?a=\"b\""), None, None));
        let wrapped = Captured {
            event: String::new(),
            pointer: None,
            regex: Some(r#""conversation_id"\s*:\s*"([^"]+)""#.into()),
        };
        let chat = |body, ends, session| {
            let question = Question {
                method: "POST",
                path: "/chat".into(),
                body,
            };
            Some(script(question, Some(ends), session))
        };
        let portraits = [
            (feed(), None),
            (None, chat(Body::Form, 2.5, Some(wrapped))),
            (None, chat(Body::Json, 0.02, None)),
            (feed(), chat(Body::OpenAi, 0.5, None)),
        ];
        let server = Server {
            addr: "127.0.0.1:8000".parse().unwrap(),
            host: "127.0.0.1:8000".into(),
            path: "/".into(),
        };
        let ttls = [
            Ttl::Unseen,
            Ttl::Seen(Duration::from_secs(2)),
            Ttl::LongerThan(Duration::from_secs(9)),
        ];
        for (feed, chat) in portraits {
            for ttl in ttls {
                let portrait = Portrait {
                    feed: feed.clone(),
                    chat: chat.clone(),
                    metrics: Some("/metrics"),
                    pprof: true,
                    ttl,
                    heap: None,
                };
                let command = ["my server".to_owned(), "--say=\"hi\"".into()];
                let text = write(
                    &server,
                    &portrait,
                    &command,
                    Some(7),
                    Duration::from_secs(180),
                );
                let text = text.replace("pid = 7 ", "# pid = 7 "); // either is allowed, not both
                let parsed = Profile::parse("mine", "mine.toml", text.clone());
                assert!(parsed.is_ok(), "{}\n{text}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn the_length_that_was_asked_for_decides_the_number_of_cycles() {
        let portrait = Portrait {
            feed: Some(script(Question::get("/events"), None, None)),
            chat: None,
            metrics: None,
            pprof: false,
            ttl: Ttl::Unseen,
            heap: None,
        };
        let cycles = |seconds| pace(&portrait, Duration::from_secs(seconds)).cycles;
        assert_eq!(cycles(10), LEAST_CYCLES);
        assert!(
            cycles(180) > 20 && cycles(180) < MOST_CYCLES,
            "{}",
            cycles(180)
        );
        assert_eq!(cycles(36_000), MOST_CYCLES);
    }
}
