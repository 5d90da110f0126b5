//! What the SQL port and the HTTP ports share: options, store, catalogue, users, open transactions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Options;
use super::catalog::{Catalog, reserve};
use super::fault::{Fault, Faults, Mode};
use super::sql::Jobs;
use super::store::Store;
use super::transaction::Labels;
use super::users::Users;
use crate::schema::TableName;
use crate::{Error, Result};

pub(crate) struct Engine {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) catalog: Catalog,
    pub(crate) users: Users,
    pub(crate) transactions: OpenTransactions,
    pub(crate) labels: Labels,
    pub(crate) jobs: Jobs,
    pub(crate) faults: Faults,
    /// Where the server listens; set once it does.
    pub(crate) addresses: OnceLock<Addresses>,
}

/// Bound addresses, with the ports that were picked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) mysql: SocketAddr,
    pub(crate) fe: SocketAddr,
    /// HTTP and MySQL.
    pub(crate) second_fe: Option<(SocketAddr, SocketAddr)>,
    pub(crate) be: SocketAddr,
}

impl Engine {
    pub(crate) fn open(options: Options) -> Result<Engine> {
        let store = Store::open(&options.data_dir)?;
        let catalog = Catalog::load(&store)?;
        let users = Users::load(&store, &options.user, &options.password)?;
        let labels = Labels::load(&store, &options.data_dir)?;
        let jobs = Jobs::load(&store)?;
        let transactions = OpenTransactions::default();
        for (id, database) in labels.unended() {
            transactions.reopen(id, &database);
        }
        let (faults, addresses) = (Faults::default(), OnceLock::new());
        Ok(Engine { options, store, catalog, users, transactions, labels, jobs, faults, addresses })
    }

    /// Switches a fault on. Blocks for a moment.
    ///
    /// # Errors
    /// A fault that cannot strike here.
    pub(crate) fn inject(&self, fault: Fault) -> Result<u64> {
        if fault.mode == Mode::LeaderElsewhere && self.options.second_fe_port.is_none() {
            return Err(
                Error::usage("this server has no second FE that could lead").hint("start it with a second FE port")
            );
        }
        if fault.every == 0 || matches!(fault.mode, Mode::FilteredRows { nth: 0 }) {
            return Err(Error::usage("every and nth begin at 1"));
        }
        if let Some(table) = &fault.table
            && !table.contains('.')
        {
            return Err(Error::usage(format!("table {table:?} is not written as database.table")));
        }
        let kills = fault.mode == Mode::BeGone;
        let id = self.faults.add(fault);
        if kills {
            self.labels.abort_loading(self);
        }
        self.labels.sweep(self);
        Ok(id)
    }

    /// Names of tables, for faults that are about one. Empty while there is no fault.
    pub(crate) fn names(&self, tables: impl IntoIterator<Item = u64>) -> Vec<TableName> {
        if self.faults.is_empty() {
            return Vec::new();
        }
        let tables = tables.into_iter().filter_map(|id| self.catalog.table_by_id(id));
        tables.map(|table| TableName::new(table.database.clone(), table.name.clone())).collect()
    }

    /// Ended labels that a database remembers now.
    pub(crate) fn labels_kept(&self) -> usize {
        let lowered = self.faults.take(&[], |mode| match mode {
            Mode::LabelsForgotten { keep } => Some(*keep),
            _ => None,
        });
        lowered.unwrap_or(self.options.label_keep_max_num)
    }

    /// Whether a load into this table is applied as shared-data clusters once did.
    pub(crate) fn deletes_last(&self, table: u64) -> bool {
        self.faults.strikes(&self.names([table]), &Mode::DeletesAfterUpserts)
    }
}

/// Load transactions that have begun and not ended. An ALTER waits for those older than itself (G36).
///
/// Ids grow over restarts: they are taken from the store a thousand at a time.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    reserved_to: u64,
    open: BTreeMap<u64, String>,
}

const BLOCK: u64 = 1000;

impl OpenTransactions {
    /// A new id that belongs to no open transaction: for the watermark of an ALTER job.
    pub(crate) fn next_id(&self, store: &Store) -> Result<u64> {
        self.take(store, None)
    }

    /// Opens a transaction in `database`.
    pub(crate) fn begin(&self, store: &Store, database: &str) -> Result<u64> {
        self.take(store, Some(database))
    }

    /// A prepared transaction is open again after a restart.
    pub(crate) fn reopen(&self, id: u64, database: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open.insert(id, database.to_owned());
    }

    /// Committed or aborted; harmless when it is not open.
    pub(crate) fn end(&self, id: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&id);
    }

    /// Open transactions of `database` in order of their begin.
    pub(crate) fn open_in(&self, database: &str) -> Vec<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.iter().filter(|(_, name)| *name == database).map(|(id, _)| *id).collect()
    }

    /// Not to be called from within `Store::write`.
    fn take(&self, store: &Store, database: Option<&str>) -> Result<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next == state.reserved_to {
            state.next = store.write(|tx| reserve(tx, "transaction", 1, BLOCK))?;
            state.reserved_to = state.next + BLOCK;
        }
        let id = state.next;
        state.next += 1;
        if let Some(database) = database {
            state.open.insert(id, database.to_owned());
        }
        Ok(id)
    }
}
