//! `archive:` and the `s3:` block, which `report:` shares.

use std::path::PathBuf;

use super::{
    url::{self, StoreUrl},
    value::short,
    walker::{Complaint, Value},
};
use crate::drill::job::{
    ArchiveLocation, Credentials, S3Spec, SecretSource, StoreLocation, StoreScheme,
};

const CREDENTIALS_HINT: &str = "Write one of `default: {}`, `profile: name`, `webIdentity: {…}`, \
     `instanceRole: {}`, `anonymous: {}`, or `accessKeyId` and `secretAccessKey`.";

pub(super) fn archive(value: Value<'_>) -> Option<ArchiveLocation> {
    value.fields(|fields| {
        fields.parsed("layout", |layout| match layout {
            "barman-cloud" => Ok(()),
            other => Err(Complaint::new(
                format!("`{}` is not a layout that pgassay can read", short(other)),
                "Write `barman-cloud` or remove the field.",
            )),
        });
        let url = fields
            .required("url", "Write `url: s3://bucket/path`.", |value| value.parsed(url::archive));
        let hint = "Write the server's name as Barman Cloud got it; CloudNativePG gives the \
                    cluster's name. `pgassay init s3://bucket/path` lists them.";
        let server = fields.required("server", hint, |value| {
            let name = value.text()?;
            value.accepted(server_name(name))
        });
        let s3 = fields.optional("s3", s3).unwrap_or_default();
        Some(ArchiveLocation { store: location(url?, s3), server: server? })
    })?
}

/// A server's name is one level of the key's path.
pub(super) fn server_name(name: &str) -> Result<String, Complaint> {
    let name = name.trim();
    if name.is_empty()
        || name.contains('/')
        || matches!(name, "." | "..")
        || name.chars().any(char::is_control)
    {
        return Err(Complaint::new(
            format!("`{}` is not a server's name", short(name)),
            "Write one name without slashes; what is above it belongs to the URL.",
        ));
    }
    Ok(name.to_owned())
}

pub(super) fn location(url: StoreUrl, s3: S3Spec) -> StoreLocation {
    let StoreUrl { scheme, bucket, prefix } = url;
    StoreLocation { scheme, bucket, prefix, s3 }
}

/// `report:`: where reports are kept, and the key that they are signed with. Without an `s3` block of its
/// own it takes the archive's.
pub(super) fn report(
    value: Value<'_>,
    archive: Option<&S3Spec>,
) -> Option<(StoreLocation, Option<SecretSource>)> {
    value.fields(|fields| {
        let hint = "Write `store: s3://bucket/path` or `store: file:///folder`.";
        let url = fields.required("store", hint, |value| value.parsed(url::store));
        let s3_given = fields.has("s3");
        let own = fields.optional("s3", s3);
        let sign = fields.optional("sign", secret);
        let url = url?;
        let s3 = match url.scheme {
            StoreScheme::S3 => own.or_else(|| archive.cloned()).unwrap_or_default(),
            StoreScheme::File => S3Spec::default(),
        };
        if s3_given && url.scheme == StoreScheme::File {
            fields.complain(Complaint::new(
                "a `file://` store has no `s3` settings",
                "Remove `s3` or write an `s3://` URL.",
            ));
        }
        if fields.has("sign") && sign.is_none() {
            return None;
        }
        Some((location(url, s3), sign))
    })?
}

pub(super) fn s3(value: Value<'_>) -> Option<S3Spec> {
    value.fields(|fields| {
        let endpoint = fields.parsed("endpoint", url::http);
        // As barman-cloud does: a store of one's own seldom has a name for each bucket.
        let path_style = fields.boolean("pathStyle").unwrap_or(endpoint.is_some());
        S3Spec {
            endpoint,
            region: fields.parsed("region", region),
            path_style,
            ca_bundle: fields.optional("caBundle", absolute_path),
            credentials: fields.optional("credentials", credentials).unwrap_or_default(),
        }
    })
}

pub(super) fn region(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    if !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    {
        return Ok(text.to_owned());
    }
    let message = format!("`{}` is not a region", short(text));
    Err(Complaint::new(message, "Write a region's name, such as `eu-central-1`."))
}

/// A path in a job must not depend on where the program was started.
pub(super) fn absolute_path(value: Value<'_>) -> Option<PathBuf> {
    let text = value.text()?;
    if text.starts_with('/') && !text.contains('\0') {
        return Some(PathBuf::from(text));
    }
    value.complain(Complaint::new(
        "must be an absolute path",
        "Begin it with `/`, so that it means the same wherever pgassay is started.",
    ));
    None
}

fn credentials(value: Value<'_>) -> Option<Credentials> {
    if !value.is_mapping() {
        // The value may be a secret: it is never repeated.
        value.complain(Complaint::new("must be a block of fields", CREDENTIALS_HINT));
        return None;
    }
    value.fields(|fields| {
        let profile = fields.text("profile");
        let access_key_id = fields.optional("accessKeyId", secret);
        let secret_access_key = fields.optional("secretAccessKey", secret);
        let session_token = fields.optional("sessionToken", secret);
        let web_identity = fields.optional("webIdentity", web_identity);
        for name in ["default", "instanceRole", "anonymous"] {
            fields.optional(name, empty);
        }
        let keys = ["accessKeyId", "secretAccessKey", "sessionToken"];
        let kinds =
            fields.given(&["default", "profile", "webIdentity", "instanceRole", "anonymous"]);
        let given_keys = fields.given(&keys);
        if kinds.len() + usize::from(!given_keys.is_empty()) != 1 {
            let all = [kinds.as_slice(), given_keys.as_slice()].concat();
            let message = if all.is_empty() {
                "names no source of credentials".to_owned()
            } else {
                format!("`{}` exclude each other", all.join("`, `"))
            };
            fields.complain(Complaint::new(message, CREDENTIALS_HINT));
            return None;
        }
        match kinds.first() {
            Some(&"profile") => Some(Credentials::Profile(profile?)),
            Some(&"webIdentity") => web_identity,
            Some(&"instanceRole") => Some(Credentials::InstanceRole),
            Some(&"anonymous") => Some(Credentials::Anonymous),
            Some(_) => Some(Credentials::DefaultChain),
            None => {
                let missing = keys[..2].iter().find(|key| !fields.has(key));
                if let Some(key) = missing {
                    fields.complain(Complaint::new(
                        format!("`{key}` is missing"),
                        format!("Add `{key}: {{env: NAME}}` or `{key}: {{file: /path}}`."),
                    ));
                }
                Some(Credentials::Static {
                    access_key_id: access_key_id?,
                    secret_access_key: secret_access_key?,
                    session_token: if fields.has("sessionToken") {
                        Some(session_token?)
                    } else {
                        None
                    },
                })
            }
        }
    })?
}

/// `{env: NAME}` or `{file: /path}`. A secret itself is refused and never repeated.
pub(super) fn secret(value: Value<'_>) -> Option<SecretSource> {
    if !value.is_mapping() {
        let field = value.path.rsplit('.').next().unwrap_or_default();
        value.complain(Complaint::new(
            "a secret must not be written into a job",
            format!(
                "Write where it is: `{field}: {{env: NAME}}` or `{field}: {{file: /run/secrets/name}}`."
            ),
        ));
        return None;
    }
    value.fields(|fields| {
        let env = fields.optional("env", |value| {
            let name = value.text()?;
            let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            if !valid {
                value.complain(Complaint::new(
                    "is not the name of an environment variable",
                    "Write the variable's name, such as `AWS_SECRET_ACCESS_KEY`, not its value.",
                ));
            }
            valid.then(|| SecretSource::Env(name.to_owned()))
        });
        let file = fields.optional("file", |value| absolute_path(value).map(SecretSource::File));
        if fields.given(&["env", "file"]).len() != 1 {
            fields.complain(Complaint::new(
                "must name one source of the secret",
                "Write `{env: NAME}` or `{file: /path}`.",
            ));
            return None;
        }
        env.or(file)
    })?
}

fn web_identity(value: Value<'_>) -> Option<Credentials> {
    value.fields(|fields| {
        let hint = "Write the role's ARN, such as `arn:aws:iam::123456789012:role/drill`.";
        let role_arn = fields.required("roleArn", hint, |value| {
            let text = value.text()?;
            if !text.starts_with("arn:") {
                value.complain(Complaint::new(format!("`{}` is not an ARN", short(text)), hint));
                return None;
            }
            Some(text.to_owned())
        });
        let hint = "Write the file with the token, as `AWS_WEB_IDENTITY_TOKEN_FILE` names it.";
        let token_file = fields.required("tokenFile", hint, absolute_path);
        Some(Credentials::WebIdentity { role_arn: role_arn?, token_file: token_file? })
    })?
}

/// `{}`: the field itself says everything.
fn empty(value: Value<'_>) -> Option<()> {
    let mut any = false;
    value.fields(|fields| fields.each(|_, _| any = true))?;
    if any {
        value.complain(Complaint::new("takes no fields", "Write `{}` after it."));
    }
    Some(())
}
