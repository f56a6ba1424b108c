//! Writes a few small inputs for every target below the folder that is named: `seeds CORPUS`.

use std::{fs, io, path::Path};

use libfuzzer_sys as _; // its runtime: every binary here is instrumented

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const EVENTS: &str = "retry: 2000\n\nevent: connected\nid: 1\ndata: {\"id\":\"s-1\"}\n\nid: 2\ndata: a\ndata: b\n\n: heartbeat\n\n";

fn main() -> io::Result<()> {
    let corpus = std::env::args().nth(1).expect("usage: seeds CORPUS");
    for (target, seeds) in all() {
        let folder = Path::new(&corpus).join(target);
        fs::create_dir_all(&folder)?;
        for (index, seed) in seeds.iter().enumerate() {
            // Each with several keys: how it is cut, or which scene is played.
            for key in [0, 1, 2, 3, 4, 5, 0x17, 0x2B, 0x83] {
                let input = [&[key], &seed[..]].concat();
                fs::write(folder.join(format!("seed-{index}-{key}")), input)?;
            }
        }
    }
    Ok(())
}

fn all() -> [(&'static str, Vec<Vec<u8>>); 6] {
    [
        (
            "sse",
            texts(&[EVENTS, "\u{feff}data\r\rid: 1\0\revent:\r\n\r\n", "data: x"]),
        ),
        (
            "chunked",
            texts(&[
                "5\r\nhello\r\n0\r\n\r\n",
                "A;n=\"v\"\r\n0123456789\r\n000\r\nT: x\r\n\r\n",
            ]),
        ),
        ("head", heads()),
        ("connection", answers()),
        ("h2", frames()),
        ("procfs", files()),
        ("heap", profiles()),
    ]
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn profiles() -> Vec<Vec<u8>> {
    texts(&[
        "heap_v2/8192\n  t*: 1: 320 [0: 0]\n  t0: 1: 320 [0: 0]\n@ 0x1010 0x2020\n  t*: 1: 320 [0: 0]\n  t0: 1: 320 [0: 0]\n\nMAPPED_LIBRARIES:\n1000-4000 r-xp 00000000 fe:00 1 /srv/server\n",
        r#"{"dhatFileVersion":2,"mode":"rust-heap","verb":"Allocated","bklt":true,"pps":[{"eb":600,"ebk":2,"fs":[1]}],"ftbl":["[root]","0x55d0: a::b (src/c.rs:41:9)"]}"#,
        "<alloc::vec::Vec<T, A> as core::iter::Extend<T>>::extend::{{closure}}",
    ])
}

fn heads() -> Vec<Vec<u8>> {
    texts(&[
        &format!("{STREAM}\r\n"),
        &format!("HTTP/1.1 100 Continue\r\n\r\n{STREAM}Transfer-Encoding: gzip, chunked\r\n\r\n"),
        &format!("{STREAM}Content-Length: 12\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"),
        "HTTP/1.0 503 Busy\r\nRetry-After: 1\r\nContent-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ])
}

fn answers() -> Vec<Vec<u8>> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    texts(&[
        &format!("{STREAM}\r\n{EVENTS}"),
        &format!(
            "{STREAM}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            chunk(EVENTS)
        ),
        &format!("{STREAM}Content-Length: {}\r\n\r\n{EVENTS}", EVENTS.len()),
        "HTTP/1.1 201 Created\r\nMcp-Session-Id: s9\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}",
        &format!("{STREAM}X: {}\r\n\r\n{EVENTS}", "x".repeat(300)),
        &format!("{STREAM}X: {}\r\n\r\n{EVENTS}", "x".repeat(400)),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ])
}

/// What a server says over HTTP/2.
fn frames() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("short");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 4, 0, 0, 0, 99]);
    let head = frame(1, 4, 1, b"\x20\x88\x0f\x10\x11text/event-stream\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x01x");
    let event = frame(0, 0, 1, b"data: x\n\n");
    let padded = frame(0, 9, 1, b"\x03hello\0\0\0");
    let split = [frame(1, 0, 3, b"\x88"), frame(9, 4, 3, b"\x5f\x01x")].concat();
    let words = [frame(6, 0, 0, b"12345678"), frame(8, 0, 0, &[0, 0, 1, 0]), frame(3, 0, 3, &[0, 0, 0, 8]), frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])].concat();
    vec![
        [&settings[..], &head, &event, &event, &padded].concat(),
        [&settings[..], &split, &words].concat(),
        [&head[..], &frame(1, 5, 1, b"\0\x01x\x01y")].concat(),
        [&frame(1, 0x2C, 5, &[1, 0, 0, 0, 0, 9, 0x88, 0])[..], &frame(2, 0, 5, &[0; 5]), &frame(0xFA, 1, 7, b"??")].concat(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ]
}

fn files() -> Vec<Vec<u8>> {
    texts(&[
        "55aa-7ffe ---p 00000000 00:00 0 [rollup]\nRss: 4020 kB\nPss: 1093 kB\nPss_Anon: 588 kB\nAnonHugePages: 2048 kB\nLazyFree: 4 kB\n",
        "Name:\tbash\nState:\tS (sleeping)\nVmRSS:\t    4020 kB\nRssAnon:\t     968 kB\nVmSwap:\t       8 kB\nThreads:\t3\n",
        "7 (a) b)) S 1 7 7 0 -1 4194304 100 0 0 0 12 34 5 6 20 0 1 0 99 1000 10 18446744073709551615 1 1\n",
        "  sl  local_address rem_address\n   1: 0100007F:1F90 0100007F:C350 08 0000000A:00000000 02:00000000 00000000     0        0 99 2 0 20\n",
        "anon 1\nsock 2\noom_kill 3\n",
    ])
}
