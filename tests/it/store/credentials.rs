//! Every source of credentials, each in a process of its own with the environment that it reads.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use pgassay::{
    drill::{Code, job::Credentials},
    store::S3Store,
};

use super::{
    list, location,
    peer::{Peer, Reply, Request},
    quick,
};

/// What the child process is told: which source, and where the peer is.
const SOURCE: &str = "PGASSAY_TEST_SOURCE";
const ENDPOINT: &str = "PGASSAY_TEST_ENDPOINT";

/// The child's part: lists with a source and prints what came of it. Does nothing by itself.
#[tokio::test]
async fn child() {
    let (Ok(source), Ok(endpoint)) = (std::env::var(SOURCE), std::env::var(ENDPOINT)) else {
        return;
    };
    let credentials = match source.as_str() {
        "chain" => Credentials::DefaultChain,
        "instance" => Credentials::InstanceRole,
        "anonymous" => Credentials::Anonymous,
        profile if profile.starts_with("profile ") => {
            Credentials::Profile(profile["profile ".len()..].to_owned())
        }
        web => Credentials::WebIdentity {
            role_arn: "arn:aws:iam::123456789012:role/drills".to_owned(),
            token_file: PathBuf::from(web),
        },
    };
    let mut at = location(&endpoint, credentials);
    if std::env::var_os("AWS_ENDPOINT_URL").is_some() {
        at.s3.endpoint = None;
    }
    let answer = match S3Store::connect_with(&at, quick()).await {
        Ok(store) => list(&store, "a/").await.map(|_| store.region().to_owned()),
        Err(error) => Err(error),
    };
    match answer {
        Ok(region) => println!("\nlisted in {region}\n"),
        Err(error) => println!("\n{} {error}\n", error.code.as_str()),
    }
}

/// A peer that is store, token service and metadata service in one.
async fn services() -> Peer {
    Peer::start(|_, request| {
        let json = |key: &str| {
            format!(
                "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"{key}\",\
                 \"SecretAccessKey\":\"hush\",\"Token\":\"token\",\
                 \"Expiration\":\"2126-01-01T00:00:00Z\",\"LastUpdated\":\"2026-01-01T00:00:00Z\"}}"
            )
        };
        let target = request.target.as_str();
        if target.starts_with("/latest/api/token") {
            Reply::new(200, &[("x-aws-ec2-metadata-token-ttl-seconds", "600")], "session")
        } else if target.ends_with("/security-credentials/")
            || target.ends_with("/security-credentials-extended/")
        {
            Reply::new(200, &[], "drills")
        } else if target.contains("/security-credentials") {
            Reply::new(200, &[], json("FROMINSTANCE"))
        } else if target.starts_with("/container") {
            Reply::new(200, &[], json("FROMCONTAINER"))
        } else if request.method == "POST" {
            Reply::new(200, &[], ASSUMED)
        } else {
            Reply::new(
                200,
                &[],
                "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
            )
        }
    })
    .await
}

const ASSUMED: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>\
    <Credentials><AccessKeyId>FROMWEBIDENTITY</AccessKeyId><SecretAccessKey>hush</SecretAccessKey>\
    <SessionToken>token</SessionToken><Expiration>2126-01-01T00:00:00Z</Expiration></Credentials>\
    </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

struct Outcome {
    said: String,
    /// The access key that the store saw, if it saw a request.
    key: Option<String>,
    peer: Peer,
}

/// Runs the child with a source and an environment, in which `{peer}` stands for the peer.
async fn run(source: &str, environment: &[(&str, &str)]) -> Outcome {
    let peer = services().await;
    let home = tempfile::tempdir().unwrap();
    let environment: BTreeMap<&str, String> = environment
        .iter()
        .map(|(name, value)| (*name, value.replace("{peer}", &peer.endpoint())))
        .collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "store::credentials::child", "--nocapture", "--test-threads=1"])
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(SOURCE, source)
        .env(ENDPOINT, peer.endpoint())
        .envs(&environment);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let printed = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}");
    assert!(!printed.contains("hush"), "{printed}");
    let is_answer = |line: &&str| line.starts_with("listed in ") || line.starts_with('S');
    let said = text.lines().find(is_answer).unwrap_or_else(|| panic!("{printed}")).to_owned();
    let is_listing = |request: &&Request| request.target.contains("list-type=2");
    let key = peer.requests().iter().find(is_listing).and_then(|request| {
        let authorization = request.header("authorization")?;
        let (_, rest) = authorization.split_once("Credential=")?;
        Some(rest.split('/').next()?.to_owned())
    });
    Outcome { said, key, peer }
}

#[tokio::test]
async fn the_environment_gives_keys_region_and_endpoint() {
    let keys = [("AWS_ACCESS_KEY_ID", "FROMENV"), ("AWS_SECRET_ACCESS_KEY", "hush")];
    let outcome = run("chain", &keys).await;
    assert_eq!(
        (outcome.said.as_str(), outcome.key.as_deref()),
        ("listed in us-east-1", Some("FROMENV"))
    );

    let more = [keys[0], keys[1], ("AWS_REGION", "eu-north-1"), ("AWS_ENDPOINT_URL", "{peer}")];
    let outcome = run("chain", &more).await;
    assert_eq!(
        (outcome.said.as_str(), outcome.key.as_deref()),
        ("listed in eu-north-1", Some("FROMENV"))
    );

    let outcome = run("anonymous", &keys).await;
    assert_eq!((outcome.said.as_str(), outcome.key), ("listed in us-east-1", None));
}

#[tokio::test]
async fn a_profile_gives_keys_and_region() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name).display().to_string()
    };
    let config = file("config", "[profile drills]\nregion = eu-south-1\n");
    let keys = "[drills]\naws_access_key_id = FROMPROFILE\naws_secret_access_key = hush\n";
    let credentials = file("credentials", keys);
    let environment = [
        ("AWS_CONFIG_FILE", config.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str()),
        // A named profile wins over the environment's keys.
        ("AWS_ACCESS_KEY_ID", "FROMENV"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
    ];
    let outcome = run("profile drills", &environment).await;
    assert_eq!(
        (outcome.said.as_str(), outcome.key.as_deref()),
        ("listed in eu-south-1", Some("FROMPROFILE"))
    );

    let outcome = run("profile other", &environment).await;
    assert!(outcome.said.starts_with(Code::CredentialsMissing.as_str()), "{}", outcome.said);
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_keys() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "a.jwt.token").unwrap();
    let environment = [("AWS_ENDPOINT_URL_STS", "{peer}")];
    let outcome = run(token.to_str().unwrap(), &environment).await;
    assert_eq!(outcome.key.as_deref(), Some("FROMWEBIDENTITY"), "{}", outcome.said);

    let gone = dir.path().join("gone");
    let outcome = run(gone.to_str().unwrap(), &environment).await;
    assert!(outcome.said.starts_with(Code::CredentialsMissing.as_str()), "{}", outcome.said);
    assert!(outcome.said.contains(gone.to_str().unwrap()), "{}", outcome.said);
}

#[tokio::test]
async fn a_role_comes_from_container_or_machine_and_nowhere_else() {
    let keys = [("AWS_ACCESS_KEY_ID", "FROMENV"), ("AWS_SECRET_ACCESS_KEY", "hush")];
    let container = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "{peer}/container");
    let outcome = run("instance", &[keys[0], keys[1], container]).await;
    assert_eq!(outcome.key.as_deref(), Some("FROMCONTAINER"), "{}", outcome.said);

    let machine =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "{peer}")];
    let outcome = run("instance", &[keys[0], keys[1], machine[0], machine[1]]).await;
    assert_eq!(outcome.key.as_deref(), Some("FROMINSTANCE"), "{}", outcome.said);

    let outcome = run("instance", &keys).await;
    assert!(outcome.said.starts_with(Code::CredentialsMissing.as_str()), "{}", outcome.said);
}

#[tokio::test]
async fn no_credentials_anywhere() {
    let outcome = run("chain", &[]).await;
    assert!(outcome.said.starts_with(Code::CredentialsMissing.as_str()), "{}", outcome.said);
    assert_eq!(outcome.peer.requests().len(), 0);
}
