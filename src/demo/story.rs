//! The demo's story: a cluster is made, archived by the real barman-cloud, lost, and drilled.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    barman::{self, Barman},
    rich,
    s3_server::S3Server,
    source::{Source, SourceSpec},
};
use crate::{
    check::connection::{self, Connection},
    config,
    drill::{Code, Error, Job},
    engine::{
        ClusterAccess, Redacted,
        native::identity::Identity,
        postgres_install::{self, Installation},
    },
};

const ACCESS_KEY: &str = "pgassay-demo";
const SERVER: &str = "orders";
/// For the archiver, which starts a program for every segment.
const PATIENCE: Duration = Duration::from_mins(10);

/// The demo's archive, served over HTTP, and the job that drills it. Dropping it removes all of it.
#[derive(Debug)]
pub struct Stage {
    pub job: Job,
    _s3: S3Server,
    _folder: tempfile::TempDir,
}

/// What happens to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plot {
    /// A base backup and some WAL: enough to see a drill.
    Short,
    /// Tablespaces, a split base backup, many segments, a second timeline: something of everything
    /// that can go bad.
    Rich,
}

/// Makes the archive. `say` gets one line for each step.
///
/// # Errors
/// `ToolMissing` and `PostgresMissing` name what is not installed.
pub async fn set_up(
    plot: Plot,
    say: &(dyn Fn(String) + Sync),
    cancel: &CancellationToken,
) -> Result<Stage, Error> {
    let identity = Identity::choose(None)?;
    let server = newest(&identity)?;
    let programs = barman::find_programs()?;
    let folder = folder()?;
    let root = folder.path();

    let store = make(&root.join("s3/backups"))?.parent().unwrap_or(root).to_path_buf();
    let secret_key = uuid::Uuid::new_v4().simple().to_string();
    let s3 = S3Server::start(&store, ACCESS_KEY, &secret_key)?;
    let barman = Barman {
        bin_dir: Some(programs),
        endpoint: s3.endpoint(),
        url: "s3://backups/demo".into(),
        server: SERVER.into(),
        access_key: ACCESS_KEY.into(),
        secret_key: secret_key.clone(),
    };

    say(format!(
        "making a cluster: PostgreSQL {}, which archives to {}",
        server.version,
        s3.endpoint()
    ));
    let spec = SourceSpec {
        bin_dir: server.bin_dir.clone(),
        root: root.join("source"),
        owner: identity.owner(),
        superuser: "postgres".into(),
        initdb: vec!["--data-checksums".into(), "--wal-segsize=1".into()],
        settings: vec![
            "archive_mode = on".into(),
            format!("archive_command = '{}'", barman.archive_command(&["--gzip"])),
            "wal_level = replica".into(),
        ],
        environment: barman.environment(),
    };
    let work = async {
        let source = blocking(move || Source::create(spec)).await?;
        let rows = match plot {
            Plot::Short => live(source, &server, barman, say, cancel).await?,
            Plot::Rich => rich::live(source, &server, barman, say, cancel).await?,
        };
        fs::remove_dir_all(root.join("source")).map_err(|e| Error::io("lose the source", &e))?;
        say("the source is lost: its files are deleted".into());
        Ok::<_, Error>(rows)
    };
    let rows = cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(interrupted()))?;

    let job = job(root, &s3, &secret_key, rows)?;
    Ok(Stage { job, _s3: s3, _folder: folder })
}

/// A day in the life of the source; gives the number of orders at its end.
async fn live(
    mut source: Source,
    server: &Installation,
    barman: Barman,
    say: &(dyn Fn(String) + Sync),
    cancel: &CancellationToken,
) -> Result<u64, Error> {
    let sql = connect(&source, server, cancel).await?;
    execute(
        &sql,
        "create table public.customers (id int primary key, name text not null unique);
         create table public.orders (id bigint generated always as identity primary key,
           customer int not null references public.customers, at timestamptz not null, note text);
         create index on public.orders (customer, at);
         insert into public.customers select i, 'customer ' || i from generate_series(1, 2000) i;
         insert into public.orders (customer, at, note)
           select 1 + i % 2000, now() - i * interval '1 minute', repeat(md5(i::text), 3) from generate_series(1, 40000) i",
    )
    .await?;
    say("taking a base backup with barman-cloud-backup".into());
    let (back, barman) = {
        let work = move || barman.backup(&source, &["--gzip"]).map(|()| (source, barman));
        blocking(work).await?
    };
    source = back;
    drop(barman);

    say("writing on: 25,000 more orders, archived as WAL by barman-cloud-wal-archive".into());
    for _ in 0..5 {
        execute(
            &sql,
            "insert into public.orders (customer, at, note)
               select 1 + i % 2000, clock_timestamp(), repeat(md5(i::text), 3) from generate_series(1, 5000) i",
        )
        .await?;
    }
    let orders = value(&sql, "select count(*) from public.orders").await?;
    archive_all(&sql, &source).await?;
    drop(sql);
    blocking(move || source.stop(true)).await?;
    orders.parse().map_err(|_| Error::new(Code::Bug, format!("`{orders}` is not a number of rows")))
}

/// Closes the current segment and waits until it is in the archive.
pub(super) async fn archive_all(sql: &Connection, source: &Source) -> Result<(), Error> {
    let last = value(sql, "select pg_walfile_name(pg_switch_wal())").await?;
    let since = Instant::now();
    let archived = format!(
        "select coalesce(max(last_archived_wal), '') >= '{last}' and max(last_archived_wal) !~ 'history'
           from pg_stat_archiver"
    );
    while value(sql, &archived).await? != "t" {
        if since.elapsed() > PATIENCE {
            let log = fs::read_to_string(source.log_path()).unwrap_or_default();
            let tail = log.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
            return Err(Error::new(
                Code::ToolMissing,
                format!("the demo's WAL is not archived: {tail}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn job(root: &Path, s3: &S3Server, secret_key: &str, orders: u64) -> Result<Job, Error> {
    let keys = make(&root.join("keys"))?;
    for (name, value) in [("id", ACCESS_KEY), ("secret", secret_key)] {
        let write = || {
            fs::write(keys.join(name), value).map_err(|e| Error::io("write the demo's keys", &e))
        };
        write()?;
    }
    let work = make(&root.join("work"))?;
    let text = format!(
        "apiVersion: pgassay.dev/v1alpha1
kind: DrillJob
metadata: {{name: demo}}
spec:
  archive:
    url: s3://backups/demo
    server: {SERVER}
    s3:
      endpoint: {endpoint}
      region: us-east-1
      pathStyle: true
      credentials:
        accessKeyId: {{file: {keys}/id}}
        secretAccessKey: {{file: {keys}/secret}}
  depth: deep
  sandbox: {{workDir: {work}}}
  objectives: {{rto: 5m, rpo: 1h}}
  checks:
    - sql: {{name: orders-complete, database: postgres, query: \"select count(*) from orders\", expect: \"= {orders}\"}}
",
        endpoint = s3.endpoint(),
        keys = keys.display(),
        work = work.display(),
    );
    config::parse(&text, "demo.yaml")
        .map_err(|problems| Error::new(Code::Bug, format!("the demo's job: {problems}")))
}

/// The newest server that the unprivileged user can run.
fn newest(identity: &Identity) -> Result<Installation, Error> {
    let mut found = postgres_install::discover();
    found.retain(|i| {
        identity.may_execute(&i.postgres()).is_ok() && i.bin_dir.join("initdb").is_file()
    });
    found.into_iter().max_by_key(|i| i.version_num).ok_or_else(|| {
        Error::new(Code::PostgresMissing, "no PostgreSQL server of major 14 to 18 is installed")
            .hint("Install `postgresql` (Debian, Ubuntu) or run `make demo`, which does.")
    })
}

/// A folder that every user can enter.
fn folder() -> Result<tempfile::TempDir, Error> {
    let parent = crate::engine::native::place::defaults().into_iter().find(|p| p.is_dir());
    let parent = parent.unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let made = tempfile::Builder::new().prefix("pgassay-demo-").tempdir_in(&parent);
    made.and_then(|dir| {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        Ok(dir)
    })
    .map_err(|e| Error::io(format_args!("make a folder in `{}`", parent.display()), &e))
}

fn make(dir: &Path) -> Result<PathBuf, Error> {
    let made = fs::create_dir_all(dir).map(|()| dir.to_path_buf());
    made.map_err(|e| Error::io(format_args!("make `{}`", dir.display()), &e))
}

pub(super) async fn connect(
    source: &Source,
    server: &Installation,
    cancel: &CancellationToken,
) -> Result<Connection, Error> {
    let access = ClusterAccess {
        major: server.major,
        socket_dir: source.socket_dir(),
        port: 5432,
        user: source.superuser().to_owned(),
        password: Redacted(String::new()),
        data_dir: source.data_dir(),
        version_num: server.version_num,
    };
    connection::connect(&access, "postgres", cancel)
        .await
        .map_err(|e| e.into_error("connect to the source"))
}

pub(super) async fn execute(sql: &Connection, statements: &str) -> Result<(), Error> {
    sql.execute(statements).await.map_err(|e| e.into_error("write to the source"))
}

pub(super) async fn value(sql: &Connection, query: &str) -> Result<String, Error> {
    let rows = sql.rows(query).await.map_err(|e| e.into_error("read from the source"))?;
    Ok(rows.into_iter().flatten().next().flatten().unwrap_or_default())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Error::new(Code::Bug, format!("a thread of the demo died: {e}"))))
}

fn interrupted() -> Error {
    Error::new(Code::Interrupted, "the demo was interrupted")
}
