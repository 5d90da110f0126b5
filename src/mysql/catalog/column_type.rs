//! From `information_schema.COLUMNS.COLUMN_TYPE` to a `ColumnType`.
//!
//! The text is what `SHOW CREATE TABLE` prints: a word, perhaps arguments in brackets, perhaps `unsigned` and
//! `zerofill`, and in MariaDB perhaps a comment that tells of another storage format.

use crate::schema::{ColumnType, IntegerSize, LobSize, may_be_lossy};

/// Reads a column's type from the catalogue. `charset` is `CHARACTER_SET_NAME`.
///
/// `Err` is what makes the type unusable.
pub(super) fn parse(text: &str, charset: Option<&str>) -> Result<ColumnType, String> {
    let ty = parse_written(text, charset)?;
    if let ColumnType::Enum { members } | ColumnType::Set { members } = &ty {
        check_members(members, charset.unwrap_or("binary"))?;
    }
    Ok(ty)
}

/// The same for the text of a statement, of which no character is lost.
pub(in crate::mysql) fn parse_written(text: &str, charset: Option<&str>) -> Result<ColumnType, String> {
    let (word, arguments, rest) = split(text)?;
    let unsigned = rest.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("unsigned"));
    if rest.contains("COMPRESSED") {
        return Err(format!(
            "{text}: MariaDB writes compressed columns to the binlog in a form of its own, which is not supported"
        ));
    }
    let charset = || charset.unwrap_or("binary").to_owned();
    let integer = |size| Ok(ColumnType::Integer { size, unsigned });
    let text_of = |size| Ok(ColumnType::Text { size, charset: charset() });
    let number = |default: u32| match arguments {
        None => Ok(default),
        Some(arguments) => arguments.trim().parse::<u32>().map_err(|_| format!("{text}: not a length")),
    };
    let digits = || match number(0)? {
        digits @ 0..=6 => Ok(digits as u8),
        _ => Err(format!("{text}: more than 6 digits of a second")),
    };
    match word.to_ascii_lowercase().as_str() {
        "tinyint" => integer(IntegerSize::Tiny),
        "smallint" => integer(IntegerSize::Small),
        "mediumint" => integer(IntegerSize::Medium),
        "int" | "integer" => integer(IntegerSize::Int),
        "bigint" => integer(IntegerSize::Big),
        "decimal" | "numeric" => {
            let (precision, scale) =
                arguments.unwrap_or("10,0").split_once(',').unwrap_or((arguments.unwrap_or("10"), "0"));
            match (precision.trim().parse(), scale.trim().parse()) {
                (Ok(precision), Ok(scale)) => Ok(ColumnType::Decimal { precision, scale }),
                _ => Err(format!("{text}: not a precision and a scale")),
            }
        }
        "float" => Ok(ColumnType::Float),
        "double" | "real" => Ok(ColumnType::Double),
        "bit" => match number(1)? {
            bits @ 1..=64 => Ok(ColumnType::Bit { bits: bits as u8 }),
            _ => Err(format!("{text}: not 1 to 64 bits")),
        },
        "char" => Ok(ColumnType::Char { chars: number(1)?, charset: charset() }),
        "varchar" => Ok(ColumnType::Varchar { chars: number(1)?, charset: charset() }),
        "tinytext" => text_of(LobSize::Tiny),
        "text" => text_of(LobSize::Plain),
        "mediumtext" => text_of(LobSize::Medium),
        "longtext" => text_of(LobSize::Long),
        "binary" => Ok(ColumnType::Binary { bytes: number(1)? }),
        "varbinary" => Ok(ColumnType::Varbinary { bytes: number(1)? }),
        "tinyblob" => Ok(ColumnType::Blob { size: LobSize::Tiny }),
        "blob" => Ok(ColumnType::Blob { size: LobSize::Plain }),
        "mediumblob" => Ok(ColumnType::Blob { size: LobSize::Medium }),
        "longblob" => Ok(ColumnType::Blob { size: LobSize::Long }),
        "date" => Ok(ColumnType::Date),
        "datetime" => Ok(ColumnType::DateTime { digits: digits()? }),
        "timestamp" => Ok(ColumnType::Timestamp { digits: digits()? }),
        "time" => Ok(ColumnType::Time { digits: digits()? }),
        "year" => Ok(ColumnType::Year),
        "enum" => Ok(ColumnType::Enum { members: members(text, arguments)? }),
        "set" => Ok(ColumnType::Set { members: members(text, arguments)? }),
        "json" => Ok(ColumnType::Json),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" => Ok(ColumnType::Geometry),
        "vector" => Ok(ColumnType::Vector { dimensions: number(2048)? }),
        "uuid" => Ok(ColumnType::Uuid),
        "inet4" => Ok(ColumnType::Inet4),
        "inet6" => Ok(ColumnType::Inet6),
        _ => Err(format!("{text}: this type is not supported")),
    }
}

/// The word, what stands in the brackets, what stands behind them.
fn split(text: &str) -> Result<(&str, Option<&str>, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let Some(inside) = rest.strip_prefix('(') else { return Ok((word, None, rest)) };
    let mut quoted = false;
    let mut escaped = false;
    for (index, character) in inside.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            // A doubled quote closes and opens again.
            '\'' => quoted = !quoted,
            ')' if !quoted => return Ok((word, Some(&inside[..index]), &inside[index + 1..])),
            _ => {}
        }
    }
    Err(format!("{text}: the bracket is not closed"))
}

/// Their text has to be sure.
fn check_members(members: &[String], charset: &str) -> Result<(), String> {
    match members.iter().find(|member| may_be_lossy(charset, member)) {
        Some(member) => Err(format!(
            "the server shows its member '{member}', and shows ? for every character beyond U+FFFF: which it is cannot be \
             known. Convert the column to utf8mb3, which has no such characters, or write the member without ?"
        )),
        None => Ok(()),
    }
}

fn members(text: &str, arguments: Option<&str>) -> Result<Vec<String>, String> {
    let wrong = || format!("{text}: not a list of members");
    let mut rest = arguments.ok_or_else(wrong)?;
    let mut members = Vec::new();
    loop {
        let (member, behind) = unquote(rest).ok_or_else(wrong)?;
        members.push(member);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(members),
            None => return Err(wrong()),
        }
    }
}

/// Reads a string literal at the start of `text`: its value, and the text behind it.
/// The servers double quotes and put a backslash before NUL, newline, carriage return and backslash.
pub(super) fn unquote(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('\'')?;
    let mut value = String::new();
    let mut characters = inside.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\'' => {
                if inside[index + 1..].starts_with('\'') {
                    characters.next();
                    value.push('\'');
                } else {
                    return Some((value, &inside[index + 1..]));
                }
            }
            '\\' => match characters.next()?.1 {
                '0' => value.push('\0'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'b' => value.push('\u{8}'),
                'Z' => value.push('\u{1a}'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf8(text: &str) -> ColumnType {
        parse(text, Some("utf8mb4")).unwrap()
    }

    #[test]
    fn numbers() {
        let integer = |size, unsigned| ColumnType::Integer { size, unsigned };
        assert_eq!(utf8("tinyint(1)"), integer(IntegerSize::Tiny, false));
        assert_eq!(utf8("mediumint(8) unsigned zerofill"), integer(IntegerSize::Medium, true));
        assert_eq!(utf8("bigint unsigned"), integer(IntegerSize::Big, true));
        assert_eq!(utf8("decimal(65,30)"), ColumnType::Decimal { precision: 65, scale: 30 });
        assert_eq!(utf8("decimal(10,0) unsigned"), ColumnType::Decimal { precision: 10, scale: 0 });
        assert_eq!(utf8("float(7,3)"), ColumnType::Float);
        assert_eq!(utf8("double unsigned"), ColumnType::Double);
        assert_eq!(utf8("bit(64)"), ColumnType::Bit { bits: 64 });
        assert_eq!(utf8("year(4)"), ColumnType::Year);
    }

    #[test]
    fn text_bytes_and_times() {
        assert_eq!(utf8("char(36)"), ColumnType::Char { chars: 36, charset: "utf8mb4".to_owned() });
        assert_eq!(
            parse("longtext", Some("latin1")),
            Ok(ColumnType::Text { size: LobSize::Long, charset: "latin1".to_owned() })
        );
        assert_eq!(parse("varbinary(255)", None), Ok(ColumnType::Varbinary { bytes: 255 }));
        assert_eq!(parse("tinyblob", None), Ok(ColumnType::Blob { size: LobSize::Tiny }));
        assert_eq!(utf8("timestamp(6)"), ColumnType::Timestamp { digits: 6 });
        assert_eq!(utf8("datetime /* mysql-5.6 */"), ColumnType::DateTime { digits: 0 });
        assert_eq!(utf8("datetime(3) /* mariadb-5.3 */"), ColumnType::DateTime { digits: 3 });
        assert_eq!(utf8("time(3)"), ColumnType::Time { digits: 3 });
        assert_eq!(utf8("vector(3)"), ColumnType::Vector { dimensions: 3 });
        assert_eq!(utf8("geomcollection"), ColumnType::Geometry);
    }

    #[test]
    fn members_with_quotes_commas_brackets_and_escapes() {
        let members = |text| match utf8(text) {
            ColumnType::Enum { members } | ColumnType::Set { members } => members,
            other => panic!("{other:?}"),
        };
        assert_eq!(members("enum('a','b,c','d''e',')','')"), ["a", "b,c", "d'e", ")", ""]);
        assert_eq!(members(r"set('x\\','y\n','Grün','''')"), ["x\\", "y\n", "Grün", "'"]);
        let many: Vec<String> = (0..300).map(|index| format!("m{index}")).collect();
        assert_eq!(members(&format!("enum('{}')", many.join("','"))), many);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        assert_eq!(parse("xmltype", None).unwrap_err(), "xmltype: this type is not supported");
        assert!(parse("text /*M!100301 COMPRESSED*/", Some("utf8mb4")).unwrap_err().contains("compressed columns"));
        let lossy = parse("enum('a','b?')", Some("utf8mb4")).unwrap_err();
        assert!(lossy.contains("'b?'") && lossy.contains("U+FFFF"), "{lossy}");
        assert!(parse("set('a','b?')", Some("utf8mb3")).is_ok());
        for text in
            ["enum('a", "enum(a)", "enum", "enum('a' 'b')", "bit(65)", "decimal(x,y)", "varchar(x)", "time(7)", ""]
        {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }
}
