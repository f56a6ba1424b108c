use super::*;

fn profile(text: &str) -> Result<Profile, ProfileError> {
    Profile::parse("test", "test.toml", text.into())
}

const SMALL: &str = r#"
seed = 1

[target]
url = "http://127.0.0.1:8080"

[scripts.feed]
steps = [{ get = "/events" }]

[run.assay]
cycles = 10
dose = "1s"
drain-within = "2s"
settle = "100ms"
read = "100ms"
probe = { script = "feed", connections = 10, step = 1, hold = "100ms" }

[run.assay.doses.closed.fin]
script = "feed"
connections = 10
"#;

#[test]
fn a_small_profile_is_enough() {
    let profile = profile(SMALL).unwrap();
    let Kind::Assay(assay) = profile.run else {
        panic!("{:?}", profile.run)
    };
    assert_eq!((*assay.cycles.get_ref(), assay.priming), (10, 3));
}

#[test]
fn workers_are_a_number_or_auto() {
    for (line, workers) in [
        ("", None),
        ("workers = \"auto\"", Some(Workers::Auto)),
        ("workers = 3", Some("3".parse().unwrap())),
    ] {
        let profile = profile(&format!("{line}\n{SMALL}")).unwrap();
        assert_eq!(profile.workers.map(Spanned::into_inner), workers);
    }
}

/// What is changed in a good profile, into what, and what the complaint must say.
type Complaint = (&'static str, &'static str, &'static [&'static str]);

const COMPLAINTS: &[Complaint] = &[
    (
        "seed = 1",
        "sed = 1",
        &["test.toml", "line 2", "sed", "seed"],
    ),
    (
        r#"dose = "1s""#,
        r#"dose = "1 elephant""#,
        &["line 12", "not a duration"],
    ),
    (r#"dose = "1s""#, r#"dose = "0s""#, &["line 12", "zero"]),
    (r#"dose = "1s""#, "dose = 1", &["line 12", "string"]),
    (
        "[run.assay.doses.closed.fin]",
        "[run.assay.doses.closed.fins]",
        &["fins", "half-close"],
    ),
    (
        r#"script = "feed", connections"#,
        r#"script = "food", connections"#,
        &["line 16", "`food`", "`feed`"],
    ),
    ("cycles = 10", "cycles = 2", &["line 11", "at least 6"]),
    (
        r#"{ get = "/events" }"#,
        r#"{ get = "/events", post = "/chat" }"#,
        &["line 8, column 10", "exactly one"],
    ),
    (
        r#""http://127.0.0.1:8080""#,
        r#""ftp://127.0.0.1""#,
        &["line 5", "http://HOST:PORT"],
    ),
    ("run.assay", "run.assey", &["assey", "assay"]),
    (
        "connections = 10\n",
        "connections = 10\nnetwork = { bandwidth = \"16 KiB\" }\n",
        &["line 21", "not a rate", "16 KiB/s"],
    ),
    (
        "connections = 10\n",
        "connections = 10\nnetwork = { tunnel = \"1m every 1s\" }\n",
        &["line 21", "never leaves the tunnel"],
    ),
    (
        "connections = 10\n",
        "connections = 10\nreconnect = { forever = true }\n",
        &["line 21", "forever", "give-up-after"],
    ),
    (
        "seed = 1",
        "seed = 1\nworkers = 0",
        &["line 3", "1 to 64", "auto"],
    ),
    (
        "seed = 1",
        "seed = 1\nworkers = \"all\"",
        &["line 3", "`all`", "auto"],
    ),
];

#[test]
fn a_complaint_names_the_file_the_line_and_what_is_allowed() {
    assert_complaints(SMALL, COMPLAINTS);
}

fn assert_complaints(good: &str, complaints: &[Complaint]) {
    for (from, to, parts) in complaints {
        assert!(good.contains(from), "{from}");
        let message = profile(&good.replace(from, to)).unwrap_err().to_string();
        for part in *parts {
            assert!(
                message.contains(part),
                "`{to}` gave a message without `{part}`:\n{message}"
            );
        }
    }
}

const CLEANUP: &str = r#"
seed = 1
[target]
url = "http://127.0.0.1:8080"
[scripts.feed]
steps = [{ get = "/events" }]
[run.cleanup]
dose = "500ms"
session-ttl = "1s"
grace = "500ms"
[run.cleanup.leave]
fin = { script = "feed", connections = 10 }
"#;

#[test]
fn a_cleanup_run_waits_for_the_ttl_and_the_grace() {
    let whole = profile(CLEANUP).unwrap();
    assert_eq!(whole.run.name(), "cleanup");
    assert_eq!(whole.run.drain_within(), Duration::from_millis(1500));
    assert_complaints(
        CLEANUP,
        &[
            (
                "dose =",
                "rounds = 0\ndose =",
                &["line 8, column 10", "1 to 1,000 rounds"],
            ),
            ("fin =", "fins =", &["fins", "half-close"]),
            (
                r#"script = "feed""#,
                r#"script = "food""#,
                &["`food`", "`feed`"],
            ),
            (
                "fin = { script = \"feed\", connections = 10 }",
                "",
                &["at least one way"],
            ),
            ("grace = \"500ms\"", "", &["grace"]),
        ],
    );
}
