//! A longer life for the source: something of everything that can go bad in an archive.

use std::fs;

use tokio_util::sync::CancellationToken;

use super::{
    barman::Barman,
    source::Source,
    story::{archive_all, blocking, connect, execute, value},
};
use crate::{
    drill::{Code, Error},
    engine::postgres_install::Installation,
    pg::Major,
};

/// Size of the base backup's parts.
const PART: &str = "2MB";
/// Batches of rows, each more than half a mebibyte of WAL.
const BATCHES: u32 = 12;

/// A tablespace, a table that nothing touches any more, a split base backup, WAL on two timelines with
/// a tablespace made on the way. Gives the number of orders at the end.
pub(super) async fn live(
    mut source: Source,
    server: &Installation,
    barman: Barman,
    say: &(dyn Fn(String) + Sync),
    cancel: &CancellationToken,
) -> Result<u64, Error> {
    let sql = connect(&source, server, cancel).await?;
    let space = source.make_dir("space")?;
    execute(&sql, "alter system set autovacuum = off").await?;
    execute(&sql, "select pg_reload_conf()").await?;
    let place = format!("create tablespace space location '{}'", space.display());
    execute(&sql, &place).await?;
    execute(
        &sql,
        "create table public.customers (id int primary key, name text not null unique);
         create table public.orders (id bigint generated always as identity primary key,
           customer int not null references public.customers, at timestamptz not null, note text);
         create index on public.orders (customer, at);
         create table public.events (id bigint primary key, note text) tablespace space;
         insert into public.customers select i, 'customer ' || i from generate_series(1, 30000) i;
         insert into public.orders (customer, at, note)
           select 1 + i % 2000, now() - i * interval '1 minute', repeat(md5(i::text), 3) from generate_series(1, 10000) i;
         insert into public.events select i, md5(i::text) from generate_series(1, 3000) i",
    )
    .await?;
    // Frozen: nothing has a reason to write to these pages again.
    execute(&sql, "vacuum (freeze, analyze) public.customers").await?;
    say("taking a base backup in parts with barman-cloud-backup".into());
    let (back, barman) = {
        let arguments = ["--gzip", "--max-archive-size", PART];
        let work = move || barman.backup(&source, &arguments).map(|()| (source, barman));
        blocking(work).await?
    };
    source = back;
    drop(barman);

    say(format!("writing {BATCHES} batches of orders, archived by barman-cloud-wal-archive"));
    // These pages come anew with the WAL, and hide what may be bad in the backup.
    execute(&sql, "update public.orders set note = note || '!' where id <= 500").await?;
    for batch in 0..BATCHES {
        write(&sql).await?;
        if batch == BATCHES / 2 && server.major != Major::V14 {
            let later = source.make_dir("later")?;
            let place = format!("create tablespace later location '{}'", later.display());
            execute(&sql, &place).await?;
        }
    }
    archive_all(&sql, &source).await?;
    drop(sql);

    say("promoting it to a second timeline".into());
    source = blocking(move || {
        source.stop(true)?;
        fs::write(source.data_dir().join("standby.signal"), "")
            .map_err(|error| Error::io("make the source a standby", &error))?;
        source.start()?;
        Ok(source)
    })
    .await?;
    let sql = connect(&source, server, cancel).await?;
    if value(&sql, "select pg_promote(true, 60)").await? != "t" {
        return Err(Error::new(Code::PostgresFailed, "the source was not promoted"));
    }
    for _ in 0..2 {
        write(&sql).await?;
    }
    let orders = value(&sql, "select count(*) from public.orders").await?;
    archive_all(&sql, &source).await?;
    drop(sql);
    blocking(move || source.stop(true)).await?;
    orders.parse().map_err(|_| Error::new(Code::Bug, format!("`{orders}` is not a number of rows")))
}

/// More than half a mebibyte of WAL.
async fn write(sql: &crate::check::connection::Connection) -> Result<(), Error> {
    execute(
        sql,
        "insert into public.orders (customer, at, note)
           select 1 + i % 2000, clock_timestamp(), repeat(md5(random()::text), 3) from generate_series(1, 2000) i",
    )
    .await
}
