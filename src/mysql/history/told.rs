//! A table's definition as the log itself tells it: with `binlog_row_metadata=FULL` a table map has names, types, signs,
//! character sets, members and the key.
//!
//! It does not have defaults, which rows need whose images leave columns out (`binlog_row_image`), so it serves for whole
//! images only; for the target's columns today's are taken. It does not have indexes beside the key ([`Index::unknown`]), nor the table's default character set, nor what
//! makes a UUID differ from other bytes. Comments and the like come from today's column of the same name.

use crate::mysql::binlog::{MapColumn, TableMap, Wire, agrees, member_text};
use crate::mysql::value::{Charset, charset_max_bytes};
use crate::schema::{Column, ColumnType, DefaultValue, Generated, Index, IntegerSize, LobSize, Table};

use super::Surroundings;

/// The definition that the rows behind this map were written with. `today` is the table as the catalogue has it.
///
/// # Errors
/// What the log does not tell.
pub(super) fn told(map: &TableMap, today: Option<&Table>, surroundings: &Surroundings) -> Result<Table, String> {
    if !map.has_names() {
        return Err("the log tells no names of columns".to_owned());
    }
    if !surroundings.whole_images {
        return Err("binlog_row_image is not FULL, and the log tells no defaults".to_owned());
    }
    let columns = map.columns().iter().map(|logged| column(logged, today, surroundings.mariadb));
    let columns = columns.collect::<Result<Vec<Column>, String>>()?;
    let key = map.primary_key().map(<[usize]>::to_vec);
    let table = Table {
        name: map.name.clone(),
        columns,
        primary: key.is_some(),
        key: key.unwrap_or_default(),
        comment: today.map(|today| today.comment.clone()).unwrap_or_default(),
        charset: None,
        indexes: vec![Index::unknown(true)],
    };
    agrees(&table, map).map_err(|error| error.message().to_owned())?;
    Ok(table)
}

fn column(logged: &MapColumn, today: Option<&Table>, mariadb: bool) -> Result<Column, String> {
    let name = logged.name.clone().unwrap_or_default();
    let today = today.and_then(|today| Some(&today.columns[today.column_index(&name)?]));
    let ty = column_type(logged, today, mariadb).map_err(|reason| format!("column {name}: {reason}"))?;
    let default = match today.filter(|today| today.ty == ty) {
        Some(today) => today.default.clone(),
        // There may be one.
        None => Some(DefaultValue::Expression("not told by the log".to_owned())),
    };
    Ok(Column {
        nullable: logged.nullable,
        default,
        comment: today.map(|today| today.comment.clone()).unwrap_or_default(),
        generated: today.map_or(Generated::No, |today| today.generated),
        invisible: today.is_some_and(|today| today.invisible),
        ty,
        name,
    })
}

fn column_type(logged: &MapColumn, today: Option<&Column>, mariadb: bool) -> Result<ColumnType, String> {
    let untold = |what: &str| format!("the log does not tell {what}");
    let charset = || logged.charset.ok_or_else(|| untold("its character set"));
    let chars = |bytes: u16| {
        let charset = charset()?;
        let each = charset_max_bytes(charset).ok_or_else(|| format!("the character set {charset} is not known"))?;
        Ok::<_, String>((u32::from(bytes) / each, charset.to_owned()))
    };
    let members = || {
        // Those of bytes are shown as what they are.
        let charset = Some(charset()?).filter(|charset| *charset != "binary").unwrap_or("utf8mb4");
        let set = Charset::named(charset).ok_or_else(|| format!("the character set {charset} is not known"))?;
        let members = logged.members.iter().flatten().map(|member| member_text(member, &set));
        members.collect::<Option<Vec<String>>>().ok_or_else(|| format!("a member is no text in {charset}"))
    };
    Ok(match logged.wire {
        Wire::Integer { bytes } => {
            let size = match bytes {
                1 => IntegerSize::Tiny,
                2 => IntegerSize::Small,
                3 => IntegerSize::Medium,
                4 => IntegerSize::Int,
                _ => IntegerSize::Big,
            };
            ColumnType::Integer { size, unsigned: logged.unsigned.ok_or_else(|| untold("its sign"))? }
        }
        Wire::Float => ColumnType::Float,
        Wire::Double => ColumnType::Double,
        Wire::Decimal { precision, scale } => ColumnType::Decimal { precision, scale },
        Wire::Bit { bits } => ColumnType::Bit { bits: u8::try_from(bits).map_err(|_| format!("{bits} bits"))? },
        Wire::Varchar { bytes } if charset()? == "binary" => ColumnType::Varbinary { bytes: bytes.into() },
        Wire::Varchar { bytes } => {
            let (chars, charset) = chars(bytes)?;
            ColumnType::Varchar { chars, charset }
        }
        // Or one of MariaDB's own types, of which the log says no more.
        Wire::Text { bytes: 4 | 16 } if mariadb && charset()? == "binary" => match today.map(|today| &today.ty) {
            Some(ty @ (ColumnType::Binary { .. } | ColumnType::Uuid | ColumnType::Inet4 | ColumnType::Inet6)) => {
                ty.clone()
            }
            _ => return Err(untold("BINARY, UUID and INET apart")),
        },
        Wire::Text { bytes } if charset()? == "binary" => ColumnType::Binary { bytes: bytes.into() },
        Wire::Text { bytes } => {
            let (chars, charset) = chars(bytes)?;
            ColumnType::Char { chars, charset }
        }
        Wire::Enum { .. } => ColumnType::Enum { members: members()? },
        Wire::Set { .. } => ColumnType::Set { members: members()? },
        Wire::Blob { length_bytes } => {
            let size = match length_bytes {
                1 => LobSize::Tiny,
                2 => LobSize::Plain,
                3 => LobSize::Medium,
                _ => LobSize::Long,
            };
            match charset()? {
                "binary" => ColumnType::Blob { size },
                charset => ColumnType::Text { size, charset: charset.to_owned() },
            }
        }
        Wire::Json { .. } => ColumnType::Json,
        Wire::Geometry { .. } => ColumnType::Geometry,
        Wire::Vector { .. } => {
            ColumnType::Vector { dimensions: logged.dimensions.ok_or_else(|| untold("its dimensions"))? }
        }
        Wire::Year => ColumnType::Year,
        Wire::Date => ColumnType::Date,
        Wire::Time { digits } => ColumnType::Time { digits },
        Wire::DateTime { digits } => ColumnType::DateTime { digits },
        Wire::Timestamp { digits } => ColumnType::Timestamp { digits },
        Wire::OldTime | Wire::OldDateTime | Wire::OldTimestamp => return Err(untold("its digits of a second")),
        Wire::Unreadable { .. } => return Err(format!("{} cannot be read from the log", logged.wire)),
    })
}
