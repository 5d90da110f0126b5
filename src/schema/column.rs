//! A source column: MySQL's and MariaDB's types, with what decides how their bytes read.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub ty: ColumnType,
    pub nullable: bool,
    pub default: Option<DefaultValue>,
    pub comment: String,
    pub generated: Generated,
    /// `INVISIBLE`: left out of `SELECT *`, present in row images and named in our own SELECTs.
    pub invisible: bool,
}

impl Column {
    /// A NOT NULL column without default or comment.
    pub fn new(name: impl Into<String>, ty: ColumnType) -> Self {
        Column {
            name: name.into(),
            ty,
            nullable: false,
            default: None,
            comment: String::new(),
            generated: Generated::No,
            invisible: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generated {
    No,
    Virtual,
    Stored,
}

/// A column's DEFAULT, as the catalogue tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultValue {
    /// A constant, unquoted: `0`, `new`, `2020-01-01 00:00:00`.
    Literal(String),
    CurrentTimestamp,
    /// Any other expression; it cannot be carried to the target.
    Expression(String),
}

/// Width of an integer column in bytes: 1, 2, 3, 4, 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntegerSize {
    Tiny,
    Small,
    Medium,
    Int,
    Big,
}

impl IntegerSize {
    pub fn bytes(self) -> usize {
        match self {
            IntegerSize::Tiny => 1,
            IntegerSize::Small => 2,
            IntegerSize::Medium => 3,
            IntegerSize::Int => 4,
            IntegerSize::Big => 8,
        }
    }
}

/// TINY, plain, MEDIUM and LONG of TEXT and BLOB: a length prefix of 1, 2, 3 or 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LobSize {
    Tiny,
    Plain,
    Medium,
    Long,
}

impl LobSize {
    pub fn length_bytes(self) -> usize {
        match self {
            LobSize::Tiny => 1,
            LobSize::Plain => 2,
            LobSize::Medium => 3,
            LobSize::Long => 4,
        }
    }
}

/// `charset` is the server's name of the character set (`utf8mb4`, `latin1`, …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    Integer {
        size: IntegerSize,
        unsigned: bool,
    },
    Decimal {
        precision: u8,
        scale: u8,
    },
    Float,
    Double,
    /// 1 to 64 bits.
    Bit {
        bits: u8,
    },
    Char {
        chars: u32,
        charset: String,
    },
    Varchar {
        chars: u32,
        charset: String,
    },
    Text {
        size: LobSize,
        charset: String,
    },
    /// Fixed length in bytes, padded with 0x00; row images leave the padding out.
    Binary {
        bytes: u32,
    },
    Varbinary {
        bytes: u32,
    },
    Blob {
        size: LobSize,
    },
    Date,
    /// `digits` of fractional seconds, 0 to 6; so for the next two.
    DateTime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    Time {
        digits: u8,
    },
    Year,
    /// The members' texts in UTF-8, first member = index 1.
    Enum {
        members: Vec<String>,
    },
    /// Bit 0 = first member.
    Set {
        members: Vec<String>,
    },
    /// MySQL's binary JSON. MariaDB's JSON is a `Text`.
    Json,
    Geometry,
    Vector {
        dimensions: u32,
    },
    /// MariaDB.
    Uuid,
    Inet4,
    Inet6,
}
