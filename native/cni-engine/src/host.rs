//! The object `host` that the bundle finds; src/cni/engine-system.ts has the same list.

use crate::failure::Outcome;
use crate::program::ProgramEnd;
use crate::{files, program, streams};
use rquickjs::prelude::Func;
use rquickjs::{Ctx, IntoJs, Object, Value};
use std::env;
use std::time::Duration;

/// As images name architectures.
const ARCHITECTURE: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    env::consts::ARCH
};

/// Creates the object. The bundle sets its `exitCode` last.
pub fn make_host<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    host.set("pid", std::process::id())?;
    host.set("platform", format!("linux/{ARCHITECTURE}"))?;
    host.set("environment", environment())?;
    host.set("readInput", Func::from(read_input))?;
    host.set(
        "write",
        Func::from(|descriptor: u32, text: String| streams::write(descriptor, &text)),
    )?;
    host.set(
        "readRegularFile",
        Func::from(|path: String, max: u32| Outcome(files::read_regular_file(&path, max.into()))),
    )?;
    host.set(
        "readProcFile",
        Func::from(|path: String| Outcome(files::read_proc_file(&path))),
    )?;
    host.set("isFile", Func::from(|path: String| files::is_file(&path)))?;
    host.set("identityOf", Func::from(|path: String| files::identity_of(&path)))?;
    host.set(
        "makeDirectory",
        Func::from(|path: String, mode: u32| Outcome(files::make_directory(&path, mode))),
    )?;
    host.set(
        "writeNewFile",
        Func::from(|path: String, text: String, mode: u32| Outcome(files::write_new_file(&path, &text, mode))),
    )?;
    host.set(
        "syncDirectory",
        Func::from(|path: String| Outcome(files::sync_directory(&path))),
    )?;
    host.set(
        "link",
        Func::from(|existing: String, path: String| Outcome(files::link(&existing, &path))),
    )?;
    host.set(
        "symlink",
        Func::from(|target: String, path: String| Outcome(files::make_symlink(&target, &path))),
    )?;
    host.set(
        "rename",
        Func::from(|from: String, to: String| Outcome(files::rename(&from, &to))),
    )?;
    host.set("remove", Func::from(|path: String| Outcome(files::remove(&path))))?;
    host.set("readLink", Func::from(|path: String| Outcome(files::read_link(&path))))?;
    host.set("list", Func::from(|path: String| Outcome(files::list(&path))))?;
    host.set("run", Func::from(run))?;
    host.set(
        "unixRequest",
        Func::from(|path: String, request: String, timeout_ms: u32| {
            Outcome(streams::unix_request(&path, &request, timeout_ms.into()))
        }),
    )?;
    host.set(
        "sleep",
        Func::from(|duration_ms: u32| std::thread::sleep(Duration::from_millis(duration_ms.into()))),
    )?;
    Ok(host)
}

/// Names and values.
fn environment() -> Vec<Vec<String>> {
    env::vars_os()
        .map(|(name, value)| {
            vec![
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            ]
        })
        .collect()
}

/// `prompt_ms` below zero: waits for the end of the input.
fn read_input(max_bytes: u32, prompt_ms: i32) -> Outcome<String> {
    Outcome(streams::read_input(max_bytes as usize, u64::try_from(prompt_ms).ok()))
}

/// `environment`: names and values in turn.
fn run(path: String, input: String, environment: Vec<String>, max_output_bytes: u32) -> Outcome<ProgramEnd> {
    let pairs = environment
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    Outcome(program::run(&path, input, pairs, max_output_bytes as usize))
}

impl<'js> IntoJs<'js> for ProgramEnd {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        let end = Object::new(ctx.clone())?;
        end.set("exitCode", self.exit_code)?;
        end.set("signal", self.signal)?;
        end.set("output", self.output)?;
        end.set("isOutputCut", self.is_output_cut)?;
        end.set("complaint", self.complaint)?;
        end.into_js(ctx)
    }
}
