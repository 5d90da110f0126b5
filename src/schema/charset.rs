//! How long a text of a MySQL character set can become in UTF-8, which is what StarRocks stores and counts.
//!
//! MySQL limits CHAR and VARCHAR in characters and TEXT in bytes of its own character set, StarRocks limits
//! everything in UTF-8 bytes. So two figures decide a column's length: UTF-8 bytes per character, and UTF-8
//! bytes per byte at the source. `latin1` shows that neither is obvious: MySQL's `latin1` is Windows-1252,
//! whose euro sign takes one byte there and three in UTF-8.

/// Growth of one character set's text on its way into UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Utf8Growth {
    /// Most UTF-8 bytes one character takes: 1 to 4.
    pub(super) per_char: u32,
    /// Most UTF-8 bytes that two bytes of the source's text become; twos, because 3 for 2 is a common ratio.
    per_two_bytes: u32,
}

impl Utf8Growth {
    /// For the server's name of a character set; an unknown one is taken at its worst.
    pub(super) fn of(charset: &str) -> Self {
        let (per_char, per_two_bytes) = match charset {
            "ascii" => (1, 2),
            // Single-byte sets whose characters all lie below U+0800.
            "latin2" | "latin5" | "dec8" | "swe7" => (2, 4),
            // Single-byte sets with typographic quotes, the euro sign, box drawing, Thai or Georgian.
            "latin1" | "latin7" | "cp1250" | "cp1251" | "cp1256" | "cp1257" | "cp850" | "cp852" | "cp866" | "hp8"
            | "koi8r" | "koi8u" | "greek" | "hebrew" | "armscii8" | "geostd8" | "macce" | "macroman" | "keybcs2"
            | "tis620" => (3, 6),
            // Half-width katakana: one byte there, three here.
            "sjis" | "cp932" => (3, 6),
            "gbk" | "gb2312" | "big5" | "euckr" | "ujis" | "eucjpms" | "ucs2" => (3, 3),
            "gb18030" | "utf16" | "utf16le" => (4, 3),
            "utf32" => (4, 2),
            "utf8" | "utf8mb3" => (3, 2),
            "utf8mb4" => (4, 2),
            _ => (4, 8),
        };
        Utf8Growth { per_char, per_two_bytes }
    }

    /// UTF-8 bytes that `bytes` of the source's text can become.
    pub(super) fn of_bytes(self, bytes: u64) -> u64 {
        (bytes * u64::from(self.per_two_bytes)).div_ceil(2)
    }
}

/// Whether a text of this set, as the catalogue shows it, may be another text. Both servers' catalogues have no characters
/// beyond U+FFFF and show a question mark for each of them.
pub(crate) fn may_be_lossy(charset: &str, shown: &str) -> bool {
    matches!(charset, "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030") && shown.contains('?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_euro_sign_of_latin1_takes_three_bytes() {
        assert_eq!(Utf8Growth::of("latin1").per_char, '€'.len_utf8() as u32);
        assert_eq!(Utf8Growth::of("latin1").of_bytes(255), 765);
    }

    #[test]
    fn two_byte_sets_grow_by_half() {
        assert_eq!(Utf8Growth::of("gbk").of_bytes(65_535), 98_303);
        assert_eq!(Utf8Growth::of("gbk").per_char, 3);
    }

    #[test]
    fn utf8_stays_as_long_as_it_is() {
        assert_eq!(Utf8Growth::of("utf8mb4").of_bytes(65_535), 65_535);
        assert_eq!(Utf8Growth::of("utf8mb3").per_char, 3);
    }

    #[test]
    fn an_unknown_set_is_taken_at_its_worst() {
        assert_eq!(Utf8Growth::of("klingon"), Utf8Growth { per_char: 4, per_two_bytes: 8 });
    }
}
