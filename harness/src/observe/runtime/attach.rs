//! Bringing our Python module to an interpreter that runs already: by its own door (3.14 has one), else by gdb.
//!
//! gdb stops the process for a second, maps a page, lays a line of Python there and puts it on the list of what the interpreter does when
//! it is next at a safe place (`Py_AddPendingCall`, made for this). Nothing runs while it is stopped, and nothing takes a lock.

use std::{fs, io, path::Path, process::Command, time::Duration};

use super::{RuntimeError, command};

const LINE_FILE: &str = "attach.bin";
const SCRIPT_FILE: &str = "attach.py";

/// Has an interpreter run the module, with the address of our door. Returns when it is on its list, not when it has run.
pub(super) fn run_module(
    pid: u32,
    folder: &Path,
    module: &Path,
    door: &Path,
    within: Duration,
) -> Result<(), RuntimeError> {
    let not_brought = |why: String| RuntimeError::NotBrought { pid, why };
    let line = line_of_python(module, door);
    let script = folder.join(SCRIPT_FILE);
    fs::write(&script, &line).map_err(|error| not_brought(error.to_string()))?;
    if by_its_own_door(pid, &script, within) {
        return Ok(());
    }
    let bytes = folder.join(LINE_FILE);
    fs::write(&bytes, [line.as_bytes(), b"\0"].concat())
        .map_err(|error| not_brought(error.to_string()))?;
    by_gdb(pid, &bytes, within).map_err(not_brought)
}

/// One line, so that it needs no indentation, and nothing of it stays in the app's names. Paths are ours: no quotes in them.
fn line_of_python(module: &Path, door: &Path) -> String {
    format!(
        "exec(compile(open({module:?}).read(), 'sse-soak', 'exec'), {{'__name__': 'sse_soak', '__file__': {module:?}, 'ATTACHED': {door:?}}})\n"
    )
}

/// `sys.remote_exec`, by the same interpreter that the process runs.
fn by_its_own_door(pid: u32, script: &Path, within: Duration) -> bool {
    let code = "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])";
    let mut interpreter = Command::new(format!("/proc/{pid}/exe"));
    interpreter
        .args(["-I", "-c", code, &pid.to_string()])
        .arg(script);
    command::said(&mut interpreter, within).is_ok_and(|said| said.is_ok())
}

fn by_gdb(pid: u32, bytes: &Path, within: Duration) -> Result<(), String> {
    let map = "set $line = ((long (*)(long,long,int,int,int,long))mmap)(0,4096,3,34,-1,0)";
    let lay = format!("restore {} binary $line", bytes.display());
    let call = "printf \"added %d\\n\", ((int (*)(void*,void*))Py_AddPendingCall)((void*)PyRun_SimpleString, (void*)$line)";
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set auto-load off"])
        .args(["-iex", "set debuginfod enabled off", "-p", &pid.to_string()])
        .args(["-ex", map, "-ex", &lay, "-ex", call]);
    match command::said(&mut gdb, within) {
        Ok(Ok(said)) if said.contains("added 0") => Ok(()),
        Ok(Ok(said) | Err(said)) => Err(format!("gdb said `{}`", command::last_line(&said))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("gdb is not installed, and the interpreter is older than 3.14".into())
        }
        Err(error) => Err(format!("gdb: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_interpreter_is_given_is_one_line() {
        let line = line_of_python(Path::new("/a/m.py"), Path::new("/a/door"));
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r#"'ATTACHED': "/a/door""#), "{line}");
        assert!(line.len() < 4096, "it is laid into one page");
    }

    #[test]
    fn a_process_that_is_not_there_cannot_be_brought_anything() {
        let folder = tempfile::tempdir().unwrap();
        let within = Duration::from_secs(20);
        let brought = run_module(
            u32::MAX - 1,
            folder.path(),
            Path::new("/m"),
            Path::new("/d"),
            within,
        );
        assert!(matches!(brought, Err(RuntimeError::NotBrought { .. })));
    }
}
