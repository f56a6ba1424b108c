//! Bad input: one clear sentence each, and the right exit code.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use crate::bench::{Bench, json};

#[test]
#[expect(clippy::too_many_lines, reason = "a table to read aloud")]
fn what_a_person_gets_wrong_is_said_in_one_sentence() {
    let bench = Bench::new();
    let good = bench.profile(&[]);
    let good = good.to_str().unwrap();
    let rows: &[(&[&str], i32, &[&str])] = &[
        (
            &["run", "nowhere.toml"],
            2,
            &["cannot read the profile nowhere.toml", "No such file"],
        ),
        (
            &["run", good, "--url", "http://192.0.2.1:80"],
            2,
            &["not on this machine", "--allow-remote"],
        ),
        (&["run", good, "--pid", "1"], 2, &["--pid needs --url"]),
        (
            &[
                "run",
                good,
                "--url",
                "http://127.0.0.1:1",
                "--pid",
                "999999999",
            ],
            2,
            &["there is no process 999999999"],
        ),
        (
            &["run", good, "--", "no-such-program"],
            2,
            &["where the target listens"],
        ),
        (
            &[
                "run",
                good,
                "--url",
                "http://127.0.0.1:1",
                "--",
                "no-such-program",
            ],
            2,
            &["cannot start the target `no-such-program`"],
        ),
        (
            &[
                "run",
                good,
                "--url",
                "http://127.0.0.1:1",
                "--defect",
                "leak-on-rst",
            ],
            2,
            &["--defect plants a leak in the reference server"],
        ),
        (
            &["run", good, "--out", "/proc/nowhere"],
            1,
            &["cannot write /proc/nowhere"],
        ),
        (&["run", good, "--speed", "9"], 2, &["--speed"]),
        (
            &["diagnose", "nowhere"],
            1,
            &["nowhere/manifest.json cannot be read; is this a run directory?"],
        ),
    ];
    for (arguments, code, parts) in rows {
        let ended = bench.run(arguments);
        assert_eq!(ended.code(), Some(*code), "{arguments:?}\n{}", ended.stderr);
        ended.expect_complaint(parts);
    }
}

#[test]
fn overlapping_ports_are_the_targets_last_words() {
    let bench = Bench::new();
    let profile = bench.profile(&[
        ("--listen=127.0.0.1:0", "--listen=127.0.0.1:18431"),
        (
            "--admin-listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:18431",
        ),
    ]);
    // The first replacement also changes the second flag's text, so both want the same port.
    bench
        .run(&["run", profile.to_str().unwrap()])
        .expect_code(20)
        .expect_complaint(&["127.0.0.1:18431"]);
}

#[test]
fn a_server_that_does_not_speak_sse_is_noticed_in_the_first_seconds() {
    let rows = [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found",
            "404",
        ),
        (
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            "500",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>no</html>",
            "text/html",
        ),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "HTTP"),
    ];
    for (answer, part) in rows {
        let bench = Bench::new();
        let profile = bench.profile(&[]);
        let url = serve(answer);
        let ended = bench.run(&["run", profile.to_str().unwrap(), "--url", &url]);
        ended
            .expect_code(2)
            .expect_complaint(&["does not answer as the profile says", part]);
        assert_eq!(
            json(&bench.run_directory(), "manifest.json")["ended"]["reason"],
            "failed"
        );
    }
}

/// A server that answers everything with the same bytes; gone with the test.
fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().take(1000) {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let heard = stream.read(&mut request).unwrap_or(0);
            if heard > 0 && stream.write_all(answer.as_bytes()).is_err() {
                continue; // the client left, which does not matter to this server
            }
        }
    });
    url
}
