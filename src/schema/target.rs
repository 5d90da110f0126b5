//! A table's shape at the target.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Fill, TableName};

/// Columns the target stores: key columns first, in key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTable {
    pub name: TableName,
    pub columns: Vec<TargetColumn>,
    /// The first `key_columns` columns are the primary key.
    pub key_columns: usize,
    pub comment: String,
}

impl TargetTable {
    pub fn key(&self) -> &[TargetColumn] {
        self.columns.get(..self.key_columns).unwrap_or(&self.columns)
    }

    /// Bytes that the longest key takes as StarRocks encodes it. A string that is not last in the key ends
    /// with two bytes more; zero bytes inside it, which take one byte more each, are not counted.
    pub fn max_key_bytes(&self) -> u64 {
        let key = self.key();
        let sizes = key.iter().enumerate().map(|(index, column)| match column.ty {
            TargetType::Varchar { bytes } if index + 1 < key.len() => u64::from(bytes) + 2,
            ty => ty.key_bytes(),
        });
        sizes.sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetColumn {
    pub name: String,
    pub ty: TargetType,
    pub nullable: bool,
    pub default: Option<TargetDefault>,
    pub comment: String,
    /// What rows that exist hold in it when it is added to their table.
    #[serde(default)]
    pub fill: Fill,
    /// Index of the source column in `Table::columns`; of no column where the target's key is a row hash
    /// ([`crate::schema::Mapping::carried`]).
    pub source: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetDefault {
    Literal(String),
    CurrentTimestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetType {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    LargeInt,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Float,
    Double,
    Date,
    /// Microseconds; no precision of its own.
    DateTime,
    /// Length in bytes.
    Varchar {
        bytes: u32,
    },
    Varbinary {
        bytes: u32,
    },
    Json,
    /// `ARRAY<FLOAT>`.
    FloatArray,
}

impl TargetType {
    /// Whether every value of a column that reads the same in a column of the other type has the same text in both.
    pub(crate) fn texts_like(self, other: TargetType) -> bool {
        use TargetType::{BigInt, Int, LargeInt, SmallInt, TinyInt, Varchar};
        let is_whole = |ty| matches!(ty, TinyInt | SmallInt | Int | BigInt | LargeInt);
        let is_text = |ty| matches!(ty, Varchar { .. });
        self == other || is_whole(self) && is_whole(other) || is_text(self) && is_text(other)
    }

    fn key_bytes(self) -> u64 {
        match self {
            TargetType::Boolean | TargetType::TinyInt => 1,
            TargetType::SmallInt => 2,
            TargetType::Int | TargetType::Float | TargetType::Date => 4,
            TargetType::BigInt | TargetType::Double | TargetType::DateTime => 8,
            TargetType::LargeInt | TargetType::Decimal { .. } => 16,
            TargetType::Varchar { bytes } | TargetType::Varbinary { bytes } => u64::from(bytes),
            TargetType::Json | TargetType::FloatArray => 0,
        }
    }
}

/// As a column definition names it: `VARCHAR(1020)`.
impl fmt::Display for TargetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetType::Boolean => f.write_str("BOOLEAN"),
            TargetType::TinyInt => f.write_str("TINYINT"),
            TargetType::SmallInt => f.write_str("SMALLINT"),
            TargetType::Int => f.write_str("INT"),
            TargetType::BigInt => f.write_str("BIGINT"),
            TargetType::LargeInt => f.write_str("LARGEINT"),
            TargetType::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            TargetType::Float => f.write_str("FLOAT"),
            TargetType::Double => f.write_str("DOUBLE"),
            TargetType::Date => f.write_str("DATE"),
            TargetType::DateTime => f.write_str("DATETIME"),
            TargetType::Varchar { bytes } => write!(f, "VARCHAR({bytes})"),
            TargetType::Varbinary { bytes } => write!(f, "VARBINARY({bytes})"),
            TargetType::Json => f.write_str("JSON"),
            TargetType::FloatArray => f.write_str("ARRAY<FLOAT>"),
        }
    }
}
