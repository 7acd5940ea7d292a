//! Which address is answered by whom, and what every answer has in common.

use std::time::Duration;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::time::timeout;

use super::{
    api,
    host::{self, Hosts},
    metrics, pages,
    problem::Problem,
    site::Site,
};

/// Most bytes of a request's body: a form with a token.
const MOST_BODY: usize = 16 << 10;

/// No answer takes longer.
const LONGEST: Duration = Duration::from_mins(1);

/// What a page may do: show itself, look at itself again, and send its own forms.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Everything, for requests by the names of `hosts`.
pub fn app(site: Site, hosts: Hosts) -> Router {
    let (api, description) = api::router();
    Router::new()
        .merge(api)
        .merge(api::described(&description))
        .merge(pages::router())
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(metrics::alive))
        .route("/readyz", get(metrics::ready))
        .fallback(pages::nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(hosts, host::look))
        .layer(middleware::from_fn(headers))
        .with_state(site)
}

async fn wrong_method(method: Method) -> Problem {
    let hint = "The header `Allow` of this answer has the methods that there are; the API is described at \
                /api/v1/openapi.json.";
    Problem {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "method_wrong",
        message: format!("there is no `{method}` of this address"),
        hint: Some(hint.to_owned()),
    }
}

async fn headers(request: Request, next: Next) -> Response {
    // The body of a request may never come.
    let answered = timeout(LONGEST, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| Problem::late().into_response());
    let given = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // What is shown is as of now, and may name what not everybody may know.
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in given {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
