use super::*;

#[test]
fn the_shortest_job() {
    let text = "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {name: a}\n\
                spec: {archive: {url: s3://bucket/path, server: b}}\n";
    let job = parse(text, "a.yaml").unwrap();
    assert_eq!((job.name.as_str(), job.archive.server.as_str()), ("a", "b"));
    assert_eq!(job, flags::default_job("a".into(), job.archive.clone()));
}
