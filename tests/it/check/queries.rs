//! A job's own queries.

use super::*;

#[test]
fn sql_assertions() {
    use Comparison::{Equal, GreaterOrEqual};
    let mut cluster = Cluster::shop();
    let secret = "select note from orders where id = 1";
    cluster.passed(&assertion(secret, Equal, "c4ca4238a0b923820dcc509a6f75849b"));
    let findings = cluster.findings(&assertion(secret, Equal, "other"));
    expect(&findings, FailureClass::AssertionFailed, "= other");
    assert!(!format!("{findings:?}").contains("c4ca"), "the value is shown: {findings:?}");
    let mut shown = assertion(secret, Equal, "other");
    shown.0.show_value = true;
    expect(&cluster.findings(&shown), FailureClass::AssertionFailed, "c4ca");
    let none = assertion("select id from orders where id = -1", Equal, "1");
    expect(&cluster.findings(&none), FailureClass::AssertionFailed, "no row");
    let null = assertion("select null::int", GreaterOrEqual, "0");
    expect(&cluster.findings(&null), FailureClass::AssertionFailed, "NULL");

    for (query, code, words) in [
        ("select 1, 2", Code::JobInvalid, "2 columns"),
        ("select id from orders", Code::JobInvalid, "more than one row"),
        ("select * from ordres", Code::ConnectionFailed, "\"ordres\" does not exist"),
        ("select 1; select 2", Code::ConnectionFailed, "42601"),
        ("selec", Code::ConnectionFailed, "syntax error"),
        ("select note::int from orders limit 1", Code::ConnectionFailed, "22P02"),
    ] {
        let (is, message) = cluster.errored(&assertion(query, Equal, "1"));
        assert_eq!(is, code, "{query}: {message}");
        assert!(message.contains(words), "{query}: {message}");
        assert!(!message.contains("c4ca"), "a value is shown: {message}");
    }

    // What a query writes is rolled back.
    cluster.passed(&assertion(
        "with d as (delete from orders returning 1) select count(*) from d",
        Equal,
        "5000",
    ));
    cluster.passed(&assertion("select count(*) from orders", Equal, "5000"));

    let orders = cluster.file("orders");
    cluster.damage(|_| flip(&orders, 5000));
    let count = assertion("select count(*) from orders", GreaterOrEqual, "1");
    expect(&cluster.findings(&count), FailureClass::PageChecksum, "shop");
}

#[test]
fn heartbeats() {
    let cluster = Cluster::shop();
    let none = heartbeat("select max(at) from heartbeat where at < '2000-01-01'");
    expect(&cluster.findings(&none), FailureClass::AssertionFailed, "no row");
    let (code, message) = cluster.errored(&heartbeat("select max(at)::timestamp from heartbeat"));
    assert_eq!(code, Code::JobInvalid, "{message}");
    assert_eq!(cluster.context.observations.snapshot().heartbeat, None);
}

/// Not only in the middle of a query: nobody is told then until the next one.
#[tokio::test]
async fn what_ends_an_idle_session_is_told_by_the_next_query() {
    let cluster = Cluster::shop();
    let open = || connect(&cluster.context.cluster, "shop", &cluster.context.cancel);
    let [session, other] = [open().await.unwrap(), open().await.unwrap()];
    let pid = session.rows("select pg_backend_pid()").await.unwrap()[0][0].clone().unwrap();
    other.rows(&format!("select pg_terminate_backend({pid}, 60000)")).await.unwrap();
    for _ in 0..2 {
        match session.rows("select 1").await {
            Err(SqlFailure::Server(error)) => assert_eq!(error.sqlstate, "57P01"),
            other => panic!("{other:?}"),
        }
        assert!(session.ended());
    }
    assert!(!other.ended());
}
