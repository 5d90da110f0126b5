//! Literals for every type, limits and troublemakers first. They mean the same in every `sql_mode` and `time_zone`.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::schema::Kind;

/// Texts that have broken loaders: CSV's NULL, separators, quotes, line ends, blanks that a collation ignores.
const TROUBLE: &[&str] = &[
    "",
    "\\N",
    "\\\\N",
    "NULL",
    "null",
    " ",
    "  a ",
    "\u{1}",
    "\u{2}",
    "a\u{1}b\u{2}c",
    "\"",
    "'",
    "\\",
    "\\n",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "a\0b",
    ",",
    "{}",
    "[]",
    "0",
    "-0",
    "1e5",
    "true",
    "--",
    "/*",
    "\u{7f}",
    "A",
    "a",
    "a ",
    "\"\"",
    "\u{1f}",
];

/// Characters of a set beyond ASCII, some of them with a byte that is ASCII's `\`.
pub(super) fn beyond_ascii(charset: &str) -> &'static [&'static str] {
    match charset {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => &["é", "ß", "你", "😀", "€", "\u{2028}", "ÿ"],
        "utf8mb3" | "ucs2" => &["é", "ß", "你", "€", "\u{feff}"],
        "latin1" => &["é", "ß", "€", "ÿ", "ž"],
        "gbk" => &["你", "好", "誠", "乗"],
        "big5" => &["功", "許", "蓋"],
        "sjis" => &["ソ", "表", "ｱ", "能"],
        "cp932" => &["ソ", "①", "髙", "ｱ", "№"],
        "ujis" | "euckr" => &["あ", "ア"],
        "eucjpms" => &["あ", "①", "№", "√"],
        "gb2312" => &["你", "好"],
        "cp1251" | "koi8r" | "koi8u" | "cp866" => &["Ж", "я"],
        "latin2" | "cp1250" | "cp852" | "macce" => &["ő", "ž", "ß"],
        "latin7" | "cp1257" => &["ž", "ų"],
        "latin5" => &["ğ", "İ"],
        "cp850" | "hp8" | "dec8" | "macroman" => &["é", "ß", "ä"],
        "keybcs2" => &["č", "ž"],
        "cp1256" => &["ش", "ع"],
        "greek" => &["Ω", "ά"],
        "hebrew" => &["א", "ת"],
        "tis620" => &["ก", "๙"],
        "armscii8" => &["Ա", "ֆ"],
        "geostd8" => &["ა", "ჰ"],
        "swe7" => &["É", "å"],
        _ => &["~"],
    }
}

/// A text of at most `most` characters.
fn text(random: &mut StdRng, charset: &str, most: usize) -> String {
    let text: String = match random.random_range(0..10) {
        0..4 => (*TROUBLE.choose(random).unwrap()).to_owned(),
        4 => beyond_ascii(charset).choose(random).unwrap().repeat(most.min(300)),
        length => (0..length * 2)
            .map(|_| {
                if random.random_bool(0.4) {
                    *beyond_ascii(charset).choose(random).unwrap()
                } else {
                    *TROUBLE.choose(random).unwrap()
                }
            })
            .collect(),
    };
    text.chars().take(most).collect()
}

pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() { "''".to_owned() } else { format!("_utf8mb4 {}", bytes_literal(text.as_bytes())) }
}

fn bytes_literal(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("X'{hex}'")
}

fn bytes(random: &mut StdRng, most: usize) -> String {
    const PIECES: &[&[u8]] = &[b"", b"\0", b"\x01", b"\x02", b"\xff", b"\\N", b"a ", b"\n", b"\xc3\x28", b"\"", b"0"];
    let mut bytes = match random.random_range(0..5) {
        0 => Vec::new(),
        1 => vec![*[0, 1, 2, 0x20, 0xff].choose(random).unwrap(); most],
        count => (0..count).flat_map(|_| PIECES.choose(random).unwrap().to_vec()).collect(),
    };
    bytes.truncate(most);
    bytes_literal(&bytes)
}

fn fraction(random: &mut StdRng, digits: usize) -> String {
    if digits == 0 {
        return String::new();
    }
    let micros = *[0, 1, 999_999, 500_000, random.random_range(0..1_000_000)].choose(random).unwrap();
    format!(".{}", &format!("{micros:06}")[..digits])
}

fn date(random: &mut StdRng) -> String {
    match random.random_range(0..4) {
        0 => (*["0001-01-01", "1000-01-01", "9999-12-31", "1969-12-31", "1970-01-01", "2000-02-29"]
            .choose(random)
            .unwrap())
        .to_owned(),
        1 => format!("2024-02-{:02}", random.random_range(1..=29)),
        _ => {
            let (year, month, day) =
                (random.random_range(1..=9999), random.random_range(1..=12), random.random_range(1..=28));
            format!("{year:04}-{month:02}-{day:02}")
        }
    }
}

fn clock(random: &mut StdRng) -> String {
    match random.random_range(0..4) {
        0 => "00:00:00".to_owned(),
        1 => "23:59:59".to_owned(),
        _ => format!(
            "{:02}:{:02}:{:02}",
            random.random_range(0..24),
            random.random_range(0..60),
            random.random_range(0..60)
        ),
    }
}

fn integer(random: &mut StdRng, bits: u32, unsigned: bool) -> String {
    let (least, most) = match unsigned {
        true => (0, (1_i128 << bits) - 1),
        false => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
    };
    let value = match random.random_range(0..8) {
        0 => least,
        1 => most,
        2 => least + 1,
        3 => most / 2 + 1,
        4 => random.random_range(least..=most),
        _ => random.random_range(-1..10),
    };
    value.clamp(least, most).to_string()
}

fn decimal(random: &mut StdRng, precision: usize, scale: usize, unsigned: bool) -> String {
    let mut digits = |count: usize| -> String {
        match random.random_range(0..4) {
            0 => "9".repeat(count),
            1 => "0".repeat(count),
            2 => format!("{:0>count$}", "1").chars().take(count).collect(),
            _ => (0..count).map(|_| char::from(random.random_range(b'0'..=b'9'))).collect(),
        }
    };
    let (whole, fraction) = (digits(precision - scale), digits(scale));
    let sign = if !unsigned && random.random_bool(0.4) { "-" } else { "" };
    format!("{sign}{}{}{fraction}", if whole.is_empty() { "0" } else { &whole }, if scale > 0 { "." } else { "" })
}

fn json(random: &mut StdRng, depth: u32) -> String {
    let kind = if depth == 0 { random.random_range(0..8) } else { random.random_range(0..12) };
    match kind {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => integer(random, 64, false),
        3 => integer(random, 64, true),
        4 => random.random::<f64>().to_string(),
        5 => (*["1e14", "-0.0", "1.0", "5e-324", "1.7976931348623157e308", "1e-7", "123456789012345.6"]
            .choose(random)
            .unwrap())
        .to_owned(),
        6 | 7 => serde_json::Value::String(text(random, "utf8mb4", 20)).to_string(),
        8 | 9 => {
            let members: Vec<String> = (0..random.random_range(0..5))
                .map(|_| {
                    format!("{}:{}", serde_json::Value::String(text(random, "utf8mb4", 6)), json(random, depth - 1))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => {
            let items: Vec<String> = (0..random.random_range(0..5)).map(|_| json(random, depth - 1)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// JSON that no text gives: other types of the server inside the document.
const JSON_EXPRESSIONS: &[&str] = &[
    "JSON_ARRAY(CAST(1.50 AS DECIMAL(10,2)), CAST(-99999999999999999.5 AS DECIMAL(30,10)))",
    "JSON_ARRAY(DATE'2020-01-02', TIMESTAMP'2020-01-02 03:04:05.5', TIME'-12:00:01.25')",
    "JSON_OBJECT('k', CAST('xyz' AS BINARY), 'y', CAST(2024 AS YEAR))",
    "JSON_ARRAY(REPEAT('é', 40000), 1)",
];

fn geometry(random: &mut StdRng, name: &str) -> String {
    let mut coordinate = || *["0", "1", "-0.1", "1e15", "1e-7", "2.5", "-180", "1e300"].choose(random).unwrap();
    let mut point = || format!("{} {}", coordinate(), coordinate());
    let text = match name {
        "POINT" => format!("POINT({})", point()),
        "LINESTRING" => format!("LINESTRING({},{},7 7)", point(), point()),
        "POLYGON" => "POLYGON((0 0,10 0,10 10,0 0),(1 1,2 1,2 2,1 1))".to_owned(),
        "MULTIPOINT" => format!("MULTIPOINT({},{})", point(), point()),
        _ => format!("GEOMETRYCOLLECTION(POINT({}),LINESTRING({},{},3 4))", point(), point(), point()),
    };
    format!("ST_GeomFromText('{text}')")
}

/// A literal that is no NULL. `key`: short, and of dates that no calendar has only the one that a key can have; `zero`: these
/// may come.
pub(super) fn literal(random: &mut StdRng, kind: &Kind, key: bool, zero: bool) -> String {
    let one = |random: &mut StdRng, texts: &[&str]| (*texts.choose(random).unwrap()).to_owned();
    match kind {
        Kind::Integer { bits, unsigned, .. } => integer(random, *bits, *unsigned),
        Kind::Decimal { precision, scale, unsigned } => decimal(random, *precision, *scale, *unsigned),
        Kind::Float(_) => match random.random_range(0..3) {
            0 => one(random, &["0", "-0e0", "3.4028234e38", "1.17549435e-38", "1e-45", "16777217", "0.1"]),
            _ => format!("{:e}", (random.random::<f32>() - 0.5) * 10_f32.powi(random.random_range(-20..20))),
        },
        Kind::Double(_) => match random.random_range(0..3) {
            0 => one(random, &["0", "-0e0", "1.7976931348623157e308", "5e-324", "1e15", "1e16", "0.30000000000000004"]),
            _ => format!("{:e}", (random.random::<f64>() - 0.5) * 10_f64.powi(random.random_range(-200..200))),
        },
        Kind::Bit(bits) => integer(random, *bits, true),
        Kind::Char { chars, charset } | Kind::Varchar { chars, charset } => quoted(&text(random, charset, *chars)),
        Kind::Text { name, charset } => match random.random_range(0..200) {
            _ if key || *name == "TINYTEXT" => quoted(&text(random, charset, 20)),
            0 if *name != "TEXT" => "REPEAT('x', 1048576)".to_owned(),
            1..6 => format!("REPEAT({}, 15000)", quoted(beyond_ascii(charset)[0])),
            _ => quoted(&text(random, charset, 500)),
        },
        Kind::Binary(length) | Kind::Varbinary(length) => bytes(random, *length),
        Kind::Blob(name) => match random.random_range(0..200) {
            0 if *name != "TINYBLOB" && *name != "BLOB" => "REPEAT(X'00', 1048576)".to_owned(),
            1..6 if *name != "TINYBLOB" => "REPEAT(X'00FF0A', 20000)".to_owned(),
            _ => bytes(random, 200),
        },
        Kind::Date => match random.random_range(0..12) {
            0 if zero => "'0000-00-00'".to_owned(),
            1 if zero && !key => "'2020-00-10'".to_owned(),
            _ => format!("'{}'", date(random)),
        },
        Kind::DateTime(digits) => match random.random_range(0..12) {
            0 if zero => "'0000-00-00 00:00:00'".to_owned(),
            1 if zero && !key => "'2020-02-00 01:02:03'".to_owned(),
            _ => format!("'{} {}{}'", date(random), clock(random), fraction(random, *digits)),
        },
        // The session's zone decides what a literal means; a number of seconds is the same moment in all.
        Kind::Timestamp(digits) => match random.random_range(0..6) {
            0 => "FROM_UNIXTIME(1)".to_owned(),
            1 => "FROM_UNIXTIME(2147483647)".to_owned(),
            2 => format!("'2024-03-31 02:30:00{}'", fraction(random, *digits)),
            3 if zero => "'0000-00-00 00:00:00'".to_owned(),
            _ => format!("FROM_UNIXTIME({}{})", random.random_range(1..i32::MAX), fraction(random, *digits)),
        },
        Kind::Time(digits) => match random.random_range(0..4) {
            0 => one(random, &["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'", "'100:00:00'"]),
            kind => {
                let sign = if kind == 1 { "-" } else { "" };
                format!("'{sign}{}{}'", clock(random), fraction(random, *digits))
            }
        },
        Kind::Year => one(random, &["1901", "2155", "0", "2024", "1970"]),
        Kind::Enum { members, .. } => match random.random_range(0..4) {
            0 => random.random_range(1..=members.len()).to_string(),
            // The mark of an invalid value; a strict session refuses it.
            1 if random.random_bool(0.1) => "0".to_owned(),
            _ => quoted(members.choose(random).unwrap()),
        },
        Kind::Set { members, .. } => match random.random_range(0..4) {
            0 => "''".to_owned(),
            1 => ((1_u128 << members.len()) - 1).to_string(),
            _ => random.random_range(0..1_u128 << members.len()).to_string(),
        },
        Kind::Json { native } => match random.random_range(0..15) {
            0 if *native => one(random, JSON_EXPRESSIONS),
            _ => quoted(&json(random, 3)),
        },
        Kind::Geometry(name) => geometry(random, name),
        Kind::Vector(length) => {
            let items: Vec<String> = (0..random.random_range(1..=*length))
                .map(|_| one(random, &["0", "-0.0", "1.5", "3.4028235e38", "1.2e-38", "-0.1", "16777216"]))
                .collect();
            format!("TO_VECTOR('[{}]')", items.join(","))
        }
        Kind::Uuid => one(
            random,
            &[
                "'e09235c4-e578-11f1-ad0e-02fc00000001'",
                "'019306aa-31c5-7013-b6dd-1a0e4aa1b2c3'",
                "'00000000-0000-0000-0000-000000000000'",
                "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
                "'6fa459ea-ee8a-6ca4-894e-db77e1603500'",
            ],
        ),
        Kind::Inet4 => one(random, &["'0.0.0.0'", "'255.255.255.255'", "'1.2.3.0'", "'10.0.0.1'"]),
        Kind::Inet6 => {
            one(random, &["'::'", "'::1'", "'::ffff:1.2.3.4'", "'2001:db8::'", "'1:2:3:4:5:6:7:0'", "'::102'"])
        }
    }
}
