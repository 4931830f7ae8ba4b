//! Files and directories. The meaning of each function is that of the port: src/cni/system.ts.

use crate::failure::Failure;
use nix::libc;
use std::fs::{self, DirBuilder, File, FileType, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{symlink, DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Far above any file of procfs that the plugin reads; a node with that many routes is none.
const MAX_PROC_BYTES: u64 = 64 * 1024 * 1024;

pub fn read_regular_file(path: &str, max_bytes: u64) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::of(&error, "open", path);
    // Before it is opened: opening a device can have effects of its own, and that of a FIFO blocks.
    check_type(fs::metadata(path).map_err(failed)?.file_type(), path)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    check_type(file.metadata().map_err(failed)?.file_type(), path)?; // replaced meanwhile
    let bytes = read_at_most(file, max_bytes, path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn check_type(kind: FileType, path: &str) -> Result<(), Failure> {
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(Failure::new("EISDIR", "is a directory", path));
    }
    let name = match (kind.is_fifo(), kind.is_socket()) {
        (true, _) => "a FIFO",
        (_, true) => "a socket",
        _ => "a device",
    };
    Err(Failure {
        code: "ENOTREG".to_owned(),
        message: format!("is {name} and not a regular file, {path}"),
    })
}

pub fn read_proc_file(path: &str) -> Result<String, Failure> {
    let file = File::open(path).map_err(|error| Failure::of(&error, "open", path))?;
    let bytes = read_at_most(file, MAX_PROC_BYTES, path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_at_most(file: File, max_bytes: u64, path: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::of(&error, "read", path))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Failure::new("EFBIG", &format!("larger than {max_bytes} bytes"), path));
    }
    Ok(bytes)
}

pub fn is_file(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file())
}

pub fn identity_of(path: &str) -> Option<String> {
    let data = fs::metadata(path).ok()?;
    Some(format!("{}:{}", data.dev(), data.ino()))
}

pub fn make_directory(path: &str, mode: u32) -> Result<(), Failure> {
    make_all(Path::new(path), mode).map_err(|error| Failure::of(&error, "mkdir", path))
}

fn make_all(path: &Path, mode: u32) -> io::Result<()> {
    match make_one(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
                return Err(error);
            };
            make_all(parent, mode)?;
            make_one(path, mode)
        }
        outcome => outcome,
    }
}

fn make_one(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

pub fn write_new_file(path: &str, text: &str, mode: u32) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.set_permissions(Permissions::from_mode(mode))?; // whatever the umask says
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| Failure::of(&error, "write", path))
}

pub fn sync_directory(path: &str) -> Result<(), Failure> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Failure::of(&error, "fsync", path))
}

pub fn link(existing: &str, path: &str) -> Result<(), Failure> {
    fs::hard_link(existing, path).map_err(|error| Failure::of(&error, "link", path))
}

pub fn make_symlink(target: &str, path: &str) -> Result<(), Failure> {
    symlink(target, path).map_err(|error| Failure::of(&error, "symlink", path))
}

pub fn rename(from: &str, to: &str) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|error| Failure::of(&error, "rename", to))
}

pub fn remove(path: &str) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::of(&error, "unlink", path)),
        _ => Ok(()),
    }
}

pub fn read_link(path: &str) -> Result<String, Failure> {
    fs::read_link(path)
        .map(|target| target.to_string_lossy().into_owned())
        .map_err(|error| Failure::of(&error, "readlink", path))
}

pub fn list(path: &str) -> Result<Vec<String>, Failure> {
    let names = || -> io::Result<Vec<String>> {
        fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    names().map_err(|error| Failure::of(&error, "scandir", path))
}
