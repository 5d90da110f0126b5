//! Labels: a load's name at the target, the anchor of exactly-once.
//!
//! `towpath_<job>_<run id>_<epoch>_<table>_<part>_<digest>`: equal content at the same place has an equal
//! label, so a repeated load is recognised; different content never shares one. The run id is drawn when a
//! job's state is begun: a job that is begun anew must not find the labels of its former life finished.

use twox_hash::XxHash3_128;

use crate::schema::TableName;
use crate::target::{Format, Load, LoadColumn};

/// `job` is `<name>_<run id>`. At most 8 + 49 + 1 + 17 + 1 + 8 + 1 + 6 + 1 + 32 characters; StarRocks takes 128.
pub fn load_label(job: &str, epoch: &str, table: &TableName, part: usize, content: &Content<'_>) -> String {
    let name = XxHash3_128::oneshot(format!("{}\0{}", table.database, table.table).as_bytes()) as u32;
    format!("towpath_{job}_{epoch}_{name:08x}_{part}_{:032x}", content.digest())
}

/// The label of some rows of a refused load: the refused one's, with their own digest.
pub(super) fn piece_label(refused: &str, content: &Content<'_>) -> String {
    let place = refused.rsplit_once('_').map_or(refused, |(place, _)| place);
    format!("{place}_{:032x}", content.digest())
}

/// The label of try `number` at bringing all of an epoch's loads in together: `all_<number>` stands where a load's label
/// has its table and part. At most as long as that.
pub(super) fn transaction_label(job: &str, epoch: u64, number: u32, loads: &[Load]) -> String {
    let mut hasher = XxHash3_128::new();
    for load in loads {
        hasher.write(load.label.as_bytes());
        hasher.write(&[0]);
    }
    format!("towpath_{job}_{epoch}_{ALL}_{number}_{:032x}", hasher.finish_128())
}

/// Whether a label is [`transaction_label`]'s, and not [`load_label`]'s.
pub(super) fn is_transaction(label: &str) -> bool {
    label.rsplit('_').nth(2) == Some(ALL)
}

/// No table's hash: that has eight digits.
const ALL: &str = "all";

/// All that decides what a load writes.
pub struct Content<'a> {
    pub columns: &'a [LoadColumn],
    pub format: Format,
    pub body: &'a [u8],
}

impl Content<'_> {
    fn digest(&self) -> u128 {
        let mut hasher = XxHash3_128::new();
        for column in self.columns {
            hasher.write(column.field().as_bytes());
            hasher.write(&[0]);
        }
        hasher.write(match self.format {
            Format::Csv => b"csv",
            Format::JsonLines => b"json",
        });
        hasher.write(self.body);
        hasher.finish_128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(epoch: &str, table: &str, body: &[u8]) -> String {
        let columns = ["id", "__op"].map(LoadColumn::plain);
        let content = Content { columns: &columns, format: Format::Csv, body };
        load_label("shop", epoch, &TableName::new("shop", table), 0, &content)
    }

    #[test]
    fn equal_content_has_an_equal_label_and_nothing_else_does() {
        assert_eq!(label("7", "orders", b"1"), label("7", "orders", b"1"));
        assert_ne!(label("7", "orders", b"1"), label("7", "orders", b"2"));
        assert_ne!(label("7", "orders", b"1"), label("8", "orders", b"1"));
        assert_ne!(label("7", "orders", b"1"), label("7", "items", b"1"));
    }

    #[test]
    fn a_transaction_has_a_label_a_try_and_the_loads_decide_it() {
        let load = |body: &'static [u8]| Load {
            table: TableName::new("shop", "orders"),
            label: label("7", "orders", body),
            columns: Vec::new(),
            partial: false,
            format: Format::Csv,
            body: bytes::Bytes::from_static(body),
            rows: 1,
        };
        let of = |number, bodies: [&'static [u8]; 2]| transaction_label("shop_all_1", 7, number, &bodies.map(load));
        assert_eq!(of(0, [b"1", b"2"]), of(0, [b"1", b"2"]));
        assert_ne!(of(0, [b"1", b"2"]), of(1, [b"1", b"2"]));
        assert_ne!(of(0, [b"1", b"2"]), of(0, [b"1", b"3"]));
        assert!(is_transaction(&of(0, [b"1", b"2"])));
        assert!(!is_transaction(&load_label(
            "all_all",
            "7",
            &TableName::new("a", "all"),
            0,
            &Content { columns: &[], format: Format::Csv, body: b"" }
        )));
        assert!(transaction_label(&"j".repeat(49), u64::MAX, u32::MAX, &[]).len() <= 128);
    }

    #[test]
    fn the_longest_label_fits() {
        let job = "j".repeat(49);
        let content = Content { columns: &[], format: Format::Csv, body: b"" };
        let epoch = format!("f{}", u64::MAX >> 8);
        let label = load_label(&job, &epoch, &TableName::new("d", "t"), 999_999, &content);
        assert!(label.len() <= 128, "{} characters", label.len());
        assert!(label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
    }
}
