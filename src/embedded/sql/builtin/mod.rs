//! Functions that SQLite lacks or has with another meaning, registered on every connection as `sr_…`.

mod json;
mod number;
mod text;
mod time;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, Result};

pub(super) use number::{double_text, float_text};
pub(super) use time::{date_text, datetime_text, now_text};

pub(crate) fn register(connection: &Connection) -> Result<()> {
    number::register(connection)?;
    text::register(connection)?;
    time::register(connection)?;
    json::register(connection)?;
    super::rebuild::register(connection)
}

/// Registers a function that gives NULL when any argument is NULL. `arguments` of -1 is any number.
fn strict(
    connection: &Connection,
    name: &str,
    arguments: i32,
    function: fn(&Context<'_>) -> Result<Value>,
) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(name, arguments, flags, move |context| {
        if (0..context.len()).any(|index| context.get_raw(index) == ValueRef::Null) {
            return Ok(Value::Null);
        }
        function(context)
    })
}

/// Any value's bytes; a number's are its text.
fn bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => double_text(number).into_bytes(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
    }
}

fn text(context: &Context<'_>, index: usize) -> String {
    String::from_utf8(bytes(context.get_raw(index)))
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn int(context: &Context<'_>, index: usize) -> Result<i64> {
    match context.get_raw(index) {
        ValueRef::Integer(number) => Ok(number),
        ValueRef::Real(number) => Ok(number as i64),
        _ => Err(failed("a number is expected")),
    }
}

fn failed(message: impl Into<String>) -> Error {
    Error::UserFunctionError(message.into().into())
}
