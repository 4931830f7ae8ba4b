//! The CNI plugin's process: runs the bundle (src/cmd/cni-engine.ts) in QuickJS, with bounded memory and stack. Whatever goes
//! wrong in here, a runtime finds a CNI error object on standard output (CNI specification 1.1.0, section 5, "Error").

mod failure;
mod files;
mod host;
mod program;
mod streams;

use rquickjs::{CatchResultExt, Context, Ctx, Runtime};
use std::process::exit;
use std::thread;

/// Made by scripts/build-engine.ts, which sets the variable.
const BUNDLE: &str = include_str!(env!("FLANNEL_CNI_BUNDLE"));

/// For the largest input (16 MiB) as objects; above it the plugin gets an exception.
const MEMORY_LIMIT_BYTES: usize = 1024 * 1024 * 1024;
/// JSON.parse recurses. Only what is used is resident.
const STACK_BYTES: usize = 256 * 1024 * 1024;
/// Left to the host's functions, which JavaScript calls.
const HOST_STACK_BYTES: usize = 1024 * 1024;

fn main() {
    let signals = program::block_signals();
    let started = thread::Builder::new().stack_size(STACK_BYTES).spawn(|| {
        let exit_code = std::panic::catch_unwind(run_bundle).unwrap_or_else(|_| Err("it panicked".to_owned()));
        exit(exit_code.unwrap_or_else(|fault| report(&fault)));
    });
    match started {
        Ok(_) => program::forward_signals(&signals),
        Err(error) => exit(report(&format!("cannot start a thread: {error}"))),
    }
}

/// The exit code that the plugin has set.
fn run_bundle() -> Result<i32, String> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.set_memory_limit(MEMORY_LIMIT_BYTES);
    runtime.set_max_stack_size(STACK_BYTES - HOST_STACK_BYTES);
    // A run lasts for milliseconds and its garbage is small: collected only far above what a usual config takes.
    runtime.set_gc_threshold(MEMORY_LIMIT_BYTES / 16);
    let context = Context::full(&runtime).map_err(|error| error.to_string())?;
    context.with(|ctx| {
        let host = host::make_host(&ctx).catch(&ctx).map_err(|error| error.to_string())?;
        ctx.globals()
            .set("host", host.clone())
            .catch(&ctx)
            .map_err(|error| error.to_string())?;
        ctx.eval::<(), _>(BUNDLE)
            .catch(&ctx)
            .map_err(|error| error.to_string())?;
        while ctx.execute_pending_job() {}
        let exit_code: Option<i32> = host.get("exitCode").catch(&ctx).map_err(|error| error.to_string())?;
        exit_code.ok_or_else(|| last_exception(&ctx))
    })
}

fn last_exception(ctx: &Ctx<'_>) -> String {
    let value = ctx.catch();
    value
        .as_exception()
        .map_or_else(|| "it ended without an exit code".to_owned(), ToString::to_string)
}

/// Prints an error object for the runtime and returns the exit code.
fn report(fault: &str) -> i32 {
    let message = escape(&format!("the flannel plugin failed: {}", fault.trim()));
    streams::write(
        1,
        &format!("{{\"cniVersion\":\"1.1.0\",\"code\":999,\"msg\":\"{message}\"}}\n"),
    );
    1
}

/// The inside of a JSON string (RFC 8259, section 7).
fn escape(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' | '\\' => format!("\\{character}"),
            '\u{0}'..='\u{1f}' => format!("\\u{:04x}", u32::from(character)),
            _ => character.to_string(),
        })
        .collect()
}
