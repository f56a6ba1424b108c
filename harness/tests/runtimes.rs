//! Runtimes that are asked to tidy up: real interpreters, real sockets. A tool that is missing is said, not failed for.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what is skipped is said aloud")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use sse_soak::{
    observe::{ObserveConfig, Observer, PythonDoor, RuntimeConfig, RuntimeHeap, Sample},
    timeline::Clock,
};

/// Keeps memory, makes garbage and forks when it is told to; every word is answered when it is done.
const PYTHON: &str = r#"
import os, signal, sys
kept, children = [], []
def garbage(count):
    for _ in range(count):
        a, b = bytearray(1000), []
        b.append([b, a])
print("ready", flush=True)
for line in sys.stdin:
    word, number = line.split()
    number = int(number)
    if word == "keep": kept.extend(bytearray(1000) for _ in range(number))
    if word == "garbage": garbage(number)
    if word == "fork":
        child = os.fork()
        if child == 0:
            while True: signal.pause()
        children.append(child)
    if word == "reap":
        child = children.pop()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    print("done", flush=True)
"#;

const NODE: &str = r#"
const kept = [];
let rest = "";
console.log("ready");
process.stdin.on("data", (data) => {
  rest += data;
  for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.slice(end + 1)) {
    const [word, number] = rest.slice(0, end).split(" ");
    for (let i = 0; i < Number(number); i += 1) {
      const one = { text: `number ${i} ${Math.random()}`, more: new Array(100).fill(i) };
      if (word === "keep") kept.push(one);
    }
    console.log("done");
  }
});
"#;

const JAVA: &str = r#"
import java.io.*;
import java.util.*;
public class Keep {
  public static void main(String[] arguments) throws Exception {
    List<byte[]> kept = new ArrayList<>();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    System.out.println("ready");
    for (String line; (line = in.readLine()) != null; ) {
      String[] words = line.split(" ");
      for (int i = 0; i < Integer.parseInt(words[1]); i++) {
        byte[] one = new byte[1000];
        if (words[0].equals("keep")) kept.add(one);
      }
      System.out.println("done");
    }
  }
}
"#;

/// A process that is told what to do on its standard input.
struct Told {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Told {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut told = Self {
            say: child.stdin.take().unwrap(),
            hear: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(told.line(), "ready");
        told
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        line.trim().into()
    }

    fn do_this(&mut self, words: &str) {
        writeln!(self.say, "{words}").unwrap();
        assert_eq!(self.line(), "done", "{words}");
    }

    fn observed(&self, runtime: RuntimeConfig) -> Observer {
        let config = ObserveConfig {
            pid: Some(self.child.id()),
            addr: SocketAddr::from(([127, 0, 0, 1], 9)),
            admin: None,
            metrics: None,
            runtime,
            every: Duration::from_secs(3600),
        };
        let (sender, _) = sync_channel(1);
        Observer::start(config, Clock::start(), Arc::default(), sender).unwrap()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn python(arguments: &[&str], door: Option<&PythonDoor>) -> Told {
    let mut command = Command::new("python3");
    command.args(arguments).args(["-c", PYTHON]);
    if let Some(door) = door {
        command.envs(door.environment(None));
    }
    Told::start(&mut command)
}

fn heap(sample: &Sample) -> RuntimeHeap {
    sample
        .runtime
        .unwrap_or_else(|| panic!("nothing was told: {:?}", sample.gaps))
}

fn has(tool: &str) -> bool {
    let asks = if tool == "jcmd" { "-h" } else { "--version" };
    let found = Command::new(tool).arg(asks).stdout(Stdio::null()).status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        eprintln!("SKIPPED: {tool} is not here");
    }
    has
}

/// Keeps a thousand buffers of 1,000 B, and throws away a thousand cycles: the first are seen to a few per cent, the second are not.
fn what_is_kept_is_seen_and_what_is_garbage_is_not(target: &mut Told, observer: &Observer) {
    target.do_this("keep 1000");
    target.do_this("garbage 1000");
    observer.settled_look(); // what is made once is made now
    let before = heap(&observer.settled_look()).live_bytes;
    target.do_this("keep 1000");
    let kept = heap(&observer.settled_look()).live_bytes - before;
    assert!((1_000_000..1_150_000).contains(&kept), "{kept} B of 1 MB");
    target.do_this("garbage 1000");
    let left = heap(&observer.settled_look())
        .live_bytes
        .abs_diff(before + kept);
    assert!(left < 20_000, "{left} B of garbage");
}

#[test]
fn a_python_that_we_start_tells_what_it_holds_in_all_its_processes() {
    if !has("python3") {
        return;
    }
    let door = PythonDoor::open().unwrap();
    let mut target = python(&[], Some(&door));
    let observer = target.observed(RuntimeConfig::Auto(Some(door)));
    assert_eq!(observer.look().runtime, None, "only readings ask");
    what_is_kept_is_seen_and_what_is_garbage_is_not(&mut target, &observer);
    let alone = heap(&observer.settled_look());
    target.do_this("fork 0");
    let both = heap(&observer.settled_look());
    assert_eq!((alone.processes, both.processes), (1, 2));
    assert!(both.live_bytes > alone.live_bytes * 3 / 2, "{both:?}");
    target.do_this("reap 0");
    let again = heap(&observer.settled_look());
    assert_eq!(again.processes, 1);
    assert!(again.live_bytes.abs_diff(alone.live_bytes) < 50_000);
}

#[test]
fn a_python_that_does_not_let_us_in_is_said_and_no_half_sum_is_told() {
    if !has("python3") {
        return;
    }
    let door = PythonDoor::open().unwrap();
    let target = python(&["-I"], Some(&door));
    let observer = target.observed(RuntimeConfig::Auto(Some(door)));
    let look = observer.settled_look();
    assert_eq!(look.runtime, None);
    assert!(
        look.gaps[0].contains("its line was never opened"),
        "{:?}",
        look.gaps
    );
}

#[test]
fn a_python_that_runs_already_is_brought_our_module_by_a_debugger() {
    if !has("python3") || !has("gdb") {
        return;
    }
    let mut target = python(&[], None);
    let attaches = RuntimeConfig::Python {
        door: PythonDoor::open().unwrap(),
        attaches: true,
    };
    let observer = target.observed(attaches);
    // It sleeps on its standard input, and does what is on its list when it wakes.
    let first = observer.settled_look();
    target.do_this("keep 0");
    if first.gaps.iter().any(|gap| gap.contains("gdb said")) {
        eprintln!("SKIPPED: gdb may not attach here: {:?}", first.gaps);
        return;
    }
    what_is_kept_is_seen_and_what_is_garbage_is_not(&mut target, &observer);
}

#[test]
fn a_python_of_somebody_else_is_left_alone_and_the_way_to_more_is_said() {
    if !has("python3") {
        return;
    }
    let target = python(&[], None);
    let look = target.observed(RuntimeConfig::Auto(None)).settled_look();
    assert_eq!(look.runtime, None);
    assert!(look.gaps[0].contains("--runtime python"), "{:?}", look.gaps);
}

#[test]
fn a_node_that_runs_already_is_asked_by_its_inspector() {
    if !has("node") {
        return;
    }
    let mut target = Told::start(Command::new("node").args(["--inspect-port=0", "-e", NODE]));
    let observer = target.observed(RuntimeConfig::Auto(None));
    target.do_this("keep 1000");
    target.do_this("garbage 1000");
    observer.settled_look();
    let before = heap(&observer.settled_look()).live_bytes;
    target.do_this("keep 1000");
    let kept = heap(&observer.settled_look()).live_bytes - before;
    assert!(
        (850_000..1_300_000).contains(&kept),
        "{kept} B of about 1 MB"
    );
    target.do_this("garbage 2000");
    let left = heap(&observer.settled_look())
        .live_bytes
        .abs_diff(before + kept);
    assert!(left < 100_000, "{left} B of garbage");
}

#[test]
fn a_java_is_asked_by_jcmd() {
    if !has("javac") || !has("jcmd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Keep.java");
    std::fs::write(&source, JAVA).unwrap();
    let mut target = Told::start(Command::new("java").arg(&source));
    let observer = target.observed(RuntimeConfig::Auto(None));
    what_is_kept_is_seen_and_what_is_garbage_is_not(&mut target, &observer);
}

#[test]
fn who_is_neither_is_not_touched() {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let config = ObserveConfig {
        pid: Some(child.id()),
        addr: SocketAddr::from(([127, 0, 0, 1], 9)),
        admin: None,
        metrics: None,
        runtime: RuntimeConfig::Auto(Some(PythonDoor::open().unwrap())),
        every: Duration::from_secs(3600),
    };
    let (sender, _) = sync_channel(1);
    let observer = Observer::start(config, Clock::start(), Arc::default(), sender).unwrap();
    let look = observer.settled_look();
    assert_eq!((look.runtime, look.gaps.as_slice()), (None, &[][..]));
    assert!(look.tree.is_some(), "it still runs");
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
}
