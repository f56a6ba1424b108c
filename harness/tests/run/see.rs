//! The pages in a real browser: headless Chromium, driven over the report and the live page of a real run.
//!
//! Needs Node, npm and a Chromium; `scripts/test` installs what it can. Where one is missing the test says so and is skipped.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::bench::{Bench, wait_for};

/// What may drive the pages: a Chromium, and a folder with the pinned driver in it.
struct Browser {
    chromium: PathBuf,
    driver: tempfile::TempDir,
}

impl Browser {
    /// `None`, and why, where it cannot be had.
    fn find() -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("SKIPPED: the browser test needs {why}");
            None
        };
        let Some(chromium) = chromium() else {
            return skip(
                "a Chromium (chromium, chromium-browser, google-chrome, or SSE_SOAK_CHROMIUM)",
            );
        };
        if on_path("node").is_none() || on_path("npm").is_none() {
            return skip("Node and npm");
        }
        let driver = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        for entry in fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, driver.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        let installed = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(driver.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if !installed.success() {
            return skip("playwright-core, which npm could not install");
        }
        Some(Self { chromium, driver })
    }

    /// Runs one of the scripts; it ends with 0 if all is well and else says what is not.
    fn drive(&self, script: &str, arguments: &[&str]) {
        let done = Command::new("node")
            .arg(script)
            .arg(&self.chromium)
            .args(arguments)
            .current_dir(self.driver.path())
            .output()
            .unwrap();
        let said = [done.stdout, done.stderr]
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .concat();
        assert!(done.status.success(), "{said}");
        eprintln!("{said}");
    }
}

fn chromium() -> Option<PathBuf> {
    let told = env::var_os("SSE_SOAK_CHROMIUM").map(PathBuf::from);
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    told.or_else(|| names.iter().find_map(|name| on_path(name)))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[test]
fn a_report_of_a_real_run_can_be_looked_at() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    bench.run(&["run", profile.to_str().unwrap(), "--quiet"]);
    let run = bench.run_directory();
    browser.drive("report.mjs", &[run.to_str().unwrap()]);
}

#[test]
fn a_run_under_way_can_be_watched_and_stopped_by_who_has_the_token() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let bench = Bench::new();
    let profile = bench.profile(&[("cycles = 12", "cycles = 200")]);
    let running = bench.start(&[
        "run",
        profile.to_str().unwrap(),
        "--dashboard",
        "127.0.0.1:0",
        "--dashboard-token",
        "let me",
    ]);
    let address = wait_for("the dashboard", || {
        let said = fs::read_to_string(bench.path().join("stderr")).unwrap();
        let address = said.split("to be seen at ").nth(1)?.split('/').nth(2)?;
        Some(format!("http://{address}"))
    });
    browser.drive("live.mjs", &[&address, "let me"]);
    running.wait().expect_code(12);
}
