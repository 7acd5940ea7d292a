//! Connections to the recovered cluster: the only home of `tokio-postgres`.
//!
//! A restored cluster has production's habits: settings for a role or a database that end queries or
//! plant functions in their way. Startup options win over both, so every connection brings its own.

use std::{
    fmt,
    future::Future,
    os::fd::AsRawFd,
    path::PathBuf,
    pin::pin,
    sync::{Arc, OnceLock},
};

use futures_util::{StreamExt, stream};
use tokio::net::UnixStream;
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow,
    error::{DbError, Severity},
    tls::NoTlsStream,
};
use tokio_util::sync::CancellationToken;

use super::failure::{ServerError, SqlFailure, interrupted};
use crate::{
    drill::{Code, Error},
    engine::{ClusterAccess, Redacted},
    pg::Major,
};

/// `sun_path` takes 108 bytes with the final zero (`unix(7)`).
const LONGEST_SOCKET_PATH: usize = 107;

/// Settings of every connection, which a role's or a database's own cannot change. None of them is
/// newer than PostgreSQL 14.
const SETTINGS: &[(&str, &str)] = &[
    // Libraries that are not installed here end the connection.
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    // Whatever would end or block a long query.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("temp_file_limit", "-1"),
    ("exit_on_error", "off"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read\\ committed"),
    ("synchronous_commit", "local"),
    // Whatever would make our words mean something else.
    ("search_path", "pg_catalog"),
    ("role", "none"),
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("lc_messages", "C"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    // Whatever would hide damage.
    ("zero_damaged_pages", "off"),
    ("ignore_checksum_failure", "off"),
    ("enable_seqscan", "on"),
    // Without it each part of a table would be a scan of all of it.
    ("enable_tidscan", "on"),
    // Whatever would need more than the sandbox has.
    ("default_tablespace", ""),
    ("temp_tablespaces", ""),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("work_mem", "16MB"),
    ("maintenance_work_mem", "64MB"),
];

/// The same for 17 and later.
const SETTINGS_17: &[(&str, &str)] = &[("transaction_timeout", "0"), ("event_triggers", "off")];

/// One row of text values.
pub type TextRow = Vec<Option<String>>;

/// One session as the drill's superuser.
pub struct Connection {
    client: Client,
    socket: Socket,
    stop: CancellationToken,
    /// What the server has ended it with: FATAL or PANIC.
    ended: Arc<OnceLock<ServerError>>,
}

/// A database of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub oid: u32,
    pub name: String,
    pub allows_connections: bool,
    /// `datconnlimit` is -2: an interrupted `DROP DATABASE` left it.
    pub invalid: bool,
    /// Oid of its default tablespace: its own folder lies there.
    pub tablespace: u32,
}

impl Database {
    /// Whether its tables can be looked at.
    #[must_use]
    pub const fn connectable(&self) -> bool {
        self.allows_connections && !self.invalid
    }
}

/// Where the server listens.
#[derive(Clone, Debug)]
struct Socket {
    folder: PathBuf,
    port: u16,
}

impl Socket {
    async fn open(&self) -> std::io::Result<UnixStream> {
        let name = format!(".s.PGSQL.{}", self.port);
        let path = self.folder.join(&name);
        if path.as_os_str().len() <= LONGEST_SOCKET_PATH {
            return UnixStream::connect(path).await;
        }
        let folder = std::fs::File::open(&self.folder)?;
        let short = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        UnixStream::connect(short).await
    }
}

/// Startup option string (`-c name=value …`) for this major.
fn startup_options(major: Major) -> String {
    let newer = if major >= Major::V17 { SETTINGS_17 } else { &[] };
    let options: Vec<String> =
        SETTINGS.iter().chain(newer).map(|(name, value)| format!("-c {name}={value}")).collect();
    options.join(" ")
}

/// Opens a session. `stop` ends whatever it does, in the server too.
///
/// # Errors
/// The server's own error, such as 3D000 for a database that does not exist, or why there was none.
pub async fn connect(
    cluster: &ClusterAccess,
    database: &str,
    stop: &CancellationToken,
) -> Result<Connection, SqlFailure> {
    let mut config = Config::new();
    config
        .user(&cluster.user)
        .password(&cluster.password.0)
        .dbname(database)
        .application_name("pgassay")
        .options(startup_options(cluster.major));
    let socket = Socket { folder: cluster.socket_dir.clone(), port: cluster.port };
    let (client, mut driver) = open(&socket, &config, stop).await?;
    let ended = Arc::new(OnceLock::new());
    let told = Arc::clone(&ended);
    // Ends by itself when the client is dropped. Notices may hold data: they go nowhere.
    tokio::spawn(async move {
        let mut messages = pin!(stream::poll_fn(|cx| driver.poll_message(cx)));
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => drop::<AsyncMessage>(message),
                // Between two queries.
                Err(error) => return note_end(&told, &error),
            }
        }
    });
    Ok(Connection { client, socket, stop: stop.clone(), ended })
}

async fn open(
    socket: &Socket,
    config: &Config,
    stop: &CancellationToken,
) -> Result<(Client, tokio_postgres::Connection<UnixStream, NoTlsStream>), SqlFailure> {
    let open = async {
        let stream = socket.open().await.map_err(|error| {
            broken(&format!("cannot connect to the recovered cluster: {error}"))
        })?;
        config.connect_raw(stream, NoTls).await.map_err(failure)
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(SqlFailure::Broken(interrupted())),
        opened = open => opened,
    }
}

/// Logs in as an application would: with nothing but a name and a password. The settings of role and
/// database hold, so that a library which these load and which is not here is seen.
///
/// # Errors
/// The server's own, such as 28P01 for a wrong password, or why there was no answer.
pub async fn log_in(
    cluster: &ClusterAccess,
    user: &str,
    password: &Redacted,
    database: &str,
    stop: &CancellationToken,
) -> Result<(), SqlFailure> {
    let mut config = Config::new();
    config.user(user).password(&password.0).dbname(database).application_name("pgassay");
    let socket = Socket { folder: cluster.socket_dir.clone(), port: cluster.port };
    open(&socket, &config, stop).await.map(drop)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Connection {
    /// Runs one or more statements and drops their rows.
    pub async fn execute(&self, sql: &str) -> Result<(), SqlFailure> {
        self.guard(self.client.batch_execute(sql)).await
    }

    /// The rows of one of our own queries, as text. All of them are held in memory.
    pub async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, SqlFailure> {
        let messages = self.guard(self.client.simple_query(sql)).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(texts(row)),
            _ => None,
        });
        rows.collect()
    }

    /// Hands every row of one of our own queries to `each`, one at a time.
    pub async fn for_each(
        &self,
        sql: &str,
        mut each: impl FnMut(TextRow) + Send,
    ) -> Result<(), SqlFailure> {
        let mut stream = pin!(self.guard(self.client.simple_query_raw(sql)).await?);
        while let Some(message) = self.guard(next(&mut stream)).await? {
            if let SimpleQueryMessage::Row(row) = message {
                each(texts(&row)?);
            }
        }
        Ok(())
    }

    /// The first rows of a query that a job brought, and how many columns it has. A text that holds
    /// more than one statement is refused by the server (42601).
    pub async fn first_rows(
        &self,
        sql: &str,
        most: usize,
    ) -> Result<(usize, Vec<TextRow>), SqlFailure> {
        let statement = self.guard(self.client.prepare(sql)).await?;
        let columns = statement.columns().len();
        let mut rows = Vec::new();
        let mut stream = pin!(self.guard(self.client.simple_query_raw(sql)).await?);
        while let Some(message) = self.guard(next(&mut stream)).await? {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push(texts(&row)?);
                if rows.len() == most {
                    self.cancel_running().await;
                    break;
                }
            }
        }
        Ok((columns, rows))
    }

    /// Streams `COPY … TO STDOUT` in text format and drops what comes. Returns rows and bytes; one
    /// row is in memory at a time.
    pub async fn copy_out(&self, sql: &str) -> Result<(u64, u64), SqlFailure> {
        let mut stream = pin!(self.guard(self.client.copy_out(sql)).await?);
        let (mut rows, mut bytes) = (0, 0);
        while let Some(row) = self.guard(next(&mut stream)).await? {
            rows += 1;
            bytes += row.len() as u64;
        }
        Ok((rows, bytes))
    }

    async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SqlFailure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                self.cancel_running().await;
                Err(SqlFailure::Broken(interrupted()))
            }
            result = work => result.map_err(|error| {
                note_end(&self.ended, &error);
                match self.ended.get() {
                    Some(said) if error.is_closed() => SqlFailure::Server(said.clone()),
                    _ => failure(error),
                }
            }),
        }
    }

    /// Whether the server has ended this session. Another one may still be had.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Asks the server to end the running query. Best effort: the session is given up afterwards.
    async fn cancel_running(&self) {
        if let Ok(stream) = self.socket.open().await {
            let _ = self.client.cancel_token().cancel_query_raw(stream, NoTls).await;
        }
    }
}

/// The next element of a stream of results.
async fn next<T, E, S>(stream: &mut std::pin::Pin<&mut S>) -> Result<Option<T>, E>
where
    S: futures_util::Stream<Item = Result<T, E>>,
{
    stream.next().await.transpose()
}

/// The values of a row. Bytes that are not UTF-8 come from a catalog or a value that is damaged, or
/// that a database without an encoding wrote: an error as the server gives it where it converts
/// (`report_invalid_encoding`, `mbutils.c`).
fn texts(row: &SimpleQueryRow) -> Result<TextRow, SqlFailure> {
    let value = |column| row.try_get(column).map(|value| value.map(str::to_owned));
    (0..row.len()).map(value).collect::<Result<_, _>>().map_err(|_| {
        SqlFailure::Server(ServerError {
            sqlstate: "22021".to_owned(),
            message: "a text that was read is not UTF-8".to_owned(),
            detail: None,
        })
    })
}

/// Remembers what ended a session, if that did.
fn note_end(ended: &OnceLock<ServerError>, error: &tokio_postgres::Error) {
    let Some(server) = error.as_db_error() else { return };
    if let Some(Severity::Fatal | Severity::Panic) = server.parsed_severity() {
        let _ = ended.set(said(server));
    }
}

fn said(error: &DbError) -> ServerError {
    ServerError {
        sqlstate: error.code().code().to_owned(),
        message: error.message().to_owned(),
        detail: error.detail().map(str::to_owned),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn failure(error: tokio_postgres::Error) -> SqlFailure {
    if let Some(server) = error.as_db_error() {
        return SqlFailure::Server(said(server));
    }
    let source = std::error::Error::source(&error);
    let why = source.map_or_else(|| error.to_string(), |s| format!("{error}: {s}"));
    broken(&format!("the connection to the recovered cluster broke: {why}"))
}

fn broken(message: &str) -> SqlFailure {
    SqlFailure::Broken(
        Error::new(Code::ConnectionFailed, message).hint(
            "See the server's log in the sandbox; `keepOnFailure` in the job keeps it for you.",
        ),
    )
}

/// A maintenance database that can be connected to: `postgres`, else `template1`.
pub(super) async fn connect_any(
    cluster: &ClusterAccess,
    stop: &CancellationToken,
) -> Result<Connection, SqlFailure> {
    match connect(cluster, "postgres", stop).await {
        Err(SqlFailure::Server(error)) if ["3D000", "55000"].contains(&error.sqlstate.as_str()) => {
            connect(cluster, "template1", stop).await
        }
        other => other,
    }
}

/// The first read-write query, for the end of the RTO: a transaction with an id of its own whose
/// commit is flushed. It leaves no object behind and fires no event trigger.
///
/// # Errors
/// Whatever keeps the cluster from being written to.
pub async fn first_write(
    cluster: &ClusterAccess,
    stop: &CancellationToken,
) -> Result<(), SqlFailure> {
    let connection = connect_any(cluster, stop).await?;
    connection
        .execute(
            "BEGIN READ WRITE; \
             SELECT pg_catalog.pg_logical_emit_message(true, 'pgassay', 'first write'); \
             COMMIT",
        )
        .await
}

/// Every database of the cluster, by oid.
///
/// # Errors
/// Why the catalog could not be read.
pub async fn databases(
    cluster: &ClusterAccess,
    stop: &CancellationToken,
) -> Result<Vec<Database>, SqlFailure> {
    let connection = connect_any(cluster, stop).await?;
    let rows = connection
        .rows(
            "SELECT oid, datname, datallowconn, datconnlimit = -2, dattablespace \
             FROM pg_catalog.pg_database ORDER BY oid",
        )
        .await?;
    let text = |row: &TextRow, i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    Ok(rows
        .iter()
        .map(|row| Database {
            oid: text(row, 0).parse().unwrap_or_default(),
            name: text(row, 1),
            allows_connections: text(row, 2) == "t",
            invalid: text(row, 3) == "t",
            tablespace: text(row, 4).parse().unwrap_or_default(),
        })
        .collect())
}

/// A name in double quotes, as SQL needs it.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes, as SQL needs it with `standard_conforming_strings` on.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Rolls back what production had prepared in this database when its log ended. Such a transaction
/// keeps its locks for ever, and a check would wait for them as long; its rows are invisible anyway.
///
/// # Errors
/// As for every query.
pub async fn end_prepared_transactions(connection: &Connection) -> Result<(), SqlFailure> {
    let sql = "SELECT gid FROM pg_catalog.pg_prepared_xacts \
               WHERE database = pg_catalog.current_database()";
    for row in connection.rows(sql).await? {
        let gid = row.first().and_then(Option::as_deref).unwrap_or_default();
        connection.execute(&format!("ROLLBACK PREPARED {}", quote_literal(gid))).await?;
    }
    Ok(())
}
