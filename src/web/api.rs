//! The API, version 1: JSON, described by itself.

use axum::{
    Json, Router,
    http::{HeaderMap, header},
    routing::get,
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::site::Site;

pub mod archives;
mod drills;
mod jobs;

pub use self::jobs::authorised;

/// What is said of all of it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "pgassay",
        description = "Whether PostgreSQL backups restore, how fast, and how much would be lost. Times are RFC \
                       3339 in UTC, durations seconds, sizes bytes. Fields may be added at any time.",
        license(name = "Apache-2.0 OR MIT")
    ),
    tags(
        (name = "jobs", description = "What is drilled, and how it stands"),
        (name = "drills", description = "Drills that run and that are over"),
        (name = "archives", description = "What archives hold")
    ),
    modifiers(&Tokens)
)]
struct Described;

/// How drills are started.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = api.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", scheme);
    }
}

/// Who answers, and what that is.
pub fn router() -> (Router<Site>, openapi::OpenApi) {
    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::one))
        .routes(routes!(jobs::start))
        .routes(routes!(drills::list))
        .routes(routes!(drills::one))
        .routes(routes!(archives::list))
        .routes(routes!(archives::one))
        .split_for_parts()
}

/// The description as a document, with a newline at its end.
#[must_use]
pub fn description() -> String {
    let mut text = router().1.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Answers with the description.
pub fn described(description: &openapi::OpenApi) -> Router<Site> {
    let description = description.clone();
    Router::new().route("/api/v1/openapi.json", get(async move || Json(description.clone())))
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    /// `pgassay serve --openapi > docs/openapi.json` writes it.
    #[test]
    fn the_published_description_is_this_one() {
        let published = include_str!("../../docs/openapi.json");
        assert!(published == super::description(), "write it anew: `pgassay serve --openapi`");
    }
}
