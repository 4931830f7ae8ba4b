//! The CNI plugin's process: runs the bundle (src/cmd/cni-engine.ts) in QuickJS, with bounded memory and stack. Whatever goes
//! wrong in here, a runtime finds a CNI error object on standard output (CNI specification 1.1.0, section 5, "Error").

mod failure;
mod files;
mod host;
mod program;
mod streams;

use rquickjs::{qjs, CatchResultExt, CaughtError, Context, Module, Runtime};
use std::process::exit;
use std::thread;

/// Made by build.rs.
const BUNDLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bundle.bin"));

/// For the largest input (16 MiB) as objects; above it the plugin gets an exception.
const MEMORY_LIMIT_BYTES: usize = 512 * 1024 * 1024;
/// JSON.parse recurses: enough for 300,000 levels; above that the plugin gets an exception. Only what is used is resident.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// The rest is left to the host's functions, which JavaScript calls.
const SCRIPT_STACK_BYTES: usize = 48 * 1024 * 1024;

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
    // A run lasts for milliseconds and its garbage is small: collected only far above what a usual config takes.
    runtime.set_gc_threshold(MEMORY_LIMIT_BYTES / 16);
    let context = Context::full(&runtime).map_err(|error| error.to_string())?;
    context.with(|ctx| {
        // SAFETY: the runtime of a living context. (Runtime::set_max_stack_size sets no limit at all above 16 MiB.)
        unsafe { qjs::JS_SetMaxStackSize(qjs::JS_GetRuntime(ctx.as_raw().as_ptr()), SCRIPT_STACK_BYTES as _) };
        let text = |error: CaughtError| error.to_string();
        let host = host::make_host(&ctx).catch(&ctx).map_err(text)?;
        ctx.globals().set("host", host.clone()).catch(&ctx).map_err(text)?;
        // SAFETY: the bytes were written by the same version of QuickJS, when this executable was built.
        let module = unsafe { Module::load(ctx.clone(), BUNDLE) };
        let (_, promise) = module.and_then(Module::eval).catch(&ctx).map_err(text)?;
        while ctx.execute_pending_job() {}
        if let Some(outcome) = promise.result::<()>() {
            outcome.catch(&ctx).map_err(text)?;
        }
        let exit_code: Option<i32> = host.get("exitCode").catch(&ctx).map_err(text)?;
        exit_code.ok_or_else(|| "it ended without an exit code".to_owned())
    })
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
