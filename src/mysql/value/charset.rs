//! Character sets: from the bytes a column stores to UTF-8.
//!
//! What a byte sequence means is the server's to say, so single-byte sets come from its own tables, and multi-byte
//! sets from `encoding_rs` with the few characters in which the server differs put right. A text that cannot be
//! converted is an error; nothing is replaced.
//!
//! A few sets have two sequences of bytes for one character (`cp932`, `eucjpms` and `ujis`, `sjis`, `armscii8`). Two values
//! that differ at the source would then be one text, which a key must not allow: [`Charset::for_key`] takes one of the
//! sequences, the one that the servers write for the character, and refuses the others.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use encoding_rs::Encoding;

use super::ValueError;
use super::charset_table::{BIG5, EUCJPMS, GB2312, GB18030, SJIS, TABLES, UJIS};

/// How one character set reads.
#[derive(Debug, Clone)]
pub(crate) enum Charset {
    Utf8,
    Ascii,
    /// The upper 128 characters.
    SingleByte(Box<[char; 128]>),
    /// Seven bits, some of the signs replaced by Swedish letters.
    Swe7,
    Utf16 {
        little_endian: bool,
        /// `ucs2` has no surrogate pairs.
        pairs: bool,
    },
    Utf32,
    /// With the sequences that are refused, as numbers.
    MultiByte(&'static MultiByte, Option<Arc<HashSet<u32>>>),
}

/// Most bytes that a character of the set takes; `None` for a set that Towpath does not know.
pub(crate) fn max_bytes(charset: &str) -> Option<u32> {
    Some(match charset {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => 4,
        "utf8" | "utf8mb3" | "ujis" | "eucjpms" => 3,
        "ucs2" | "gbk" | "gb2312" | "big5" | "sjis" | "cp932" | "euckr" => 2,
        "ascii" | "swe7" | "binary" => 1,
        _ => {
            TABLES.iter().find(|(name, _)| *name == charset)?;
            1
        }
    })
}

impl Charset {
    /// `None` for a set that cannot be decoded.
    pub(crate) fn named(charset: &str) -> Option<Charset> {
        Some(match charset {
            "utf8mb4" | "utf8mb3" | "utf8" => Charset::Utf8,
            "ascii" => Charset::Ascii,
            "swe7" => Charset::Swe7,
            "ucs2" => Charset::Utf16 { little_endian: false, pairs: false },
            "utf16" => Charset::Utf16 { little_endian: false, pairs: true },
            "utf16le" => Charset::Utf16 { little_endian: true, pairs: true },
            "utf32" => Charset::Utf32,
            _ => match MULTI_BYTE.iter().find(|set| set.name == charset) {
                Some(set) => Charset::MultiByte(set, None),
                None => {
                    let (_, upper) = TABLES.iter().find(|(name, _)| *name == charset)?;
                    let mut table = ['\u{fffd}'; 128];
                    table.iter_mut().zip(upper.chars()).for_each(|(slot, character)| *slot = character);
                    Charset::SingleByte(Box::new(table))
                }
            },
        })
    }

    /// The same set for a column of a key: different bytes are different texts, or an error.
    pub(crate) fn for_key(self) -> Charset {
        match self {
            Charset::SingleByte(mut table) => {
                let mut seen: HashSet<char> = (0..128_u8).map(char::from).collect();
                for slot in table.iter_mut().filter(|slot| **slot != '\u{fffd}') {
                    if !seen.insert(*slot) {
                        *slot = TWIN;
                    }
                }
                Charset::SingleByte(table)
            }
            Charset::MultiByte(set, _) => {
                let twins = set.twins();
                Charset::MultiByte(set, (!twins.is_empty()).then(|| Arc::new(twins)))
            }
            other => other,
        }
    }

    /// The text in UTF-8: `bytes` themselves where they are that already, else in `buffer`, which is cleared.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], ValueError> {
        let wide = matches!(self, Charset::Utf16 { .. } | Charset::Utf32 | Charset::Swe7);
        if let Charset::Utf8 = self {
            return match std::str::from_utf8(bytes) {
                Ok(_) => Ok(bytes),
                Err(error) => Err(undecodable(bytes, error.valid_up_to())),
            };
        }
        let plain = match self {
            Charset::MultiByte(_, Some(refused)) => !refused.contains(&u32::from(b'\\')),
            _ => !wide,
        };
        if plain && bytes.is_ascii() {
            return Ok(bytes);
        }
        buffer.clear();
        match self {
            Charset::Utf8 => {}
            Charset::Ascii => {
                return Err(undecodable(bytes, bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or_default()));
            }
            Charset::SingleByte(table) => {
                for (at, &byte) in bytes.iter().enumerate() {
                    match byte {
                        0..=0x7f => buffer.push(byte),
                        _ => match table[usize::from(byte - 0x80)] {
                            '\u{fffd}' => return Err(undecodable(bytes, at)),
                            TWIN => return Err(twin(&bytes[at..=at], at)),
                            character => push(buffer, character),
                        },
                    }
                }
            }
            Charset::Swe7 => {
                for (at, &byte) in bytes.iter().enumerate() {
                    match byte {
                        b'@' => push(buffer, 'É'),
                        b'[' => push(buffer, 'Ä'),
                        b'\\' => push(buffer, 'Ö'),
                        b']' => push(buffer, 'Å'),
                        b'^' => push(buffer, 'Ü'),
                        b'`' => push(buffer, 'é'),
                        b'{' => push(buffer, 'ä'),
                        b'|' => push(buffer, 'ö'),
                        b'}' => push(buffer, 'å'),
                        b'~' => push(buffer, 'ü'),
                        0..=0x7e => buffer.push(byte),
                        _ => return Err(undecodable(bytes, at)),
                    }
                }
            }
            Charset::Utf16 { little_endian, pairs } => {
                let units = bytes.chunks(2).map(|unit| match unit {
                    [low, high] if *little_endian => u16::from_le_bytes([*low, *high]),
                    [high, low] => u16::from_be_bytes([*high, *low]),
                    // Half a character: a lone surrogate is refused below.
                    _ => 0xdfff,
                });
                let mut at = 0;
                for character in char::decode_utf16(units) {
                    match character {
                        Ok(character) if *pairs || character.len_utf16() == 1 => {
                            push(buffer, character);
                            at += 2 * character.len_utf16();
                        }
                        _ => return Err(undecodable(bytes, at)),
                    }
                }
            }
            Charset::Utf32 => {
                for (index, quad) in bytes.chunks(4).enumerate() {
                    let code = <[u8; 4]>::try_from(quad).ok().map(u32::from_be_bytes);
                    match code.and_then(char::from_u32) {
                        Some(character) => push(buffer, character),
                        None => return Err(undecodable(bytes, index * 4)),
                    }
                }
            }
            Charset::MultiByte(set, refused) => set.decode(bytes, refused.as_deref(), buffer)?,
        }
        Ok(buffer)
    }
}

fn push(buffer: &mut Vec<u8>, character: char) {
    buffer.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cold]
fn undecodable(bytes: &[u8], at: usize) -> ValueError {
    let near: String = bytes.iter().skip(at).take(4).map(|byte| format!("{byte:02x}")).collect();
    ValueError::new(format!("the bytes {near} at offset {at} are no text in the column's character set"))
}

/// Marks a byte of a key's set whose character another byte has. No set has this character.
const TWIN: char = '\u{fffe}';

#[cold]
fn twin(sequence: &[u8], at: usize) -> ValueError {
    let hex: String = sequence.iter().map(|byte| format!("{byte:02x}")).collect();
    ValueError::new(format!(
        "the bytes {hex} at offset {at} read as a character that other bytes stand for too, and in a key two values must not \
         read the same"
    ))
}

type Differs = &'static [(u32, &'static str)];

/// A set of one, two and more bytes a character.
pub(crate) struct MultiByte {
    name: &'static str,
    encoding: &'static Encoding,
    /// Where the server's table differs: a first character's bytes as a number, and the characters from there.
    differs: Differs,
    /// A character for each pair of bytes with an upper first byte; filled on first use.
    pairs: OnceLock<Box<[char]>>,
}

impl std::fmt::Debug for MultiByte {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn multi_byte(name: &'static str, encoding: &'static Encoding, differs: Differs) -> MultiByte {
    MultiByte { name, encoding, differs, pairs: OnceLock::new() }
}

static MULTI_BYTE: [MultiByte; 9] = [
    multi_byte("gbk", encoding_rs::GBK, &[]),
    multi_byte("gb2312", encoding_rs::GBK, GB2312),
    multi_byte("gb18030", encoding_rs::GB18030, GB18030),
    multi_byte("big5", encoding_rs::BIG5, BIG5),
    multi_byte("sjis", encoding_rs::SHIFT_JIS, SJIS),
    multi_byte("cp932", encoding_rs::SHIFT_JIS, &[]),
    multi_byte("ujis", encoding_rs::EUC_JP, UJIS),
    multi_byte("eucjpms", encoding_rs::EUC_JP, EUCJPMS),
    multi_byte("euckr", encoding_rs::EUC_KR, &[]),
];

impl MultiByte {
    fn decode(&self, bytes: &[u8], refused: Option<&HashSet<u32>>, buffer: &mut Vec<u8>) -> Result<(), ValueError> {
        let pairs = self.pairs.get_or_init(|| self.table());
        let mut at = 0;
        while let Some(&first) = bytes.get(at) {
            let start = at;
            if first < 0x80 {
                buffer.push(first);
                at += 1;
            } else if self.is_half_width(first) {
                push(buffer, char::from_u32(0xff61 + u32::from(first) - 0xa1).unwrap_or_default());
                at += 1;
            } else {
                let second = bytes.get(at + 1).copied().ok_or_else(|| undecodable(bytes, at))?;
                match pairs[pair_index(first, second)] {
                    '\u{fffd}' => {
                        // Three bytes behind 8F in EUC-JP, four in GB 18030.
                        let length = if self.encoding == encoding_rs::EUC_JP { 3 } else { 4 };
                        let sequence = bytes.get(at..at + length).ok_or_else(|| undecodable(bytes, at))?;
                        push(buffer, self.one(sequence).ok_or_else(|| undecodable(bytes, at))?);
                        at += length;
                    }
                    character => {
                        push(buffer, character);
                        at += 2;
                    }
                }
            }
            if refused.is_some_and(|refused| refused.contains(&number(&bytes[start..at]))) {
                return Err(twin(&bytes[start..at], start));
            }
        }
        Ok(())
    }

    /// All sequences but one of each character that has several: of `cp932`'s two copies of IBM's characters the second
    /// stays, else the first.
    fn twins(&self) -> HashSet<u32> {
        let mut seen: HashSet<char> = (0..128_u8).map(char::from).collect();
        let doubtful = |first: u8| self.encoding == encoding_rs::SHIFT_JIS && matches!(first, 0xed | 0xee);
        let (later, sooner): (Vec<u8>, Vec<u8>) = (0x80..=0xff).partition(|&first| doubtful(first));
        let pairs = sooner.into_iter().chain(later).flat_map(|first| (0..=0xff).map(move |second| [0, first, second]));
        let triples = (0xa1..=0xfe).flat_map(|row| (0xa1..=0xfe).map(move |cell| [0x8f, row, cell]));
        let triples = triples.filter(|_| self.encoding == encoding_rs::EUC_JP);
        let mut twins = HashSet::new();
        if self.name == "sjis" {
            // The servers write 815F for a backslash, which is what they take 5C for too.
            seen.remove(&'\\');
            twins.insert(u32::from(b'\\'));
        }
        for sequence in pairs.chain(triples) {
            let sequence = if sequence[0] == 0 { &sequence[1..] } else { &sequence[..] };
            if self.one(sequence).is_some_and(|character| !seen.insert(character)) {
                twins.insert(number(sequence));
            }
        }
        twins
    }

    fn is_half_width(&self, first: u8) -> bool {
        self.encoding == encoding_rs::SHIFT_JIS && (0xa1..=0xdf).contains(&first)
    }

    fn table(&self) -> Box<[char]> {
        let mut table = vec!['\u{fffd}'; 128 * 256].into_boxed_slice();
        for first in 0x80..=0xff {
            for second in 0..=0xff {
                if let Some(character) = self.one(&[first, second]) {
                    table[pair_index(first, second)] = character;
                }
            }
        }
        table
    }

    /// The one character that `sequence` stands for.
    fn one(&self, sequence: &[u8]) -> Option<char> {
        let number = number(sequence);
        for (first, run) in self.differs {
            if let Some(character) = number.checked_sub(*first).and_then(|at| run.chars().nth(at as usize)) {
                return Some(character);
            }
        }
        // What Hong Kong put before, between and behind Taiwan's rows is no character to the servers.
        if self.encoding == encoding_rs::BIG5
            && (!(0xa140..=0xf9fe).contains(&number) || (0xc7fd..0xc940).contains(&number))
        {
            return None;
        }
        if self.encoding == encoding_rs::EUC_JP
            && let Some(character) = euc_user_defined(sequence)
        {
            return Some(character);
        }
        let text = self.encoding.decode_without_bom_handling_and_without_replacement(sequence)?;
        let mut characters = text.chars();
        characters.next().filter(|_| characters.next().is_none())
    }
}

/// The servers put the user-defined rows of both planes of EUC-JP at the start of Unicode's private area.
fn euc_user_defined(sequence: &[u8]) -> Option<char> {
    let (plane, row, cell) = match *sequence {
        [row, cell] => (0, row, cell),
        [0x8f, row, cell] => (1, row, cell),
        _ => return None,
    };
    if !(0xf5..=0xfe).contains(&row) || !(0xa1..=0xfe).contains(&cell) {
        return None;
    }
    char::from_u32(0xe000 + plane * 940 + u32::from(row - 0xf5) * 94 + u32::from(cell - 0xa1))
}

fn number(sequence: &[u8]) -> u32 {
    sequence.iter().fold(0, |number, &byte| (number << 8) | u32::from(byte))
}

fn pair_index(first: u8, second: u8) -> usize {
    usize::from(first & 0x7f) * 256 + usize::from(second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(charset: &str, bytes: &[u8]) -> Result<String, ValueError> {
        let mut buffer = Vec::new();
        let text = Charset::named(charset).unwrap().decode(bytes, &mut buffer)?;
        Ok(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn every_set_reads_its_own_letters() {
        for (charset, bytes, expected) in [
            ("utf8mb4", "é😀".as_bytes(), "é😀"),
            ("latin1", b"\x80\x81\xe9\x9f", "€\u{81}éŸ"),
            ("latin2", b"\xb1", "ą"),
            ("cp1251", b"\xc6", "Ж"),
            ("koi8r", b"\xd6", "ж"),
            ("cp850", b"\x82", "é"),
            ("swe7", b"@a[", "ÉaÄ"),
            ("ucs2", b"\x00a\x20\xac", "a€"),
            ("utf16", b"\xd8\x3d\xde\x00\x00a", "😀a"),
            ("utf16le", b"\x3d\xd8\x00\xde", "😀"),
            ("utf32", b"\x00\x01\xf6\x00", "😀"),
            ("gbk", b"a\xc4\xe3", "a你"),
            ("gb2312", b"\xc4\xe3", "你"),
            ("gb18030", b"\x94\x39\xda\x33\xc4\xe3", "💩你"),
            ("big5", b"\xa7\x41", "你"),
            ("sjis", b"\x82\xa0\xb1\x5c", "あｱ\\"),
            ("cp932", b"\x82\xa0", "あ"),
            ("ujis", b"\xa4\xa2\x8e\xb1\x8f\xb0\xa1", "あｱ丂"),
            ("euckr", b"\xb0\xa1", "가"),
        ] {
            assert_eq!(decode(charset, bytes).unwrap(), expected, "{charset}");
        }
    }

    #[test]
    fn what_is_no_text_is_an_error_and_never_replaced() {
        for (charset, bytes) in [
            ("utf8mb4", b"a\xff".as_slice()),
            ("utf8mb3", b"\xed\xa0\x80"),
            ("ascii", b"\xc3\xa9"),
            ("cp1250", b"\x81"),
            ("ucs2", b"\xd8\x3d\xde\x00"),
            ("utf16", b"\xd8\x3d"),
            ("utf16", b"\x00"),
            ("utf32", b"\x00\x11\x00\x00"),
            ("gbk", b"\xc4"),
            ("gb18030", b"\x94\x39\xda"),
            ("ujis", b"\x8f\xb0"),
        ] {
            assert!(decode(charset, bytes).is_err(), "{charset} {bytes:02x?}");
        }
        assert_eq!(
            decode("utf8mb4", b"ab\xff\x00").unwrap_err().to_string(),
            "the bytes ff00 at offset 2 are no text in the column's character set"
        );
        assert!(Charset::named("klingon").is_none());
    }

    #[test]
    fn a_key_takes_one_of_several_spellings() {
        for (charset, taken, refused) in [
            ("armscii8", b")".as_slice(), b"\xa4".as_slice()),
            ("sjis", b"\x81\x5f", b"\\"),
            ("ujis", b"\\", b"\xa1\xc0"),
            ("cp932", b"\x87\x82", b"\xfa\x59"),
            ("cp932", b"\xfa\x5c", b"\xed\x40"),
            ("eucjpms", b"\xa2\xe5", b"\xad\xf5"),
        ] {
            let set = Charset::named(charset).unwrap();
            let key = set.clone().for_key();
            let (mut one, mut other) = (Vec::new(), Vec::new());
            let value = set.decode(taken, &mut one).unwrap();
            assert_eq!(value, set.decode(refused, &mut other).unwrap(), "{charset}");
            assert_eq!(key.decode(taken, &mut Vec::new()).unwrap(), value, "{charset}");
            let error = key.decode(refused, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("at offset 0 read as a character that other bytes"), "{charset} {error}");
        }
    }

    #[test]
    fn no_two_values_of_a_key_are_one_text() {
        let pairs: Vec<[u8; 2]> =
            (0x80..=0xff).flat_map(|first| (0..=0xff).map(move |second| [first, second])).collect();
        for name in MULTI_BYTE.iter().map(|set| set.name).chain(TABLES.iter().map(|(name, _)| *name)) {
            let key = Charset::named(name).unwrap().for_key();
            let mut seen = HashSet::new();
            let singles = (0..=0xff_u8).map(|byte| vec![byte]);
            let triples = pairs.iter().map(|[row, cell]| vec![0x8f, *row, *cell]);
            for bytes in singles.chain(pairs.iter().map(|pair| pair.to_vec())).chain(triples) {
                let mut buffer = Vec::new();
                // Of more bytes than one character has, the decoder makes two.
                if let Ok(text) = key.decode(&bytes, &mut buffer)
                    && std::str::from_utf8(text).unwrap().chars().count() == 1
                {
                    assert!(seen.insert(text.to_vec()), "{name} {bytes:02x?}");
                }
            }
        }
    }

    #[test]
    fn the_target_has_room_for_every_text_of_a_set() {
        use crate::schema::{Column, ColumnType, IntegerSize, LobSize, MappingOptions, Table, TableName, TargetType};
        let room = |ty: ColumnType| {
            let id = Column::new("id", ColumnType::Integer { size: IntegerSize::Int, unsigned: false });
            let columns = vec![id, Column::new("c", ty)];
            let table = Table {
                name: TableName::new("d", "t"),
                columns,
                key: vec![0],
                primary: true,
                comment: String::new(),
                charset: None,
                indexes: Vec::new(),
            };
            match crate::schema::map_table(&table, &MappingOptions::for_version(3, 5)).unwrap().target.columns[1].ty {
                TargetType::Varchar { bytes } => bytes as usize,
                other => panic!("{other:?}"),
            }
        };
        let pairs: Vec<[u8; 2]> =
            (0x80..=0xff).flat_map(|first| (0..=0xff).map(move |second| [first, second])).collect();
        for name in MULTI_BYTE.iter().map(|set| set.name).chain(TABLES.iter().map(|(name, _)| *name)) {
            let set = Charset::named(name).unwrap();
            let charset = || name.to_owned();
            let one = room(ColumnType::Varchar { chars: 1, charset: charset() });
            let tiny = room(ColumnType::Text { size: LobSize::Tiny, charset: charset() });
            let plain = room(ColumnType::Text { size: LobSize::Plain, charset: charset() });
            let singles = (0..=0xff_u8).map(|byte| vec![byte]);
            for bytes in singles.chain(pairs.iter().map(|pair| pair.to_vec())) {
                let mut buffer = Vec::new();
                let Ok(text) = set.decode(&bytes, &mut buffer) else { continue };
                if std::str::from_utf8(text).unwrap().chars().count() == 1 {
                    assert!(text.len() <= one, "{name} {bytes:02x?}");
                }
                assert!(text.len() * (255 / bytes.len()) <= tiny, "{name} {bytes:02x?}");
                assert!(text.len() * (65_535 / bytes.len()) <= plain, "{name} {bytes:02x?}");
            }
        }
    }

    #[test]
    fn every_table_has_128_characters() {
        for (name, upper) in TABLES {
            assert_eq!(upper.chars().count(), 128, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_set_are_text_or_an_error(bytes: Vec<u8>) {
            let names = ["ascii", "swe7", "ucs2", "utf16", "utf16le", "utf32", "utf8mb4", "cp1257"];
            for name in names.into_iter().chain(MULTI_BYTE.iter().map(|set| set.name)) {
                let _ = decode(name, &bytes);
            }
        }
    }
}
