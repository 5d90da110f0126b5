//! The MySQL protocol of one connection, by opensrv-mysql.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, InitWriter,
    IntermediaryOptions, OkResponse, ParamParser, QueryResultWriter, StatementMetaWriter,
};
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer::{OutputColumn, Part, SqlError};
use super::packets::Packets;
use super::query::Kind;
use super::session::Session;
use crate::embedded::engine::Engine;
use crate::embedded::fault::Mode;

/// What the handshake says; StarRocks says a MySQL version there too.
const HANDSHAKE_VERSION: &str = "8.0.33";
/// Parts of an answer under way between the query's thread and the socket.
const PARTS: usize = 4;

/// Serves connections until the task is dropped; its connections end with it. `second`: as the second FE.
pub(crate) async fn serve(engine: Arc<Engine>, listener: TcpListener, second: bool) {
    let next_id = AtomicU32::new(1);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if !second && engine.faults.strikes(&[], &Mode::SqlGone) {
                        continue;
                    }
                    let id = next_id.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(connection(engine.clone(), stream, id, second));
                }
                Err(error) => tracing::debug!(%error, "the MySQL port did not accept a connection"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(engine: Arc<Engine>, stream: TcpStream, id: u32, second: bool) {
    let _delay = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let denied = Arc::new(AtomicBool::new(false));
    let writer = Output { inner: writer, denied: denied.clone(), user: Arc::default(), buffer: Vec::new() };
    let shim = Shim {
        user: writer.user.clone(),
        session: Some(Session { engine, user: String::new(), database: None, id, second }),
        salt: salt(),
        denied,
        id,
    };
    let options =
        IntermediaryOptions { process_use_statement_on_query: true, reject_connection_on_dbname_absence: false };
    if let Err(error) = AsyncMysqlIntermediary::run_with_options(shim, Packets::new(reader), writer, &options).await {
        tracing::debug!(%error, "a MySQL connection ended");
    }
}

/// Random bytes, none of them zero or `$`, which some clients take for an end.
fn salt() -> [u8; 20] {
    rand::random::<[u8; 20]>().map(|byte| match byte & 0x7f {
        0 | b'$' => 1,
        byte => byte,
    })
}

struct Shim {
    /// Taken out while a statement runs on another thread.
    session: Option<Session>,
    salt: [u8; 20],
    denied: Arc<AtomicBool>,
    /// The user of the login, shared with the output for the text of a refusal.
    user: Arc<std::sync::Mutex<String>>,
    id: u32,
}

impl Shim {
    fn lost() -> io::Error {
        io::Error::other("the session ended in an earlier statement")
    }

    async fn run<W: AsyncWrite + Send + Unpin>(
        &mut self,
        sql: String,
        results: QueryResultWriter<'_, W>,
    ) -> io::Result<()> {
        let mut session = self.session.take().ok_or_else(Self::lost)?;
        session.user = self.user.lock().map(|user| user.clone()).unwrap_or_default();
        let (sender, mut parts) = mpsc::channel(PARTS);
        let worker = tokio::task::spawn_blocking(move || {
            session.execute(&sql, &sender);
            session
        });
        let written = write(results, &mut parts).await;
        drop(parts);
        self.session = Some(worker.await.map_err(io::Error::other)?);
        written
    }
}

async fn write<W: AsyncWrite + Send + Unpin>(
    results: QueryResultWriter<'_, W>,
    parts: &mut mpsc::Receiver<Part>,
) -> io::Result<()> {
    let columns: Vec<Column> = match parts.recv().await {
        Some(Part::Columns(columns)) => columns.iter().map(column).collect(),
        Some(Part::Done { affected }) => {
            return results.completed(OkResponse { affected_rows: affected, ..OkResponse::default() }).await;
        }
        Some(Part::Failed(error)) => return results.error(error.code, error.message.as_bytes()).await,
        Some(Part::Cut) => return Err(io::ErrorKind::ConnectionAborted.into()),
        Some(Part::Rows(_)) | None => {
            return results.error(ErrorKind::ER_UNKNOWN_ERROR, b"the statement gave no answer".as_slice()).await;
        }
    };
    let mut rows = results.start(&columns).await?;
    while let Some(part) = parts.recv().await {
        match part {
            Part::Rows(chunk) => {
                for row in chunk {
                    for cell in &row {
                        rows.write_col(cell.as_deref())?;
                    }
                    rows.end_row().await?;
                }
            }
            Part::Failed(error) => return rows.finish_error(error.code, &error.message.into_bytes()).await,
            Part::Columns(_) | Part::Done { .. } | Part::Cut => {}
        }
    }
    rows.finish().await
}

fn column(column: &OutputColumn) -> Column {
    let (coltype, colflags) = match column.kind {
        Kind::Bool | Kind::Int(1) => (ColumnType::MYSQL_TYPE_TINY, ColumnFlags::empty()),
        Kind::Int(2) => (ColumnType::MYSQL_TYPE_SHORT, ColumnFlags::empty()),
        Kind::Int(4) => (ColumnType::MYSQL_TYPE_LONG, ColumnFlags::empty()),
        Kind::Int(_) => (ColumnType::MYSQL_TYPE_LONGLONG, ColumnFlags::empty()),
        Kind::Decimal(_) => (ColumnType::MYSQL_TYPE_NEWDECIMAL, ColumnFlags::empty()),
        Kind::Float => (ColumnType::MYSQL_TYPE_FLOAT, ColumnFlags::empty()),
        Kind::Double => (ColumnType::MYSQL_TYPE_DOUBLE, ColumnFlags::empty()),
        Kind::Bytes => (ColumnType::MYSQL_TYPE_BLOB, ColumnFlags::BINARY_FLAG | ColumnFlags::BLOB_FLAG),
        Kind::Date => (ColumnType::MYSQL_TYPE_DATE, ColumnFlags::empty()),
        Kind::DateTime => (ColumnType::MYSQL_TYPE_DATETIME, ColumnFlags::empty()),
        Kind::Null => (ColumnType::MYSQL_TYPE_NULL, ColumnFlags::empty()),
        Kind::Text | Kind::LargeInt | Kind::Json | Kind::Array => {
            (ColumnType::MYSQL_TYPE_VAR_STRING, ColumnFlags::empty())
        }
    };
    Column { table: String::new(), column: column.name.clone(), coltype, colflags }
}

#[async_trait::async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Shim {
    type Error = io::Error;

    fn version(&self) -> String {
        HANDSHAKE_VERSION.to_owned()
    }

    fn connect_id(&self) -> u32 {
        self.id
    }

    fn salt(&self) -> [u8; 20] {
        self.salt
    }

    async fn authenticate(&self, _plugin: &str, user: &[u8], salt: &[u8], answer: &[u8]) -> bool {
        let user = String::from_utf8_lossy(user).into_owned();
        let right =
            self.session.as_ref().is_some_and(|session| session.engine.users.authenticate_native(&user, salt, answer));
        if let Ok(mut name) = self.user.lock() {
            *name = user;
        }
        self.denied.store(!right, Ordering::Release);
        right
    }

    async fn on_prepare<'a>(&'a mut self, _query: &'a str, info: StatementMetaWriter<'a, W>) -> io::Result<()> {
        let text = b"This command is not supported in the prepared statement protocol yet";
        info.error(ErrorKind::ER_UNSUPPORTED_PS, text.as_slice()).await
    }

    async fn on_execute<'a>(
        &'a mut self,
        _id: u32,
        _params: ParamParser<'a>,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        results.error(ErrorKind::ER_UNSUPPORTED_PS, b"prepared statements are not supported".as_slice()).await
    }

    async fn on_close<'a>(&'a mut self, _statement: u32)
    where
        W: 'async_trait,
    {
    }

    async fn on_query<'a>(&'a mut self, query: &'a str, results: QueryResultWriter<'a, W>) -> io::Result<()> {
        self.run(query.to_owned(), results).await
    }

    async fn on_init<'a>(&'a mut self, database: &'a str, writer: InitWriter<'a, W>) -> io::Result<()> {
        let session = self.session.as_mut().ok_or_else(Self::lost)?;
        match session.use_database(database) {
            Ok(()) => writer.ok().await,
            Err(SqlError { code, message }) => writer.error(code, message.as_bytes()).await,
        }
    }
}

/// The socket's writing side, buffered. opensrv-mysql answers a wrong password with 1698 and a text of its own;
/// clients look for 1045, so after a refusal the packet is replaced here.
struct Output {
    inner: OwnedWriteHalf,
    denied: Arc<AtomicBool>,
    user: Arc<std::sync::Mutex<String>>,
    buffer: Vec<u8>,
}

/// Bytes gathered before the socket is written.
const BUFFER: usize = 64 * 1024;

impl Output {
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            match Pin::new(&mut self.inner).poll_write(context, &self.buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.buffer.drain(..count);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn refuse(&mut self, sequence: u8) {
        let user = self.user.lock().map(|user| user.clone()).unwrap_or_default();
        let text = format!("Access denied for user '{user}'@'%' (using password: YES)");
        let mut payload = vec![0xff];
        payload.extend((ErrorKind::ER_ACCESS_DENIED_ERROR as u16).to_le_bytes());
        payload.extend(b"#28000");
        payload.extend(text.as_bytes());
        let length = (payload.len() as u32).to_le_bytes();
        self.buffer.extend(&length[..3]);
        self.buffer.push(sequence);
        self.buffer.extend(payload);
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.buffer.len() >= BUFFER && this.drain(context)?.is_pending() {
            return Poll::Pending;
        }
        if this.denied.load(Ordering::Acquire) {
            // The packet's header carries the sequence number; its body is dropped.
            if let [_, _, _, sequence, ..] = bytes
                && this.buffer.is_empty()
            {
                this.refuse(*sequence);
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        this.buffer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.drain(context)? {
            Poll::Ready(()) => Pin::new(&mut this.inner).poll_flush(context),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.drain(context)? {
            Poll::Ready(()) => Pin::new(&mut this.inner).poll_shutdown(context),
            Poll::Pending => Poll::Pending,
        }
    }
}
