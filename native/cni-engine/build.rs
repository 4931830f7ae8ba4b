//! Compiles the plugin's bundle to QuickJS's bytecode, with the same QuickJS: at each start of the plugin that takes longer than all
//! else.

use rquickjs::{CatchResultExt, Context, Module, Runtime, WriteOptions, WriteOptionsEndianness};
use std::path::PathBuf;
use std::{env, fs};

/// Set by scripts/build-engine.ts.
const VARIABLE: &str = "FLANNEL_CNI_BUNDLE";

fn main() {
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    let path = env::var(VARIABLE).expect("FLANNEL_CNI_BUNDLE is not set: run scripts/build-engine.ts");
    println!("cargo:rerun-if-changed={path}");
    let source = fs::read(&path).expect("the bundle cannot be read");
    let runtime = Runtime::new().expect("QuickJS does not start");
    let context = Context::full(&runtime).expect("QuickJS does not start");
    let bytecode = context.with(|ctx| {
        let compile = || {
            Module::declare(ctx.clone(), "flannel", source)?.write(WriteOptions {
                // That of all architectures that the plugin is built for.
                endianness: WriteOptionsEndianness::Little,
                // Lines for the stack traces of crashes stay.
                strip_source: true,
                ..WriteOptions::default()
            })
        };
        compile().catch(&ctx).map_err(|error| error.to_string())
    });
    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("bundle.bin");
    fs::write(output, bytecode.expect("the bundle cannot be compiled")).expect("the bytecode cannot be written");
}
