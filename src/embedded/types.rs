//! StarRocks' column types: their limits by version and the names each statement prints for them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::target::Version;

/// What a column holds. Lengths of character and binary types are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ColumnType {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    /// 128-bit integer, `-2^127+1 ..= 2^127-1`.
    LargeInt,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Char(u32),
    Varchar(u32),
    Varbinary(u32),
    Date,
    /// Up to six fractional digits.
    DateTime,
    Json,
    Array(Box<ColumnType>),
}

/// `STRING`'s length.
pub(crate) const STRING_BYTES: u32 = 65_533;
/// The longest `VARBINARY`, and `VARCHAR` between 2.1 and 4.1.
const MEGABYTE: u32 = 1_048_576;

impl ColumnType {
    /// Reads `name(arguments)` as a statement writes it, without case. `INT(11)` takes a width and ignores it.
    ///
    /// # Errors
    /// A text for the user: an unknown type, or a length, precision or scale out of this version's range.
    pub(crate) fn parse(name: &str, arguments: &[u64], version: Version) -> Result<ColumnType, String> {
        let upper = name.to_ascii_uppercase();
        let most = match upper.as_str() {
            "TINYINT" | "SMALLINT" | "INT" | "INTEGER" | "BIGINT" | "LARGEINT" | "CHAR" | "VARCHAR" | "VARBINARY"
            | "BINARY" => 1,
            "DECIMAL" | "DECIMALV3" | "DECIMAL32" | "DECIMAL64" | "DECIMAL128" | "NUMERIC" | "NUMBER" => 2,
            _ => 0,
        };
        if arguments.len() > most {
            return Err(format!("Unexpected input '(' after type {name}"));
        }
        let length = |what: &str, default: u32, max: u32| match arguments.first() {
            None => Ok(default),
            Some(0) => Err(format!("{what} size must be > 0")),
            Some(&n) if n > u64::from(max) => Err(format!("{what} size must be <= {max}")),
            Some(&n) => Ok(u32::try_from(n).unwrap_or(max)),
        };
        Ok(match upper.as_str() {
            "BOOLEAN" => ColumnType::Boolean,
            "TINYINT" => ColumnType::TinyInt,
            "SMALLINT" => ColumnType::SmallInt,
            "INT" | "INTEGER" => ColumnType::Int,
            "BIGINT" => ColumnType::BigInt,
            "LARGEINT" => ColumnType::LargeInt,
            "FLOAT" => ColumnType::Float,
            "DOUBLE" => ColumnType::Double,
            "DECIMAL" | "DECIMALV3" | "DECIMAL32" | "DECIMAL64" | "DECIMAL128" | "NUMERIC" | "NUMBER" => {
                decimal(arguments, version)?
            }
            "CHAR" => ColumnType::Char(length("Char", 1, 255)?),
            "VARCHAR" => ColumnType::Varchar(length("Varchar", 1, varchar_limit(version))?),
            "STRING" => ColumnType::Varchar(STRING_BYTES),
            "TEXT" if version.major >= 3 => ColumnType::Varchar(STRING_BYTES),
            "VARBINARY" | "BINARY" if version.major >= 3 => {
                ColumnType::Varbinary(length("VARBINARY", MEGABYTE, MEGABYTE)?)
            }
            "DATE" => ColumnType::Date,
            "DATETIME" => ColumnType::DateTime,
            "JSON" => ColumnType::Json,
            _ => return Err(format!("Unexpected input '{name}', a data type is expected")),
        })
    }

    /// A primary key column may have this type (C.1, G33).
    pub(crate) fn may_be_primary_key(&self) -> bool {
        use ColumnType::*;
        matches!(self, Boolean | TinyInt | SmallInt | Int | BigInt | LargeInt | Varchar(_) | Date | DateTime)
    }

    /// A duplicate key, sort or bucket column may have this type.
    pub(crate) fn may_be_sorted(&self) -> bool {
        self.may_be_primary_key() || matches!(self, ColumnType::Char(_) | ColumnType::Decimal { .. })
    }

    pub(crate) fn is_integer(&self) -> bool {
        use ColumnType::*;
        matches!(self, TinyInt | SmallInt | Int | BigInt | LargeInt)
    }

    /// Inclusive range of an integer type up to BIGINT, and of BOOLEAN.
    pub(crate) fn integer_range(&self) -> Option<(i64, i64)> {
        Some(match self {
            ColumnType::Boolean => (0, 1),
            ColumnType::TinyInt => (i8::MIN.into(), i8::MAX.into()),
            ColumnType::SmallInt => (i16::MIN.into(), i16::MAX.into()),
            ColumnType::Int => (i32::MIN.into(), i32::MAX.into()),
            ColumnType::BigInt => (i64::MIN, i64::MAX),
            _ => return None,
        })
    }

    /// The column's declaration in SQLite: affinity, and the collation that compares its canonical text.
    pub(super) fn storage(&self) -> &'static str {
        use ColumnType::*;
        match self {
            Boolean | TinyInt | SmallInt | Int | BigInt => "INTEGER",
            LargeInt | Decimal { .. } => "TEXT COLLATE numeric_text",
            // A REAL column would store -0.0 as the integer 0.
            Float | Double => "BLOB",
            Char(_) | Varchar(_) | Date | DateTime | Json | Array(_) => "TEXT",
            Varbinary(_) => "BLOB",
        }
    }

    /// `DATA_TYPE` of `information_schema.columns`. BOOLEAN says `tinyint` (G42).
    pub(crate) fn data_type(&self) -> &'static str {
        use ColumnType::*;
        match self {
            Boolean | TinyInt => "tinyint",
            SmallInt => "smallint",
            Int => "int",
            BigInt => "bigint",
            LargeInt => "bigint unsigned",
            Float => "float",
            Double => "double",
            Decimal { .. } => "decimal",
            Char(_) => "char",
            Varchar(_) => "varchar",
            Varbinary(_) => "varbinary",
            Date => "date",
            DateTime => "datetime",
            Json => "json",
            Array(_) => "array",
        }
    }

    /// `COLUMN_TYPE` of `information_schema.columns`.
    pub(crate) fn column_type(&self) -> String {
        match self {
            ColumnType::Boolean => "tinyint(1)".into(),
            ColumnType::LargeInt => "bigint(20) unsigned".into(),
            ColumnType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            other => other.sql(),
        }
    }

    /// As SHOW CREATE TABLE prints it: `bigint(20)`, `decimal(10, 2)`.
    pub(crate) fn sql(&self) -> String {
        match self {
            ColumnType::TinyInt => "tinyint(4)".into(),
            ColumnType::SmallInt => "smallint(6)".into(),
            ColumnType::Int => "int(11)".into(),
            ColumnType::BigInt => "bigint(20)".into(),
            ColumnType::LargeInt => "largeint(40)".into(),
            ColumnType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
            ColumnType::Array(item) => format!("array<{}>", item.sql()),
            other => other.to_string(),
        }
    }

    /// `COLUMN_SIZE`: precision of numbers, bytes of strings; none for BOOLEAN.
    pub(crate) fn column_size(&self) -> Option<u32> {
        use ColumnType::*;
        match self {
            TinyInt => Some(3),
            SmallInt => Some(5),
            Int => Some(10),
            BigInt => Some(19),
            LargeInt => Some(39),
            Float => Some(7),
            Double => Some(15),
            Decimal { precision, .. } => Some(u32::from(*precision)),
            Char(n) | Varchar(n) | Varbinary(n) => Some(*n),
            Date | DateTime | Boolean | Json | Array(_) => None,
        }
    }

    /// `DECIMAL_DIGITS`: the scale; 0 for integers.
    pub(crate) fn decimal_digits(&self) -> Option<u32> {
        use ColumnType::*;
        match self {
            TinyInt | SmallInt | Int | BigInt | LargeInt => Some(0),
            Float => Some(7),
            Double => Some(15),
            Decimal { scale, .. } => Some(u32::from(*scale)),
            _ => None,
        }
    }
}

/// As DESC prints it: `bigint`, `decimal(10,2)`, `varchar(20)`.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Boolean => f.write_str("boolean"),
            ColumnType::LargeInt => f.write_str("largeint"),
            ColumnType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            ColumnType::Char(n) => write!(f, "char({n})"),
            ColumnType::Varchar(n) => write!(f, "varchar({n})"),
            ColumnType::Varbinary(MEGABYTE) => f.write_str("varbinary"),
            ColumnType::Varbinary(n) => write!(f, "varbinary({n})"),
            ColumnType::Array(item) => write!(f, "array<{item}>"),
            other => f.write_str(other.data_type()),
        }
    }
}

fn varchar_limit(version: Version) -> u32 {
    match (version.major, version.minor) {
        (..=1, _) | (2, 0) => STRING_BYTES,
        (2.., _) if (version.major, version.minor) < (4, 2) => MEGABYTE,
        _ => 2_147_482_624,
    }
}

fn decimal(arguments: &[u64], version: Version) -> Result<ColumnType, String> {
    let max = if version.major >= 4 { 76 } else { 38 };
    let precision = arguments.first().copied().unwrap_or(10);
    let scale = arguments.get(1).copied().unwrap_or(0);
    if precision == 0 || precision > max {
        return Err(format!("DECIMAL's precision should range from 1 to {max}"));
    }
    if scale > precision {
        return Err(format!("DECIMAL's scale({scale}) must be less than or equal to precision({precision})"));
    }
    Ok(ColumnType::Decimal { precision: precision as u8, scale: scale as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V35: Version = Version { major: 3, minor: 5, patch: 0 };
    const V40: Version = Version { major: 4, minor: 0, patch: 0 };
    const V42: Version = Version { major: 4, minor: 2, patch: 0 };

    #[test]
    fn limits_depend_on_the_version() {
        assert!(ColumnType::parse("DECIMAL", &[39, 2], V35).is_err());
        assert_eq!(ColumnType::parse("decimal", &[39, 2], V40), Ok(ColumnType::Decimal { precision: 39, scale: 2 }));
        assert!(ColumnType::parse("VARCHAR", &[1_048_577], V35).is_err());
        assert!(ColumnType::parse("VARCHAR", &[1_048_577], V42).is_ok());
        assert!(ColumnType::parse("CHAR", &[256], V35).is_err());
    }

    #[test]
    fn types_of_mysql_only_are_refused() {
        for name in ["MEDIUMINT", "BLOB", "LONGTEXT", "ENUM", "BIT", "YEAR", "GEOMETRY"] {
            assert!(ColumnType::parse(name, &[], V35).is_err(), "{name}");
        }
        assert!(ColumnType::parse("DATETIME", &[6], V35).is_err());
    }

    #[test]
    fn each_statement_has_its_own_spelling() {
        let ty = ColumnType::Decimal { precision: 10, scale: 2 };
        assert_eq!((ty.sql().as_str(), ty.to_string().as_str()), ("decimal(10, 2)", "decimal(10,2)"));
        assert_eq!(ColumnType::BigInt.sql(), "bigint(20)");
        assert_eq!(ColumnType::BigInt.to_string(), "bigint");
        assert_eq!(ColumnType::Boolean.data_type(), "tinyint");
        assert_eq!(ColumnType::Array(Box::new(ColumnType::Float)).sql(), "array<float>");
    }
}
