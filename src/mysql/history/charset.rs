//! Names of character sets in statements.

use crate::mysql::ddl::Charset;
use crate::mysql::value::charset_max_bytes;

/// What a clause names; `None`: `DEFAULT`, or a collation that says no character set.
pub(super) fn of(clause: &Charset) -> Option<String> {
    let charset = clause.charset.as_deref().map(canonical);
    charset.or_else(|| clause.collation.as_deref().and_then(of_collation))
}

/// The server's own name of a character set. `utf8` has been utf8mb3 since it was invented, and still is.
pub(super) fn canonical(name: &str) -> String {
    match name {
        "utf8" => "utf8mb3".to_owned(),
        name => name.to_owned(),
    }
}

/// A collation's name begins with its character set's, but for MariaDB's `uca1400_…`, which is for any of them.
pub(super) fn of_collation(collation: &str) -> Option<String> {
    let charset = collation.split('_').next().unwrap_or_default();
    (charset != "uca1400").then(|| canonical(charset))
}

/// Bytes of the longest character.
pub(super) fn max_bytes(charset: &str) -> Result<u64, String> {
    charset_max_bytes(charset).map(u64::from).ok_or_else(|| format!("the character set {charset} is not known"))
}
