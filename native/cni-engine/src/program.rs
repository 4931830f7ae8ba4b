//! Runs another program to its end. Signals that ask this process to end go to that program while it runs.

use crate::failure::Failure;
use nix::sys::signal::{kill, SigSet, Signal};
use nix::sys::wait::{waitid, Id, WaitPidFlag};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes of stderr that are kept: more than the port's 300 characters.
const COMPLAINT_BYTES: usize = 4 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;

/// How it ended; see ProgramEnd in src/cni/system.ts.
pub struct ProgramEnd {
    pub exit_code: i32,
    pub signal: Option<String>,
    pub output: String,
    pub is_output_cut: bool,
    pub complaint: String,
}

/// The program that runs now. Locked while it is started and while it is reaped, so that no signal goes to another process.
static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks the forwarded signals in this thread and those that it starts. (Programs are started with none blocked.)
pub fn block_signals() -> SigSet {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let _ = signals.thread_block();
    signals
}

/// Waits for these signals for ever: each goes to the running program, or ends this process.
pub fn forward_signals(signals: &SigSet) -> ! {
    loop {
        let Ok(signal) = signals.wait() else { continue };
        match *running() {
            Some(pid) => {
                let _ = kill(pid, signal);
            }
            None => {
                let _ = signals.thread_unblock();
                let _ = nix::sys::signal::raise(signal);
            }
        }
    }
}

/// Runs a program with this input and whole environment.
pub fn run(
    path: &str,
    input: String,
    environment: Vec<(String, String)>,
    max_output_bytes: usize,
) -> Result<ProgramEnd, Failure> {
    let mut command = Command::new(path);
    command.env_clear().envs(with_original_bytes(environment));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = {
        let mut current = running();
        let child = command.spawn().map_err(|error| Failure::of(&error, "spawn", path))?;
        *current = Some(Pid::from_raw(child.id() as i32));
        child
    };
    let pid = Pid::from_raw(child.id() as i32);
    if let Some(mut stdin) = child.stdin.take() {
        // Not joined: a program may leave it unread. If it ends without reading, its exit code decides.
        thread::spawn(move || stdin.write_all(input.as_bytes()));
    }
    let stderr = child.stderr.take();
    let complaint = thread::spawn(move || stderr.map(pass_on).unwrap_or_default());
    let mut output = Vec::new();
    let mut is_output_cut = false;
    if let Some(mut stdout) = child.stdout.take() {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Some(length) = next(&mut stdout, &mut chunk) {
            is_output_cut = output.len() + length > max_output_bytes;
            if is_output_cut {
                let _ = kill(pid, Signal::SIGKILL);
                break; // its own children may still have it open
            }
            output.extend_from_slice(&chunk[..length]);
        }
    }
    let complaint = complaint.join().unwrap_or_default();
    // It stays a zombie, and its number taken, until it is reaped under the lock.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        .is_err_and(|error| error == nix::errno::Errno::EINTR)
    {}
    let status = {
        let mut current = running();
        *current = None;
        child.wait().map_err(|error| Failure::of(&error, "wait", path))?
    };
    Ok(ProgramEnd {
        exit_code: status.code().unwrap_or(0),
        signal: signal_name(status),
        output: String::from_utf8_lossy(&output).into_owned(),
        is_output_cut,
        complaint: String::from_utf8_lossy(&complaint).into_owned(),
    })
}

fn signal_name(status: ExitStatus) -> Option<String> {
    let number = status.signal()?;
    Some(Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned()))
}

/// Copies a program's stderr to this one's until it ends, and returns the end of it.
fn pass_on(mut stderr: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Some(length) = next(&mut stderr, &mut chunk) {
        let _ = io::stderr().write_all(&chunk[..length]); // it may be closed
        kept.extend_from_slice(&chunk[..length]);
        let surplus = kept.len().saturating_sub(COMPLAINT_BYTES);
        kept.drain(..surplus);
    }
    kept
}

/// Reads once; undefined = the end.
fn next(stream: &mut impl Read, chunk: &mut [u8]) -> Option<usize> {
    loop {
        match stream.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return None,
            Ok(length) => return Some(length),
        }
    }
}

/// The plugin sees texts; a variable that is none and that it has not changed is passed on with its own bytes.
fn with_original_bytes(environment: Vec<(String, String)>) -> Vec<(OsString, OsString)> {
    let mut originals: HashMap<(String, String), (OsString, OsString)> = env::vars_os()
        .filter(|(name, value)| name.to_str().is_none() || value.to_str().is_none())
        .map(|(name, value)| {
            let texts = (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            );
            (texts, (name, value))
        })
        .collect();
    environment
        .into_iter()
        .map(|pair| {
            originals
                .remove(&pair)
                .unwrap_or_else(|| (pair.0.into(), pair.1.into()))
        })
        .collect()
}
