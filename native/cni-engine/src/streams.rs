//! Standard input and output, and a request on a Unix socket: all with a bound on bytes, and on time where there is one.

use crate::failure::Failure;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{connect, setsockopt, socket, sockopt, AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::time::TimeVal;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 64 * 1024;
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// All of standard input; with `prompt_ms`, what arrives until then.
pub fn read_input(max_bytes: usize, prompt_ms: Option<u64>) -> Result<String, Failure> {
    let mut stdin = io::stdin().lock();
    if prompt_ms.is_some() && stdin.is_terminal() {
        return Ok(String::new());
    }
    let deadline = prompt_ms.map(|duration| Instant::now() + Duration::from_millis(duration));
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    while bytes.len() <= max_bytes {
        if !is_ready(&stdin, PollFlags::POLLIN, deadline) {
            return Ok(String::new()); // too late: as if there were none
        }
        match stdin.read(&mut chunk) {
            Ok(0) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::of(&error, "read", "standard input")),
        }
    }
    Err(Failure::new(
        "EFBIG",
        &format!("larger than {max_bytes} bytes"),
        "standard input",
    ))
}

/// Writes to standard error (2), which may be closed, or to standard output: its reader is the runtime, without which all ends.
pub fn write(descriptor: u32, text: &str) {
    if descriptor == 2 {
        let _ = io::stderr().write_all(text.as_bytes());
        return;
    }
    let mut stdout = io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        exit(1);
    }
}

/// All that the peer sends until it closes the connection.
pub fn unix_request(path: &str, request: &str, timeout_ms: u64) -> Result<String, Failure> {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Failure::new("ETIMEDOUT", &format!("no answer in {timeout_ms} ms"), path)
        }
        _ => Failure::of(&error, "connect", path),
    };
    let mut socket = connect_within(path, until(deadline)).map_err(failed)?;
    let mut left = request.as_bytes();
    while !left.is_empty() {
        socket.set_write_timeout(Some(until(deadline))).map_err(failed)?;
        match socket.write(left) {
            Ok(length) => left = &left[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if Instant::now() >= deadline {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        socket.set_read_timeout(Some(until(deadline))).map_err(failed)?;
        match socket.read(&mut chunk) {
            Ok(0) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if bytes.len() > MAX_RESPONSE_BYTES {
            return Err(Failure::new("EMSGSIZE", "the answer is too long", path));
        }
    }
}

/// connect(2) waits while the peer's queue of connections is full, for as long as writing may (unix(7), SO_SNDTIMEO).
fn connect_within(path: &str, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::new(timeout.as_secs() as _, timeout.subsec_micros() as _);
    setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

/// Never zero, which would mean for ever.
fn until(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

/// Waits for a descriptor; false = not until the deadline.
fn is_ready(descriptor: &impl AsFd, events: PollFlags, deadline: Option<Instant>) -> bool {
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(time) => {
                let left = time.saturating_duration_since(Instant::now()).as_millis();
                PollTimeout::try_from(left.min(60_000) as i32).unwrap_or(PollTimeout::ZERO)
            }
        };
        match poll(&mut [PollFd::new(descriptor.as_fd(), events)], timeout) {
            Err(Errno::EINTR) => {}
            Ok(0) => return false,
            _ => return true, // read(2) reports what is wrong with it
        }
    }
}
