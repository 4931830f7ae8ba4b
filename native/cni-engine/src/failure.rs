//! Errors of the system as the plugin expects them: JavaScript errors whose `code` is the errno name.

use nix::errno::Errno;
use rquickjs::{Ctx, Exception, IntoJs, Value};
use std::io;

/// A failed system call, or something refused before one.
#[derive(Debug)]
pub struct Failure {
    /// "ENOENT"
    pub code: String,
    pub message: String,
}

impl Failure {
    pub fn new(code: &str, what: &str, path: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: format!("{code}: {what}, {path}"),
        }
    }

    /// `call` and `path` are for the message.
    pub fn of(error: &io::Error, call: &str, path: &str) -> Self {
        let Some(number) = error.raw_os_error() else {
            // Refused by the standard library: a zero byte in a path.
            return Self::new("EINVAL", &format!("{error}, {call}"), path);
        };
        let errno = Errno::from_raw(number);
        let code = format!("{errno:?}");
        // In the words of Node.js, which the plugin's users know.
        let message = match call {
            "spawn" => format!("spawn {path} {code}"),
            _ => format!("{code}: {}, {call} '{path}'", errno.desc().to_lowercase()),
        };
        Self { code, message }
    }

    /// Throws it as a JavaScript error.
    fn throw(self, ctx: &Ctx<'_>) -> rquickjs::Error {
        let exception = match Exception::from_message(ctx.clone(), &self.message) {
            Ok(exception) => exception,
            Err(error) => return error,
        };
        match exception.set("code", self.code) {
            Ok(()) => exception.throw(),
            Err(error) => error,
        }
    }
}

/// What a function of the host returns to JavaScript: a value, or an error that is thrown.
pub struct Outcome<T>(pub Result<T, Failure>);

impl<'js, T: IntoJs<'js>> IntoJs<'js> for Outcome<T> {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        match self.0 {
            Ok(value) => value.into_js(ctx),
            Err(failure) => Err(failure.throw(ctx)),
        }
    }
}
