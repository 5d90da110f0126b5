//! What commands print on standard output.
//!
//! Whoever reads it may go away first, as `head` does. Then there is nobody left to tell, and the process ends at once and
//! without a word, with the code that a shell shows of a program that SIGPIPE has ended. (No Rust program gets that signal:
//! its writes fail instead.)

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process;

/// 128 and the number of SIGPIPE.
const NOBODY_READS: i32 = 141;

/// Standard output, line by line. A write that fails ends the process.
pub(crate) struct Printed;

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).or_else(end)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().or_else(end)
    }
}

fn end<T>(error: io::Error) -> io::Result<T> {
    match error.kind() {
        ErrorKind::Interrupted => return Err(error),
        ErrorKind::BrokenPipe => process::exit(NOBODY_READS),
        _ => {}
    }
    complain(format_args!("error: cannot write to standard output: {error}"));
    process::exit(1);
}

pub(crate) fn print(text: Arguments<'_>) {
    // It has not come back from a failure.
    let _ = Printed.write_fmt(text);
}

/// A line on standard error, if anybody reads that.
pub(crate) fn complain(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// `print!`, and `println!` below, by [`print`].
macro_rules! say {
    ($($part:tt)*) => {
        $crate::output::print(format_args!($($part)*))
    };
}

macro_rules! sayln {
    ($($part:tt)*) => {
        $crate::output::print(format_args!("{}\n", format_args!($($part)*)))
    };
}

pub(crate) use {say, sayln};
