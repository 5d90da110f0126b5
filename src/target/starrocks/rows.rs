//! Asking for rows: of tables whose key is a hash and a number (`noKeyTables: rowHash`).
//!
//! What is asked for must show every load before it. A load that was answered with `Publish Timeout`, or whose answer was
//! lost, is committed and perhaps not visible yet, so its label is asked for first ([`StreamLoad::until_visible`]). And a
//! follower FE may know older versions than the leader that has published the load, so these questions go to the leader
//! (`follower_query_forward_mode`, which [`super::sql`] sets where a server has it).
//!
//! [`StreamLoad::until_visible`]: super::stream_load::StreamLoad::until_visible

use std::collections::HashMap;

use super::StarRocks;
use super::stream_load::Asked;
use crate::schema::{ROW_COPY, ROW_HASH, TableName, quote};
use crate::{Error, Result};

/// Hashes in one question: above 1024 StarRocks no longer looks them up in the index (`max_pushdown_conditions_per_column`).
const HASHES: usize = 500;
/// Rows of its answer.
const ROWS: usize = 20_000;

impl StarRocks {
    pub(super) async fn any_row(&self, table: &TableName) -> Result<bool> {
        let rows = self.ask(table, &format!("SELECT 1 FROM {} LIMIT 1", table.quoted())).await?;
        Ok(!rows.is_empty())
    }

    pub(super) async fn copies_of(
        &self,
        table: &TableName,
        below: i64,
        wanted: &[(i128, usize)],
    ) -> Result<Vec<Vec<i64>>> {
        self.load.until_visible(table).await?;
        let (hash, copy) = (quote(ROW_HASH), quote(ROW_COPY));
        let mut found = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(HASHES) {
            let hashes: Vec<String> = wanted.iter().map(|(hash, _)| hash.to_string()).collect();
            let statement = format!(
                "SELECT {hash}, {copy} FROM {} WHERE {hash} IN ({}) AND {copy} < {below} LIMIT {ROWS}",
                table.quoted(),
                hashes.join(", ")
            );
            let rows = self.ask(table, &statement).await?;
            if rows.len() < ROWS {
                let mut copies: HashMap<i128, Vec<i64>> = HashMap::new();
                for row in &rows {
                    let [hash, copy] = row.as_slice() else { return Err(unreadable()) };
                    copies.entry(*hash).or_default().push(i64::try_from(*copy).map_err(|_| unreadable())?);
                }
                found.extend(wanted.iter().map(|(hash, most)| {
                    let mut copies = copies.remove(hash).unwrap_or_default();
                    copies.truncate(*most);
                    copies
                }));
                continue;
            }
            // Some hash has very many rows.
            for (value, most) in wanted {
                let statement = format!(
                    "SELECT {copy} FROM {} WHERE {hash} = {value} AND {copy} < {below} LIMIT {most}",
                    table.quoted()
                );
                let rows = self.ask(table, &statement).await?;
                let copies = rows.iter().flatten().map(|copy| i64::try_from(*copy).map_err(|_| unreadable()));
                found.push(copies.collect::<Result<_>>()?);
            }
        }
        Ok(found)
    }

    /// Asks with a load's patience; every cell is a number.
    async fn ask(&self, table: &TableName, statement: &str) -> Result<Vec<Vec<i128>>> {
        let at = format!("asking for rows of {table}");
        let mut asked = Asked::default();
        let rows = loop {
            match self.sql.rows(statement).await {
                Ok(rows) => break rows,
                Err(error) => self.load.patience(&mut asked, &at, error).await?,
            }
        };
        let numbers = |cells: Vec<&str>| cells.into_iter().map(|cell| cell.parse().map_err(|_| unreadable())).collect();
        rows.iter().map(|row| numbers(row.cells().collect())).collect()
    }
}

fn unreadable() -> Error {
    Error::definite("the target answers with something that is no row hash and number")
        .hint("these two columns are towpath's: has the table been changed at the target?")
}
