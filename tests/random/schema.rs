//! Random tables.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use towpath::demo::server::Product;

use super::values::{beyond_ascii, literal};

/// A column's type, with what its literals depend on.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Integer {
        name: &'static str,
        bits: u32,
        unsigned: bool,
    },
    Decimal {
        precision: usize,
        scale: usize,
        unsigned: bool,
    },
    Float(&'static str),
    Double(&'static str),
    Bit(u32),
    Char {
        chars: usize,
        charset: &'static str,
    },
    Varchar {
        chars: usize,
        charset: &'static str,
    },
    Text {
        name: &'static str,
        charset: &'static str,
    },
    Binary(usize),
    Varbinary(usize),
    Blob(&'static str),
    Date,
    DateTime(usize),
    Timestamp(usize),
    Time(usize),
    Year,
    Enum {
        members: Vec<String>,
        charset: &'static str,
    },
    Set {
        members: Vec<String>,
        charset: &'static str,
    },
    /// Not native: MariaDB's is a LONGTEXT.
    Json {
        native: bool,
    },
    Geometry(&'static str),
    Vector(usize),
    Uuid,
    Inet4,
    Inet6,
}

const CHARSETS: &[&str] = &[
    "utf8mb4", "utf8mb4", "utf8mb4", "utf8mb4", "utf8mb4", "utf8mb4", "latin1", "latin1", "utf8mb3", "utf8mb3", "gbk",
    "utf16", "utf32", "ascii", "ucs2", "utf16le", "big5", "sjis", "cp932", "ujis", "eucjpms", "euckr", "gb2312",
    "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "koi8r", "koi8u", "latin2", "latin5", "latin7",
    "greek", "hebrew", "tis620", "armscii8", "geostd8", "keybcs2", "hp8", "dec8", "macce", "macroman", "swe7",
];

impl Kind {
    /// `key`: short enough for StarRocks' key of 128 bytes, and of a type that a key can have.
    fn any(random: &mut StdRng, product: Product, key: bool) -> Kind {
        let one = |random: &mut StdRng, names: &[&'static str]| *names.choose(random).unwrap();
        let digits = random.random_range(0..=6);
        let charset = match product {
            Product::Mysql if random.random_bool(0.05) => "gb18030",
            _ => one(random, CHARSETS),
        };
        let chars = if key { 8 } else { *[1, 5, 40, 255, 300].choose(random).unwrap() };
        match random.random_range(0..if key { 16 } else { 24 }) {
            0..3 => {
                let sizes = [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)];
                let (name, bits) = *sizes.choose(random).unwrap();
                Kind::Integer { name, bits, unsigned: random.random() }
            }
            3 => {
                let precision =
                    if key { random.random_range(1..=20) } else { *[1, 9, 10, 18, 38, 39, 65].choose(random).unwrap() };
                let scale = *[0, 2, precision, precision / 2].choose(random).unwrap();
                Kind::Decimal { precision, scale: scale.min(precision).min(30), unsigned: random.random_bool(0.3) }
            }
            4 if !key => Kind::Float(one(random, &["FLOAT", "FLOAT", "FLOAT(7,2)"])),
            4 | 5 if !key || random.random_bool(0.3) => {
                Kind::Double(if key { "DOUBLE" } else { one(random, &["DOUBLE", "DOUBLE", "DOUBLE(10,3)"]) })
            }
            5 | 6 => Kind::Bit(*[1, 2, 8, 9, 33, 64].choose(random).unwrap()),
            7 => Kind::Char { chars: chars.min(255), charset },
            4 | 8 => Kind::Varchar { chars, charset },
            9 => Kind::Binary(if key { 8 } else { *[1, 5, 16, 255].choose(random).unwrap() }),
            10 => Kind::Varbinary(if key { 8 } else { *[1, 16, 300].choose(random).unwrap() }),
            11 => Kind::Date,
            12 => Kind::DateTime(digits),
            13 => Kind::Timestamp(digits),
            14 if random.random() => Kind::Time(digits),
            14 => Kind::Year,
            15 => match random.random_range(0..3) {
                _ if product == Product::Mysql || random.random_bool(0.4) => enumeration(random, charset, key),
                0 => Kind::Uuid,
                1 => Kind::Inet4,
                _ => Kind::Inet6,
            },
            16 | 17 => Kind::Text { name: one(random, &["TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"]), charset },
            18 => Kind::Blob(one(random, &["TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"])),
            19 | 20 => Kind::Json { native: product == Product::Mysql },
            21 if product == Product::Mysql => Kind::Vector(random.random_range(1..20)),
            21 | 22 => Kind::Geometry(one(
                random,
                &["GEOMETRY", "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "GEOMETRYCOLLECTION"],
            )),
            _ => enumeration(random, charset, false),
        }
    }

    fn ddl(&self) -> String {
        let list =
            |members: &[String]| members.iter().map(|member| quoted_member(member)).collect::<Vec<_>>().join(",");
        let sign = |unsigned: bool| if unsigned { " UNSIGNED" } else { "" };
        match self {
            Kind::Integer { name, unsigned, .. } => format!("{name}{}", sign(*unsigned)),
            Kind::Decimal { precision, scale, unsigned } => format!("DECIMAL({precision},{scale}){}", sign(*unsigned)),
            Kind::Float(name) | Kind::Double(name) | Kind::Blob(name) | Kind::Geometry(name) => (*name).to_owned(),
            Kind::Bit(bits) => format!("BIT({bits})"),
            Kind::Char { chars, charset } => format!("CHAR({chars}) CHARACTER SET {charset}"),
            Kind::Varchar { chars, charset } => format!("VARCHAR({chars}) CHARACTER SET {charset}"),
            Kind::Text { name, charset } => format!("{name} CHARACTER SET {charset}"),
            Kind::Binary(length) => format!("BINARY({length})"),
            Kind::Varbinary(length) => format!("VARBINARY({length})"),
            Kind::Date => "DATE".to_owned(),
            Kind::DateTime(digits) => format!("DATETIME({digits})"),
            Kind::Timestamp(digits) => format!("TIMESTAMP({digits})"),
            Kind::Time(digits) => format!("TIME({digits})"),
            Kind::Year => "YEAR".to_owned(),
            Kind::Enum { members, charset } => format!("ENUM({}) CHARACTER SET {charset}", list(members)),
            Kind::Set { members, charset } => format!("SET({}) CHARACTER SET {charset}", list(members)),
            Kind::Json { .. } => "JSON".to_owned(),
            Kind::Vector(length) => format!("VECTOR({length})"),
            Kind::Uuid => "UUID".to_owned(),
            Kind::Inet4 => "INET4".to_owned(),
            Kind::Inet6 => "INET6".to_owned(),
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Kind::Char { .. } | Kind::Varchar { .. } | Kind::Text { .. })
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self, Kind::Integer { .. })
    }
}

/// Means the same with and without backslash escapes.
fn quoted_member(member: &str) -> String {
    format!("'{}'", member.replace('\\', "\\\\").replace('\'', "''"))
}

fn enumeration(random: &mut StdRng, charset: &'static str, key: bool) -> Kind {
    let members: Vec<String> = match random.random_range(0..3) {
        0 if !key => (0..64).map(|number| format!("m{number}")).collect(),
        1 => (0..random.random_range(1..if key { 10 } else { 20 })).map(|number| format!("{number}")).collect(),
        _ => {
            let letters = beyond_ascii(charset).iter().filter(|text| text.chars().all(char::is_alphabetic));
            let ascii = ["a", "b c", "x)", "it's", "\"", "utf8", "back\\slash", "new\nline"];
            // Few, so that a SET of them fits into a key.
            let count = if key { 6 } else { ascii.len() };
            ascii.iter().take(count).chain(letters.take(2)).map(|&text| text.to_owned()).collect()
        }
    };
    match random.random() {
        true => Kind::Set { members, charset },
        // More than 255 members take two bytes.
        false if random.random_bool(0.3) => {
            Kind::Enum { members: (0..300).map(|number| format!("m{number}")).collect(), charset }
        }
        false => Kind::Enum { members, charset },
    }
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    /// In back-quotes.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    has_default: bool,
    /// Dates that no calendar has may be written to it.
    zero_dates: bool,
    ddl: String,
}

impl Column {
    /// A value for the column, as SQL.
    pub(super) fn value(&self, random: &mut StdRng) -> String {
        match random.random_range(0..6) {
            0 if self.nullable => "NULL".to_owned(),
            1 if self.has_default => "DEFAULT".to_owned(),
            _ => literal(random, &self.kind, !self.nullable, self.zero_dates),
        }
    }
}

#[derive(Debug)]
pub(super) struct Table {
    /// With its database, in back-quotes.
    pub(super) name: String,
    pub(super) ddl: String,
    pub(super) key: Vec<Column>,
    /// What else can be written: no generated columns.
    pub(super) others: Vec<Column>,
    /// Values of `binlog_row_image` with which every statement but a change of the key can be followed.
    pub(super) images: &'static [&'static str],
    /// Keys that statements share, so that they meet.
    keys: Vec<Vec<String>>,
}

impl Table {
    /// `replaced`: the job writes a date for zero dates. Else they become NULL, which a NOT NULL column at the target
    /// cannot take.
    pub(super) fn random(
        random: &mut StdRng,
        product: Product,
        database: &str,
        number: usize,
        replaced: bool,
    ) -> Table {
        let name =
            format!("`{database}`.`{}{number}`", ["t", "order", "Größe", "a-b", "with space"].choose(random).unwrap());
        let key: Vec<Column> = (0..*[1, 1, 1, 2, 2, 3].choose(random).unwrap())
            .map(|index| {
                let kind = Kind::any(random, product, true);
                let name = format!("`k{index}`");
                let ddl = format!("{name} {}{} NOT NULL", kind.ddl(), collation(random, &kind));
                Column { name, kind, nullable: false, has_default: false, zero_dates: replaced, ddl }
            })
            .collect();
        let others: Vec<Column> =
            (0..random.random_range(0..10)).map(|index| column(random, product, index, replaced)).collect();
        let mut lines: Vec<String> = key.iter().chain(&others).map(|column| column.ddl.clone()).collect();
        let mut generated = 0;
        for column in &others {
            // MariaDB stores nothing that depends on a session's sql_mode, as a CHAR's padding does.
            let usable = !matches!(column.kind, Kind::Char { .. } | Kind::Vector(_));
            if usable && random.random_bool(0.15) {
                lines.push(generated_column(random, column, generated));
                generated += 1;
            }
        }
        lines.shuffle(random);
        let names = key.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let keyless = random.random_bool(0.25);
        let is_primary = !keyless && random.random_bool(0.9);
        if !keyless {
            lines.push(format!("{} ({names})", if is_primary { "PRIMARY KEY" } else { "UNIQUE KEY" }));
        }
        let unique = others.iter().find(|column| column.kind.is_integer()).filter(|_| random.random_bool(0.3));
        lines.extend(unique.map(|column| format!("UNIQUE KEY u ({})", column.name)));
        let partitions = is_primary && unique.is_none() && random.random_bool(0.15);
        let has_geometry = others.iter().any(|column| matches!(column.kind, Kind::Geometry(_)));
        let ddl = format!(
            "CREATE TABLE {name} (\n  {}\n) CHARSET {}{}",
            lines.join(",\n  "),
            ["utf8mb4", "latin1"].choose(random).unwrap(),
            // Neither server partitions a table with a geometry in it.
            if partitions && !has_geometry { " PARTITION BY KEY () PARTITIONS 3" } else { "" }
        );
        let keys =
            (0..random.random_range(3..12)).map(|_| key.iter().map(|column| column.value(random)).collect()).collect();
        let hidden = product == Product::Mariadb && ddl.contains(" VIRTUAL");
        let images: &[&str] = match (is_primary, unique) {
            _ if keyless => &["FULL"],
            // The job's key may be the other one of the two, which statements change.
            (false, Some(_)) => &["FULL"],
            _ if hidden => &["FULL", "NOBLOB"],
            _ => &["FULL", "NOBLOB", "MINIMAL", "MINIMAL"],
        };
        Table { name, ddl, key, others, images, keys }
    }

    /// A key's values: mostly one that other statements use too.
    pub(super) fn key_values(&self, random: &mut StdRng) -> Vec<String> {
        match random.random_bool(0.7) {
            true => self.keys.choose(random).unwrap().clone(),
            false => self.key.iter().map(|column| column.value(random)).collect(),
        }
    }
}

fn column(random: &mut StdRng, product: Product, index: usize, replaced: bool) -> Column {
    const NAMES: &[&str] = &["key", "größe", "with space", "a.b", "UPPER", "x-y", "c,d", "e;f", "select", "it's"];
    let kind = Kind::any(random, product, false);
    let name = match random.random_bool(0.2) {
        true => format!("`{}{index}`", NAMES.choose(random).unwrap()),
        false => format!("`c{index}`"),
    };
    let nullable = random.random_bool(0.7);
    let null = if nullable { "NULL" } else { "NOT NULL" };
    let mut ddl = format!("{name} {}{} {null}", kind.ddl(), collation(random, &kind));
    let default = match &kind {
        Kind::Integer { .. } | Kind::Decimal { .. } | Kind::Year | Kind::Double("DOUBLE") => {
            Some(literal(random, &kind, true, false))
        }
        Kind::Date | Kind::DateTime(_) | Kind::Time(_) => Some(literal(random, &kind, true, false)),
        Kind::Timestamp(digits) => Some(format!("CURRENT_TIMESTAMP({digits}) ON UPDATE CURRENT_TIMESTAMP({digits})")),
        Kind::Varchar { .. } => Some("'1'".to_owned()),
        _ => None,
    };
    let default = default.filter(|_| random.random_bool(0.4));
    let has_default = default.is_some();
    if let Some(default) = default {
        ddl += &format!(" DEFAULT {default}");
    }
    if random.random_bool(0.1) && (nullable || has_default) {
        ddl += " INVISIBLE";
    }
    if random.random_bool(0.1) {
        ddl += " COMMENT 'it''s; a \"comment\"\\n'";
    }
    Column { name, kind, nullable, has_default, zero_dates: nullable || replaced, ddl }
}

/// Most texts keep their set's own collation, in which different texts can be equal.
fn collation(random: &mut StdRng, kind: &Kind) -> String {
    match kind {
        Kind::Char { charset, .. } | Kind::Varchar { charset, .. } if random.random_bool(0.25) => {
            format!(" COLLATE {charset}_bin")
        }
        _ => String::new(),
    }
}

fn generated_column(random: &mut StdRng, from: &Column, index: usize) -> String {
    let stored = ["VIRTUAL", "STORED"].choose(random).unwrap();
    let name = &from.name;
    let expression = match &from.kind {
        Kind::Integer { .. } => format!("DECIMAL(30,1) AS ({name} * 2.5)"),
        kind if kind.is_text() => format!("VARCHAR(40) CHARACTER SET utf8mb4 AS (LEFT({name}, 10))"),
        Kind::Varbinary(_) | Kind::Blob(_) => format!("INT AS (LENGTH({name}))"),
        Kind::Date | Kind::DateTime(_) => format!("INT AS (YEAR({name}))"),
        _ => format!("TINYINT AS ({name} IS NULL)"),
    };
    format!("`g{index}` {expression} {stored}")
}
