//! Which columns the images of a rows event have.
//!
//! `binlog_row_image` is a session's setting, so every event says for itself: a bitmap for the rows' only image, or two
//! for an UPDATE's before and after. What is left out, by MySQL 5.7 to 9.7 and MariaDB 10.11 (both were tried):
//!
//! | | before image | after image |
//! |---|---|---|
//! | FULL | all | all |
//! | NOBLOB | all but TEXT and BLOB columns | all but TEXT and BLOB columns that the statement does not set |
//! | MINIMAL | the primary key (else the first unique key without NULLs, else all columns) | what the statement sets |
//!
//! "Sets" includes an auto-increment, CURRENT_TIMESTAMP and expressions as defaults, ON UPDATE CURRENT_TIMESTAMP, and
//! what triggers assign. So a column that an INSERT lacks has its constant default (NULL, or the type's zero where a
//! session is not strict), even if it is the key. MySQL logs every generated column that can have changed. MariaDB logs
//! those that are stored or indexed: the others' values cannot be known from its minimal images.

/// One bit a column of the table, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnBits(Vec<u8>);

impl ColumnBits {
    pub fn new(bytes: &[u8]) -> ColumnBits {
        ColumnBits(bytes.to_vec())
    }

    pub fn has(&self, column: usize) -> bool {
        self.0.get(column / 8).is_some_and(|byte| byte & (1 << (column % 8)) != 0)
    }
}

/// The columns of an event whose images lack some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageColumns {
    /// The before image's; of an INSERT or DELETE those of its only image.
    pub before: ColumnBits,
    /// The after image's.
    pub after: ColumnBits,
    /// MariaDB wrote them.
    pub mariadb: bool,
}

impl ImageColumns {
    /// `bitmaps` as they stand in the event: one, or two of equal length.
    pub(super) fn is(&self, bitmaps: &[u8], mariadb: bool) -> bool {
        let (before, after) = split(bitmaps, self.before.0.len());
        self.mariadb == mariadb && self.before.0 == before && self.after.0 == after
    }

    pub(super) fn read(bitmaps: &[u8], columns: usize, mariadb: bool) -> ImageColumns {
        let (before, after) = split(bitmaps, columns.div_ceil(8));
        ImageColumns { before: ColumnBits::new(before), after: ColumnBits::new(after), mariadb }
    }
}

fn split(bitmaps: &[u8], bytes: usize) -> (&[u8], &[u8]) {
    match bitmaps.split_at_checked(bytes) {
        Some((only, [])) => (only, only),
        Some(both) => both,
        None => (bitmaps, bitmaps),
    }
}
