//! A statement's text: its bytes are in the client's character set, which the event names by a collation number.

use std::borrow::Cow;

use encoding_rs as encoding;
use mysql_common::collations::Collation;

/// The text in UTF-8, or the character set's name when that cannot be done without loss.
pub(super) fn decode(bytes: &[u8], collation: Option<u16>) -> Result<Cow<'_, str>, String> {
    if bytes.is_ascii() {
        // The character sets a client may use all contain ASCII.
        return Ok(String::from_utf8_lossy(bytes));
    }
    let charset = match collation {
        Some(number) => charset(number),
        None => "utf8mb4",
    };
    let encoding = match charset {
        "utf8" | "utf8mb3" | "utf8mb4" | "binary" | "ascii" => {
            return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| charset.to_owned());
        }
        "latin1" => encoding::WINDOWS_1252,
        "latin2" => encoding::ISO_8859_2,
        "latin5" => encoding::WINDOWS_1254,
        "latin7" => encoding::ISO_8859_13,
        "greek" => encoding::ISO_8859_7,
        "hebrew" => encoding::ISO_8859_8,
        "cp1250" => encoding::WINDOWS_1250,
        "cp1251" => encoding::WINDOWS_1251,
        "cp1256" => encoding::WINDOWS_1256,
        "cp1257" => encoding::WINDOWS_1257,
        "cp866" => encoding::IBM866,
        "koi8r" => encoding::KOI8_R,
        "koi8u" => encoding::KOI8_U,
        "tis620" => encoding::WINDOWS_874,
        "gbk" | "gb2312" => encoding::GBK,
        "gb18030" => encoding::GB18030,
        "big5" => encoding::BIG5,
        "sjis" | "cp932" => encoding::SHIFT_JIS,
        "ujis" | "eucjpms" => encoding::EUC_JP,
        "euckr" => encoding::EUC_KR,
        other => return Err(other.to_owned()),
    };
    encoding.decode_without_bom_handling_and_without_replacement(bytes).ok_or_else(|| charset.to_owned())
}

/// The character set of a collation.
pub(super) fn charset(collation: u16) -> &'static str {
    known_charset(collation).unwrap_or("unknown")
}

/// The same, or `None` for a number that is not known.
///
/// MariaDB has two families of its own: those without padding have the number of their twin with padding and 1024, and
/// the `uca1400` ones 256 numbers for each character set (`my_uca1400_collation_build_id`).
pub(super) fn known_charset(collation: u16) -> Option<&'static str> {
    let number = match collation {
        2048.. => {
            return ["utf8mb3", "utf8mb4", "ucs2", "utf16", "utf32"].get(usize::from(collation - 2048) / 256).copied();
        }
        1024.. => collation - 1024,
        _ => collation,
    };
    let charset = Collation::resolve(number.into()).charset;
    match charset {
        "unknown" => None,
        "utf8" => Some("utf8mb3"),
        charset => Some(charset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_the_clients_character_set() {
        assert_eq!(decode("naïve".as_bytes(), Some(255)).unwrap(), "naïve");
        assert_eq!(decode(b"na\xefve", Some(8)).unwrap(), "naïve");
        assert_eq!(decode(b"\xc4\xe3", Some(28)).unwrap(), "你");
        assert!(decode(b"na\xefve", Some(255)).is_err());
    }

    #[test]
    fn collations_of_mariadb_have_the_numbers_that_it_gives_them() {
        for (number, name) in [
            (33, Some("utf8mb3")),
            (63, Some("binary")),
            (255, Some("utf8mb4")),
            (1070, Some("utf8mb4")),
            (1032, Some("latin1")),
            (2048, Some("utf8mb3")),
            (2304, Some("utf8mb4")),
            (3072, Some("utf32")),
            (0, None),
            (60_000, None),
        ] {
            assert_eq!(known_charset(number), name, "{number}");
        }
    }
}
