//! The main job over HTTP/2, twenty streams on a connection: the honest server is acquitted, and the guilty one accused per stream.

use crate::bench::{Bench, json};

const H2C: (&str, &str) = ("\"--log-level=warn\",", "\"--log-level=warn\", \"--h2c\",");

#[test]
fn over_http_2_the_honest_server_is_acquitted() {
    let bench = Bench::new();
    let profile = bench.profile(&[H2C]);
    let ended = bench.run(&["run", profile.to_str().unwrap(), "--h2", "20"]);
    ended.expect_code(0);
    assert!(
        ended.stdout.contains("20 streams share a TCP connection"),
        "{}",
        ended.stdout
    );
    let run = bench.run_directory();
    let cleanup = std::fs::read_to_string(run.join("cleanup.csv")).unwrap();
    assert!(cleanup.contains(",fin,"), "{cleanup}");
}

#[test]
fn over_http_2_what_a_stream_leaves_behind_is_found_and_is_as_large_as_the_server_states() {
    let bench = Bench::new();
    let profile = bench.profile(&[H2C]);
    let profile = profile.to_str().unwrap();
    bench
        .run(&["run", profile, "--h2", "20", "--defect", "sender-kept"])
        .expect_code(10);
    let run = bench.run_directory();
    let (findings, manifest) = (json(&run, "findings.json"), json(&run, "manifest.json"));
    let stated = manifest["target"]["status_at_end"]["defects"][0]["bytes_per_unit"]
        .as_f64()
        .unwrap();
    let leaks: Vec<_> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "leak" && finding["signal"] == "allocated")
        .filter(|finding| finding["factor"] != "session")
        .collect();
    assert!(!leaks.is_empty(), "{findings:#}");
    for leak in leaks {
        let per_stream = leak["bytes_per_unit"].as_f64().unwrap();
        assert!(
            (per_stream / stated - 1.0).abs() < 0.1,
            "{stated} B was planted: {leak:#}"
        );
    }
}

#[test]
fn a_slow_line_of_one_stream_among_others_is_refused_in_one_sentence() {
    let bench = Bench::new();
    let slow = "stay = \"10ms\", network = { latency = \"20ms\" } }\nclosed.rst";
    let profile = bench.profile(&[H2C, ("stay = \"10ms\" }\nclosed.rst", slow)]);
    bench
        .run(&["run", profile.to_str().unwrap(), "--h2", "20"])
        .expect_complaint(&["over HTTP/2 streams share a line", "`network`"]);
}
