//! Keeps the direction of dependencies: left never imports right.

use std::{fs, path::Path};

/// Which modules of this crate each module may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("profile", &["units"]),
    ("plan", &["units", "profile"]),
    ("timeline", &["units", "plan"]),
    ("isolate", &[]),
    ("page", &[]),
    ("target", &["units", "timeline"]),
    ("drive", &["units", "plan", "timeline"]),
    ("fleet", &["units", "plan", "timeline", "drive"]),
    ("observe", &["units", "plan", "timeline", "target"]),
    (
        "record",
        &["units", "profile", "plan", "timeline", "observe"],
    ),
    ("diagnose", &["units", "profile", "plan", "record"]),
    ("report", &["units", "plan", "page", "record", "diagnose"]),
    ("doctor", &["units", "isolate", "target", "drive", "fleet"]),
    ("init", &["units", "timeline", "profile", "drive", "doctor"]),
    ("dashboard", &["units", "page", "record", "diagnose"]),
    (
        "soak",
        &[
            "units", "profile", "plan", "timeline", "isolate", "target", "drive", "fleet",
            "observe", "record",
        ],
    ),
    (
        "cli",
        &[
            "units",
            "profile",
            "plan",
            "timeline",
            "isolate",
            "target",
            "drive",
            "fleet",
            "observe",
            "record",
            "diagnose",
            "report",
            "dashboard",
            "doctor",
            "init",
            "soak",
        ],
    ),
];

/// Modules that never wait for a runtime.
const WITHOUT_TOKIO: &[&str] = &[
    "units", "profile", "plan", "timeline", "drive", "fleet", "record", "page", "diagnose",
    "report", "doctor", "init",
];

#[test]
fn left_never_imports_right() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_USE {
        for file in files(&source.join(module)) {
            let code = code(&fs::read_to_string(&file).unwrap());
            let foreign = used(&code)
                .into_iter()
                .filter(|name| name != module && !allowed.contains(&name.as_str()));
            wrong.extend(foreign.map(|name| format!("{}: {module} uses {name}", file.display())));
            if WITHOUT_TOKIO.contains(module) && code.contains("tokio::") {
                wrong.push(format!("{}: {module} uses tokio", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            MAY_USE.iter().any(|(module, _)| *module == name),
            "{name} is not in the table above"
        );
    }
}

/// A file without its comments.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules named as `crate::NAME`, or in the first level of `crate::{NAME::…, …}`.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => names.extend(first_level(list).iter().map(|item| first_word(item))),
            None => names.push(first_word(rest)),
        }
    }
    names.retain(|name| MAY_USE.iter().any(|(module, _)| module == name));
    names
}

/// The items of a list up to its closing brace, each with what is nested in it.
fn first_level(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut depth = 0;
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ => {}
        }
        if letter != ',' || depth > 0 {
            items
                .last_mut()
                .expect("there is always a last item")
                .push(letter);
        }
    }
    items
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let path = entry.expect("an entry of the source").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}
